"""What a difference between paired measurements means: its mean with a confidence interval (Student's t)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Difference:
    """A mean difference. The interval holds the true one in `confidence` of all repeats, if differences are normal."""

    mean: float
    low: float
    high: float
    pairs: int
    confidence: float

    def verdict(self, *, maximize: bool = False) -> Literal["better", "worse", "no difference shown"]:
        """Whether the interval lies on one side of 0, and on which."""
        if not (self.low > 0 or self.high < 0):
            return "no difference shown"
        return "better" if (self.mean > 0) == maximize else "worse"


def paired(before: Sequence[float], after: Sequence[float], *, confidence: float = 0.95) -> Difference:
    """The mean of `after` minus `before`, pair by pair. One pair alone has an interval without ends."""
    differences = [b - a for a, b in zip(before, after, strict=True)]
    count = len(differences)
    mean = math.fsum(differences) / count
    if count < 2:
        return Difference(mean, -math.inf, math.inf, count, confidence)
    variance = math.fsum((one - mean) ** 2 for one in differences) / (count - 1)
    half = t_quantile(0.5 + confidence / 2, count - 1) * math.sqrt(variance / count)
    return Difference(mean, mean - half, mean + half, count, confidence)


def t_quantile(p: float, degrees: int) -> float:
    """Student's t: the value below which a share `p` (from 0.5 on) lies."""
    low, high = 0.0, 1.0
    while t_below(high, degrees) < p:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if t_below(middle, degrees) < p else (low, middle)
    return (low + high) / 2


def t_below(t: float, degrees: int) -> float:
    """The share of Student's t below `t` (from 0 on), by the closed form for whole degrees of freedom.

    Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    angle = math.atan2(t, math.sqrt(degrees))
    sine, cosine2 = math.sin(angle), math.cos(angle) ** 2
    odd = degrees % 2
    term = math.cos(angle) if odd else 1.0
    total = term if degrees > 1 else 0.0
    for k in range(3 if odd else 2, degrees, 2):
        term *= cosine2 * (k - 1) / k
        total += term
    inside = 2 / math.pi * (angle + sine * total) if odd else sine * total
    return 0.5 + inside / 2
