"""The largest attention logit of each head while a model computes, for QK-clip."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from smolfast import ops
from smolfast.model.network import Attention, Context


class LargestLogits:
    """While it is open, every forward pass adds to `by_module`: attention module's name → largest logit, fp32 [Hq].

    Queries and keys are taken from the layer's own projections, or the norms behind them; their products are computed
    once more.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.by_module: dict[str, Tensor] = {}
        self._lock = threading.Lock()
        self._thread = threading.local()
        self._handles: list[Any] = []

    def __enter__(self) -> Self:
        for name, module in self._model.named_modules():
            if isinstance(module, Attention):
                for key, last in {"q": module.q_norm or module.q_proj, "k": module.k_norm or module.k_proj}.items():
                    self._handles.append(
                        last.register_forward_hook(
                            lambda module, inputs, output, key=key: setattr(self._thread, key, output.detach())
                        )
                    )
                self._handles.append(module.register_forward_hook(lambda *call, name=name: self._look(name, *call)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()

    @torch.no_grad()
    def _look(self, name: str, module: Attention, inputs: tuple[Tensor, Context], output: Tensor) -> None:
        context = inputs[1]
        q_TND, k_TGD = (
            projected.view(len(projected), -1, module.head_dim) for projected in (self._thread.q, self._thread.k)
        )
        rope = context.rope if module.use_rope else None
        if context.part is not None:
            largest = context.part.largest_logits(q_TND, k_TGD, rope)
        else:
            bounds, longest = context.cu_seqlens, context.max_seqlen
            assert bounds is not None
            largest = ops.gqa_attention_varlen(
                q_TND, k_TGD, k_TGD, bounds, bounds, longest, longest, causal=True, rope=rope, return_max_logit=True
            )[-1]
        with self._lock:
            before = self.by_module.get(name)
            self.by_module[name] = largest if before is None else torch.maximum(before, largest)
