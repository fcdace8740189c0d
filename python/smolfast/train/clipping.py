"""Gradient clipping: by a fixed global norm, by the norm's own history (ZClip), or matrix by matrix (AdaGC).

Each rule turns the parameters' gradient norms into factors to multiply the gradients by. So a rule needs nothing but
norms, and works the same whether a gradient lies whole on one process or in shards on many.
"""

from __future__ import annotations

import math
from typing import Any, Literal, Protocol

from torch import Tensor

Clipping = Literal["global", "zclip", "adagc"]


class Clipper(Protocol):
    """A clipping rule with a memory.

    Attributes:
        largest_norm: the fixed bound; no part of the memory.
    """

    largest_norm: float

    def factors(self, norm: float, norms: Tensor) -> list[float] | float:
        """What to multiply each gradient by, or one factor for all; remembers the norms.

        Args:
            norm: of all gradients taken as one vector; finite.
            norms: each gradient's own [parameters].
        """
        ...

    def state(self) -> dict[str, Any]:
        """JSON values from which `load` brings the memory back to the bit."""
        ...

    def load(self, state: dict[str, Any]) -> None: ...


def make_clipper(kind: Clipping, largest_norm: float) -> Clipper:
    """The rule of that name; `largest_norm` is the fixed bound, which the others use while they learn."""
    rules: dict[Clipping, type[GlobalClip] | type[ZClip] | type[AdaGC]] = {
        "global": GlobalClip,
        "zclip": ZClip,
        "adagc": AdaGC,
    }
    return rules[kind](largest_norm)


class GlobalClip:
    """Scale all gradients so that their global norm is at most a bound (Pascanu et al., arXiv 1211.5063)."""

    def __init__(self, largest_norm: float) -> None:
        self.largest_norm = largest_norm

    def factors(self, norm: float, norms: Tensor) -> float:
        return self.largest_norm / norm if norm > self.largest_norm else 1.0

    def state(self) -> dict[str, Any]:
        return {}

    def load(self, state: dict[str, Any]) -> None:
        pass


class ZClip:
    """Clip a global norm that stands out from its own running mean and deviation (ZClip, arXiv 2504.02507).

    z = (norm − mean) / deviation. Where z passes the threshold t, the norm becomes mean + t² / z · deviation: the
    further out, the harder. What is remembered is the clipped norm. The first `WARMUP` steps only fill it, under
    the fixed bound; later the bound holds on top, as in the authors' code.
    """

    DECAY, THRESHOLD, WARMUP = 0.97, 2.5, 25

    def __init__(self, largest_norm: float) -> None:
        self.largest_norm = largest_norm
        self.first: list[float] = []
        self.mean = self.variance = 0.0

    def factors(self, norm: float, norms: Tensor) -> float:
        if len(self.first) < self.WARMUP:
            kept = min(norm, self.largest_norm)
            self.first.append(norm)
            if len(self.first) == self.WARMUP:
                self.mean = math.fsum(self.first) / self.WARMUP
                self.variance = math.fsum((value - self.mean) ** 2 for value in self.first) / self.WARMUP
            return kept / norm if norm > kept else 1.0
        deviation = math.sqrt(self.variance)
        z = (norm - self.mean) / (deviation + 1e-6)
        kept = self.mean + self.THRESHOLD**2 / z * deviation if z > self.THRESHOLD else norm
        self.mean = self.DECAY * self.mean + (1 - self.DECAY) * kept
        self.variance = self.DECAY * self.variance + (1 - self.DECAY) * (kept - self.mean) ** 2
        kept = min(kept, self.largest_norm)
        return kept / norm if norm > kept else 1.0

    def state(self) -> dict[str, Any]:
        return {"first": self.first, "mean": self.mean, "variance": self.variance}

    def load(self, state: dict[str, Any]) -> None:
        self.first, self.mean, self.variance = list(state["first"]), state["mean"], state["variance"]


class AdaGC:
    """Clip each parameter's gradient at 1.05 times its own running norm (AdaGC, arXiv 2502.11034).

    For the first `WARMUP` steps all are clipped by the fixed global bound, and each parameter remembers the smallest
    norm that it was left with; from then on an exponential average of the clipped norms.
    """

    DECAY, RATIO, WARMUP = 0.98, 1.05, 100

    def __init__(self, largest_norm: float) -> None:
        self.largest_norm = largest_norm
        self.steps = 0
        self.average: list[float] = []

    def factors(self, norm: float, norms: Tensor) -> list[float]:
        self.steps += 1
        values: list[float] = norms.tolist()
        if self.steps <= self.WARMUP:
            factor = self.largest_norm / norm if norm > self.largest_norm else 1.0
            left = [value * factor for value in values]
            self.average = [min(pair) for pair in zip(self.average, left, strict=True)] if self.average else left
            return [factor] * len(values)
        factors = [
            min(1.0, self.RATIO * average / value) if value > 0 else 1.0
            for average, value in zip(self.average, values, strict=True)
        ]
        self.average = [
            self.DECAY * average + (1 - self.DECAY) * factor * value
            for average, factor, value in zip(self.average, factors, values, strict=True)
        ]
        return factors

    def state(self) -> dict[str, Any]:
        return {"steps": self.steps, "average": self.average}

    def load(self, state: dict[str, Any]) -> None:
        self.steps, self.average = state["steps"], list(state["average"])
