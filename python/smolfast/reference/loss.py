"""Cross-entropy straight from hidden states, over blocks of the vocabulary: the logits never exist whole unless asked
to.

Forward streams the log-sum-exp and the targets' logits over column blocks of the unembedding; backward recomputes each
block of logits (or reads it, if it was stored), turns it into its gradient, and adds it into both products.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

# One block of logits holds at most this many numbers: 32 MiB in fp32. Larger ones are no faster.
_BLOCK_LOGITS = 1 << 23
_MIN_COLUMNS = 256


@dataclass(frozen=True)
class LossOptions:
    """What `mtp_loss` was asked for, less the reduction."""

    ignore_index: int = -100
    z_loss: float = 0.0
    softcap: float = 0.0
    label_smoothing: float = 0.0


def _column_blocks(rows: int, vocabulary: int) -> Iterator[slice]:
    columns = max(_MIN_COLUMNS, _BLOCK_LOGITS // max(rows, 1))
    for start in range(0, vocabulary, columns):
        yield slice(start, min(start + columns, vocabulary))


def _logits(x: Tensor, weight: Tensor, bias: Tensor | None, softcap: float, out: Tensor | None = None) -> Tensor:
    z = torch.mm(x, weight.to(x.dtype).t(), out=out) if out is not None else torch.mm(x, weight.to(x.dtype).t())
    if bias is not None:
        z.add_(bias.to(x.dtype))
    if softcap:
        z.div_(softcap).tanh_().mul_(softcap)
    return z


def _compute_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _by_row(values: Tensor, heads: int) -> Tensor:
    """[k, N] → [h · N, k / h]: the depths that share a row of logits side by side."""
    depths, positions = values.shape
    return values.reshape(depths // heads, heads * positions).t()


def token_losses_forward(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    options: LossOptions,
    store: bool,
    predict: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The loss of every position and depth.

    Args:
        hidden: [h, N, H]; h is 1 (all depths share the logits) or k.
        weight: [V, H].
        bias: [V] or None.
        targets: int64 [k, N].
        store: keep the logits for the backward pass instead of recomputing them.
        predict: also find the likeliest token.

    Returns:
        losses [k, N] (0 where ignored), log-sum-exp [h, N], the likeliest token int64 [h, N] ([0, 0] unless asked for),
        logits [h · N, V] ([0, 0] unless stored). Losses are fp32, or fp64 for fp64 input.
    """
    heads, positions, width = hidden.shape
    vocabulary = weight.shape[0]
    compute = _compute_dtype(hidden.dtype)
    x = hidden.reshape(heads * positions, width).to(compute)
    rows = x.shape[0]
    wanted = _by_row(targets, heads)
    lse = x.new_full((rows,), -torch.inf)
    target_logits = x.new_zeros(wanted.shape)
    logit_sum = x.new_zeros(rows)
    best = x.new_full((rows,), -torch.inf)
    likeliest = torch.zeros(rows if predict else 0, dtype=torch.int64, device=x.device)
    stored = x.new_empty((rows, vocabulary) if store else (0, 0))
    for block in _column_blocks(rows, vocabulary):
        z = _logits(
            x,
            weight[block],
            None if bias is None else bias[block],
            options.softcap,
            stored[:, block] if store else None,
        )
        lse = torch.logaddexp(lse, torch.logsumexp(z, 1))
        inside = (wanted >= block.start) & (wanted < block.stop)
        local = (wanted - block.start).clamp_(0, z.shape[1] - 1)
        target_logits += torch.where(inside, z.gather(1, local), 0.0)
        if options.label_smoothing:
            logit_sum += z.sum(1)
        if predict:
            value, index = z.max(1)
            likeliest = torch.where(value > best, index + block.start, likeliest)
            best = torch.maximum(best, value)
    losses = lse[:, None] - (1 - options.label_smoothing) * target_logits
    if options.label_smoothing:
        losses -= options.label_smoothing * (logit_sum / vocabulary)[:, None]
    if options.z_loss:
        losses += options.z_loss * lse.square()[:, None]
    losses = losses.t().reshape(targets.shape).masked_fill(targets == options.ignore_index, 0.0)
    predicted = likeliest.view(heads, positions) if predict else likeliest.view(0, 0)
    return losses, lse.view(heads, positions), predicted, stored


def token_losses_backward(
    grad_losses: Tensor,
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    lse: Tensor,
    stored: Tensor,
    options: LossOptions,
    needs: tuple[bool, bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of hidden, weight and bias ([0] where not needed), each in its dtype."""
    heads, positions, width = hidden.shape
    vocabulary = weight.shape[0]
    compute = lse.dtype
    x = hidden.reshape(heads * positions, width).to(compute)
    rows = x.shape[0]
    valid = targets != options.ignore_index
    grad = _by_row(grad_losses.to(compute) * valid, heads)
    wanted = _by_row(torch.where(valid, targets, 0), heads)
    flat_lse = lse.reshape(rows)
    total = grad.sum(1)
    partition = total * (1 + 2 * options.z_loss * flat_lse) if options.z_loss else total
    uniform = options.label_smoothing / vocabulary * total
    needs_hidden, needs_weight = needs
    dx = torch.zeros_like(x) if needs_hidden else x.new_empty(0)
    dw = torch.empty_like(weight, memory_format=torch.contiguous_format) if needs_weight else weight.new_empty(0)
    db = torch.empty_like(bias) if bias is not None and needs_weight else weight.new_empty(0)
    for block in _column_blocks(rows, vocabulary):
        block_weight = weight[block].to(compute)
        if stored.numel():
            z = stored[:, block]
        else:
            z = _logits(x, block_weight, None if bias is None else bias[block], options.softcap)
        dz = torch.exp(z - flat_lse[:, None]).mul_(partition[:, None])
        if options.label_smoothing:
            dz.sub_(uniform[:, None])
        inside = (wanted >= block.start) & (wanted < block.stop)
        local = (wanted - block.start).clamp_(0, z.shape[1] - 1)
        dz.scatter_add_(1, local, torch.where(inside, grad * (options.label_smoothing - 1), 0.0))
        if options.softcap:
            dz.mul_(1 - (z / options.softcap).square_())
        if needs_hidden:
            dx.addmm_(dz, block_weight)
        if needs_weight:
            torch.mm(dz.t(), x, out=dw[block]) if dw.dtype == compute else dw[block].copy_(dz.t() @ x)
            if bias is not None:
                db[block] = dz.sum(0).to(db.dtype)
    return dx.view(hidden.shape).to(hidden.dtype) if needs_hidden else dx.to(hidden.dtype), dw, db
