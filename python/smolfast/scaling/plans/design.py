"""Which runs to train: those after which the prediction at a target is surest for what they cost.

To first order the variance of the predicted log loss is σ² gᵀ M⁻¹ g, where M sums jᵀj over the runs and j, g are the
law's gradients at a run and at the target. It depends on no loss, so runs can be chosen before any is trained: a
c-optimal design (Pukelsheim, Optimal Design of Experiments, 2006), found by exchange. A law is needed for the
gradients. Where it is unsure, the design is the best on average over several laws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from smolfast.errors import SmolfastError
from smolfast.scaling.law import NAMES, Array, Law

_STARTS = 4
_MOST_SWAPS = 200
# Beside a mean run's information: what nothing at all is known of stays finite.
_PRIOR = 1e-8


@dataclass(frozen=True)
class Design:
    """The runs chosen.

    Attributes:
        chosen: indices of candidates. cost: of all. spread: √(gᵀ M⁻¹ g), by which the noise of one run's log loss comes
            out in the prediction; the geometric mean over the laws.
    """

    chosen: tuple[int, ...]
    cost: float
    spread: float


def optimal_design(
    laws: Sequence[Law],
    params: Array,
    tokens: Array,
    costs: Array,
    target: tuple[float, float],
    *,
    budget: float,
    runs: int,
    seed: int = 0,
) -> Design:
    """Choose up to `runs` different candidates of at most `budget` in all.

    Args:
        laws: what the law may be. params, tokens, costs: of candidates, [n]. target: N and D of the prediction.

    Raises:
        SmolfastError: a budget that no five runs fit into.
    """
    if runs <= len(NAMES):
        raise SmolfastError(f"{runs} runs can't be fitted with an interval; plan at least {len(NAMES) + 1}")
    rows = np.stack([law.gradient(params, tokens) for law in laws])  # [laws, n, 5]
    aims = np.stack([law.gradient(*target) for law in laws])  # [laws, 5]
    cheapest = np.sort(costs)[:runs]
    count = int((np.cumsum(cheapest) <= budget).sum())
    if count <= len(NAMES):
        raise SmolfastError(
            f"a budget of {budget:.4g} operations buys {count} of the runs to choose from, and a fit takes more than "
            f"{len(NAMES)}; give more, or allow smaller runs (--smallest)"
        )
    draw = np.random.default_rng(seed)
    best: Design | None = None
    for start in range(_STARTS):
        chosen = _first(rows, aims, costs, budget, count, draw, greedy=start == 0)
        chosen = _exchange(rows, aims, costs, budget, chosen)
        found = Design(tuple(sorted(chosen)), float(costs[chosen].sum()), spread(rows, aims, chosen))
        if best is None or found.spread < best.spread:
            best = found
    assert best is not None
    return best


def spread(rows: Array, aims: Array, chosen: Sequence[int]) -> float:
    """√(gᵀ M⁻¹ g) of a design."""
    return float(np.exp(0.5 * _log_variance(_information(rows, chosen)[:, None], aims).mean()))


def _information(rows: Array, chosen: Sequence[int]) -> Array:
    part = rows[:, list(chosen)]
    scale = np.trace(np.einsum("lni,lnj->lij", rows, rows), axis1=1, axis2=2) / rows.shape[1]
    return np.asarray(np.einsum("lni,lnj->lij", part, part) + _PRIOR * scale[:, None, None] * np.eye(5))


def _log_variance(information: Array, aims: Array) -> Array:
    """Log of gᵀ M⁻¹ g, [laws, m], of information [laws, m, 5, 5]."""
    goal = np.broadcast_to(aims[:, None, :, None], (*information.shape[:-1], 1))
    return np.asarray(np.log(np.einsum("lmik,lmik->lm", goal, np.linalg.solve(information, goal))))


def _first(
    rows: Array, aims: Array, costs: Array, budget: float, count: int, draw: np.random.Generator, *, greedy: bool
) -> list[int]:
    """A design to begin with: by steps that help most, or at random, the dearest that still leave room."""
    chosen: list[int] = []
    least = np.sort(costs)
    for place in range(count):
        # What is left has to pay for the cheapest runs that are still to come.
        room = budget - costs[chosen].sum() - least[: count - place - 1].sum()
        free = np.setdiff1d(np.flatnonzero(costs <= room), chosen)
        if not len(free):
            break
        if greedy:
            added = _information(rows, chosen)[:, None] + np.einsum("lni,lnj->lnij", rows[:, free], rows[:, free])
            chosen.append(int(free[_log_variance(added, aims).mean(0).argmin()]))
        else:
            chosen.append(int(draw.choice(free)))
    return chosen


def _exchange(rows: Array, aims: Array, costs: Array, budget: float, chosen: list[int]) -> list[int]:
    """Swap a run for another, the swap that helps most, as long as one does (Fedorov, 1972)."""
    outer = np.einsum("lni,lnj->lnij", rows, rows)
    for _ in range(_MOST_SWAPS):
        whole, spent = _information(rows, chosen), costs[chosen].sum()
        now = _log_variance(whole[:, None], aims).mean()
        best, swap = now - 1e-9, None
        free = np.setdiff1d(np.arange(len(costs)), chosen)
        for place, run in enumerate(chosen):
            fits = free[spent - costs[run] + costs[free] <= budget]
            if not len(fits):
                continue
            found = _log_variance((whole - outer[:, run])[:, None] + outer[:, fits], aims).mean(0)
            if (least := float(found.min())) < best:
                best, swap = least, (place, int(fits[found.argmin()]))
        if swap is None:
            break
        chosen[swap[0]] = swap[1]
    return chosen
