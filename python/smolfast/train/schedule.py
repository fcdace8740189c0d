"""Schedules: the share of the peak rate at each step, and how the batch grows."""

from __future__ import annotations

import math
from typing import Literal

from smolfast.config import TrainConfig

Decay = Literal["linear", "1-sqrt"]


def rate_scale(config: TrainConfig, step: int, steps: int) -> float:
    """The share of the peak rate at a step, as the settings' schedule has it."""
    if config.schedule == "cosine":
        return warmup_cosine(
            step, steps, warmup_fraction=config.warmup_fraction, final_fraction=config.final_rate_fraction
        )
    return warmup_stable_decay(
        step,
        steps,
        warmup_fraction=config.warmup_fraction,
        decay_fraction=config.decay_fraction,
        decay=config.decay_shape,
    )


def warmup_stable_decay(
    step: int, steps: int, *, warmup_fraction: float, decay_fraction: float, decay: Decay = "linear"
) -> float:
    """Warm-up–stable–decay (MiniCPM, arXiv 2404.06395) in (0, 1], the rise linear.

    The rise reaches 1 at the last warm-up step; the fall ends one notch above 0 at the last step, so that none is
    wasted.

    Args:
        step: 0 … steps − 1.
        warmup_fraction: share of the steps in the rise; at least one step.
        decay_fraction: share of the steps in the fall.
        decay: the fall's shape: "linear", or "1-sqrt", 1 − √(share of the fall done) (Hägele et al., arXiv 2405.18392).
    """
    warmup = max(1, round(warmup_fraction * steps))
    falling = max(1, round(decay_fraction * steps))
    left = min(1.0, (steps - step) / falling)
    fall = left if decay == "linear" else 1.0 - math.sqrt(1.0 - left)
    return min(1.0, (step + 1) / warmup, fall)


def warmup_cosine(step: int, steps: int, *, warmup_fraction: float, final_fraction: float = 0.0) -> float:
    """A linear rise, then half a cosine (arXiv 1608.03983) from 1 down to one notch above `final_fraction`, in (0, 1].

    Args:
        step, warmup_fraction: as in `warmup_stable_decay`.
        final_fraction: share of the peak rate that the cosine would reach a step after the last.
    """
    warmup = max(1, round(warmup_fraction * steps))
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup + 1) / (steps - warmup + 1)
    return final_fraction + (1.0 - final_fraction) * 0.5 * (1.0 + math.cos(math.pi * done))


def ramped_batch_size(step: int, steps: int, *, start: int, end: int, ramp_fraction: float, multiple: int) -> int:
    """Sequences of a step while the batch grows linearly over the first `ramp_fraction` of the steps.

    Small batches suffice while gradients are large and alike (McCandlish et al., arXiv 1812.06162).

    Args:
        start, end: sequences at the first step and after the ramp; multiples of `multiple`.
        multiple: what every size is rounded down to: a micro-batch on each rank.
    """
    ramp = round(ramp_fraction * steps)
    if step >= ramp:
        return end
    grown = start + (end - start) * step / ramp
    return max(multiple, int(grown) // multiple * multiple)
