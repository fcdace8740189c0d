"""Bytes that a micro-batch takes on its way forward and back, by the model's own code on fake tensors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from smolfast.config import ModelConfig
from smolfast.model.context_parallel import ContextGroup, RunPart
from smolfast.model.network import PackedBatch, Recompute, SmolLM
from smolfast.train.dry_run.live_bytes import LiveBytes, storage_of

FP32 = 4
# The loss kernels' workspace: a block of the logits' gradient (docs/loss.md).
_LOGITS_WORKSPACE = 256 << 20


@dataclass(frozen=True)
class MicroBatch:
    """What a pass goes through: the model, so many windows, and how.

    Windows hold one token more than they have inputs; the last is computed too. Of `context` ranks that share them this
    is the last, which has no fewer than another.
    """

    config: ModelConfig
    vocab_size: int
    sequence_length: int
    windows: int
    precision: Literal["fp32", "bf16"] = "fp32"
    recompute: Recompute = "none"
    context: int = 1

    @property
    def tokens(self) -> int:
        """Positions that are computed."""
        part = self.part
        return self._all_tokens if part is None else part.tokens

    @property
    def part(self) -> RunPart | None:
        """What a rank computes of windows that several share."""
        if self.context == 1:
            return None
        bounds = range(0, self._all_tokens + 1, self.sequence_length + 1)
        return RunPart(bounds, ContextGroup(self.context - 1, self.context), torch.device("cpu"))

    @property
    def _all_tokens(self) -> int:
        return self.windows * (self.sequence_length + 1)

    @contextmanager
    def fake(self) -> Iterator[tuple[SmolLM, PackedBatch]]:
        """The model and a batch without any memory behind them, in the precision of the products."""
        from torch._subclasses.fake_tensor import FakeTensorMode

        with FakeTensorMode(), torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16"):
            model = SmolLM(self.config.model_copy(), self.vocab_size)
            model.set_recompute(self.recompute)
            tokens, length = torch.zeros(self._all_tokens, dtype=torch.int64), self.sequence_length + 1
            yield (
                model,
                PackedBatch(
                    tokens=tokens,
                    targets=tokens,
                    position_ids=tokens,
                    document_ids=tokens.int(),
                    cu_seqlens=torch.zeros(self.windows + 1, dtype=torch.int32),
                    max_seqlen=length,
                    part=self.part,
                ),
            )


def activation_bytes(pass_: MicroBatch) -> int:
    """What autograd keeps of the way to the heads' states, when the forward pass is over.

    In bf16 that holds the weights' copies in 16 bits, which the products' gradients need.
    """
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[storage_of(tensor)] = tensor
        return tensor

    with pass_.fake() as (model, batch):
        weights = {storage_of(parameter) for parameter in model.parameters()}
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            states = model.hidden_states(batch)
        del states
        return sum(tensor.untyped_storage().nbytes() for storage, tensor in kept.items() if storage not in weights)


def backward_bytes(pass_: MicroBatch) -> int:
    """The most that the way back takes beside the activations: gradients of states, and what is computed again.

    The heads' states and the loss's room are free again by then. The weights' gradients are counted elsewhere: here
    each is dropped as soon as it is there.
    """
    with pass_.fake() as (model, batch):
        for parameter in model.parameters():
            parameter.register_post_accumulate_grad_hook(_forget)  # type: ignore[no-untyped-call]
        with LiveBytes() as live:
            asked = _Ask.apply(model.hidden_states(batch))  # type: ignore[no-untyped-call]
            before: int = live.now
            live.most = before
            asked.backward()
            most: int = live.most
            return most - before


class _Ask(torch.autograd.Function):
    """Stands for the heads and the loss: asks for a gradient of the states, and keeps none of them."""

    @staticmethod
    def forward(ctx: Any, states: Tensor) -> Tensor:
        ctx.shape = states.shape, states.dtype
        return states.new_zeros(())

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> Tensor:
        shape, dtype = ctx.shape
        return torch.empty(shape, dtype=dtype)


def loss_bytes(pass_: MicroBatch) -> int:
    """The heads' states and their gradient, three numbers a target, and a block of the logits' gradient.

    Logits never exist whole (docs/loss.md).
    """
    heads = 1 if pass_.config.mtp_kind == "shared" else pass_.config.mtp_heads
    states = heads * pass_.tokens * pass_.config.hidden_size
    return 2 * FP32 * states + 3 * FP32 * _targets(pass_) + workspace_bytes(pass_)


def workspace_bytes(pass_: MicroBatch) -> int:
    """What the loss takes while it is computed, and no longer."""
    return min(_LOGITS_WORKSPACE, FP32 * _targets(pass_) * pass_.vocab_size)


def _targets(pass_: MicroBatch) -> int:
    return pass_.config.mtp_heads * pass_.tokens


def _forget(parameter: Tensor) -> None:
    parameter.grad = None
