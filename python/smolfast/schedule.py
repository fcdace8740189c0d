"""Learning-rate schedules: the share of the peak rate at each step."""

from __future__ import annotations


def warmup_stable_decay(step: int, steps: int, *, warmup_fraction: float, decay_fraction: float) -> float:
    """Warm-up–stable–decay (MiniCPM, arXiv 2404.06395) with linear ramps, in (0, 1].

    The rise reaches 1 at the last warm-up step; the fall ends one notch above 0 at the last step, so that none is
    wasted.

    Args:
        step: 0 … steps − 1.
        warmup_fraction: share of the steps in the rise; at least one step.
        decay_fraction: share of the steps in the fall.
    """
    warmup = max(1, round(warmup_fraction * steps))
    decay = max(1, round(decay_fraction * steps))
    return min(1.0, (step + 1) / warmup, (steps - step) / decay)
