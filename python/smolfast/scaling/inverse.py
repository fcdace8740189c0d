"""From what one has, compute or a limit of size, to the model and tokens to train: with exact operations too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from smolfast.errors import SmolfastError
from smolfast.scaling.fitting import Fit, Interval, check_count
from smolfast.scaling.law import Law

PerToken = Callable[[Any], Any]
"""Operations a token, of params [...]."""
_SIZES = 4001


def six_n(params: Any) -> Any:
    """The usual reckoning: 6 operations a parameter and token."""
    return 6.0 * np.asarray(params, np.float64)


def best_point(law: Law, flops: float, per_token: PerToken = six_n) -> tuple[float, float]:
    """N and D of the least loss that so many operations reach."""
    start = law.compute_optimal(flops)[0]
    n = start * np.geomspace(1e-3, 1e3, _SIZES)
    d = flops / per_token(n)
    best = int(law.loss(n, d).argmin())
    return float(n[best]), float(d[best])


def compute_optimal(fitted: Fit, flops: float, per_token: PerToken = six_n, level: float = 0.9) -> dict[str, Interval]:
    """params, tokens and loss of the best model for so many operations, each with its interval."""
    check_count("flops", flops)
    each = np.array([best_point(law, flops, per_token) for law in fitted.draws])
    losses = np.array([float(law.loss(*point)) for law, point in zip(fitted.draws, each, strict=True)])
    best = best_point(fitted.law, flops, per_token)
    return {
        "params": fitted.around(best[0], each[:, 0], level, log=True),
        "tokens": fitted.around(best[1], each[:, 1], level, log=True),
        "loss": fitted.around(float(fitted.law.loss(*best)), losses, level, log=True),
    }


def smallest_model(
    fitted: Fit, flops: float, over: float, per_token: PerToken = six_n, level: float = 0.9
) -> dict[str, Interval]:
    """The smallest model as good as the best one for `flops` operations, where `over` times these may be spent.

    Args:
        over: the over-training factor: operations spent over those of the compute-optimal model of the same loss.

    Returns:
        params and tokens, each with its interval; loss, which is the compute-optimal one's.

    Raises:
        SmolfastError: a factor below 1.
    """
    check_count("flops", flops)
    if not 1 <= over < float("inf"):
        raise SmolfastError(f"an over-training factor of {over}: give one of at least 1, such as 4")
    value = _smallest(fitted.law, flops, over, per_token)
    each = np.array([_smallest(law, flops, over, per_token) for law in fitted.draws])
    return {
        name: fitted.around(value[index], each[:, index], level, log=True)
        for index, name in enumerate(("params", "tokens", "loss"))
    }


def _smallest(law: Law, flops: float, over: float, per_token: PerToken) -> tuple[float, float, float]:
    best = best_point(law, flops, per_token)
    loss = float(law.loss(*best))
    n = best[0] * np.geomspace(1e-3, 1.0, _SIZES)
    left = loss - law.E - law.A * n**-law.alpha
    with np.errstate(divide="ignore", invalid="ignore"):
        d = np.where(left > 0, (law.B / left) ** (1 / law.beta), np.inf)
    enough = np.flatnonzero(per_token(n) * d <= over * flops * (1 + 1e-9))
    place = int(enough[0]) if len(enough) else len(n) - 1
    return float(n[place]), float(d[place]), loss
