"""Gradient clipping: by a fixed global norm, by the norm's own history (ZClip), or matrix by matrix (AdaGC).

Each rule turns the parameters' gradient norms into factors to multiply the gradients by. So a rule needs nothing but
norms, and works the same whether a gradient lies whole on one process or in shards on many.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, Protocol

Clipping = Literal["global", "zclip", "adagc"]


class Clipper(Protocol):
    """A clipping rule with a memory."""

    def factors(self, norms: Sequence[float]) -> list[float] | float:
        """What to multiply each gradient by, or one factor for all; remembers the norms.

        Args:
            norms: each gradient's Euclidean norm; finite.
        """
        ...

    def state(self) -> dict[str, Any]:
        """JSON values from which `load` brings the memory back to the bit."""
        ...

    def load(self, state: dict[str, Any]) -> None: ...


def make_clipper(kind: Clipping, largest_norm: float) -> Clipper:
    """The rule of that name; `largest_norm` is the fixed bound, which the others use while they learn."""
    return {"global": GlobalClip, "zclip": ZClip, "adagc": AdaGC}[kind](largest_norm)


def global_norm(norms: Sequence[float]) -> float:
    """The norm of all gradients taken as one vector."""
    return math.sqrt(math.fsum(norm * norm for norm in norms))


class GlobalClip:
    """Scale all gradients so that their global norm is at most a bound (Pascanu et al., arXiv 1211.5063)."""

    def __init__(self, largest_norm: float) -> None:
        self.largest_norm = largest_norm

    def factors(self, norms: Sequence[float]) -> float:
        norm = global_norm(norms)
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

    def factors(self, norms: Sequence[float]) -> float:
        norm = global_norm(norms)
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

    def factors(self, norms: Sequence[float]) -> list[float]:
        self.steps += 1
        if self.steps <= self.WARMUP:
            norm = global_norm(norms)
            factor = self.largest_norm / norm if norm > self.largest_norm else 1.0
            left = [value * factor for value in norms]
            self.average = [min(pair) for pair in zip(self.average, left, strict=True)] if self.average else left
            return [factor] * len(norms)
        factors = [
            min(1.0, self.RATIO * average / norm) if norm > 0 else 1.0
            for average, norm in zip(self.average, norms, strict=True)
        ]
        self.average = [
            self.DECAY * average + (1 - self.DECAY) * factor * norm
            for average, factor, norm in zip(self.average, factors, norms, strict=True)
        ]
        return factors

    def state(self) -> dict[str, Any]:
        return {"steps": self.steps, "average": self.average}

    def load(self, state: dict[str, Any]) -> None:
        self.steps, self.average = state["steps"], list(state["average"])
