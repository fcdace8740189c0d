"""RMSNorm with a backward pass of its own: in C++ (`csrc/layers`) for fp32 on a CPU, in one pass over memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from smolfast import _native
from smolfast.ops.differentiation import is_transformed
from smolfast.ops.native.flat_arrays import are_flat_floats, flat


class RMSNorm(nn.Module):
    """x / rms(x) · weight (arXiv 1910.07467), the mean of squares taken in fp32."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.eps)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x [..., H] / rms(x) · weight [H], in x's dtype times weight's."""
    if (
        torch.compiler.is_compiling() or is_transformed()
    ):  # the compiler fuses the formula, and its backward pass, by itself
        wide = x.float()
        return weight * (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)).to(x.dtype)
    result: Tensor = _Normalize.apply(x, weight, eps)  # type: ignore[no-untyped-call]
    return result


class _Normalize(torch.autograd.Function):
    """Keeps its input and one number a row.

    With x̂ = x / rms(x) of width H and g the output's gradient: dweight = Σ g·x̂, and
    dx = (g·weight − x̂ · mean(g·x̂·weight)) / rms(x).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        wide = x.float()
        # As transformers does it: a norm's own kernel is a little faster, and its sums are less exact.
        scale = wide.square().mean(-1, keepdim=True).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        ctx.eps = eps
        result: Tensor = weight * (wide * scale).to(x.dtype)
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scale = ctx.saved_tensors
        if not torch.is_grad_enabled() and are_flat_floats(grad, x, weight, scale):
            dx = torch.empty(x.shape)
            weight = (
                weight.detach().clone()
            )  # a storage that NumPy has seen can't be resized, as FSDP does with weights
            parts = _native.rms_norm_backward(
                flat(grad), flat(x), flat(weight), flat(scale), flat(dx), torch.get_num_threads()
            )
            return dx, torch.from_numpy(parts).sum(0), None
        if torch.is_grad_enabled():  # gradients of gradients are wanted, and the scale is a function of x
            scale = torch.rsqrt(x.float().square().mean(-1, keepdim=True) + ctx.eps)
        normal, grad, wide_weight = x.float() * scale, grad.float(), weight.float()
        product = grad * normal
        mean = (product @ wide_weight).unsqueeze(-1) / x.shape[-1]
        dx = torch.addcmul(grad * wide_weight, normal, mean, value=-1) * scale
        return dx.to(x.dtype), product.flatten(0, -2).sum(0).to(weight.dtype), None
