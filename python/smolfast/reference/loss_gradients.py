"""A loss summed over its rows together with its gradients, in one visit to every row of logits.

When the upstream gradient is one number, nothing has to wait for the backward pass: a block of rows is multiplied with
the unembedding, turned into the gradient of its logits where it lies, and multiplied into both gradients. That is three
products where recomputing takes four, and the logits of one block exist at a time. What it costs is that dW is read and
written once a block of rows instead of once (about 2 % of the time at H = 256).

bf16 stays bf16 in the products (fp32 sums within one, and of dW over blocks): on an AVX-512 BF16 core they
run at 180 GFLOP/s where fp32 runs at 80. Everything between is fp32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from smolfast.reference.distillation import Teacher
from smolfast.reference.loss import LossOptions, by_row, row_losses

# Bytes of logits held at a time, since dW is read and written once for each block of them: at V = 49,152 64 MiB take
# 2 % (fp32) to 6 % (bf16) longer; at V = 128,256 fewer than 256 rows 12 %.
_BUFFER = 96 << 20
_LEAST_ROWS = 256
# Rows of logits worked on at a time, in fp32. On one thread 1 to 16 MiB take the same time (1.99 s of 2,048 rows at
# V = 49,152); 4 MiB are 21 rows there, which several threads share evenly, where 1 MiB is 5.
_TILE = 1 << 20
# Columns of dW whose sums over a block of rows exist in 16 bits at a time.
_COLUMNS = 1 << 13


def _buffer(like: Tensor, height: int, width: int) -> Tensor:
    """[height, width] whose rows begin at different places of a memory page: where they all begin at one (V = 4,096 or
    49,152), they fall into the same few lines of the cache, and products take 1.3 to 1.5 times as long."""
    page = 4096 // like.itemsize
    apart = page // 2 + 64 // like.itemsize
    whole = like.new_empty((height, width + (apart - width) % page))
    whole[:, width:] = 0  # bf16 products on AMX read up to 31 numbers past a row, times 0: a NaN there would spread
    return whole[:, :width]


@dataclass(frozen=True)
class Rows:
    """Some rows of logits: what they learn from, and where what is found out goes. Each [rows, k / h] unless said.

    Attributes:
        wanted: int64 targets, any where none counts.
        grad: of the loss in each target's own, 0 where it doesn't count.
        positions: the teacher's position for each target, int64 ([0] without a teacher).
        losses, right, divergences ([0] without a teacher), lse [rows]: to be written.
    """

    wanted: Tensor
    grad: Tensor
    positions: Tensor
    losses: Tensor
    lse: Tensor
    right: Tensor
    divergences: Tensor

    def __getitem__(self, rows: slice) -> Rows:
        return Rows(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


Turn = Callable[[Tensor, Rows, LossOptions, Teacher | None], None]
"""Turns logits [rows, V] into the gradient of the loss in them, where they lie, and writes down the rows' losses."""


def turn_rows(logits: Tensor, rows: Rows, options: LossOptions, teacher: Teacher | None) -> None:
    """A `Turn` in plain torch, some rows at a time."""
    count, vocabulary = logits.shape
    height = max(1, _TILE // max(1, vocabulary))
    for top in range(0, count, height):
        part = slice(top, top + height)
        _turn_tile(logits[part], rows[part], options, teacher)


def _turn_tile(tile: Tensor, rows: Rows, options: LossOptions, teacher: Teacher | None) -> None:
    z = tile.to(rows.losses.dtype)
    if options.softcap:
        z = z.div(options.softcap).tanh_().mul_(options.softcap)
    target_logits = z.gather(1, rows.wanted)
    highest = z.amax(1)
    softmax = torch.softmax(z, 1)
    # From the fused softmax: the row's maximum less the log of its largest probability.
    lse = highest - softmax.amax(1).log_()
    mean = z.mean(1) if options.label_smoothing else None
    rows.lse.copy_(lse)
    rows.right.copy_(target_logits >= highest[:, None])
    rows.losses.copy_(row_losses(lse, target_logits, mean, options))
    grad = rows.grad if teacher is None else rows.grad * teacher.ce_weight
    total = grad.sum(1)
    partition = total * (1 + 2 * options.z_loss * lse) if options.z_loss else total
    if teacher is None:
        dz = softmax.mul_(partition[:, None])
    else:
        dz = softmax * partition[:, None]
        student = teacher.student(z, softmax, lse)
        for column in range(rows.wanted.shape[1]):
            step = rows.grad[:, column]
            rows.divergences[:, column] = teacher.add(rows.positions[:, column], step, student, dz)
    if options.label_smoothing:
        dz.sub_((options.label_smoothing / z.shape[1] * total)[:, None])
    dz.scatter_add_(1, rows.wanted, (options.label_smoothing - 1) * grad)
    if options.softcap:
        dz.mul_(1 - z.div_(options.softcap).square_())
    tile.copy_(dz)


def _even(rows: int) -> int:
    """A multiple of 16 where it can be, as the products like it."""
    return rows // 16 * 16 or rows


def block_height(rows: int, vocabulary: int, itemsize: int) -> int:
    """Rows whose logits exist at a time."""
    fits = _BUFFER // max(1, vocabulary * itemsize)
    return max(1, min(rows, _even(max(fits, min(_LEAST_ROWS, 2 * fits)))))


@dataclass(frozen=True)
class Into:
    """Where gradients go: of the hidden states, to be written, and of weight and bias, to be added to, the last two in
    the dtype of the losses. None where not wanted."""

    hidden: Tensor | None
    weight: Tensor | None
    bias: Tensor | None


Sweep = Callable[[Tensor, Tensor, Tensor | None, Rows, LossOptions, Teacher | None, Into], None]
"""Writes what `Rows` and `Into` have room for, from hidden states [rows, H], unembedding [V, H] and its bias [V]."""


def sweep_rows(
    x: Tensor, weight: Tensor, bias: Tensor | None, rows: Rows, options: LossOptions, teacher: Teacher | None,
    into: Into, turn: Turn = turn_rows,
) -> None:  # fmt: skip
    """A `Sweep` of torch's products."""
    count, vocabulary = len(x), len(weight)
    height = block_height(count, vocabulary, x.itemsize)
    buffer = _buffer(x, height if count else 0, vocabulary)
    for start in range(0, count, height):
        block = slice(start, min(start + height, count))
        logits = buffer[: block.stop - start]
        if bias is None:
            torch.mm(x[block], weight.t(), out=logits)
        else:
            torch.addmm(bias, x[block], weight.t(), out=logits)
        turn(logits, rows[block], options, teacher)
        if into.bias is not None:
            into.bias.add_(logits.sum(0, dtype=into.bias.dtype))
        if into.hidden is not None:
            torch.mm(logits, weight, out=into.hidden[block])
        if into.weight is not None and into.weight.dtype == weight.dtype:
            into.weight.addmm_(logits.t(), x[block])
        elif into.weight is not None:
            for left in range(0, vocabulary, _COLUMNS):
                columns = slice(left, left + _COLUMNS)
                into.weight[columns] += logits[:, columns].t() @ x[block]


@torch.no_grad()
def summed_loss(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    scale: Tensor,
    options: LossOptions,
    needs: tuple[bool, bool],
    teacher: Teacher | None = None,
    sweep: Sweep = sweep_rows,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Losses, and the gradients of Σⱼᵢ scale · losses[j, i], or of what a teacher makes of that sum.

    Args:
        hidden: [h, N, H]; h is 1 (all depths share the logits) or k. fp32, fp64, or bf16 if weight is.
        weight: [V, H] in the dtype of hidden. bias: [V] or None.
        targets: int64 [k, N].
        scale: [k], or [k, N] for a scale of each loss, in the dtype of the losses.
        needs: whether gradients of hidden, and of weight and bias, are wanted.
        teacher: weighs the losses and adds its divergences: ce_weight · losses + weight · τ² · divergences. Depth j at
            position i learns from the teacher's position i + j, where its target counts.
        sweep: what goes over the rows.

    Returns:
        losses [k, N] (0 where ignored), log-sum-exp [h, N] (0 where no target of the row counts), whether no logit is
        above the target's, bool [k, N], the gradients of hidden, weight and bias ([0] where not wanted), and
        divergences [k, N] ([0] without a teacher).
    """
    heads, positions, width = hidden.shape
    vocabulary = weight.shape[0]
    compute = torch.float64 if hidden.dtype == torch.float64 else torch.float32
    x = hidden.reshape(heads * positions, width)
    wanted = by_row(targets, heads)
    valid = wanted != options.ignore_index
    scale = scale.to(compute)
    grad = by_row(scale if scale.ndim == 2 else scale[:, None].expand_as(targets), heads) * valid
    kept = valid.any(1).nonzero()[:, 0]
    whole = len(kept) == len(x)
    wanted = torch.where(valid, wanted, 0)
    if not whole:
        x, wanted, valid, grad = x[kept], wanted[kept], valid[kept], grad[kept]
    count = len(x)
    losses, right = x.new_zeros(wanted.shape, dtype=compute), torch.zeros_like(valid)
    lse = losses.new_zeros(count)
    divergences = torch.zeros_like(losses) if teacher is not None else losses.new_zeros(0)
    at = kept.new_zeros(0)
    if teacher is not None:
        ahead = kept // positions if heads > 1 else torch.arange(wanted.shape[1], device=kept.device)[:, None]
        at = (kept % positions + ahead).clamp_(max=positions - 1).reshape(-1, count).t()
    rows = Rows(wanted, grad, at, losses, lse, right, divergences)
    needs_hidden, needs_weight = needs
    dx = x.new_empty((count, width) if needs_hidden else 0)
    dw = torch.zeros(weight.shape if needs_weight else 0, dtype=compute, device=x.device)
    db = dw.new_zeros(vocabulary if needs_weight and bias is not None else 0)
    into = Into(
        dx if needs_hidden else None, dw if needs_weight else None, db if needs_weight and bias is not None else None
    )
    sweep(x, weight, bias, rows, options, teacher, into)

    def every_row(values: Tensor) -> Tensor:
        if whole:
            return values
        return values.new_zeros((heads * positions, *values.shape[1:])).index_copy_(0, kept, values)

    def by_depth(values: Tensor) -> Tensor:
        return every_row(values).t().reshape(targets.shape).contiguous()

    return (
        by_depth(losses.masked_fill_(~valid, 0)),
        every_row(lse).view(heads, positions),
        by_depth(right & valid),
        every_row(dx).view(hidden.shape) if needs_hidden else dx,
        dw.to(weight.dtype),
        db.to(weight.dtype if bias is None else bias.dtype),
        by_depth(divergences.masked_fill_(~valid, 0)) if teacher is not None else divergences,
    )
