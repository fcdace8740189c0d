"""A Lightning module with our attention, loss without logits and MuonAdamW, beside torch's own parts.

The optimiser's AdamW is torch's, so with `adamw=["*"]` both modules must reach the same weights; `main` compares them,
then trains with Muon.
"""

import lightning
import torch
import torch.nn.functional as F
from _comparison import compare
from torch import Tensor, nn

from smolfast.ops import gqa_attention, linear_cross_entropy
from smolfast.optim import MuonAdamW


class Block(nn.Module):
    def __init__(self, width: int, heads: int, kv_heads: int, ours: bool) -> None:
        super().__init__()
        self.sizes, self.ours = (heads, kv_heads, kv_heads), ours
        self.qkv = nn.Linear(width, sum(self.sizes) * (width // heads), bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.norm = nn.RMSNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).unflatten(-1, (sum(self.sizes), -1)).split(self.sizes, dim=2)
        if self.ours:
            attended = gqa_attention(q, k, v)  # [B, S, heads, D]
        else:
            q, k, v = (part.transpose(1, 2) for part in (q, k, v))
            attended = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True).transpose(1, 2)
        return x + self.out(attended.flatten(2))


class LanguageModel(lightning.LightningModule):
    def __init__(self, ours: bool, muon: bool = False) -> None:
        super().__init__()
        self.ours, self.muon, self.losses = ours, muon, []
        self.embedding = nn.Embedding(256, 64)
        self.blocks = nn.Sequential(*(Block(64, 4, 2, ours) for _ in range(2)))
        self.lm_head = nn.Linear(64, 256, bias=False)

    def training_step(self, batch: Tensor, _: int) -> Tensor:
        hidden, targets = self.blocks(self.embedding(batch[:, :-1])), batch[:, 1:]
        if self.ours:
            loss = linear_cross_entropy(hidden, self.lm_head.weight, targets)  # no logits
        else:
            loss = F.cross_entropy(self.lm_head(hidden).flatten(0, 1), targets.flatten())
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        if not self.ours:
            return torch.optim.AdamW(self.parameters(), lr=3e-3, betas=(0.9, 0.95), weight_decay=0.0)
        return MuonAdamW(self, lr=0.01, adamw_lr=3e-3, weight_decay=0.0, adamw=() if self.muon else ["*"])


def run(**options: bool) -> LanguageModel:
    torch.manual_seed(0)
    model = LanguageModel(**options)
    tokens = torch.randint(256, (4, 25), generator=torch.Generator().manual_seed(1))
    trainer = lightning.Trainer(
        max_epochs=8, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, torch.utils.data.DataLoader(tokens, batch_size=2))
    return model


def main() -> dict[str, float]:
    theirs, ours, muon = run(ours=False), run(ours=True), run(ours=True, muon=True)
    return {**compare(theirs.losses, theirs, ours.losses, ours), "last loss with Muon": muon.losses[-1]}


if __name__ == "__main__":
    for name, figure in main().items():
        print(f"{name}: {figure:.3g}")
