"""Learning from pairs of answers, one better than the other: DPO and what followed it, without logits in memory.

`ops.log_probabilities` gives each token's log-probability, `sequence_sums` each answer's, `preference_losses` the loss.
What the reference says of the same answers comes from wherever it was kept.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from smolfast.errors import SmolfastError

PreferenceLoss = Literal["sigmoid", "sigmoid_norm", "apo_zero", "apo_zero_norm", "apo_down", "apo_down_norm"]


def sequence_sums(values: Tensor, sequences: Tensor, count: int) -> Tensor:
    """Sums [count] of values [N], each of the sequence that `sequences` (int64 [N]) says; added in fp64."""
    sums = values.new_zeros(count, dtype=torch.float64).index_add(0, sequences, values.double())
    return sums.to(values.dtype)


def preference_losses(
    chosen: Tensor,
    rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    *,
    loss: PreferenceLoss = "sigmoid",
    beta: float = 0.1,
    label_smoothing: float = 0.0,
    chosen_lengths: Tensor | None = None,
    rejected_lengths: Tensor | None = None,
) -> Tensor:
    """The loss of each pair. c and r are the log-ratios of model and reference for the two answers, σ the sigmoid:

    - sigmoid: −log σ(β (c − r)) (DPO, arXiv 2305.18290). With label smoothing ε, the chance that a pair is the wrong
      way round: −(1 − ε) log σ(β (c − r)) − ε log σ(β (r − c)) (conservative DPO, a note of Mitchell's).
    - apo_zero: 1 − σ(β c) + σ(β r) (arXiv 2408.06266, equation 7): chosen answers better than the model's own.
    - apo_down: σ(β c) + 1 − σ(β (c − r)) (equation 8): chosen answers worse than the model's own.
    - the same with _norm: c and r divided by their answers' lengths in tokens (as in Tülu 3, arXiv 2411.15124).

    Args:
        chosen, rejected: log-probabilities of the answers by the model, [P]; the reference's likewise.
        beta: how strongly the reference holds the model. The forms with _norm take larger ones: 2 to 10.
        chosen_lengths, rejected_lengths: tokens of the answers, [P], for the forms with _norm.

    Returns:
        [P], to be averaged.

    Raises:
        SmolfastError: an unknown loss, lengths that are missing, shapes that differ, options out of range.
    """
    if loss not in get_args(PreferenceLoss):
        raise SmolfastError(
            f"preference_losses: loss = '{loss}' is unknown; choose {', '.join(get_args(PreferenceLoss))}"
        )
    if not {x.shape for x in (chosen, rejected, reference_chosen, reference_rejected)} == {chosen.shape}:
        raise SmolfastError(
            f"preference_losses: chosen is {list(chosen.shape)}, rejected {list(rejected.shape)}, the reference's "
            f"{list(reference_chosen.shape)} and {list(reference_rejected.shape)}; all four must be [P]"
        )
    if beta <= 0 or not 0 <= label_smoothing < 0.5:
        raise SmolfastError("preference_losses: beta must be above 0 and label_smoothing within [0, 0.5)")
    form = loss.removesuffix("_norm")
    if label_smoothing and form != "sigmoid":
        raise SmolfastError(f"preference_losses: label_smoothing belongs to sigmoid, not to '{loss}'; set it to 0")
    c, r = chosen - reference_chosen, rejected - reference_rejected
    if form != loss:
        if chosen_lengths is None or rejected_lengths is None:
            raise SmolfastError(f"preference_losses: '{loss}' divides by lengths; give those of both answers")
        c, r = c / chosen_lengths.clamp(min=1), r / rejected_lengths.clamp(min=1)
    if form == "apo_zero":
        return 1 - torch.sigmoid(beta * c) + torch.sigmoid(beta * r)
    if form == "apo_down":
        return torch.sigmoid(beta * c) + 1 - torch.sigmoid(beta * (c - r))
    losses = -F.logsigmoid(beta * (c - r))
    if label_smoothing:
        losses = (1 - label_smoothing) * losses - label_smoothing * F.logsigmoid(beta * (r - c))
    return losses
