"""Plain torch implementations of the operations in `smolfast.ops`, for every device.

They are what a CPU runs, what the tests of the Triton kernels compare with, and the baseline of the benchmarks.
"""

from __future__ import annotations

from smolfast.reference.attention import (
    attention_backward,
    attention_forward,
    sink_gradient,
    torch_is_fastest,
)
from smolfast.reference.attention_options import AttentionOptions
from smolfast.reference.distillation import DIVERGENCES, Teacher, stored_divergence
from smolfast.reference.loss import (
    MAX_STORED_COLUMNS,
    LossOptions,
    logit_statistics,
    losses_of,
    row_losses,
    token_losses_backward,
    token_losses_forward,
)
from smolfast.reference.loss_gradients import Into, Rows, Sweep, Turn, block_height, summed_loss, sweep_rows, turn_rows
from smolfast.reference.orthogonalize import (
    COEFFICIENTS,
    Coefficients,
    cut_steps,
    newton_schulz,
    newton_schulz_backward,
    resolve_coefficients,
)
from smolfast.reference.whole_logits import plain_losses

__all__ = [
    "COEFFICIENTS",
    "DIVERGENCES",
    "MAX_STORED_COLUMNS",
    "AttentionOptions",
    "Coefficients",
    "Into",
    "LossOptions",
    "Rows",
    "Sweep",
    "Teacher",
    "Turn",
    "attention_backward",
    "attention_forward",
    "block_height",
    "cut_steps",
    "logit_statistics",
    "losses_of",
    "newton_schulz",
    "newton_schulz_backward",
    "plain_losses",
    "resolve_coefficients",
    "row_losses",
    "sink_gradient",
    "stored_divergence",
    "summed_loss",
    "sweep_rows",
    "token_losses_backward",
    "token_losses_forward",
    "torch_is_fastest",
    "turn_rows",
]
