"""Spikes: a value far above what the last steps would make one expect (OLMo 2, arXiv 2501.00656 §3)."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

# Fewer values say too little about the spread.
_LEAST = 32
# A run of values this long above the line is no spike but a new level, and becomes what is expected.
_NEW_LEVEL = 16
# The deviation is taken as at least this share of the mean: a curve that is flat by chance makes no alarms of noise.
_FLOOR = 0.02


class SpikeDetector:
    """Says of each value of a series whether it stands `sigma` deviations above the last `window` calm ones.

    Values that stand out aren't remembered, so that a spike doesn't raise the bar for the next.
    """

    def __init__(self, sigma: float = 6.0, window: int = 128) -> None:
        self.sigma = sigma
        self.values: deque[float] = deque(maxlen=window)
        self.outside = 0

    def deviations(self, value: float) -> float:
        """How many deviations a value lies above the mean; 0 while too few are known, infinite if it isn't finite."""
        if not math.isfinite(value):
            return math.inf
        count = len(self.values)
        if count < min(_LEAST, self.values.maxlen or _LEAST):
            return 0.0
        mean = math.fsum(self.values) / count
        variance = math.fsum((old - mean) ** 2 for old in self.values) / count
        return (value - mean) / max(math.sqrt(variance), _FLOOR * abs(mean), 1e-12)

    def update(self, value: float) -> bool:
        """Whether the value is a spike; remembers it if not, or if values have stayed up for long."""
        spike = self.deviations(value) > self.sigma
        self.outside = self.outside + 1 if spike else 0
        if math.isfinite(value) and (not spike or self.outside > _NEW_LEVEL):
            self.values.append(value)
        return spike

    def state(self) -> dict[str, Any]:
        """JSON values for `load`."""
        return {"values": list(self.values), "outside": self.outside}

    def load(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.values = deque(state["values"], maxlen=self.values.maxlen)
        self.outside = state["outside"]
