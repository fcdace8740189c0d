"""The law L(N, D) = E + A / N^α + B / D^β (Hoffmann et al., arXiv 2203.15556), and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
NAMES = ("E", "A", "B", "alpha", "beta")


@dataclass(frozen=True)
class Law:
    """Loss in nats a token, by parameters N and training tokens D.

    Attributes:
        E: loss of an endless model on endless text. A, alpha: what a finite model adds. B, beta: what finite text adds.
    """

    E: float
    A: float
    B: float
    alpha: float
    beta: float

    def loss(self, params: Any, tokens: Any) -> Array:
        """Losses, of the shape that params [...] and tokens [...] have together."""
        n, d = np.asarray(params, np.float64), np.asarray(tokens, np.float64)
        return np.asarray(self.E + self.A * n**-self.alpha + self.B * d**-self.beta)

    @property
    def exponent(self) -> float:
        """a in N_opt ∝ C^a, for C = 6 N D."""
        return self.beta / (self.alpha + self.beta)

    def compute_optimal(self, flops: float) -> tuple[float, float]:
        """N and D of the least loss with 6 N D operations (Hoffmann et al., equation 4)."""
        ratio = (self.alpha * self.A / (self.beta * self.B)) ** (1.0 / (self.alpha + self.beta))
        params = ratio * (flops / 6.0) ** self.exponent
        return params, flops / 6.0 / params

    def gradient(self, params: Any, tokens: Any) -> Array:
        """Derivatives of the log loss by log E, log A, log B, α and β, [..., 5]."""
        n, d = np.asarray(params, np.float64), np.asarray(tokens, np.float64)
        a, b, whole = self.A * n**-self.alpha, self.B * d**-self.beta, self.loss(n, d)
        return np.stack([self.E / whole, a / whole, b / whole, -np.log(n) * a / whole, -np.log(d) * b / whole], -1)

    def as_dict(self) -> dict[str, float]:
        return {name: float(getattr(self, name)) for name in NAMES}


PUBLISHED = Law(E=1.81718, A=477.72, B=2142.75, alpha=0.34730, beta=0.36716)
"""Hoffmann et al.'s runs, fitted anew (Besiroglu et al., arXiv 2404.10102). A start where nothing is known yet."""

HOFFMANN = Law(E=1.6934, A=406.4, B=410.7, alpha=0.3392, beta=0.2849)
"""Their own fit of those runs (arXiv 2203.15556, appendix D.3)."""
