"""Attention over rows that hold padding or several documents, as two operators of fixed shapes.

Which tokens are real and where documents start is known only when a batch is there. `pack_rows` finds it out once and
`attend_rows` runs attention over the real tokens alone; a graph sees two operators whose outputs have the shapes of
their inputs, so `torch.compile(fullgraph=True)` takes padded and packed batches whole.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, library

from smolfast.errors import SmolfastError
from smolfast.ops import attention


class Packing(NamedTuple):
    """Rows of the real tokens in the flattened batch, and where the sequences lie among them."""

    rows_q: Tensor  # int64 [B · Sq]: the real queries' first, then zeros
    rows_k: Tensor  # int64 [B · Sk]
    cu_q: Tensor  # int32, cumulative lengths of the sequences' queries, then zeros
    cu_k: Tensor
    sizes: Tensor  # int64 [5], on the CPU: sequences, their longest queries and keys, and all real queries and keys


def pack_rows(
    mask: Tensor | None, positions: Tensor | None, *, batch: int, queries: int, keys: int, causal: bool = True
) -> Packing:
    """The sequences of a batch.

    Args:
        mask: bool [B, ≤ keys], which keys are real (None: all); what lies past its end isn't. Queries are its last
            columns, and real where they are; without causality, all of them, as keys may be of something else.
        positions: int [B or 1, queries]; without a cache (queries = keys) a document starts where they do. Between two
            neighbouring real tokens of a document positions rise by at least 1 and at most by the tokens from one to
            the other, so both positions of real tokens and positions of columns go through padding.
    """
    return Packing(*_pack(mask, positions, batch, queries, keys, causal))


def attend_rows(
    q_BSHD: Tensor, k_BSHD: Tensor, v_BSHD: Tensor, packing: Packing, *, causal: bool = True,
    softmax_scale: float | None = None, window_size: tuple[int | None, int | None] = (-1, -1), softcap: float = 0.0,
    sinks: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """`gqa_attention` of each sequence of a packing by itself; rows that aren't real come out as zeros."""
    q, k, v = attention.in_one_dtype(q_BSHD, k_BSHD, v_BSHD)
    left, right = (-1 if side is None or side < 0 else int(side) for side in window_size)
    scale = q.shape[-1] ** -0.5 if softmax_scale is None else float(softmax_scale)
    out: Tensor = _attend(q, k, v, *packing, sinks, causal, scale, left, right, float(softcap))[0]
    return out


# Where the sequences lie


def _most_sequences(positions: Tensor | None, batch: int, queries: int, keys: int) -> int:
    return batch * keys if positions is not None and queries == keys else batch


@library.custom_op("smolfast::pack_rows", mutates_args=())
def _pack(
    mask: Tensor | None, positions: Tensor | None, batch: int, queries: int, keys: int, causal: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    given = mask if mask is not None else positions
    assert given is not None
    real_k, real_q = _real(mask, given.device, batch, queries, keys)
    starts = None
    if positions is not None and queries == keys:
        starts = _starts(real_k, positions.to(given.device).expand(batch, -1))
    if not causal and (starts is None or not bool((starts.sum(1) > 1).any())):
        starts, real_q = None, real_q.new_ones(batch, queries)  # they may look at keys of something else
    if real_q.shape[1] < queries:
        raise SmolfastError(
            f"smolfast's attention: the mask has {real_q.shape[1]} columns for {queries} queries; give it one for each"
        )
    if starts is not None:
        first = real_k.flatten().cumsum(0)[starts.flatten()] - 1  # real tokens before each
        cu_q = cu_k = F.pad(first, (0, 1), value=int(real_k.sum()))
    else:
        cu_q, cu_k = (F.pad(real.sum(1).cumsum(0), (1, 0)) for real in (real_q, real_k))
    rows_q, rows_k = (real.flatten().nonzero().flatten() for real in (real_q, real_k))
    longest = [int(cu.diff().max()) if cu.shape[0] > 1 else 0 for cu in (cu_q, cu_k)]
    sizes = torch.tensor([cu_q.shape[0] - 1, *longest, rows_q.shape[0], rows_k.shape[0]])
    most = _most_sequences(positions, batch, queries, keys) + 1
    return (
        F.pad(rows_q, (0, batch * queries - rows_q.shape[0])),
        F.pad(rows_k, (0, batch * keys - rows_k.shape[0])),
        F.pad(cu_q, (0, most - cu_q.shape[0])).int(),
        F.pad(cu_k, (0, most - cu_k.shape[0])).int(),
        sizes,
    )


@_pack.register_fake
def _(
    mask: Tensor | None, positions: Tensor | None, batch: int, queries: int, keys: int, causal: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    given = mask if mask is not None else positions
    assert given is not None
    most = _most_sequences(positions, batch, queries, keys) + 1
    return (
        given.new_empty(batch * queries, dtype=torch.int64),
        given.new_empty(batch * keys, dtype=torch.int64),
        given.new_empty(most, dtype=torch.int32),
        given.new_empty(most, dtype=torch.int32),
        torch.empty(5, dtype=torch.int64),
    )


def _real(mask: Tensor | None, device: torch.device, batch: int, queries: int, keys: int) -> tuple[Tensor, Tensor]:
    """Which keys and which queries are real, bool [B, keys] and [B, queries]; the queries are the mask's last."""
    if mask is None:
        mask = torch.ones(1, keys, dtype=torch.bool, device=device)
    mask = mask.expand(batch, -1)
    if mask.shape[1] > keys:
        raise SmolfastError(f"smolfast's attention: the mask has {mask.shape[1]} columns for {keys} keys; cut it")
    return F.pad(mask, (0, keys - mask.shape[1])), mask[:, max(0, mask.shape[1] - queries) :]


def documents(real: Tensor, positions: Tensor) -> Tensor:
    """The document of each real token, counted within its row from 1, as `pack_rows` tells them apart; [B, S]."""
    return _starts(real, positions.to(real.device).expand(real.shape[0], -1)).cumsum(1)


def _starts(real: Tensor, positions: Tensor) -> Tensor:
    """Real tokens that start a document, bool [B, S]."""
    column = torch.arange(real.shape[1], device=real.device)
    last = torch.where(real, column, -1).cummax(1).values if real.numel() else column.expand_as(real)
    previous = F.pad(last, (1, 0), value=-1)[:, :-1]  # the column of the real token before, −1 for none
    rise = positions - positions.gather(1, previous.clamp(min=0))
    return real & ((previous < 0) | (rise < 1) | (rise > column - previous))


# Attention


def _take(x: Tensor, rows: Tensor, count: int) -> Tensor:
    """[B, S, H, D] → [count, H, D]"""
    packed = x.flatten(0, 1)
    return packed if count == packed.shape[0] else packed[rows[:count]]


def _put_back(packed: Tensor, rows: Tensor, shape: torch.Size) -> Tensor:
    """[T, H, D] → [B, S, H, D], zeros where nothing is real."""
    if packed.shape[0] == rows.shape[0]:
        return packed.reshape(shape)
    whole = packed.new_zeros(rows.shape[0], *packed.shape[1:])
    return whole.index_copy_(0, rows[: packed.shape[0]], packed).view(shape)


def _attend_forward(
    q: Tensor, k: Tensor, v: Tensor, rows_q: Tensor, rows_k: Tensor, cu_q: Tensor, cu_k: Tensor, sizes: Tensor,
    sinks: Tensor | None, causal: bool, softmax_scale: float, window_left: int, window_right: int, softcap: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The output [B, Sq, Hq, D], and the log-sum-exp of the real queries [Hq, B · Sq], their columns first."""
    count, longest_q, longest_k, queries, keys = sizes.tolist()
    lse = torch.zeros(
        q.shape[2], q.shape[0] * q.shape[1], dtype=attention.statistics_dtype(q.dtype), device=q.device
    )  # fmt: skip
    if not queries or not keys:
        return torch.zeros_like(q, memory_format=torch.contiguous_format), lse
    packed = (_take(q, rows_q, queries), _take(k, rows_k, keys), _take(v, rows_k, keys))
    out, packed_lse, _ = attention.attention_forward(
        *packed, cu_q[: count + 1], cu_k[: count + 1], None, None, sinks, longest_q, longest_k, causal,
        softmax_scale, window_left, window_right, softcap, True, False, True,
    )  # fmt: skip
    lse[:, :queries] = packed_lse
    return _put_back(out, rows_q, q.shape), lse


def _attend_fake(q: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    statistics = attention.statistics_dtype(q.dtype)
    return q.new_empty(q.shape), q.new_empty(q.shape[2], q.shape[0] * q.shape[1], dtype=statistics)


@library.custom_op("smolfast::attend_rows_backward", mutates_args=())
def _attend_backward(
    grad_out: Tensor, q: Tensor, k: Tensor, v: Tensor, rows_q: Tensor, rows_k: Tensor, cu_q: Tensor, cu_k: Tensor,
    sizes: Tensor, sinks: Tensor | None, out: Tensor, lse: Tensor, causal: bool, softmax_scale: float,
    window_left: int, window_right: int, softcap: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    count, longest_q, longest_k, queries, keys = sizes.tolist()
    if not queries or not keys:
        dq, dk, dv = (torch.zeros_like(x, memory_format=torch.contiguous_format) for x in (q, k, v))
        return dq, dk, dv, q.new_zeros(0) if sinks is None else torch.zeros_like(sinks)
    packed = (_take(q, rows_q, queries), _take(k, rows_k, keys), _take(v, rows_k, keys))
    dq, dk, dv, grad_sinks = attention.attention_backward(
        _take(grad_out, rows_q, queries), None, *packed, _take(out, rows_q, queries), lse[:, :queries],
        cu_q[: count + 1], cu_k[: count + 1], None, None, sinks, longest_q, longest_k, causal, softmax_scale,
        window_left, window_right, softcap, True,
    )  # fmt: skip
    return (
        _put_back(dq, rows_q, q.shape),
        _put_back(dk, rows_k, k.shape),
        _put_back(dv, rows_k, v.shape),
        grad_sinks,
    )


@_attend_backward.register_fake
def _(
    grad_out: Tensor, q: Tensor, k: Tensor, v: Tensor, rows_q: Tensor, rows_k: Tensor, cu_q: Tensor, cu_k: Tensor,
    sizes: Tensor, sinks: Tensor | None, *_: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    grad_sinks = q.new_empty(0) if sinks is None else sinks.new_empty(sinks.shape)
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape), grad_sinks


class _Attend(torch.autograd.Function):
    """The op and its gradient."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor]:
        with torch._C._AutoDispatchBelowAutograd():
            out, lse = _attend(*inputs)
        ctx.save_for_backward(*inputs[:9], out, lse)
        ctx.options = inputs[9:]
        ctx.mark_non_differentiable(lse)
        ctx.set_materialize_grads(False)
        return out, lse

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
        *tensors, out, lse = ctx.saved_tensors
        if grad_out is None:
            return (None,) * 14
        dq, dk, dv, grad_sinks = _attend_backward(grad_out, *tensors, out, lse, *ctx.options)
        return (dq, dk, dv, *(None,) * 5, None if tensors[8] is None else grad_sinks, *(None,) * 5)


# As `gqa_attention`: custom_op's wrappers cost more on every call.
_operators: Any = library.Library("smolfast", "FRAGMENT")  # type: ignore[no-untyped-call]
_operators.define("attend_rows" + library.infer_schema(_attend_forward, mutates_args=()))
_operators.impl("attend_rows", _attend_forward, "CompositeExplicitAutograd")
_operators.impl("attend_rows", _Attend.apply, "Autograd")
library.register_fake("smolfast::attend_rows", _attend_fake, lib=_operators)
_attend = torch.ops.smolfast.attend_rows.default
