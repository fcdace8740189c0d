"""Attention in C++ (`csrc/attention`), for a CPU's fp32 and bf16 tensors without a soft cap."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from smolfast import _native
from smolfast.reference import AttentionOptions, sink_gradient

Lengths = tuple[Tensor | None, Tensor | None]


_WIDEST = 256
# Torch's fused kernel takes the products of its backward in bf16, where the processor has them: 0.8 × our time over
# 1,024 keys in full. Everywhere else ours is faster (docs/attention.md).
_BF16_IN_FULL = 768
# An operator defined in Python costs 0.1 ms each way, so what has few pairs of queries and keys, over all heads, goes
# to torch's own call where that suffices: 32 tokens of 8 heads in fp32 take it 0.6 × our time both ways, in bf16, whose
# backward it does slowly, 1.6 ×.
_FEW_PAIRS = {torch.float32: 1 << 16, torch.bfloat16: 1 << 10}


def serves(q: Tensor, options: AttentionOptions, longest: int, *, torch_suffices: bool = False) -> bool:
    """Whether attention over at most `longest` keys is computed here. It depends on nothing but kinds and sizes."""
    if q.device.type != "cpu" or q.dtype not in _FEW_PAIRS or options.softcap or q.shape[-1] > _WIDEST:
        return False
    if torch_suffices and q.shape[:-1].numel() * longest <= _FEW_PAIRS[q.dtype]:
        return False
    in_full = options.left is None and options.right is None
    return not (q.dtype == torch.bfloat16 and in_full and longest >= _BF16_IN_FULL)


def _array(x: Tensor) -> npt.NDArray[Any]:
    """[B, S, H, D] of a tensor of that shape or of [T, H, D], where it lies if a head's numbers lie side by side."""
    x = x.detach()
    x = x if x.stride(-1) == 1 or x.shape[-1] == 1 else x.contiguous()
    x = x.view(torch.uint16) if x.dtype == torch.bfloat16 else x
    return (x if x.ndim == 4 else x.unsqueeze(0)).numpy()


def _statistic(x: Tensor) -> npt.NDArray[np.float32]:
    """[B, H, S] of a tensor of that shape or of [H, T]."""
    x = x.detach().contiguous()
    array: npt.NDArray[np.float32] = (x if x.ndim == 3 else x.unsqueeze(0)).numpy()
    return array


def _floats(x: Tensor) -> npt.NDArray[np.float32]:
    # A copy: a storage that NumPy has seen can't be resized, as FSDP does with parameters (sinks are some).
    array: npt.NDArray[np.float32] = x.detach().to(torch.float32, copy=True).contiguous().numpy()
    return array


def _inputs(
    q: Tensor, k: Tensor, v: Tensor, lengths: Lengths, cos: Tensor | None, sin: Tensor | None, sinks: Tensor | None,
    options: AttentionOptions,
) -> _native.AttentionInputs:  # fmt: skip
    query_starts, key_starts = (None if x is None else x.to(torch.int64).numpy() for x in lengths)
    cos_rows, sin_rows = (None if x is None else _floats(x).reshape(-1, x.shape[-1]) for x in (cos, sin))
    left, right = (-1 if side is None else side for side in (options.left, options.right))
    return _native.AttentionInputs(
        _array(q), _array(k), _array(v), query_starts, key_starts, cos_rows, sin_rows,
        None if sinks is None else _floats(sinks), options.softmax_scale, left, right,
    )  # fmt: skip


def forward(
    q: Tensor, k: Tensor, v: Tensor, lengths: Lengths, cos: Tensor | None, sin: Tensor | None,
    sinks: Tensor | None, options: AttentionOptions, want_max_logit: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """As `reference.attention_forward`; the log-sum-exp is always there."""
    out = torch.empty(q.shape, dtype=q.dtype)
    lse = torch.empty((q.shape[1], q.shape[0]) if q.ndim == 3 else (q.shape[0], q.shape[2], q.shape[1]))
    max_logit = torch.full((q.shape[-2],), -torch.inf)
    _native.attention_forward(
        _inputs(q, k, v, lengths, cos, sin, sinks, options), _array(out), _statistic(lse),
        max_logit.numpy() if want_max_logit else None, torch.get_num_threads(),
    )  # fmt: skip
    return out, lse, max_logit


def backward(
    grad_out: Tensor, grad_lse: Tensor | None, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor,
    lengths: Lengths, cos: Tensor | None, sin: Tensor | None, sinks: Tensor | None, options: AttentionOptions,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """As `reference.attention_backward`. The weights come from the LSE, which the sinks are in."""
    grad_sinks = q.new_zeros(0) if sinks is None else sink_gradient(grad_out, grad_lse, out, lse, sinks)
    dq, dk, dv = (torch.empty(x.shape, dtype=x.dtype) for x in (q, k, v))
    _native.attention_backward(
        _inputs(q, k, v, lengths, cos, sin, sinks, options), _array(grad_out), _statistic(lse),
        None if grad_lse is None else _statistic(grad_lse), _array(dq), _array(dk), _array(dv),
        torch.get_num_threads(),
    )  # fmt: skip
    return dq, dk, dv, grad_sinks
