"""silu(gate) · up, keeping its two inputs alone; in one pass each way in C++ (`csrc/layers`) for fp32 on a CPU."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from smolfast import _native
from smolfast.ops.differentiation import is_transformed
from smolfast.ops.native.flat_arrays import are_flat_floats, flat


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) · up (arXiv 2002.05202), elementwise, of one shape."""
    if torch.compiler.is_compiling() or is_transformed():  # the compiler fuses both ways by itself
        return F.silu(gate) * up
    result: Tensor = _Gated.apply(gate, up)  # type: ignore[no-untyped-call]
    return result


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        if not are_flat_floats(gate, up):
            return F.silu(gate) * up
        out = torch.empty(gate.shape)
        _native.swiglu(flat(gate), flat(up), flat(out), torch.get_num_threads())
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        if torch.is_grad_enabled():  # gradients of gradients are wanted
            share = torch.sigmoid(gate)
            return grad * up * (share + gate * share * (1 - share)), grad * gate * share
        if not are_flat_floats(grad, gate, up):
            return torch.ops.aten.silu_backward(grad * up, gate), grad * F.silu(gate)
        grad_gate, grad_up = torch.empty(gate.shape), torch.empty(gate.shape)
        _native.swiglu_backward(
            flat(grad), flat(gate), flat(up), flat(grad_gate), flat(grad_up), torch.get_num_threads()
        )
        return grad_gate, grad_up
