"""The law where text is repeated (Muennighoff et al., arXiv 2305.16264): what a further epoch is worth.

Tokens beyond the U_D different ones count less and less: D' = U_D + U_D R*_D (1 − exp(−R_D / R*_D)), with R_D =
D / U_D − 1 repetitions. Likewise parameters beyond the U_N that so much text would be given at the best:
N' = U_N + U_N R*_N (1 − exp(−R_N / R*_N)). E, A, B, α and β are those of runs that repeat nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from smolfast.errors import SmolfastError
from smolfast.scaling.fitting import Fit, Interval
from smolfast.scaling.law import Array, Law

ONCE = 1.01
"""Epochs up to which a run counts as one that repeats nothing."""
_LEAST = 4
_GRID = 33
_ZOOMS = 12
_WIDEST = (0.1, 1000.0)
_SAMPLES = 200


@dataclass(frozen=True)
class RepeatedFit:
    """A law and what repetition costs.

    Attributes:
        law: of text that is seen once. tokens_half, params_half: R*_D and R*_N: after so many repetitions 1 − 1/e of
            all that more of them can bring is had. objective: the Huber sum of the repeated runs.
        runs: how many repeated runs there were.
    """

    law: Law
    tokens_half: Interval
    params_half: Interval
    objective: float
    runs: int

    def effective(self, params: Any, tokens: Any, unique: Any) -> tuple[Array, Array]:
        """N' and D' of runs on so many different tokens."""
        return effective(self.law, params, tokens, unique, self.tokens_half.value, self.params_half.value)

    def loss(self, params: Any, tokens: Any, unique: Any) -> Array:
        """Losses in nats a token."""
        return self.law.loss(*self.effective(params, tokens, unique))


def effective(
    law: Law, params: Any, tokens: Any, unique: Any, tokens_half: Any, params_half: Any
) -> tuple[Array, Array]:
    """N' and D'."""
    n, d = np.asarray(params, np.float64), np.asarray(tokens, np.float64)
    u = np.minimum(np.asarray(unique, np.float64), d)
    new = u + u * tokens_half * -np.expm1(-(d / u - 1) / tokens_half)
    # N of the least loss where D = u: from N = G (C / 6)^a and D = (C / 6)^b / G.
    G = (law.alpha * law.A / (law.beta * law.B)) ** (1 / (law.alpha + law.beta))
    base = np.minimum(n, G * (u * G) ** (law.exponent / (1 - law.exponent)))
    return np.asarray(base + base * params_half * -np.expm1(-(n / base - 1) / params_half)), np.asarray(new)


def fit_repeated(once: Fit, params: Any, tokens: Any, losses: Any, unique: Any) -> RepeatedFit:
    """R*_D and R*_N of runs that repeat their text, on the law of those that don't.

    A grid of both in the log, made finer where the Huber sum is least. Intervals are of samples of the repeated runs,
    each on one of the law's own samples.

    Args:
        once: the fit of runs that repeat nothing. params, tokens, losses, unique: of runs that do, [n]; unique is how
            many different tokens each had.

    Raises:
        SmolfastError: fewer than four repeated runs.
    """
    n, d, y, u = (np.asarray(column, np.float64) for column in (params, tokens, losses, unique))
    if len(n) < _LEAST:
        raise SmolfastError(
            f"{len(n)} runs repeat their text, and what repetition costs shows in no fewer than {_LEAST}; train more"
        )
    data, every = (n, d, u, np.log(y)), np.arange(len(n))
    best, objective = _search(once.law, data, every, once.delta)
    draw = np.random.default_rng(once.seed)
    laws = once.draws
    found = np.array(
        [_search(laws[index % len(laws)], data, draw.choice(every, len(every)), once.delta)[0]
         for index in range(min(_SAMPLES, len(laws)))]
    )  # fmt: skip
    ends = np.quantile(found, [0.025, 0.975], axis=0)
    halves = [Interval(best[i], float(ends[0, i]), float(ends[1, i]), 0.95) for i in range(2)]
    return RepeatedFit(once.law, halves[0], halves[1], objective, len(n))


def _search(law: Law, data: tuple[Array, ...], chosen: Any, delta: float) -> tuple[list[float], float]:
    n, d, u, y = (column[chosen] for column in data)
    low, high = np.log(_WIDEST[0]), np.log(_WIDEST[1])
    ranges = [(low, high), (low, high)]
    for _ in range(_ZOOMS):
        grids = [np.linspace(*ends, _GRID) for ends in ranges]
        t, p = np.meshgrid(np.exp(grids[0]), np.exp(grids[1]), indexing="ij")
        errors = np.abs(np.log(law.loss(*effective(law, n, d, u, t[..., None], p[..., None]))) - y)
        sums = np.where(errors <= delta, 0.5 * errors**2, delta * (errors - 0.5 * delta)).sum(-1)
        place = np.unravel_index(int(sums.argmin()), sums.shape)
        widths = [3 * (ends[1] - ends[0]) / (_GRID - 1) for ends in ranges]
        centres = [grid[at] for grid, at in zip(grids, place, strict=True)]
        ranges = [(max(low, c - w), min(high, c + w)) for c, w in zip(centres, widths, strict=True)]
    return [float(np.exp(centre)) for centre in centres], float(sums.min())
