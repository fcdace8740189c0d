"""Parabolas at equal compute (approach 2 of arXiv 2203.15556), beside the fit, with the bias that they bring.

A parabola in log N through losses at one budget has its lowest point where the law has its own only if the law were a
parabola. It isn't: the wider and the less centred a grid, the more the point is off, and the error changes with
compute. So the exponent is biased without any noise (arXiv 2603.22339). `bias` measures it: the same parabolas through
the law's own losses, at the very same points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from smolfast.errors import SmolfastError
from smolfast.scaling.law import Array, Law

_SAME_BUDGET = 0.1


@dataclass(frozen=True)
class Parabola:
    """The lowest point of a budget's parabola.

    Attributes:
        flops: the budget. params, tokens, loss: where the parabola is lowest. runs: indices of its runs.
        coefficients: of loss = c₀ t² + c₁ t + c₂, with t = log N.
    """

    flops: float
    params: float
    tokens: float
    loss: float
    runs: tuple[int, ...]
    coefficients: tuple[float, float, float]


@dataclass(frozen=True)
class IsoFlop:
    """Parabolas and the power law through their lowest points.

    Attributes:
        exponent: a in N_opt ∝ C^a. bias: what the same procedure makes of the law's own, noiseless losses, less
            the law's a. factor: N of the line there, at the largest budget, over the law's N.
        skipped: budgets with fewer than three sizes, or whose parabola has no lowest point.
    """

    parabolas: tuple[Parabola, ...]
    exponent: float
    bias: float
    factor: float
    skipped: tuple[float, ...]


def isoflop(params: Any, tokens: Any, losses: Any, law: Law, flops: Any = None) -> IsoFlop:
    """Fit a parabola to each budget's runs.

    Args:
        params, tokens, losses: [n]. law: the fit, for the bias.
        flops: each run's budget, [n]; 6 N D if None. Budgets within a tenth are one.

    Raises:
        SmolfastError: fewer than two budgets with a lowest point.
    """
    n, d, y = (np.asarray(column, np.float64) for column in (params, tokens, losses))
    c = 6.0 * n * d if flops is None else np.asarray(flops, np.float64)
    found, skipped = _parabolas(n, y, c, c / n / d)
    if len(found) < 2:
        raise SmolfastError(
            f"parabolas need at least two budgets of three sizes or more each, and the runs have {len(found)}; leave "
            "approach 2 away, or train runs of equal compute"
        )
    exact, _ = _parabolas(n, law.loss(n, d), c, c / n / d)
    bias = factor = float("nan")
    if len(exact) > 1:
        slope, level = _line(exact)
        largest = exact[-1].flops
        bias = slope - law.exponent
        factor = float(np.exp(slope * np.log(largest) + level) / law.compute_optimal(largest)[0])
    return IsoFlop(tuple(found), _line(found)[0], bias, factor, tuple(skipped))


def budgets(flops: Array) -> list[Array]:
    """Indices of runs of equal compute, from little to much."""
    order = np.argsort(flops)
    cuts = np.flatnonzero(np.diff(np.log(flops[order])) > _SAME_BUDGET) + 1
    return np.split(order, cuts)


def _parabolas(n: Array, losses: Array, flops: Array, per_token: Array) -> tuple[list[Parabola], list[float]]:
    found, skipped = [], []
    for runs in budgets(flops):
        budget, t = float(np.exp(np.log(flops[runs]).mean())), np.log(n[runs])
        if len(np.unique(t)) < 3:
            skipped.append(budget)
            continue
        middle = t.mean()
        square, slope, level = np.polyfit(t - middle, losses[runs], 2)
        if square <= 0:
            skipped.append(budget)
            continue
        best = middle - slope / (2 * square)
        size = float(np.exp(best))
        each = float(np.interp(best, np.sort(t), per_token[runs][np.argsort(t)]))
        found.append(
            Parabola(
                budget, size, budget / (each * size), float(level - slope**2 / (4 * square)), tuple(map(int, runs)),
                (float(square), float(slope - 2 * square * middle),
                 float(level - slope * middle + square * middle**2)),
            )
        )  # fmt: skip
    return found, skipped


def _line(found: list[Parabola]) -> tuple[float, float]:
    """Slope and level of log N by log operations."""
    slope, level = np.polyfit(np.log([one.flops for one in found]), np.log([one.params for one in found]), 1)
    return float(slope), float(level)
