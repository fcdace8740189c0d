"""`mtp_loss` with the unembedding cut into slices of the vocabulary, one on each rank of a process group.

Each rank goes over its own slice (after Megatron-LM, arXiv 1909.08053 §3); what crosses the ranks is a few numbers a
position forward, and the gradient of the hidden states backward.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from smolfast import reference
from smolfast.errors import SmolfastError
from smolfast.ops.differentiation import anchor_of, refuse_second_order, refuse_transforms
from smolfast.ops.loss import (
    Reduction,
    autocast,
    check_loss,
    check_targets,
    divisor,
    loss_kernel,
    metrics_of,
    shift,
)
from smolfast.ops.precision import without_autocast

ELSEWHERE = -1
"""A target in another rank's slice."""

_INSTEAD = 'take mtp_loss(..., reduction="none") of the whole unembedding'


def vocab_parallel_mtp_loss(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    head_weights: Sequence[float],
    group: dist.ProcessGroup | None = None,
    bias: Tensor | None = None,
    ignore_index: int = -100,
    z_loss: float = 0.0,
    softcap: float = 0.0,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    document_ids: Tensor | None = None,
    num_items: float | Tensor | Sequence[float] | None = None,
    return_metrics: bool = False,
) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
    """`mtp_loss`, called by every rank of a group with its own rows of the unembedding.

    Args:
        hidden, targets: the same on every rank; targets are places in the whole vocabulary.
        weight: this rank's rows [Vᵣ, H], bias: [Vᵣ]. Slices follow one another in the order of the ranks and may differ
            in height.
        group: the process group, the default one if None.

    Returns:
        what `mtp_loss` returns, the same on every rank. The gradient of hidden is whole on every rank, those of weight
        and bias are the slice's.

    Raises:
        SmolfastError: as `mtp_loss`, and for a rank without rows; under `torch.func` and forward-mode differentiation,
            and when its gradients are differentiated again.
    """
    refuse_transforms("vocab_parallel_mtp_loss", _INSTEAD)
    depths = len(head_weights)
    shared = hidden.ndim == targets.ndim + 1
    check_loss(hidden, weight, targets, bias, depths, shared, softcap, label_smoothing, reduction)
    if ignore_index == ELSEWHERE:
        raise SmolfastError("vocab_parallel_mtp_loss: ignore_index = −1 is taken; choose another, such as −100")
    first, vocabulary = _slice(weight, group)
    hidden, weight, bias = autocast(hidden, weight, bias)
    positions = targets.numel()
    shifted = shift(targets, depths, ignore_index, document_ids)
    flat_targets = shifted.reshape(depths, positions)
    check_targets(flat_targets, ignore_index, vocabulary)
    here = flat_targets - first
    here = here.masked_fill((here < 0) | (here >= weight.shape[0]), ELSEWHERE)
    valid = flat_targets != ignore_index
    here = here.masked_fill(~valid, ignore_index)
    counts = valid.sum(1)
    options = reference.LossOptions(ignore_index, z_loss, softcap, label_smoothing, vocabulary)
    rows = hidden.reshape(1 if shared else depths, positions, hidden.shape[-1])
    losses, lse, right = _TokenLosses.apply(rows, weight, bias, here, options, group)  # type: ignore[no-untyped-call]
    scale = torch.tensor(head_weights, dtype=losses.dtype, device=hidden.device)
    if reduction == "mean":
        scale = scale / divisor(num_items, counts, depths)
    loss = (losses * scale[:, None]).reshape(shifted.shape) if reduction == "none" else (losses.sum(1) * scale).sum()
    return (loss, metrics_of(losses, lse, right, valid, counts)) if return_metrics else loss


def _slice(weight: Tensor, group: dist.ProcessGroup | None) -> tuple[int, int]:
    """Where this rank's rows begin, and how many all ranks have."""
    heights = torch.zeros(dist.get_world_size(group), dtype=torch.int64, device=weight.device)
    rank = dist.get_rank(group)
    heights[rank] = weight.shape[0]
    dist.all_reduce(heights, group=group)
    if not bool((heights > 0).all()):
        raise SmolfastError(f"vocab_parallel_mtp_loss: ranks have {heights.tolist()} rows; each needs at least one")
    return int(heights[:rank].sum()), int(heights.sum())


class _TokenLosses(torch.autograd.Function):
    """Losses [k, N], log-sum-exp [h, N] and right [k, N], all of the whole vocabulary."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        options: reference.LossOptions,
        group: dist.ProcessGroup | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        assert options.vocabulary is not None
        kernel = loss_kernel(hidden, weight, bias)
        with without_autocast(hidden):
            if kernel is not None:
                lse, best, found, logit_sum = kernel.statistics(
                    hidden, weight, bias, targets, options.ignore_index, options.softcap, options.label_smoothing > 0
                )
                target_logits = found.t()
            else:
                lse, best, target_logits, logit_sum, _ = reference.logit_statistics(
                    hidden, weight, bias, targets, options
                )
        highest = torch.stack([best, lse])
        dist.all_reduce(highest, dist.ReduceOp.MAX, group=group)
        best, top = highest
        sums = torch.cat([torch.exp(lse - top)[:, None], logit_sum[:, None], target_logits], 1)
        dist.all_reduce(sums, group=group)
        lse = top + sums[:, 0].log()
        losses, right = reference.losses_of(lse, best, sums[:, 2:], sums[:, 1], targets, options, options.vocabulary)
        lse = lse.view(hidden.shape[:2])
        ctx.save_for_backward(hidden, weight, bias, targets, lse)
        ctx.options, ctx.group = options, group
        ctx.mark_non_differentiable(lse, right)
        return losses, lse, right

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias = ctx.saved_tensors[:3]
        anchor = anchor_of(hidden, weight, bias)
        with torch.no_grad():  # ranks exchange numbers, which torch can't follow
            gradients = _TokenLosses._gradients(ctx, grads[0])
        return (*refuse_second_order("vocab_parallel_mtp_loss", _INSTEAD, gradients, anchor), None, None, None)

    @staticmethod
    def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        hidden, weight, bias, targets, lse = ctx.saved_tensors
        options: reference.LossOptions = ctx.options
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        needs = (needs_hidden, needs_weight or needs_bias)
        kernel = loss_kernel(hidden, weight, bias)
        with without_autocast(hidden):
            if kernel is not None:
                dx, dw, db = kernel.backward(
                    grad, hidden, weight, bias, targets, lse, options.ignore_index, options.z_loss, options.softcap,
                    options.label_smoothing, needs, options.vocabulary,
                )  # fmt: skip
            else:
                dx, dw, db = reference.token_losses_backward(
                    grad, hidden, weight, bias, targets, lse, lse.new_empty((0, 0)), options, needs
                )
        if needs_hidden:
            wide = dx.float() if dx.dtype in (torch.float16, torch.bfloat16) else dx
            dist.all_reduce(wide, group=ctx.group)
            dx = wide.to(dx.dtype)
        return dx if needs_hidden else None, dw if needs_weight else None, db if needs_bias else None
