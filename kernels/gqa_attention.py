"""Grouped-query attention, forward and backward, in Triton: NVIDIA and AMD, needs torch and triton only.

``gqa_attention(q_BSHD, k_BSHD, v_BSHD)`` and ``gqa_attention_varlen(q_THD, k_THD, v_THD, cu_seqlens_q, ...)`` have
flash-attention's names, layout and meaning, and differentiate. Beyond it they return each head's largest logit at no
extra pass, and rotate Q and K (RoPE) as they load them. To use them elsewhere, copy this one file; that is why it is
longer than 600 lines: block shapes and kernels first, then launching, autograd and the public functions.

Method: online softmax over blocks of keys (FlashAttention-2, arXiv 2307.08691) in base 2. Backward recomputes P from
the LSE: one kernel walks the queries of a whole group for a block of keys, so dK and dV need no atomics; another walks
the keys for a block of queries. Both are deterministic.

A program's key range (for dK and dV its query range) is cut in three, so that interior blocks, in which every pair is
visible, run without any mask: ``tl.static_range(3)`` in the kernels writes the loop out once for each part.

Shapes: B batch, S sequence, T packed tokens, H query heads, Hkv key/value heads (H a multiple of it), D head width.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor


class Blocks(NamedTuple):
    """How one kernel is cut: rows of queries, rows of keys, warps, pipeline stages, keys (queries) by descriptor."""

    m: int
    n: int
    warps: int
    stages: int
    descriptor: bool = False


# family → kernel → padded width (eight times it for float32, whose exact dots run without matrix units) → the default,
# then what SMOLFAST_AUTOTUNE=1 also times. All were chosen by ahead-of-time figures (benchmarks/aot.py: no spills,
# shared memory within the device's limit), not yet by timings on a GPU.
BLOCKS: dict[str, dict[str, dict[int, list[Blocks]]]] = {
    "interpreter": {name: {0: [Blocks(32, 16, 4, 1)]} for name in ("forward", "dkv", "dq")},
    "sm_80": {  # within 99 KiB of shared memory, for sm_86, sm_89 and sm_12x
        "forward": {
            64: [Blocks(128, 64, 8, 2), Blocks(128, 64, 4, 2)],
            128: [Blocks(128, 32, 8, 2)],
            256: [Blocks(64, 32, 8, 1)],
            512: [Blocks(64, 32, 8, 1)],
            1024: [Blocks(32, 32, 8, 1)],
        },
        "dkv": {
            64: [Blocks(32, 128, 8, 2), Blocks(64, 128, 8, 2)],
            128: [Blocks(32, 64, 8, 2), Blocks(16, 128, 8, 2)],
            256: [Blocks(32, 32, 8, 1)],
            512: [Blocks(32, 32, 8, 1)],
        },
        "dq": {
            64: [Blocks(128, 64, 8, 2)],
            128: [Blocks(64, 32, 4, 2), Blocks(128, 32, 8, 1)],
            256: [Blocks(64, 16, 8, 1)],
            512: [Blocks(32, 32, 8, 1)],
            1024: [Blocks(16, 16, 8, 1)],
        },
    },
    "sm_90": {
        "forward": {
            64: [Blocks(128, 128, 8, 2, True), Blocks(128, 64, 8, 3, True)],
            128: [Blocks(128, 128, 8, 2, True), Blocks(128, 64, 8, 3, True)],
            256: [Blocks(64, 64, 8, 2, True)],
            512: [Blocks(64, 32, 8, 1)],
            1024: [Blocks(32, 32, 8, 1)],
        },
        "dkv": {
            64: [Blocks(64, 128, 8, 2, True)],
            128: [Blocks(32, 128, 8, 2, True), Blocks(32, 64, 4, 2, True)],
            256: [Blocks(32, 32, 8, 1, True)],
            512: [Blocks(32, 32, 8, 1)],
        },
        "dq": {
            64: [Blocks(128, 64, 8, 2, True)],
            128: [Blocks(128, 64, 8, 2, True), Blocks(64, 128, 8, 2, True)],
            256: [Blocks(64, 32, 8, 1, True)],
            512: [Blocks(32, 32, 8, 1)],
            1024: [Blocks(16, 16, 8, 1)],
        },
    },
    "sm_100": {
        "forward": {
            64: [Blocks(128, 128, 8, 2, True)],
            128: [Blocks(128, 128, 8, 2, True)],
            256: [Blocks(128, 64, 8, 2, True)],
            512: [Blocks(64, 32, 8, 1)],
            1024: [Blocks(32, 32, 8, 1)],
        },
        "dkv": {
            64: [Blocks(64, 128, 8, 2, True)],
            128: [Blocks(32, 128, 8, 2, True)],
            256: [Blocks(32, 64, 8, 1, True)],
            512: [Blocks(32, 32, 8, 1)],
        },
        "dq": {
            64: [Blocks(128, 64, 8, 2, True)],
            128: [Blocks(128, 32, 8, 2, True), Blocks(128, 64, 8, 1, True)],
            256: [Blocks(64, 64, 8, 1, True)],
            512: [Blocks(32, 32, 8, 1)],
            1024: [Blocks(16, 16, 8, 1)],
        },
    },
    "gfx942": {
        "forward": {
            64: [Blocks(128, 64, 4, 1)],
            128: [Blocks(128, 32, 4, 1)],
            256: [Blocks(64, 32, 8, 1)],
            512: [Blocks(64, 32, 8, 1)],
            1024: [Blocks(32, 32, 8, 1)],
        },
        "dkv": {
            64: [Blocks(32, 128, 4, 1), Blocks(64, 64, 4, 1)],
            128: [Blocks(32, 64, 4, 1)],
            256: [Blocks(16, 32, 4, 1)],
            512: [Blocks(32, 32, 8, 1)],
            1024: [Blocks(16, 32, 8, 1)],
        },
        "dq": {
            64: [Blocks(128, 32, 4, 1), Blocks(128, 64, 4, 1)],
            128: [Blocks(128, 32, 4, 1), Blocks(64, 32, 4, 1)],
            256: [Blocks(64, 16, 4, 1)],
            512: [Blocks(32, 32, 8, 1)],
            1024: [Blocks(16, 16, 8, 1)],
        },
    },
}


# ---------------------------------------------------------------------------------------------------------------------
# Kernels
# ---------------------------------------------------------------------------------------------------------------------
INTERPRETED = os.environ.get("TRITON_INTERPRET", "0") == "1"
# Triton's interpreter returns garbage for a bfloat16 dot, so operands are widened there (after rounding).
_WIDEN = tl.constexpr(INTERPRETED)
_LOG2E = tl.constexpr(1.4426950408889634)
_LN2 = tl.constexpr(0.6931471805599453)


# ---------------------------------------------------------------------------------------------------------------------
# Pieces shared by the kernels
# ---------------------------------------------------------------------------------------------------------------------
@triton.jit
def _dot(a, b, PRECISION: tl.constexpr):
    if _WIDEN:
        return tl.dot(a.to(tl.float32), b.to(tl.float32), input_precision="ieee")
    return tl.dot(a, b, input_precision=PRECISION)


@triton.jit
def _tanh(x):
    # Within 4 ulp: below 0.5, where 1 - 2 / (exp(2x) + 1) cancels, an odd polynomial fitted to relative error 1.5e-8.
    z = x * x
    small = x + x * z * (((0.0172414764 * z - 0.053045487) * z + 0.133258788) * z - 0.333331439)
    large = 1.0 - 2.0 / (tl.exp2(x * (2.0 * _LOG2E)) + 1.0)
    return tl.where(tl.abs(x) < 0.5, small, large)


@triton.jit
def _base2_logit(product, scale, softcap, SOFTCAP: tl.constexpr):
    """Raw q·k to the logit in base 2; -inf (masked) stays -inf."""
    if SOFTCAP:
        return tl.where(product == -float("inf"), product, _tanh(product * (scale / softcap)) * (softcap * _LOG2E))
    return product * (scale * _LOG2E)


@triton.jit
def _visible(query, key, seqlen_k, left, right, HAS_LEFT: tl.constexpr, HAS_RIGHT: tl.constexpr):
    """Whether a query at a position (in keys' coordinates, so that the last query meets the last key) sees a key."""
    visible = (key < seqlen_k) & (query == query)
    if HAS_LEFT:
        visible = visible & (key >= query - left)
    if HAS_RIGHT:
        visible = visible & (key <= query + right)
    return visible


@triton.jit
def _columns(D: tl.constexpr, BLOCK_D: tl.constexpr, R: tl.constexpr, SPLIT: tl.constexpr):
    """Columns of a tile, and which are real.

    SPLIT lays columns i and R + i, RoPE's pairs, half a tile apart, where the width is padded or only partly rotated.
    """
    column = tl.arange(0, BLOCK_D)
    if SPLIT:
        within = column % (BLOCK_D // 2)
        first = tl.where(within < R, within, within + R)
        second = tl.where(within < R, within + R, within + D // 2)
        in_first = column < BLOCK_D // 2
        return tl.where(in_first, first, second), within < tl.where(in_first, D // 2, D - D // 2)
    return column, column < D


@triton.jit
def _sequence(cu_seqlens, batch, seqlen, VARLEN: tl.constexpr):
    """First row within the batch element's tensor, first row of all in contiguous outputs, length."""
    if VARLEN:
        start = tl.load(cu_seqlens + batch)
        length = tl.cast(tl.load(cu_seqlens + batch + 1) - start, tl.int32)
        return tl.cast(start, tl.int64), tl.cast(start, tl.int64), length
    return tl.cast(0, tl.int64), tl.cast(batch, tl.int64) * seqlen, seqlen


@triton.jit
def _head(tensor, batch, start, head, stride_b, stride_s, stride_h):
    """Pointer to the first row of one head of one sequence."""
    return tensor + batch * tl.cast(stride_b, tl.int64) + start * stride_s + head * tl.cast(stride_h, tl.int64)


@triton.jit
def _lse_row(LSE, batch, head, start, stride_b, stride_h):
    return LSE + batch * tl.cast(stride_b, tl.int64) + head * tl.cast(stride_h, tl.int64) + start


@triton.jit
def _source(
    tensor, batch, start, stride_b, stride_s, stride_h, length, heads, D: tl.constexpr, ROWS: tl.constexpr,
    BLOCK_D: tl.constexpr, DESCRIPTOR: tl.constexpr,
):  # fmt: skip
    """What _walk_tile reads of a sequence: a pointer to its first row, or a descriptor of its rows, heads, columns."""
    base = tensor + batch * tl.cast(stride_b, tl.int64) + start * stride_s
    if DESCRIPTOR:
        s, h = tl.cast(stride_s, tl.int64), tl.cast(stride_h, tl.int64)
        source = tl.make_tensor_descriptor(base, [length, heads, D], [s, h, 1], [ROWS, 1, BLOCK_D])
    else:
        source = base
    return source


@triton.jit
def _walk_tile(
    source, head, first, length, stride_s, stride_h, column, real, ROWS: tl.constexpr, BLOCK_D: tl.constexpr,
    BOUND_ROWS: tl.constexpr, BOUND_COLUMNS: tl.constexpr, DESCRIPTOR: tl.constexpr,
):  # fmt: skip
    """_load_tile by descriptor where there is one."""
    if DESCRIPTOR:
        tile = tl.reshape(source.load([tl.cast(first, tl.int32), head, 0]), (ROWS, BLOCK_D))
    else:
        base = source + head * tl.cast(stride_h, tl.int64)
        tile = _load_tile(base, first, length, stride_s, column, real, ROWS, BOUND_ROWS, BOUND_COLUMNS)
    return tile


@triton.jit
def _load_tile(
    base, first, length, stride, column, real, ROWS: tl.constexpr, BOUND_ROWS: tl.constexpr, BOUND_COLUMNS: tl.constexpr
):
    """Rows first to first + ROWS of a head; what lies outside is zero."""
    row = tl.arange(0, ROWS)
    pointers = base + tl.cast(first, tl.int64) * stride + row[:, None] * stride + column[None, :]
    if BOUND_ROWS and BOUND_COLUMNS:
        tile = tl.load(pointers, mask=(first + row < length)[:, None] & real[None, :], other=0.0)
    elif BOUND_ROWS:
        tile = tl.load(pointers, mask=(first + row < length)[:, None], other=0.0)
    elif BOUND_COLUMNS:
        tile = tl.load(pointers, mask=real[None, :], other=0.0)
    else:
        tile = tl.load(pointers)
    return tile


@triton.jit
def _store_tile(base, first, length, stride, column, real, value, ROWS: tl.constexpr):
    row = tl.arange(0, ROWS)
    pointers = base + tl.cast(first, tl.int64) * stride + row[:, None] * stride + column[None, :]
    tl.store(pointers, value.to(base.dtype.element_ty), mask=(first + row < length)[:, None] & real[None, :])


@triton.jit
def _rotate(
    x, cos, sin, position, positions, R: tl.constexpr, ROWS: tl.constexpr, BLOCK_D: tl.constexpr, INVERSE: tl.constexpr
):
    """Rotary embedding (arXiv 2104.09864) of a tile, in float32; columns without a table entry stay as they are."""
    HALF: tl.constexpr = BLOCK_D // 2
    column = tl.arange(0, HALF)[None, :]
    inside = ((position >= 0) & (position < positions))[:, None] & (column < R)
    c = tl.load(cos + position[:, None] * R + column, mask=inside, other=1.0).to(tl.float32)
    s = tl.load(sin + position[:, None] * R + column, mask=inside, other=0.0).to(tl.float32)
    if INVERSE:
        s = -s
    first, second = tl.split(tl.permute(tl.reshape(x.to(tl.float32), (ROWS, 2, HALF)), (0, 2, 1)))
    rotated = tl.join(first * c - second * s, second * c + first * s)
    return tl.reshape(tl.permute(rotated, (0, 2, 1)), (ROWS, BLOCK_D))


@triton.jit
def _key_range(
    first, last, seqlen_k, left, right, BLOCK_N: tl.constexpr, HAS_LEFT: tl.constexpr, HAS_RIGHT: tl.constexpr
):
    """Keys met by queries at positions first to last: [lo, a) and [b, hi) need a mask, blocks of [a, b) need none."""
    lo = 0
    a = 0
    hi = seqlen_k
    b = seqlen_k // BLOCK_N * BLOCK_N
    if HAS_LEFT:
        lo = tl.maximum(first - left, 0) // BLOCK_N * BLOCK_N
        a = (tl.maximum(last - left, 0) + BLOCK_N - 1) // BLOCK_N * BLOCK_N
    if HAS_RIGHT:
        hi = tl.maximum(tl.minimum(seqlen_k, last + right + 1), 0)
        b = tl.maximum(tl.minimum(seqlen_k, first + right + 1), 0) // BLOCK_N * BLOCK_N
    a = tl.minimum(a, hi)
    return lo, a, tl.maximum(a, b), hi


@triton.jit
def _query_range(
    first, last, offset, seqlen_q, left, right, BLOCK_M: tl.constexpr, HAS_LEFT: tl.constexpr, HAS_RIGHT: tl.constexpr
):
    """Rows of queries that meet keys first to last, cut as in _key_range; past the end bounds do."""
    lo = 0
    a = 0
    hi = seqlen_q
    b = seqlen_q
    if HAS_RIGHT:
        lo = tl.maximum(first - offset - right, 0) // BLOCK_M * BLOCK_M
        a = (tl.maximum(last - offset - right, 0) + BLOCK_M - 1) // BLOCK_M * BLOCK_M
    if HAS_LEFT:
        hi = tl.maximum(tl.minimum(seqlen_q, last - offset + left + 1), 0)
        b = tl.maximum(tl.minimum(seqlen_q, first - offset + left + 1), 0) // BLOCK_M * BLOCK_M
    a = tl.minimum(a, hi)
    return lo, a, tl.maximum(a, b), hi


# ---------------------------------------------------------------------------------------------------------------------
# Forward
# ---------------------------------------------------------------------------------------------------------------------
@triton.jit
def forward_kernel(
    Q, K, V, OUT, LSE, BLOCK_MAX, SINKS, COS, SIN, CU_Q, CU_K,
    stride_qb, stride_qs, stride_qh, stride_kb, stride_ks, stride_kh, stride_vb, stride_vs, stride_vh,
    stride_lb, stride_lh, H, seqlen_q, seqlen_k, stride_cb, left, right, scale, softcap,
    D: tl.constexpr, GROUP: tl.constexpr, VARLEN: tl.constexpr, HAS_LEFT: tl.constexpr, HAS_RIGHT: tl.constexpr,
    SOFTCAP: tl.constexpr, R: tl.constexpr, SPLIT: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, DESCRIPTOR: tl.constexpr,
):  # fmt: skip
    # Heads go fastest, so that a group shares its keys in cache; of the rows the last (under a causal mask, the
    # longest) go first, so that no long program is left over at the end.
    program = tl.program_id(0)
    blocks = tl.cdiv(seqlen_q, BLOCK_M)
    head = program % H
    block = blocks - 1 - (program // H) % blocks
    batch = program // H // blocks
    q_start, out_row, seqlen_q = _sequence(CU_Q, batch, seqlen_q, VARLEN)
    k_start, _, seqlen_k = _sequence(CU_K, batch, seqlen_k, VARLEN)
    first_row = block * BLOCK_M
    if first_row >= seqlen_q:
        return

    PADDED: tl.constexpr = D != BLOCK_D
    column, real = _columns(D, BLOCK_D, R, SPLIT)
    kv_head = head // GROUP
    q_source = _head(Q, batch, q_start, head, stride_qb, stride_qs, stride_qh)
    k_source = _source(
        K, batch, k_start, stride_kb, stride_ks, stride_kh, seqlen_k, H // GROUP, D, BLOCK_N, BLOCK_D, DESCRIPTOR
    )
    v_source = _source(
        V, batch, k_start, stride_vb, stride_vs, stride_vh, seqlen_k, H // GROUP, D, BLOCK_N, BLOCK_D, DESCRIPTOR
    )
    q = _load_tile(q_source, first_row, seqlen_q, stride_qs, column, real, BLOCK_M, True, PADDED)
    offset = seqlen_k - seqlen_q
    row = first_row + tl.arange(0, BLOCK_M)
    if R > 0:
        table = batch * tl.cast(stride_cb, tl.int64) + k_start * R
        q = _rotate(q, COS + table, SIN + table, row + offset, seqlen_k, R, BLOCK_M, BLOCK_D, False).to(q.dtype)

    acc = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)
    row_sum = tl.zeros([BLOCK_M], tl.float32)
    row_max = tl.full([BLOCK_M], -float("inf"), tl.float32)
    last_row = tl.minimum(first_row + BLOCK_M, seqlen_q) - 1
    edges = _key_range(first_row + offset, last_row + offset, seqlen_k, left, right, BLOCK_N, HAS_LEFT, HAS_RIGHT)
    for part in tl.static_range(3):
        if part > 0 or HAS_LEFT:
            for start in tl.range(edges[part], edges[part + 1], BLOCK_N):
                k = _walk_tile(
                    k_source,
                    kv_head,
                    start,
                    seqlen_k,
                    stride_ks,
                    stride_kh,
                    column,
                    real,
                    BLOCK_N,
                    BLOCK_D,
                    part != 1,
                    PADDED,
                    DESCRIPTOR,
                )
                product = _dot(q, tl.trans(k), PRECISION)
                if part != 1:
                    key = start + tl.arange(0, BLOCK_N)
                    visible = _visible(row[:, None] + offset, key[None, :], seqlen_k, left, right, HAS_LEFT, HAS_RIGHT)
                    product = tl.where(visible, product, -float("inf"))
                new_max = tl.maximum(row_max, tl.max(product, 1))  # of raw products, before scale and softcap
                shift = _base2_logit(new_max, scale, softcap, SOFTCAP)
                if part != 1:  # a row that has seen nothing yet: -inf minus -inf would be NaN
                    shift = tl.where(new_max == -float("inf"), 0.0, shift)
                p = tl.exp2(_base2_logit(product, scale, softcap, SOFTCAP) - shift[:, None])
                decay = tl.exp2(_base2_logit(row_max, scale, softcap, SOFTCAP) - shift)
                row_sum = row_sum * decay + tl.sum(p, 1)
                v = _walk_tile(
                    v_source,
                    kv_head,
                    start,
                    seqlen_k,
                    stride_vs,
                    stride_vh,
                    column,
                    real,
                    BLOCK_N,
                    BLOCK_D,
                    part != 1,
                    PADDED,
                    DESCRIPTOR,
                )
                acc = acc * decay[:, None] + _dot(p.to(v.dtype), v, PRECISION)
                row_max = new_max

    if BLOCK_MAX is not None:  # maxima hide NaN, sums don't
        poisoned = tl.max(((row_sum != row_sum) & (row < seqlen_q)).to(tl.int32), 0)
        largest = tl.max(tl.where(row < seqlen_q, row_max, -float("inf")), 0)
        largest = _base2_logit(largest, scale, softcap, True) * _LN2 if SOFTCAP else largest * scale
        block_max = BLOCK_MAX + (tl.cast(batch, tl.int64) * blocks + block) * H + head
        tl.store(block_max, tl.where(poisoned != 0, float("nan"), largest))
    shift = _base2_logit(row_max, scale, softcap, SOFTCAP)
    if SINKS is not None:
        sink = tl.load(SINKS + head).to(tl.float32) * _LOG2E
        shift = tl.maximum(shift, sink)
        decay = tl.exp2(_base2_logit(row_max, scale, softcap, SOFTCAP) - shift)
        row_sum = row_sum * decay + tl.exp2(sink - shift)
        acc = acc * decay[:, None]
    row_sum = tl.where(row_sum == 0.0, 1.0, row_sum)  # a row that saw nothing: out 0, lse -inf
    lse = (shift + tl.log2(row_sum)) * _LN2
    acc = acc / row_sum[:, None]
    tl.store(_lse_row(LSE, batch, head, q_start, stride_lb, stride_lh) + row, lse, mask=row < seqlen_q)
    out = OUT + (out_row * H + head) * D
    _store_tile(out, first_row, seqlen_q, H * D, column, real, acc, BLOCK_M)


@triton.jit
def rope_kernel(
    X, OUT, COS, SIN, CU, CU_K, stride_b, stride_s, stride_h, stride_cb, H, seqlen, seqlen_k, D: tl.constexpr,
    VARLEN: tl.constexpr, R: tl.constexpr, SPLIT: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_M: tl.constexpr,
):  # fmt: skip
    """OUT (contiguous) = X rotated, its last row by the position of the last key."""
    program = tl.program_id(0)
    blocks = tl.cdiv(seqlen, BLOCK_M)
    head = program % H
    first_row = (program // H) % blocks * BLOCK_M
    batch = program // H // blocks
    start, out_row, length = _sequence(CU, batch, seqlen, VARLEN)
    k_start, _, seqlen_k = _sequence(CU_K, batch, seqlen_k, VARLEN)
    if first_row >= length:
        return
    PADDED: tl.constexpr = D != BLOCK_D
    column, real = _columns(D, BLOCK_D, R, SPLIT)
    source = _head(X, batch, start, head, stride_b, stride_s, stride_h)
    x = _load_tile(source, first_row, length, stride_s, column, real, BLOCK_M, True, PADDED)
    position = first_row + tl.arange(0, BLOCK_M) + (seqlen_k - length)
    table = batch * tl.cast(stride_cb, tl.int64) + k_start * R
    rotated = _rotate(x, COS + table, SIN + table, position, seqlen_k, R, BLOCK_M, BLOCK_D, False)
    _store_tile(OUT + (out_row * H + head) * D, first_row, length, H * D, column, real, rotated, BLOCK_M)


# ---------------------------------------------------------------------------------------------------------------------
# Backward
# ---------------------------------------------------------------------------------------------------------------------
@triton.jit
def delta_kernel(
    OUT, DOUT, DLSE, DELTA, CU_Q, stride_ob, stride_os, stride_oh, stride_gb, stride_gs, stride_gh, stride_lb,
    stride_lh, H, seqlen_q, D: tl.constexpr, VARLEN: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_M: tl.constexpr,
):  # fmt: skip
    """delta = rowsum(O * dO) - dLSE, so that dS = P * (dP - delta) also carries the gradient of the LSE."""
    program = tl.program_id(0)
    blocks = tl.cdiv(seqlen_q, BLOCK_M)
    head = program % H
    first_row = (program // H) % blocks * BLOCK_M
    batch = program // H // blocks
    start, _, length = _sequence(CU_Q, batch, seqlen_q, VARLEN)
    if first_row >= length:
        return
    PADDED: tl.constexpr = D != BLOCK_D
    column, real = _columns(D, BLOCK_D, 0, False)
    row = first_row + tl.arange(0, BLOCK_M)
    source = _head(OUT, batch, start, head, stride_ob, stride_os, stride_oh)
    out = _load_tile(source, first_row, length, stride_os, column, real, BLOCK_M, True, PADDED)
    source = _head(DOUT, batch, start, head, stride_gb, stride_gs, stride_gh)
    dout = _load_tile(source, first_row, length, stride_gs, column, real, BLOCK_M, True, PADDED)
    delta = tl.sum(out.to(tl.float32) * dout.to(tl.float32), 1)
    if DLSE is not None:
        delta -= tl.load(_lse_row(DLSE, batch, head, start, stride_lb, stride_lh) + row, mask=row < length, other=0.0)
    tl.store(_lse_row(DELTA, batch, head, start, stride_lb, stride_lh) + row, delta, mask=row < length)


@triton.jit
def _load_lse2(lse_row, row, seqlen_q):
    """LSE in base 2. Rows with nothing visible (-inf) and rows past the end become +inf, which makes their P zero."""
    lse = tl.load(lse_row + row, mask=row < seqlen_q, other=float("inf"))
    return tl.where(lse == -float("inf"), float("inf"), lse * _LOG2E)


@triton.jit
def _softcap_slope(product, scale, softcap):
    t = _tanh(product * (scale / softcap))
    return 1.0 - t * t


@triton.jit
def dkv_kernel(
    Q, K, V, DOUT, DK, DV, LSE, DELTA, COS, SIN, CU_Q, CU_K,
    stride_qb, stride_qs, stride_qh, stride_kb, stride_ks, stride_kh, stride_vb, stride_vs, stride_vh,
    stride_gb, stride_gs, stride_gh, stride_lb, stride_lh, HKV, seqlen_q, seqlen_k, stride_cb, left, right,
    scale, softcap, D: tl.constexpr, GROUP: tl.constexpr, VARLEN: tl.constexpr, HAS_LEFT: tl.constexpr,
    HAS_RIGHT: tl.constexpr, SOFTCAP: tl.constexpr, R: tl.constexpr, SPLIT: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, DESCRIPTOR: tl.constexpr,
):  # fmt: skip
    """A block of keys against all queries of its group. Q and K come in rotated; dK goes out rotated back."""
    program = tl.program_id(0)
    blocks = tl.cdiv(seqlen_k, BLOCK_N)
    kv_head = program % HKV
    block = (program // HKV) % blocks  # under a causal mask the first keys have the most queries: already longest first
    batch = program // HKV // blocks
    q_start, _, seqlen_q = _sequence(CU_Q, batch, seqlen_q, VARLEN)
    k_start, out_row, seqlen_k = _sequence(CU_K, batch, seqlen_k, VARLEN)
    first_key = block * BLOCK_N
    if first_key >= seqlen_k:
        return
    PADDED: tl.constexpr = D != BLOCK_D
    column, real = _columns(D, BLOCK_D, R, SPLIT)
    source = _head(K, batch, k_start, kv_head, stride_kb, stride_ks, stride_kh)
    k = _load_tile(source, first_key, seqlen_k, stride_ks, column, real, BLOCK_N, True, PADDED)
    source = _head(V, batch, k_start, kv_head, stride_vb, stride_vs, stride_vh)
    v = _load_tile(source, first_key, seqlen_k, stride_vs, column, real, BLOCK_N, True, PADDED)
    dk = tl.zeros([BLOCK_N, BLOCK_D], tl.float32)
    dv = tl.zeros([BLOCK_N, BLOCK_D], tl.float32)
    key = first_key + tl.arange(0, BLOCK_N)
    offset = seqlen_k - seqlen_q
    last_key = tl.minimum(first_key + BLOCK_N, seqlen_k) - 1
    edges = _query_range(first_key, last_key, offset, seqlen_q, left, right, BLOCK_M, HAS_LEFT, HAS_RIGHT)
    q_source = _source(
        Q, batch, q_start, stride_qb, stride_qs, stride_qh, seqlen_q, HKV * GROUP, D, BLOCK_M, BLOCK_D, DESCRIPTOR
    )
    g_source = _source(
        DOUT, batch, q_start, stride_gb, stride_gs, stride_gh, seqlen_q, HKV * GROUP, D, BLOCK_M, BLOCK_D, DESCRIPTOR
    )
    for part in tl.static_range(3):
        if part == 1 or (part == 0 and HAS_RIGHT) or (part == 2 and HAS_LEFT):
            # One loop over the group's heads and their rows: nested, the pipeline would drain at each head.
            steps = tl.cdiv(edges[part + 1] - edges[part], BLOCK_M)
            for step in tl.range(0, GROUP * steps):
                head = kv_head * GROUP + step // steps
                start = edges[part] + step % steps * BLOCK_M
                row = start + tl.arange(0, BLOCK_M)
                q = _walk_tile(
                    q_source,
                    head,
                    start,
                    seqlen_q,
                    stride_qs,
                    stride_qh,
                    column,
                    real,
                    BLOCK_M,
                    BLOCK_D,
                    True,
                    PADDED,
                    DESCRIPTOR,
                )
                lse2 = _load_lse2(_lse_row(LSE, batch, head, q_start, stride_lb, stride_lh), row, seqlen_q)
                product = _dot(k, tl.trans(q), PRECISION)
                logit = _base2_logit(product, scale, softcap, SOFTCAP)
                if part != 1:
                    visible = _visible(row[None, :] + offset, key[:, None], seqlen_k, left, right, HAS_LEFT, HAS_RIGHT)
                    logit = tl.where(visible, logit, -float("inf"))
                p = tl.exp2(logit - lse2[None, :])
                g = _walk_tile(
                    g_source,
                    head,
                    start,
                    seqlen_q,
                    stride_gs,
                    stride_gh,
                    column,
                    real,
                    BLOCK_M,
                    BLOCK_D,
                    True,
                    PADDED,
                    DESCRIPTOR,
                )
                dv += _dot(p.to(g.dtype), g, PRECISION)
                delta_row = _lse_row(DELTA, batch, head, q_start, stride_lb, stride_lh)
                delta = tl.load(delta_row + row, mask=row < seqlen_q, other=0.0)
                ds = p * (_dot(v, tl.trans(g), PRECISION) - delta[None, :])
                if SOFTCAP:
                    ds *= _softcap_slope(product, scale, softcap)
                dk += _dot(ds.to(q.dtype), q, PRECISION)
    dk *= scale
    if R > 0:
        table = batch * tl.cast(stride_cb, tl.int64) + k_start * R
        dk = _rotate(dk, COS + table, SIN + table, key, seqlen_k, R, BLOCK_N, BLOCK_D, True)
    base = (out_row * HKV + kv_head) * D
    _store_tile(DK + base, first_key, seqlen_k, HKV * D, column, real, dk, BLOCK_N)
    _store_tile(DV + base, first_key, seqlen_k, HKV * D, column, real, dv, BLOCK_N)


@triton.jit
def dq_kernel(
    Q, K, V, DOUT, DQ, LSE, DELTA, COS, SIN, CU_Q, CU_K,
    stride_qb, stride_qs, stride_qh, stride_kb, stride_ks, stride_kh, stride_vb, stride_vs, stride_vh,
    stride_gb, stride_gs, stride_gh, stride_lb, stride_lh, H, seqlen_q, seqlen_k, stride_cb, left, right,
    scale, softcap, D: tl.constexpr, GROUP: tl.constexpr, VARLEN: tl.constexpr, HAS_LEFT: tl.constexpr,
    HAS_RIGHT: tl.constexpr, SOFTCAP: tl.constexpr, R: tl.constexpr, SPLIT: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, DESCRIPTOR: tl.constexpr,
):  # fmt: skip
    """A block of queries against its keys. Q and K come in rotated; dQ goes out rotated back."""
    program = tl.program_id(0)
    blocks = tl.cdiv(seqlen_q, BLOCK_M)
    head = program % H
    block = blocks - 1 - (program // H) % blocks
    batch = program // H // blocks
    q_start, out_row, seqlen_q = _sequence(CU_Q, batch, seqlen_q, VARLEN)
    k_start, _, seqlen_k = _sequence(CU_K, batch, seqlen_k, VARLEN)
    first_row = block * BLOCK_M
    if first_row >= seqlen_q:
        return
    PADDED: tl.constexpr = D != BLOCK_D
    column, real = _columns(D, BLOCK_D, R, SPLIT)
    kv_head = head // GROUP
    source = _head(Q, batch, q_start, head, stride_qb, stride_qs, stride_qh)
    q = _load_tile(source, first_row, seqlen_q, stride_qs, column, real, BLOCK_M, True, PADDED)
    source = _head(DOUT, batch, q_start, head, stride_gb, stride_gs, stride_gh)
    g = _load_tile(source, first_row, seqlen_q, stride_gs, column, real, BLOCK_M, True, PADDED)
    k_source = _source(
        K, batch, k_start, stride_kb, stride_ks, stride_kh, seqlen_k, H // GROUP, D, BLOCK_N, BLOCK_D, DESCRIPTOR
    )
    v_source = _source(
        V, batch, k_start, stride_vb, stride_vs, stride_vh, seqlen_k, H // GROUP, D, BLOCK_N, BLOCK_D, DESCRIPTOR
    )
    row = first_row + tl.arange(0, BLOCK_M)
    lse2 = _load_lse2(_lse_row(LSE, batch, head, q_start, stride_lb, stride_lh), row, seqlen_q)
    delta_row = _lse_row(DELTA, batch, head, q_start, stride_lb, stride_lh)
    delta = tl.load(delta_row + row, mask=row < seqlen_q, other=0.0)
    offset = seqlen_k - seqlen_q
    last_row = tl.minimum(first_row + BLOCK_M, seqlen_q) - 1
    edges = _key_range(first_row + offset, last_row + offset, seqlen_k, left, right, BLOCK_N, HAS_LEFT, HAS_RIGHT)
    dq = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)
    for part in tl.static_range(3):
        if part > 0 or HAS_LEFT:
            for start in tl.range(edges[part], edges[part + 1], BLOCK_N):
                k = _walk_tile(
                    k_source,
                    kv_head,
                    start,
                    seqlen_k,
                    stride_ks,
                    stride_kh,
                    column,
                    real,
                    BLOCK_N,
                    BLOCK_D,
                    part != 1,
                    PADDED,
                    DESCRIPTOR,
                )
                product = _dot(q, tl.trans(k), PRECISION)
                logit = _base2_logit(product, scale, softcap, SOFTCAP)
                if part != 1:
                    key = start + tl.arange(0, BLOCK_N)
                    visible = _visible(row[:, None] + offset, key[None, :], seqlen_k, left, right, HAS_LEFT, HAS_RIGHT)
                    logit = tl.where(visible, logit, -float("inf"))
                p = tl.exp2(logit - lse2[:, None])
                v = _walk_tile(
                    v_source,
                    kv_head,
                    start,
                    seqlen_k,
                    stride_vs,
                    stride_vh,
                    column,
                    real,
                    BLOCK_N,
                    BLOCK_D,
                    part != 1,
                    PADDED,
                    DESCRIPTOR,
                )
                ds = p * (_dot(g, tl.trans(v), PRECISION) - delta[:, None])
                if SOFTCAP:
                    ds *= _softcap_slope(product, scale, softcap)
                dq += _dot(ds.to(k.dtype), k, PRECISION)
    dq *= scale
    if R > 0:
        table = batch * tl.cast(stride_cb, tl.int64) + k_start * R
        dq = _rotate(dq, COS + table, SIN + table, row + offset, seqlen_k, R, BLOCK_M, BLOCK_D, True)
    _store_tile(DQ + (out_row * H + head) * D, first_row, seqlen_q, H * D, column, real, dq, BLOCK_M)


# ---------------------------------------------------------------------------------------------------------------------
# Launching
# ---------------------------------------------------------------------------------------------------------------------
def device_family(device: torch.device) -> str:
    """The row of BLOCKS that serves a device."""
    if INTERPRETED:
        return "interpreter"
    if torch.version.hip:
        return "gfx942"
    major = torch.cuda.get_device_capability(device)[0]
    return {9: "sm_90", 10: "sm_100"}.get(major, "sm_80")  # sm_12x has sm_8x's shared memory and no wgmma


def _choices(name: str, q: Tensor, width: int, describable: bool = True) -> list[Blocks]:
    size = width * (8 if q.dtype == torch.float32 else 1)
    rows = BLOCKS[device_family(q.device)][name]
    choices = rows[min((key for key in rows if key >= size), default=max(rows))]
    if describable or not any(c.descriptor for c in choices):
        return choices
    rows = BLOCKS["sm_80"][name]  # by pointers the blocks meant for descriptors spill
    return rows[min((key for key in rows if key >= size), default=max(rows))]


@functools.cache
def _autotuned(kernel: Any, choices: tuple[Blocks, ...]) -> Any:
    configs = [
        triton.Config(
            {"BLOCK_M": c.m, "BLOCK_N": c.n, "DESCRIPTOR": c.descriptor}, num_warps=c.warps, num_stages=c.stages
        )
        for c in choices
    ]
    key = ["D", "GROUP", "VARLEN", "HAS_LEFT", "HAS_RIGHT", "SOFTCAP", "R"]
    return triton.autotune(configs, key=key, cache_results=True)(kernel)


class _Problem(NamedTuple):
    """What every kernel of one call needs to know beyond its tensors."""

    cu_q: Tensor | None
    cu_k: Tensor | None
    max_q: int
    max_k: int
    cos: Tensor | None
    sin: Tensor | None
    left: int
    right: int
    scale: float
    softcap: float

    def batch(self, q: Tensor) -> int:
        return q.shape[0] if self.cu_q is None else self.cu_q.numel() - 1

    def constants(self, q: Tensor, k: Tensor) -> dict[str, Any]:
        width, rotary = q.shape[-1], 0 if self.cos is None else self.cos.shape[-1]
        block = max(16, triton.next_power_of_2(width))
        fast = q.dtype == torch.float32 and torch.get_float32_matmul_precision() != "highest"
        return {
            "D": width,
            "GROUP": q.shape[-2] // k.shape[-2],
            "VARLEN": self.cu_q is not None,
            "HAS_LEFT": self.left >= 0,
            "HAS_RIGHT": self.right >= 0,
            "SOFTCAP": self.softcap > 0,
            "R": rotary,
            "SPLIT": rotary > 0 and (block != width or 2 * rotary != width),
            "PRECISION": "tf32" if fast and not torch.version.hip else "ieee",
            "BLOCK_D": block,
        }


def _strides(x: Tensor) -> tuple[int, int, int]:
    """Of batch, row and head; packed tensors have no batch stride."""
    return (0, x.stride(0), x.stride(1)) if x.dim() == 3 else (x.stride(0), x.stride(1), x.stride(2))


def _lse_strides(q: Tensor) -> tuple[int, int]:
    return (0, q.shape[0]) if q.dim() == 3 else (q.shape[2] * q.shape[1], q.shape[1])


def _describable(*tensors: Tensor) -> bool:
    """Whether tensor descriptors reach them: 16-byte aligned rows and heads."""
    return all(
        x.data_ptr() % 16 == 0 and all(stride * x.element_size() % 16 == 0 for stride in x.stride()[:-1])
        for x in tensors
    )


def _launch(kernel: Any, name: str, q: Tensor, longest: int, parts: int, arguments: tuple[Any, ...],
            constants: dict[str, Any], walked: tuple[Tensor, ...]) -> None:  # fmt: skip
    """Run a kernel, a program per block of the longest sequence (of rows, or for dkv of keys) and part."""
    choices = _choices(name, q, constants["BLOCK_D"], not constants["SPLIT"] and _describable(*walked))
    if any(c.descriptor for c in choices):
        triton.set_allocator(lambda size, _align, _stream: torch.empty(size, dtype=torch.int8, device=q.device))
    axis = "BLOCK_N" if name == "dkv" else "BLOCK_M"
    if parts * longest == 0:
        return
    grid = lambda meta: (triton.cdiv(longest, meta[axis]) * parts,)  # noqa: E731
    if len(choices) > 1 and os.environ.get("SMOLFAST_AUTOTUNE", "0") == "1":
        _autotuned(kernel, tuple(choices))[grid](*arguments, **constants)
        return
    c = choices[0]
    kernel[grid](
        *arguments, **constants, BLOCK_M=c.m, BLOCK_N=c.n, DESCRIPTOR=c.descriptor, num_warps=c.warps,
        num_stages=c.stages, enable_fp_fusion=True,
    )  # fmt: skip


def _rotated(x: Tensor, p: _Problem, constants: dict[str, Any], of_keys: bool) -> Tensor:
    if p.cos is None:
        return x
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    cu, longest = (p.cu_k, p.max_k) if of_keys else (p.cu_q, p.max_q)
    programs = triton.cdiv(longest, 64) * x.shape[-2] * p.batch(x)
    if programs:
        kept = {name: constants[name] for name in ("D", "VARLEN", "R", "SPLIT", "BLOCK_D")}
        rope_kernel[(programs,)](
            x, out, p.cos, p.sin, cu, p.cu_k, *_strides(x), _table_stride(p), x.shape[-2], longest, p.max_k,
            **kept, BLOCK_M=64, num_warps=4, enable_fp_fusion=True,
        )  # fmt: skip
    return out


def _table_stride(p: _Problem) -> int:
    return p.cos.stride(0) if p.cos is not None and p.cos.dim() == 3 and p.cos.shape[0] > 1 else 0


def attention_forward(
    q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None, problem: _Problem, want_max_logit: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """(out, lse, max_logit), without autograd. max_logit is [0] unless wanted."""
    constants = problem.constants(q, k)
    heads, batch = q.shape[-2], problem.batch(q)
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    shape = (heads, q.shape[0]) if q.dim() == 3 else (batch, heads, q.shape[1])
    lse = torch.empty(shape, dtype=torch.float32, device=q.device)
    block_max = None
    if want_max_logit:  # of every block of rows, in any block shape that may be chosen
        least = min(c.m for d in (True, False) for c in _choices("forward", q, constants["BLOCK_D"], d))
        rows = batch * triton.cdiv(problem.max_q, least) + 1
        block_max = torch.full((rows, heads), -math.inf, dtype=torch.float32, device=q.device)
    k = _rotated(k, problem, constants, of_keys=True)
    _launch(
        forward_kernel, "forward", q, problem.max_q, heads * batch,
        (q, k, v, out, lse, block_max, sinks, problem.cos, problem.sin, problem.cu_q, problem.cu_k, *_strides(q),
         *_strides(k), *_strides(v), *_lse_strides(q), heads, problem.max_q, problem.max_k, _table_stride(problem),
         problem.left, problem.right, problem.scale, problem.softcap),
        constants, (k, v),
    )  # fmt: skip
    return out, lse, q.new_empty(0, dtype=torch.float32) if block_max is None else block_max.amax(0)


def attention_backward(
    dout: Tensor, dlse: Tensor | None, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, sinks: Tensor | None,
    problem: _Problem,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:  # fmt: skip
    """(dq, dk, dv, dsinks): contiguous, in their inputs' dtypes."""
    p, constants = problem, problem.constants(q, k)
    heads, kv_heads, batch = q.shape[-2], k.shape[-2], problem.batch(q)
    dout = dout if dout.stride(-1) == 1 else dout.contiguous()
    dlse = None if dlse is None else dlse.float().contiguous()
    delta = torch.empty_like(lse)
    programs = triton.cdiv(p.max_q, 64) * heads * batch
    if programs:
        delta_kernel[(programs,)](
            out, dout, dlse, delta, p.cu_q, *_strides(out), *_strides(dout), *_lse_strides(q), heads, p.max_q,
            D=constants["D"], VARLEN=constants["VARLEN"], BLOCK_D=constants["BLOCK_D"], BLOCK_M=64, num_warps=4,
            enable_fp_fusion=True,
        )  # fmt: skip
    dsinks = None
    if sinks is not None:
        weight = torch.exp(torch.movedim(sinks.float().expand(lse.movedim(-2, -1).shape), -1, -2) - lse)
        dsinks = -(weight * delta).movedim(-2, 0).flatten(1).sum(1).to(sinks.dtype)
    rotated_q = _rotated(q, p, constants, of_keys=False)
    rotated_k = _rotated(k, p, constants, of_keys=True)
    dq, dk, dv = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v))
    shared = (*_strides(rotated_q), *_strides(rotated_k), *_strides(v), *_strides(dout), *_lse_strides(q))
    lengths = (p.max_q, p.max_k, _table_stride(p), p.left, p.right, p.scale, p.softcap)
    _launch(
        dkv_kernel, "dkv", q, p.max_k, kv_heads * batch,
        (rotated_q, rotated_k, v, dout, dk, dv, lse, delta, p.cos, p.sin, p.cu_q, p.cu_k, *shared, kv_heads, *lengths),
        constants, (rotated_q, dout),
    )  # fmt: skip
    _launch(
        dq_kernel, "dq", q, p.max_q, heads * batch,
        (rotated_q, rotated_k, v, dout, dq, lse, delta, p.cos, p.sin, p.cu_q, p.cu_k, *shared, heads, *lengths),
        constants, (rotated_k, v),
    )  # fmt: skip
    return dq, dk, dv, dsinks


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None, problem: _Problem, want_max: bool
    ) -> Any:
        out, lse, max_logit = attention_forward(q, k, v, sinks, problem, want_max)
        ctx.save_for_backward(q, k, v, out, lse, sinks)
        ctx.problem = problem
        ctx.mark_non_differentiable(max_logit)
        ctx.set_materialize_grads(False)
        return out, lse, max_logit

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dout: Tensor | None, dlse: Tensor | None, _: Tensor | None) -> Any:
        q, k, v, out, lse, sinks = ctx.saved_tensors
        dout = torch.zeros_like(out) if dout is None else dout
        return *attention_backward(dout, dlse, q, k, v, out, lse, sinks, ctx.problem), None, None


def make_problem(
    q: Tensor, k: Tensor, *, causal: bool, softmax_scale: float | None, window_size: tuple[int, int], softcap: float,
    rope: tuple[Tensor, Tensor] | None, varlen: tuple[Tensor, Tensor, int, int] | None = None,
) -> _Problem:  # fmt: skip
    """Arguments in flash-attention's terms to the kernels'. ValueError where they don't fit together."""
    if q.dtype not in (torch.float16, torch.bfloat16, torch.float32) or q.dtype != k.dtype:
        raise ValueError(f"q, k and v must share float16, bfloat16 or float32; q is {q.dtype}, k is {k.dtype}")
    if q.shape[-1] != k.shape[-1] or q.shape[-2] % k.shape[-2]:
        raise ValueError(f"q {tuple(q.shape)} and k {tuple(k.shape)} need one head width and whole groups of heads")
    scale = 1.0 / math.sqrt(q.shape[-1]) if softmax_scale is None else softmax_scale
    if not scale > 0:
        raise ValueError(f"softmax_scale must be positive, not {scale}; negate q instead")
    cu_q, cu_k, max_q, max_k = varlen if varlen is not None else (None, None, q.shape[1], k.shape[1])
    cos, sin = (None, None) if rope is None else (rope[0].contiguous(), rope[1].contiguous())
    if cos is not None and (2 * cos.shape[-1] > q.shape[-1] or cos.shape[-2] < (max_k if cu_k is None else k.shape[0])):
        raise ValueError(
            f"rope tables {tuple(cos.shape)} need a row for each key of {tuple(k.shape)} and at most D / 2 columns"
        )
    return _Problem(cu_q, cu_k, max_q, max_k, cos, sin, window_size[0], 0 if causal else window_size[1], scale, softcap)


def _finish(
    q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None, problem: _Problem, lse: bool, max_logit: bool
) -> Any:
    q, k, v = (x if x.stride(-1) == 1 else x.contiguous() for x in (q, k, v))
    results = _Attention.apply(q, k, v, sinks, problem, max_logit)
    asked = [x for x, wanted in zip(results, (True, lse, max_logit), strict=True) if wanted]
    return tuple(asked) if len(asked) > 1 else asked[0]


def gqa_attention(
    q_BSHD: Tensor, k_BSHD: Tensor, v_BSHD: Tensor, *, causal: bool = True, softmax_scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1), softcap: float = 0.0, sinks: Tensor | None = None,
    rope: tuple[Tensor, Tensor] | None = None, deterministic: bool = True, return_lse: bool = False,
    return_max_logit: bool = False,
) -> Any:  # fmt: skip
    """softmax(q kᵀ · scale) v over [B, S, H, D], differentiable; flash-attention's meaning of every shared argument.

    A query sees a key no later than itself (``causal``, last query aligned with last key) and within
    ``window_size = (left, right)`` of itself, -1 for no bound. ``sinks`` [H] are logits without a value. ``rope =
    (cos, sin)``, each [Sk, R] or [B, Sk, R] with a row for each key, rotates columns i and R + i of q and k.
    ``deterministic`` is accepted for the sake of flash-attention's callers: every path is.

    Returns:
        out, then as asked lse (float32 [B, H, S], differentiable) and max_logit (float32 [H], the largest visible logit
        after scale and softcap; NaN if any visible one is NaN). A row that sees nothing has out 0 and lse -inf.

    Raises:
        ValueError: dtypes, widths, groups or tables that don't fit, or a scale that isn't positive.
    """
    problem = make_problem(
        q_BSHD, k_BSHD, causal=causal, softmax_scale=softmax_scale, window_size=window_size, softcap=softcap, rope=rope
    )
    return _finish(q_BSHD, k_BSHD, v_BSHD, sinks, problem, return_lse, return_max_logit)


def gqa_attention_varlen(
    q_THD: Tensor, k_THD: Tensor, v_THD: Tensor, cu_seqlens_q: Tensor, cu_seqlens_k: Tensor, max_seqlen_q: int,
    max_seqlen_k: int, *, causal: bool = True, softmax_scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1), softcap: float = 0.0, sinks: Tensor | None = None,
    rope: tuple[Tensor, Tensor] | None = None, deterministic: bool = True, return_lse: bool = False,
    return_max_logit: bool = False,
) -> Any:  # fmt: skip
    """`gqa_attention` of packed sequences: sequence i is rows cu_seqlens[i] to cu_seqlens[i + 1] (int32 [B + 1]).

    Sequences may be empty. lse is [H, T]; ``rope`` tables are [Tk, R], a row for each packed key.
    """
    problem = make_problem(
        q_THD, k_THD, causal=causal, softmax_scale=softmax_scale, window_size=window_size, softcap=softcap, rope=rope,
        varlen=(cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k),
    )  # fmt: skip
    return _finish(q_THD, k_THD, v_THD, sinks, problem, return_lse, return_max_logit)


def aot_launches() -> Iterator[tuple[str, Callable[[], object]]]:
    """What benchmarks/aot.py compiles: forward and backward in every feature that changes the code much."""
    packed = torch.empty(9, dtype=torch.int32, device="meta")
    cases: dict[str, tuple[int, torch.dtype, dict[str, Any]]] = {
        "bfloat16 D64": (64, torch.bfloat16, {}),
        "bfloat16 D128": (128, torch.bfloat16, {}),
        "bfloat16 D128 max": (128, torch.bfloat16, {"want_max": True}),
        "bfloat16 D128 varlen rope max": (128, torch.bfloat16, {"varlen": True, "rope": True, "want_max": True}),
        "bfloat16 D128 window sinks": (128, torch.bfloat16, {"left": 1024, "sinks": True}),
        "bfloat16 D128 softcap": (128, torch.bfloat16, {"softcap": 30.0}),
        "bfloat16 D96": (96, torch.bfloat16, {}),
        "bfloat16 D256": (256, torch.bfloat16, {}),
        "float32 D64": (64, torch.float32, {}),
        "float32 D128": (128, torch.float32, {}),
    }
    for label, (width, dtype, features) in cases.items():
        yield label, functools.partial(_aot_launch, width, dtype, packed, **features)


def _aot_launch(
    width: int, dtype: torch.dtype, packed: Tensor, left: int = -1, softcap: float = 0.0, varlen: bool = False,
    rope: bool = False, sinks: bool = False, want_max: bool = False,
) -> None:  # fmt: skip
    rows = (8192,) if varlen else (2, 4096)
    q, dout = (torch.empty(*rows, 16, width, dtype=dtype, device="meta") for _ in range(2))
    k, v = (torch.empty(*rows, 4, width, dtype=dtype, device="meta") for _ in range(2))
    table = torch.empty(rows[-1], width // 2, device="meta")
    problem = make_problem(
        q, k, causal=True, softmax_scale=None, window_size=(left, -1), softcap=softcap,
        rope=(table, table) if rope else None, varlen=(packed, packed, 4096, 4096) if varlen else None,
    )  # fmt: skip
    logits = torch.empty(16, device="meta") if sinks else None
    out, lse, _ = attention_forward(q, k, v, logits, problem, want_max)
    attention_backward(dout, None, q, k, v, out, lse, logits, problem)
