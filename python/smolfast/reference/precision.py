"""Which dtypes the CPU multiplies fast."""

from __future__ import annotations

import functools

import torch


@functools.cache
def multiplies_bfloat16() -> bool:
    """Whether torch hands bf16 products to instructions for them (AVX-512 BF16, AMX, Arm's BFMMLA)."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
