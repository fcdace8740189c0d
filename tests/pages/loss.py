"""Names that docs/loss.md takes for granted: 24 positions of width 16, 50 tokens, two depths."""

import shutil
from pathlib import Path

import torch

hidden = torch.randn(2, 24, 16)
unembedding = weight = torch.randn(50, 16)
next_tokens = targets = torch.randint(50, (24,))
document_ids = torch.arange(24) // 12
tokens_of_the_whole_batch = 48
teacher_states, teacher_unembedding = torch.randn(24, 20), torch.randn(50, 20)
teacher_logits = torch.randn(24, 50)

Path("data").mkdir()
shutil.copytree("tokens", "data/tokens")
shutil.copytree("export", "teacher")
