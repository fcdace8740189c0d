"""torchtitan with our attention, loss and optimiser as its own configurable parts, on packed documents.

torchtitan's varlen attention needs a GPU, so its side of the comparison is its scaled dot-product attention, document
by document, its cross-entropy and its AdamW.
"""

from dataclasses import dataclass
from types import MethodType

import torch
from _comparison import compare
from torch import Tensor, nn
from torchtitan.components.loss import ChunkedLossWrapper, CrossEntropyLoss
from torchtitan.components.optimizer import OptimizersContainer, ParamGroupConfig
from torchtitan.models.common.attention import ScaledDotProductAttention, VarlenAttention
from torchtitan.models.llama3 import llama3_configs

from smolfast.ops import gqa_attention_varlen, mtp_loss
from smolfast.optim import MuonAdamW


class Attention(VarlenAttention):
    """A subclass, so that the model builds its `VarlenMetadata` for it."""

    @dataclass(kw_only=True, slots=True)
    class Config(VarlenAttention.Config):
        pass

    def __init__(self, config: Config) -> None:
        nn.Module.__init__(self)
        self.window_size = config.window_size

    def forward(self, q, k, v, *, attention_masks, scale=None, **_):
        left, right = self.window_size
        out = gqa_attention_varlen(
            *(x.flatten(0, 1) for x in (q, k, v)), attention_masks.cu_seq_q, attention_masks.cu_seq_k,
            attention_masks.max_q, attention_masks.max_k, softmax_scale=scale, causal=right == 0,
            window_size=(left, -1 if right == 0 else right),
        )  # fmt: skip
        return out.view(q.shape)


class Loss(ChunkedLossWrapper):
    """A subclass, so that the trainer hands it the output layer and the model returns hidden states.

    The loss is computed by the output layer's own call: FSDP's hooks on that layer gather its weight, as always.
    """

    @dataclass(kw_only=True, slots=True)
    class Config(ChunkedLossWrapper.Config):
        pass

    def set_lm_head(self, lm_head: nn.Module) -> None:
        def forward(head: nn.Module, hidden: Tensor, labels: Tensor) -> Tensor:
            return mtp_loss(hidden, head.weight, labels, head_weights=(1.0,), reduction="sum")

        lm_head.forward = MethodType(forward, lm_head)
        super().set_lm_head(lm_head)

    def __call__(self, pred, labels, global_valid_tokens=None, **_):
        loss = self.lm_head(pred, labels)
        return (loss if global_valid_tokens is None else loss / global_valid_tokens), {}


class Optimizers(OptimizersContainer):
    """Knows the name MuonAdamW beside torchtitan's own."""

    @dataclass(kw_only=True, slots=True)
    class Config(OptimizersContainer.Config):
        pass

    @staticmethod
    def _resolve_optimizer_factory(name):
        if name != "MuonAdamW":
            return OptimizersContainer._resolve_optimizer_factory(name)

        def build(groups, **options):
            named = [pair for group in groups for pair in zip(group["param_names"], group["params"], strict=True)]
            return MuonAdamW(named, **options)

        return build


LENGTHS = (7, 12, 5)  # documents packed into a row


def batch() -> tuple[Tensor, Tensor, Tensor]:
    tokens = torch.randint(2048, (1, sum(LENGTHS)), generator=torch.Generator().manual_seed(1))
    positions = torch.cat([torch.arange(length) for length in LENGTHS])[None]
    labels = tokens.roll(-1, 1).masked_fill(positions.roll(-1, 1) == 0, -100)
    return tokens, positions, labels


def build(attention) -> nn.Module:
    config = llama3_configs["debugmodel"]("varlen")
    config.layers = config.layers[:2]
    for layer in config.layers:
        layer.attention.inner_attention = attention.Config()
    torch.manual_seed(0)
    model = config.build()
    model.init_states()
    return model


def train(model: nn.Module, optimizers: OptimizersContainer, loss_of) -> list[float]:
    losses = []
    for _ in range(3):
        optimizers.zero_grad()
        loss = loss_of(model)
        loss.backward()
        optimizers.step()
        losses.append(loss.item())
    return losses


def run_theirs() -> tuple[list[float], nn.Module]:
    tokens, _, labels = batch()
    valid = (labels != -100).sum()
    cross_entropy = CrossEntropyLoss.Config().build()

    def loss_of(model: nn.Module) -> Tensor:
        documents = zip(tokens.split(LENGTHS, 1), labels.split(LENGTHS, 1), strict=True)
        return sum(
            cross_entropy(model(ids, torch.arange(ids.shape[1])[None]), targets, valid)[0] for ids, targets in documents
        )

    model = build(ScaledDotProductAttention)
    options = {"lr": 1e-3, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.0}
    groups = [ParamGroupConfig(pattern=".*", optimizer_name="AdamW", optimizer_kwargs=options)]
    config = OptimizersContainer.Config(param_groups=groups, implementation="for-loop")
    return train(model, config.build(model_parts=[model]), loss_of), model


def run_ours(**options) -> tuple[list[float], nn.Module]:
    tokens, positions, labels = batch()
    model = build(Attention)
    loss = Loss.Config().build()
    loss.set_lm_head(model.lm_head)  # these two lines are the trainer's
    model._skip_lm_head = True

    def loss_of(model: nn.Module) -> Tensor:
        masks = model.get_attention_masks(positions)
        return loss(model(tokens, positions, masks), labels, (labels != -100).sum())[0]

    config = Optimizers.Config(
        param_groups=[ParamGroupConfig(pattern=".*", optimizer_name="MuonAdamW")],
        optimizer_factory_kwargs_by_name={"MuonAdamW": {"adamw_lr": 1e-3, "weight_decay": 0.0, **options}},
        implementation="for-loop",
    )
    return train(model, config.build(model_parts=[model]), loss_of), model


def main() -> dict[str, float]:
    figures = compare(*run_theirs(), *run_ours(adamw=["*"]))
    # torchtitan stacks q, k and v of each of the 16 key/value heads: Muon orthogonalises each stack alone.
    muon, _ = run_ours(lr=0.01, overrides={"*.wqkv.weight": {"split_heads": 16}})
    return {**figures, "last loss with Muon": muon[-1]}


if __name__ == "__main__":
    for name, figure in main().items():
        print(f"{name}: {figure:.3g}")
