"""Where a backward pass of our own isn't enough: gradients of gradients, `torch.func`, forward-mode differentiation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from smolfast.errors import SmolfastError


def is_transformed() -> bool:
    """Whether a transform of `torch.func` (vmap, grad, jvp, …) or forward-mode differentiation is under way.

    Neither looks into operators with a backward pass of their own: torch refuses some and takes others' tangents for 0.
    Operations that torch knows all serve.
    """
    if torch.compiler.is_compiling():
        return False
    return torch._C._functorch.peek_interpreter_stack() is not None or forward_ad._current_level >= 0


def refuse_transforms(name: str, instead: str) -> None:
    """Raise SmolfastError where `is_transformed`.

    Args:
        instead: what to call there.
    """
    if is_transformed():
        raise SmolfastError(
            f"{name}: torch.func's transforms and forward-mode differentiation don't go through it; {instead}"
        )


def anchor_of(*inputs: Tensor | None) -> Tensor | None:
    """A tensor without numbers that depends on the inputs, for `refuse_second_order`: it keeps none of their memory."""
    if torch.compiler.is_compiling():  # the compiler refuses by itself
        return None
    return torch.cat([x[..., :0].reshape(0) for x in inputs if x is not None])


def refuse_second_order(
    name: str, instead: str, gradients: tuple[Tensor | None, ...], anchor: Tensor | None
) -> tuple[Tensor | None, ...]:
    """The results of a backward pass that are constants to torch, made to raise SmolfastError when differentiated.

    Without that, `create_graph=True` would give gradients whose own gradient is none, and nothing would say so.

    Args:
        anchor: from `anchor_of` the inputs, taken in the forward pass.
    """
    if anchor is None or not torch.is_grad_enabled():
        return gradients
    message = f"{name}: its gradients can't be differentiated again (create_graph=True); {instead}"
    return tuple(None if x is None else _refused(x, anchor, message) for x in gradients)


def _refused(x: Tensor, anchor: Tensor, message: str) -> Tensor:
    result: Tensor = _Refused.apply(x, anchor, message)  # type: ignore[no-untyped-call]
    return result


class _Refused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, anchor: Tensor, message: str) -> Tensor:
        ctx.message = message
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise SmolfastError(ctx.message)
