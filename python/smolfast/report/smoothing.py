"""Curves smoothed without lag."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def smoothed(values: Sequence[float], half: int) -> list[float]:
    """Each value replaced by a straight line's, fitted to those up to `half` places before and after it.

    Weights fall with the distance (tricube), as in LOESS of degree one (Cleveland 1979). The window is centred, and at
    either end the line goes on, so that a falling curve is followed and not trailed. Values that aren't finite stay.
    """
    y = np.asarray(values, np.float64)
    if not len(y):
        return []
    known = np.isfinite(y)
    at = np.arange(-half, half + 1)
    weights = (1 - (np.abs(at) / (half + 1)) ** 3) ** 3

    def sums(power: int, of: np.ndarray) -> np.ndarray:
        """Over the window, weight · distance^power · value. The kernel is turned round, since convolving mirrors it."""
        full = np.convolve(of, (weights * at.astype(float) ** power)[::-1])
        return full[half : half + len(of)]

    filled, one = np.where(known, y, 0.0), known.astype(np.float64)
    w0, w1, w2 = (sums(power, one) for power in (0, 1, 2))
    s0, s1 = sums(0, filled), sums(1, filled)
    divisor = w0 * w2 - w1 * w1
    with np.errstate(divide="ignore", invalid="ignore"):
        line = np.where(divisor > 1e-9 * w0 * w0, (w2 * s0 - w1 * s1) / divisor, s0 / w0)
    return [float(value) for value in np.where(known, line, y)]
