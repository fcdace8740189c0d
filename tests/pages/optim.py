"""Names that docs/optim.md takes for granted: a model with a fused projection and a router."""

from torch import nn

model = nn.Module()
model.layer = nn.ModuleDict(
    {"qkv": nn.Linear(64, 768, bias=False), "router": nn.Linear(64, 8, bias=False), "norm": nn.LayerNorm(64)}
)
