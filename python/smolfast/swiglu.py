"""silu(gate) · up, keeping its two inputs alone; in one pass each way in C++ (`csrc/layers`) for fp32 on a CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from smolfast import _native


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) · up (arXiv 2002.05202), elementwise, of one shape."""
    if torch.compiler.is_compiling():  # the compiler fuses both ways by itself
        return F.silu(gate) * up
    result: Tensor = _Gated.apply(gate, up)  # type: ignore[no-untyped-call]
    return result


def _served(*tensors: Tensor) -> bool:
    """Whether all are plain fp32 tensors of a CPU. Subclasses (fake, sharded, functional) stay with torch."""
    return all(type(x) is Tensor and x.dtype == torch.float32 and x.device.type == "cpu" for x in tensors)


def _flat(tensor: Tensor) -> npt.NDArray[np.float32]:
    """The numbers where they lie, or a copy if they don't lie side by side."""
    numbers: npt.NDArray[np.float32] = tensor.detach().contiguous().view(-1).numpy()
    return numbers


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        if not _served(gate, up):
            return F.silu(gate) * up
        out = torch.empty(gate.shape)
        _native.swiglu(_flat(gate), _flat(up), _flat(out), torch.get_num_threads())
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        if torch.is_grad_enabled():  # gradients of gradients are wanted
            share = torch.sigmoid(gate)
            return grad * up * (share + gate * share * (1 - share)), grad * gate * share
        if not _served(grad, gate, up):
            return torch.ops.aten.silu_backward(grad * up, gate), grad * F.silu(gate)
        grad_gate, grad_up = torch.empty(gate.shape), torch.empty(gate.shape)
        _native.swiglu_backward(
            _flat(grad), _flat(gate), _flat(up), _flat(grad_gate), _flat(grad_up), torch.get_num_threads()
        )
        return grad_gate, grad_up
