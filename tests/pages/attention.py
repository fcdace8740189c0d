"""Names that docs/attention.md takes for granted: 32 tokens of three documents, four query and two key heads."""

import torch

q, k, v = (torch.randn(1, 32, heads, 16) for heads in (4, 2, 2))
sinks = torch.randn(4)
angles = torch.arange(32)[:, None] * 10000.0 ** -(torch.arange(8) / 8)
cos, sin = angles.cos(), angles.sin()
q_THD, k_THD, v_THD = q[0], k[0], v[0]
cu_seqlens, longest = torch.tensor([0, 10, 25, 32], dtype=torch.int32), 15
