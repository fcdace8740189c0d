"""`distilled_loss`: cross-entropy and a divergence from a teacher, from one visit to each row of logits."""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from smolfast import reference
from smolfast.ops.loss import check_targets, keep_gradients, scale_gradients
from smolfast.ops.native.loss import sweep_for
from smolfast.ops.precision import without_autocast

INSTEAD = "take torch.nn.functional.cross_entropy and kl_div of whole logits"


@torch.library.custom_op("smolfast::distilled_loss", mutates_args=())
def distilled_loss(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    scale: Tensor,
    teacher_logits: Tensor | None,
    teacher_hidden: Tensor | None,
    teacher_weight: Tensor | None,
    teacher_bias: Tensor | None,
    tokens: Tensor | None,
    probabilities: Tensor | None,
    ce_weight: float,
    kl_weight: float,
    temperature: float,
    divergence: str,
    ignore_index: int,
    z_loss: float,
    softcap: float,
    label_smoothing: float,
    needs_hidden: bool,
    needs_weight: bool,
    anchor: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The loss, then what `reference.summed_loss` returns.

    Args:
        hidden [h, N, H], weight [V, H], bias [V], targets [k, N], scale [k]: as `reference.summed_loss` takes them.
        teacher_logits [N, V]; or teacher_hidden [N, T], teacher_weight [V, T], teacher_bias [V]; or tokens and
            probabilities [N, m].
    """
    check_targets(targets, ignore_index, weight.shape[0])

    def rows(positions: Tensor) -> Tensor:
        if teacher_logits is not None:
            return teacher_logits[positions]
        assert teacher_hidden is not None
        assert teacher_weight is not None
        return F.linear(teacher_hidden[positions], teacher_weight, teacher_bias)

    teacher = reference.Teacher(
        ce_weight, kl_weight, temperature, divergence, None if tokens is not None else rows, tokens, probabilities
    )
    options = reference.LossOptions(ignore_index, z_loss, softcap, label_smoothing)
    with without_autocast(hidden):
        losses, lse, right, dx, dw, db, divergences = reference.summed_loss(
            hidden, weight, bias, targets, scale, options, (needs_hidden, needs_weight), teacher,
            sweep_for(hidden, weight, options, teacher),
        )  # fmt: skip
    sums = ce_weight * losses.sum(1) + kl_weight * temperature**2 * divergences.sum(1)
    return (sums * scale).sum(), losses, lse, right, dx, dw, db, divergences


@distilled_loss.register_fake
def _(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, scale: Tensor, *options: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    needs_hidden, needs_weight = options[14:16]
    return (
        scale.new_empty(()),
        scale.new_empty(targets.shape),
        scale.new_empty(hidden.shape[:2]),
        targets.new_empty(targets.shape, dtype=torch.bool),
        hidden.new_empty(hidden.shape if needs_hidden else 0),
        weight.new_empty(weight.shape if needs_weight else 0),
        weight.new_empty(0) if bias is None or not needs_weight else bias.new_empty(bias.shape),
        scale.new_empty(targets.shape),
    )


distilled_loss.register_autograd(
    functools.partial(scale_gradients, "distill_loss", INSTEAD), setup_context=keep_gradients
)
