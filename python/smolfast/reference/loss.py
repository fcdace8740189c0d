"""Cross-entropy straight from hidden states, over tiles of the logits, which never exist whole unless asked to.

Forward streams the log-sum-exp and the targets' logits over column blocks of the unembedding; backward recomputes each
tile of logits (or reads its softmax, if that was stored), turns it into its gradient, and adds it into both products.

Tiles are softmaxed rather than exponentiated: on an AVX-512 core, for 2²⁰ numbers, torch's fused softmax takes 0.60 ms,
exp alone 0.85 ms and logsumexp 1.1 ms. Its log-sum-exp is the row's maximum less the log of its largest probability.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

# A tile of 4 MiB in fp32: small enough for the caches, large enough for the products to run at full speed.
_TILE = 1 << 20
_TILE_COLUMNS = 4096

MAX_STORED_COLUMNS = 1 << 14
"""Softmaxes are stored only for vocabularies that fit one column block of this width."""


@dataclass(frozen=True)
class LossOptions:
    """What `mtp_loss` was asked for, less the reduction."""

    ignore_index: int = -100
    z_loss: float = 0.0
    softcap: float = 0.0
    label_smoothing: float = 0.0
    vocabulary: int | None = None
    """Rows of the whole unembedding, where `weight` is a slice of it. Targets are then places in the slice, and −1 is a
    target that counts and lies elsewhere."""


def _tiles(rows: int, vocabulary: int, stored: bool) -> Iterator[tuple[slice, list[slice]]]:
    """Column blocks, each with the row blocks to go over."""
    columns = vocabulary if stored else min(vocabulary, _TILE_COLUMNS)
    height = max(1, _TILE // max(columns, 1))
    row_blocks = [slice(start, min(start + height, rows)) for start in range(0, rows, height)]
    for start in range(0, vocabulary, columns):
        yield slice(start, min(start + columns, vocabulary)), row_blocks


def _logits(x: Tensor, weight: Tensor, bias: Tensor | None, softcap: float) -> Tensor:
    z = x @ weight.t()
    if bias is not None:
        z.add_(bias)
    if softcap:
        z.div_(softcap).tanh_().mul_(softcap)
    return z


def by_row(values: Tensor, heads: int) -> Tensor:
    """[k, N] → [h · N, k / h]: the depths that share a row of logits side by side."""
    depths, positions = values.shape
    return values.reshape(depths // heads, heads * positions).t()


def _local(wanted: Tensor, block: slice) -> tuple[Tensor, Tensor]:
    """Which targets lie in a column block, and where in it (0 for those that don't)."""
    inside = (wanted >= block.start) & (wanted < block.stop)
    return inside, (wanted - block.start).masked_fill_(~inside, 0)


def token_losses_forward(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, options: LossOptions, store: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The loss of every position and depth.

    Args:
        hidden: [h, N, H]; h is 1 (all depths share the logits) or k.
        weight: [V, H].
        bias: [V] or None.
        targets: int64 [k, N].
        store: keep the softmax for the backward pass instead of recomputing the logits. Not with a softcap.

    Returns:
        losses [k, N] (0 where ignored), log-sum-exp [h, N], whether no logit is above the target's, bool [k, N],
        softmax [h · N, V] ([0, 0] unless stored). Losses are fp32, or fp64 for fp64 input.
    """
    lse, best, target_logits, logit_sum, stored = logit_statistics(hidden, weight, bias, targets, options, store)
    vocabulary = options.vocabulary or weight.shape[0]
    losses, right = losses_of(lse, best, target_logits, logit_sum, targets, options, vocabulary)
    return losses, lse.view(hidden.shape[:2]), right, stored


def logit_statistics(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, options: LossOptions, store: bool = False
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """What the losses are made of, by row of the logits: their log-sum-exp and maximum [h · N], the targets' logits
    [h · N, k / h] (0 for targets elsewhere), their sum [h · N] (0 without label smoothing), and the softmax."""
    heads, positions, width = hidden.shape
    vocabulary = weight.shape[0]
    compute = torch.float64 if hidden.dtype == torch.float64 else torch.float32
    x = hidden.reshape(heads * positions, width).to(compute)
    count = x.shape[0]
    wanted = by_row(targets, heads)
    lse, best = x.new_full((count,), -torch.inf), x.new_full((count,), -torch.inf)
    target_logits, logit_sum = x.new_zeros(wanted.shape), x.new_zeros(count)
    stored = x.new_empty((count, vocabulary) if store else (0, 0))
    for columns, row_blocks in _tiles(count, vocabulary, store):
        block_weight, block_bias = weight[columns].to(compute), None if bias is None else bias[columns].to(compute)
        for rows in row_blocks:
            z = _logits(x[rows], block_weight, block_bias, options.softcap)
            inside, local = _local(wanted[rows], columns)
            target_logits[rows] += z.gather(1, local).masked_fill_(~inside, 0.0)
            if options.label_smoothing:
                logit_sum[rows] += z.sum(1)
            top = z.amax(1)
            softmax = torch.softmax(z, 1, out=stored[rows]) if store else torch.softmax(z, 1)
            lse[rows] = torch.logaddexp(lse[rows], top - softmax.amax(1).log_())
            best[rows] = torch.maximum(best[rows], top)
    return lse, best, target_logits, logit_sum, stored


def row_losses(lse: Tensor, target_logits: Tensor, mean: Tensor | None, options: LossOptions) -> Tensor:
    """Losses [n, k / h] of rows of logits, from their log-sum-exp and mean [n] (for label smoothing)."""
    losses = lse[:, None] - (1 - options.label_smoothing) * target_logits
    if options.label_smoothing:
        assert mean is not None
        losses -= options.label_smoothing * mean[:, None]
    if options.z_loss:
        losses += options.z_loss * lse.square()[:, None]
    return losses


def losses_of(
    lse: Tensor, best: Tensor, target_logits: Tensor, logit_sum: Tensor, targets: Tensor, options: LossOptions,
    vocabulary: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Losses [k, N] and whether no logit is above the target's, from the statistics of whole rows of logits."""
    losses = row_losses(lse, target_logits, logit_sum / vocabulary, options)
    ignored = targets == options.ignore_index
    right = (target_logits >= best[:, None]).t().reshape(targets.shape).logical_and(~ignored)
    losses = losses.t().reshape(targets.shape).masked_fill(ignored, 0.0)
    return losses.contiguous(), right.contiguous()


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
    """Gradients of hidden, weight and bias ([0] where not needed: `needs` says hidden, weight), each in its dtype."""
    heads, positions, width = hidden.shape
    vocabulary = weight.shape[0]
    compute = lse.dtype
    x = hidden.reshape(heads * positions, width).to(compute)
    count = x.shape[0]
    valid = targets != options.ignore_index
    grad = by_row(grad_losses.to(compute) * valid, heads)
    wanted = by_row(torch.where(valid, targets, 0), heads)
    flat_lse = lse.reshape(count)
    total = grad.sum(1)
    partition = total * (1 + 2 * options.z_loss * flat_lse) if options.z_loss else total
    uniform = options.label_smoothing / (options.vocabulary or vocabulary) * total
    needs_hidden, needs_weight = needs
    dx = torch.zeros_like(x) if needs_hidden else x.new_empty(0)
    dw = torch.zeros(weight.shape if needs_weight else 0, dtype=weight.dtype, device=x.device)
    db = weight.new_zeros(0) if bias is None or not needs_weight else torch.zeros_like(bias)
    use_stored = stored.shape[0] > 0
    for columns, row_blocks in _tiles(count, vocabulary, use_stored):
        block_weight, block_bias = weight[columns].to(compute), None if bias is None else bias[columns].to(compute)
        # Row blocks add up in the compute dtype; a slice of dw is written once.
        block_dw = dw[columns] if dw.dtype == compute else torch.zeros_like(block_weight)
        block_db = torch.zeros(block_weight.shape[0], dtype=compute, device=x.device)
        for rows in row_blocks:
            if use_stored:
                z = stored[rows]
                dz = z * partition[rows, None]
            else:
                z = _logits(x[rows], block_weight, block_bias, options.softcap)
                dz = torch.softmax(z, 1)
                tile_lse = z.amax(1).sub_(dz.amax(1).log_())
                dz.mul_((partition[rows] * torch.exp(tile_lse - flat_lse[rows]))[:, None])
            if options.label_smoothing:
                dz.sub_(uniform[rows, None])
            inside, local = _local(wanted[rows], columns)
            onehot = (grad[rows] * (options.label_smoothing - 1)).masked_fill_(~inside, 0.0)
            dz.scatter_add_(1, local, onehot)
            if options.softcap:
                dz.mul_(1 - z.div_(options.softcap).square_())
            if needs_hidden:
                dx[rows].addmm_(dz, block_weight)
            if needs_weight:
                block_dw.addmm_(dz.t(), x[rows])
                if bias is not None:
                    block_db += dz.sum(0)
        if needs_weight and dw.dtype != compute:
            dw[columns] = block_dw.to(dw.dtype)
        if needs_weight and bias is not None:
            db[columns] = block_db.to(db.dtype)
    return dx.view(hidden.shape).to(hidden.dtype) if needs_hidden else dx.to(hidden.dtype), dw, db
