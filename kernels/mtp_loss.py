"""Cross-entropy of one or several tokens ahead in Triton: NVIDIA and AMD, needs torch and triton only.

``forward`` and ``backward`` take the hidden states of all heads stacked and the unembedding; logits never exist whole.

- ``forward_kernel``: one program multiplies a block of rows with a stretch of the vocabulary and keeps, per row, the
  largest logit, the sum of exponentials and the targets' logits. The stretches are put together in a fixed order.
- ``gradient_kernel``: multiplies again, turns each tile into the gradient of its logits in registers and stores it in
  the inputs' dtype, a slice of the vocabulary at a time. The vendor's GEMMs multiply the slice into dW (each row
  written once) and dX (summed over slices in fp32).

Logits are fp32 in both, so probabilities sum to 1 to fp32 accuracy whatever the dtype of the inputs.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

INTERPRETED = os.environ.get("TRITON_INTERPRET", "0") == "1"
# Triton's interpreter returns garbage for a bfloat16 dot, so operands are widened there (after rounding).
_WIDEN = tl.constexpr(INTERPRETED)

SLICE_BYTES = 256 << 20
"""The largest slice of the logits' gradient that exists at a time."""

SPLIT_BLOCKS = 16
"""Column blocks that one program of the forward pass goes over."""


class Blocks(NamedTuple):
    """How a kernel is cut: tile rows, tile columns, depth of a step, warps, pipeline stages."""

    m: int
    n: int
    k: int
    warps: int
    stages: int


# family → bytes of an element → blocks, by ahead-of-time figures: no spills, within the shared memory. fp32 runs
# without matrix units (ieee).
BLOCKS: dict[str, dict[int, Blocks]] = {
    "interpreter": {2: Blocks(32, 32, 32, 4, 1), 4: Blocks(32, 32, 32, 4, 1)},
    "sm_80": {2: Blocks(128, 128, 32, 8, 4), 4: Blocks(64, 32, 32, 8, 3)},
    "sm_90": {2: Blocks(128, 128, 64, 8, 4), 4: Blocks(64, 32, 32, 8, 3)},
    "sm_100": {2: Blocks(128, 64, 64, 8, 4), 4: Blocks(64, 64, 32, 8, 3)},
    "gfx942": {2: Blocks(128, 128, 32, 8, 2), 4: Blocks(64, 64, 16, 8, 2)},
}


def device_family(device: torch.device) -> str:
    """The row of BLOCKS that serves a device."""
    if INTERPRETED:
        return "interpreter"
    if torch.version.hip:
        return "gfx942"
    major = torch.cuda.get_device_capability(device)[0]
    return {9: "sm_90", 10: "sm_100"}.get(major, "sm_80")  # sm_12x has sm_8x's shared memory and no wgmma


@triton.jit
def _dot(a, b, acc, PRECISION: tl.constexpr):
    if _WIDEN:
        return tl.dot(a.to(tl.float32), b.to(tl.float32), acc, input_precision="ieee")
    return tl.dot(a, b, acc, input_precision=PRECISION)


@triton.jit
def _logits(
    X, W, BIAS, row, column, rows, vocabulary, width, x_row, w_row, softcap,
    HAS_BIAS: tl.constexpr, SOFTCAP: tl.constexpr, EVEN: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """The fp32 tile of logits whose corner is (row, column); junk outside the matrix."""
    m, n, k = tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_K)
    # 64 bits for the corner, 32 within the tile.
    x = X + tl.cast(row, tl.int64) * x_row + (m[:, None] * x_row + k[None, :])
    w = W + tl.cast(column, tl.int64) * w_row + (n[None, :] * w_row + k[:, None])
    inside_m, inside_n = row + m < rows, column + n < vocabulary
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, width, BLOCK_K):
        if EVEN:
            left = tl.load(x, mask=inside_m[:, None], other=0.0)
            right = tl.load(w, mask=inside_n[None, :], other=0.0)
        else:
            left = tl.load(x, mask=inside_m[:, None] & (start + k[None, :] < width), other=0.0)
            right = tl.load(w, mask=inside_n[None, :] & (start + k[:, None] < width), other=0.0)
        acc = _dot(left, right, acc, PRECISION)
        x += BLOCK_K
        w += BLOCK_K
    if HAS_BIAS:
        acc += tl.load(BIAS + column + n, mask=inside_n, other=0.0).to(tl.float32)[None, :]
    if SOFTCAP:
        acc = softcap * (2.0 * tl.sigmoid(2.0 / softcap * acc) - 1.0)  # c · tanh(z / c)
    return acc


@triton.jit
def forward_kernel(
    X, W, BIAS, TARGETS, HIGHEST, SUMS, LOGIT_SUMS, TARGET_LOGITS, rows, vocabulary, width, x_row, w_row, softcap,
    DEPTHS: tl.constexpr, HAS_BIAS: tl.constexpr, SOFTCAP: tl.constexpr, SMOOTH: tl.constexpr, EVEN: tl.constexpr,
    PRECISION: tl.constexpr, SPLIT: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Parts of one stretch of SPLIT column blocks: HIGHEST, SUMS, LOGIT_SUMS [splits, rows]. TARGETS, TARGET_LOGITS
    [DEPTHS, rows]; targets are −1 where ignored."""
    row, split = tl.program_id(0) * BLOCK_M, tl.program_id(1)
    m, n = row + tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_N)
    inside_m = m < rows
    highest = tl.full((BLOCK_M,), float("-inf"), dtype=tl.float32)
    sums, logit_sums = tl.zeros((BLOCK_M,), dtype=tl.float32), tl.zeros((BLOCK_M,), dtype=tl.float32)
    first = split * SPLIT * BLOCK_N
    for column in range(first, tl.minimum(first + SPLIT * BLOCK_N, vocabulary), BLOCK_N):
        z = _logits(
            X, W, BIAS, row, column, rows, vocabulary, width, x_row, w_row, softcap,
            HAS_BIAS, SOFTCAP, EVEN, PRECISION, BLOCK_M, BLOCK_N, BLOCK_K,
        )  # fmt: skip
        inside_n = (column + n < vocabulary)[None, :]
        if SMOOTH:
            logit_sums += tl.sum(tl.where(inside_n, z, 0.0), 1)
        for depth in tl.static_range(DEPTHS):
            at = depth * tl.cast(rows, tl.int64) + m
            target = tl.load(TARGETS + at, mask=inside_m, other=-1).to(tl.int32) - column
            here = (target >= 0) & (target < BLOCK_N)
            found = tl.sum(tl.where(n[None, :] == target[:, None], z, 0.0), 1)
            tl.store(TARGET_LOGITS + at, found, mask=inside_m & here)
        z = tl.where(inside_n, z, float("-inf"))
        new = tl.maximum(highest, tl.max(z, 1))
        sums = sums * tl.exp(highest - new) + tl.sum(tl.exp(z - new[:, None]), 1)
        highest = new
    at = split * tl.cast(rows, tl.int64) + m
    tl.store(HIGHEST + at, highest, mask=inside_m)
    tl.store(SUMS + at, sums, mask=inside_m)
    if SMOOTH:
        tl.store(LOGIT_SUMS + at, logit_sums, mask=inside_m)


@triton.jit
def gradient_kernel(
    X, W, BIAS, TARGETS, GRADS, LSE, PARTITION, UNIFORM, DZ, rows, vocabulary, width, x_row, w_row, first, dz_row,
    softcap, kept, DEPTHS: tl.constexpr, HAS_BIAS: tl.constexpr, SOFTCAP: tl.constexpr, SMOOTH: tl.constexpr,
    EVEN: tl.constexpr, PRECISION: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
    GROUP: tl.constexpr,
):  # fmt: skip
    """DZ [rows, dz_row] = gradient of the logits of columns first to first + dz_row. GRADS [DEPTHS, rows]; LSE,
    PARTITION, UNIFORM [rows]; a target's column gets −kept · its GRADS."""
    # Tiles go down in strips of GROUP rows, so that programs running together share rows and columns in the L2.
    tile = tl.program_id(0)
    tall, wide = tl.cdiv(rows, BLOCK_M), tl.cdiv(dz_row, BLOCK_N)
    strip = tile // (GROUP * wide)
    height = tl.minimum(tall - strip * GROUP, GROUP)
    within = tile % (GROUP * wide)
    row, local = (strip * GROUP + within % height) * BLOCK_M, within // height * BLOCK_N
    column = first + local
    m, n = row + tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_N)
    inside_m = m < rows
    z = _logits(
        X, W, BIAS, row, column, rows, vocabulary, width, x_row, w_row, softcap,
        HAS_BIAS, SOFTCAP, EVEN, PRECISION, BLOCK_M, BLOCK_N, BLOCK_K,
    )  # fmt: skip
    lse = tl.load(LSE + m, mask=inside_m, other=float("inf"))
    dz = tl.exp(z - lse[:, None]) * tl.load(PARTITION + m, mask=inside_m, other=0.0)[:, None]
    if SMOOTH:
        dz -= tl.load(UNIFORM + m, mask=inside_m, other=0.0)[:, None]
    for depth in tl.static_range(DEPTHS):
        at = depth * tl.cast(rows, tl.int64) + m
        target = tl.load(TARGETS + at, mask=inside_m, other=-1).to(tl.int32) - column
        grad = kept * tl.load(GRADS + at, mask=inside_m, other=0.0)
        dz -= tl.where(n[None, :] == target[:, None], grad[:, None], 0.0)
    if SOFTCAP:
        ratio = z / softcap
        dz *= 1.0 - ratio * ratio
    at = row.to(tl.int64) * dz_row + local + tl.arange(0, BLOCK_M)[:, None] * dz_row + n[None, :]
    tl.store(DZ + at, dz.to(DZ.dtype.element_ty), mask=inside_m[:, None] & (local + n[None, :] < dz_row))


def _precision(dtype: torch.dtype) -> str:
    return "ieee" if dtype == torch.float32 else "tf32"  # only fp32 looks at it


def _by_row(values: Tensor, heads: int) -> Tensor:
    """[k, N] → [k / h, h · N]: the depths that share a row of logits one after the other."""
    depths, positions = values.shape
    return values.view(heads, depths // heads, positions).transpose(0, 1).reshape(depths // heads, heads * positions)


def forward(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    ignore_index: int = -100,
    z_loss: float = 0.0,
    softcap: float = 0.0,
    label_smoothing: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss of every position and depth.

    Args:
        hidden: [h, N, H]; h is 1 (all depths share the logits) or k. fp32, fp16 or bf16.
        weight: [V, H] in the same dtype. bias: [V] or None.
        targets: int64 [k, N], each inside the vocabulary or ignore_index.

    Returns:
        losses fp32 [k, N] (0 where ignored), log-sum-exp fp32 [h, N], whether no logit is above the target's [k, N].
    """
    heads, positions, _ = hidden.shape
    smooth = label_smoothing > 0
    lse, best, target_logits, logit_sums = statistics(hidden, weight, bias, targets, ignore_index, softcap, smooth)
    losses = lse - (1 - label_smoothing) * target_logits
    if label_smoothing:
        losses -= label_smoothing * (logit_sums / weight.shape[0])
    if z_loss:
        losses += z_loss * lse.square()
    ignored = targets == ignore_index
    right = _by_depth(target_logits >= best, heads).logical_and(~ignored)
    return _by_depth(losses, heads).masked_fill(ignored, 0.0), lse.view(heads, positions), right


def statistics(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    ignore_index: int = -100,
    softcap: float = 0.0,
    smooth: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """By row of the logits: log-sum-exp and maximum [h · N], the targets' logits [k / h, h · N] (0 for a target of −1,
    which is elsewhere), and the sum of the logits [h · N] (if smooth)."""
    heads, positions, width = hidden.shape
    vocabulary, rows = weight.shape[0], heads * positions
    x, w = hidden.reshape(rows, width).contiguous(), _unit_columns(weight)
    wanted = _by_row(targets.masked_fill(targets == ignore_index, -1), heads)
    blocks = BLOCKS[device_family(hidden.device)][hidden.element_size()]
    splits = triton.cdiv(vocabulary, blocks.n * SPLIT_BLOCKS)
    highest, sums, logit_sums = (hidden.new_empty((splits, rows), dtype=torch.float32) for _ in range(3))
    target_logits = hidden.new_zeros(wanted.shape, dtype=torch.float32)
    if rows:
        forward_kernel[(triton.cdiv(rows, blocks.m), splits)](
            x, w, bias if bias is not None else w, wanted, highest, sums, logit_sums, target_logits, rows, vocabulary,
            width, x.stride(0), w.stride(0), softcap, DEPTHS=len(wanted), HAS_BIAS=bias is not None,
            SOFTCAP=softcap > 0, SMOOTH=smooth, EVEN=width % blocks.k == 0,
            PRECISION=_precision(x.dtype), SPLIT=SPLIT_BLOCKS, BLOCK_M=blocks.m, BLOCK_N=blocks.n, BLOCK_K=blocks.k,
            num_warps=blocks.warps, num_stages=blocks.stages,
        )  # fmt: skip
    best = highest.amax(0)
    lse = best + (sums * torch.exp(highest - best)).sum(0).log()
    return lse, best, target_logits, logit_sums.sum(0) if smooth else torch.zeros_like(lse)


def _by_depth(values: Tensor, heads: int) -> Tensor:
    """The inverse of `_by_row`: [k / h, h · N] → [k, N]."""
    shared, rows = values.shape
    return values.view(shared, heads, rows // heads).transpose(0, 1).reshape(shared * heads, rows // heads)


def _unit_columns(weight: Tensor) -> Tensor:
    return weight if weight.stride(1) == 1 else weight.contiguous()


def backward(
    grad_losses: Tensor,
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    lse: Tensor,
    ignore_index: int = -100,
    z_loss: float = 0.0,
    softcap: float = 0.0,
    label_smoothing: float = 0.0,
    needs: tuple[bool, bool] = (True, True),
    whole_vocabulary: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of hidden, weight and bias ([0] where not needed: `needs` says hidden, weight), each in its dtype.

    Args:
        grad_losses: [k, N]; the others as `forward` took and gave them.
        whole_vocabulary: rows of the whole unembedding, where weight is a slice of it; lse is then that of all logits.
    """
    heads, positions, width = hidden.shape
    vocabulary, rows = weight.shape[0], heads * positions
    x, w = hidden.reshape(rows, width).contiguous(), _unit_columns(weight)
    ignored = targets == ignore_index
    wanted = _by_row(targets.masked_fill(ignored, -1), heads)
    grads = _by_row(grad_losses.float().masked_fill(ignored, 0.0), heads)
    flat_lse = lse.reshape(rows)
    total = grads.sum(0)
    partition = total * (1 + 2 * z_loss * flat_lse)
    unit: Tensor | None = None
    if x.dtype == torch.float16 and rows:
        # Gradients of a mean lie below fp16's range; they are stored as shares of the largest.
        unit = torch.maximum(grads.abs().amax(), partition.abs().amax()).clamp(min=torch.finfo(torch.float32).tiny)
        grads, total, partition = grads / unit, total / unit, partition / unit
    uniform = label_smoothing / (whole_vocabulary or vocabulary) * total
    needs_hidden, needs_weight = needs
    dx = x.new_zeros(x.shape if needs_hidden else 0, dtype=torch.float32)
    dw = torch.zeros(weight.shape if needs_weight else 0, dtype=weight.dtype, device=weight.device)
    db = weight.new_zeros(0) if bias is None or not needs_weight else torch.zeros_like(bias)
    blocks = BLOCKS[device_family(hidden.device)][hidden.element_size()]
    columns = max(blocks.n, SLICE_BYTES // max(1, rows * x.element_size()) // blocks.n * blocks.n)
    for first in range(0, vocabulary if rows else 0, columns):
        here = slice(first, min(first + columns, vocabulary))
        dz = x.new_empty((rows, here.stop - first))
        tiles = triton.cdiv(rows, blocks.m) * triton.cdiv(dz.shape[1], blocks.n)
        gradient_kernel[(tiles,)](
            x, w, bias if bias is not None else w, wanted, grads, flat_lse, partition, uniform, dz, rows, vocabulary,
            width, x.stride(0), w.stride(0), first, dz.shape[1], softcap, 1.0 - label_smoothing, DEPTHS=len(wanted),
            HAS_BIAS=bias is not None, SOFTCAP=softcap > 0, SMOOTH=label_smoothing > 0, EVEN=width % blocks.k == 0,
            PRECISION=_precision(x.dtype), BLOCK_M=blocks.m, BLOCK_N=blocks.n, BLOCK_K=blocks.k, GROUP=8,
            num_warps=blocks.warps, num_stages=blocks.stages,
        )  # fmt: skip
        if needs_hidden:
            dx.add_(dz @ w[here])
        if needs_weight:
            torch.mm(dz.t(), x, out=dw[here])
            if bias is not None:
                db[here] = dz.sum(0, dtype=torch.float32) * (1.0 if unit is None else unit)
    if unit is not None:
        dx *= unit
        dw *= unit
    return dx.view(hidden.shape).to(hidden.dtype) if needs_hidden else dx.to(hidden.dtype), dw, db


def aot_launches() -> Iterator[tuple[str, Callable[[], object]]]:
    """What benchmarks/aot.py compiles: four heads apart, and four depths on shared states with every option."""
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        name = str(dtype).removeprefix("torch.")
        weight, bias = (torch.empty(shape, dtype=dtype, device="meta") for shape in ((49152, 2048), (49152,)))
        targets = torch.empty((4, 2048), dtype=torch.int64, device="meta")
        for label, heads, with_bias, options in (
            ("apart", 4, None, ()),
            ("shared full", 1, bias, (-100, 1e-4, 30.0, 0.1)),
        ):
            hidden = torch.empty((heads, 2048, 2048), dtype=dtype, device="meta")
            yield f"{name} {label}", functools.partial(_both, hidden, weight, with_bias, targets, *options)


def _both(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, *options: float) -> None:
    losses, lse, _ = forward(hidden, weight, bias, targets, *options)  # type: ignore[arg-type]
    backward(losses, hidden, weight, bias, targets, lse, *options)  # type: ignore[arg-type]
