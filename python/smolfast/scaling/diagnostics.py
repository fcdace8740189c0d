"""What a person reads beside a fit: residuals, leverage, which runs matter, and what the design can't tell apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from smolfast.scaling.check import different
from smolfast.scaling.fitting import Fit, without_each
from smolfast.scaling.law import Array, Law

_ALIKE = 0.97
_ENTANGLED = 0.97


@dataclass(frozen=True)
class RunDiagnosis:
    """One run's part in a fit.

    Attributes:
        residual: log of its loss over the law's.
        leverage: share of its own prediction that it decides, 0 to 1; all sum to 5.
        alpha, beta: how far they move without it.
        target: how far the log loss of a run ten times as large moves without it.
    """

    name: str
    params: float
    tokens: float
    loss: float
    residual: float
    leverage: float
    alpha: float
    beta: float
    target: float


def diagnose(fitted: Fit) -> list[RunDiagnosis]:
    """Each run, those that move the law most first."""
    rows = fitted.law.gradient(fitted.params, fitted.tokens)
    leverage = np.sum(np.linalg.qr(_scaled(rows))[0] ** 2, 1)
    far = (10 * float(fitted.params.max()), 10 * float(fitted.tokens.max()))
    there = float(fitted.law.loss(*far))
    others = without_each(fitted)
    found = [
        RunDiagnosis(
            name, float(n), float(d), float(loss), float(residual), float(weight),
            law.alpha - fitted.law.alpha, law.beta - fitted.law.beta, float(np.log(law.loss(*far) / there)),
        )
        for name, n, d, loss, residual, weight, law in zip(
            fitted.names, fitted.params, fitted.tokens, fitted.losses, fitted.residuals, leverage, others, strict=True
        )
    ]  # fmt: skip
    return sorted(found, key=lambda run: -abs(run.target))


def warnings(fitted: Fit) -> list[str]:
    """What the runs can't tell, in sentences."""
    found = []
    x, z = np.log(fitted.params), np.log(fitted.tokens)
    together = float(np.corrcoef(x, z)[0, 1])
    if abs(together) > _ALIKE:
        found.append(
            f"log N and log D move together (correlation {together:.3f}), so the runs can't tell alpha from beta: add "
            "runs of the same size with other numbers of tokens"
        )
    elif abs(entangled := correlation(fitted.law, fitted.params, fitted.tokens)) > _ENTANGLED:
        found.append(
            f"alpha and beta are hardly told apart (correlation {entangled:.3f}): spread sizes and tokens more widely"
        )
    for name, values in (("sizes", fitted.params), ("numbers of tokens", fitted.tokens)):
        span = float(values.max() / values.min())
        if span < 4:
            found.append(f"{name} span a factor of {span:.3g} only: an exponent shows over 10 and more")
        elif different(values) < 4:
            found.append(f"there are {different(values)} different {name} only: nothing shows whether the law bends")
    for name in ("alpha", "beta"):
        if getattr(fitted.law, name) < 0.01 or getattr(fitted.law, name) > 3.9:
            found.append(f"{name} = {getattr(fitted.law, name):.3g} lies at the edge of what was searched")
    shares = fitted.law.gradient(fitted.params, fitted.tokens)[:, :3].max(0)
    for term, share in zip(("E", "A / N^alpha", "B / D^beta"), shares, strict=True):
        if share < 1e-4:
            found.append(f"the term {term} came out as nothing: these runs don't show it")
    worst = np.abs(fitted.residuals)
    if worst.max() > 0.05:
        found.append(
            f"{fitted.names[int(worst.argmax())]} lies {worst.max():.1%} off the law: look whether it trained well"
        )
    return found


def correlation(law: Law, params: Array, tokens: Array) -> float:
    """Of the errors of α and β that runs at these places leave."""
    rows = law.gradient(params, tokens)
    inverse = np.linalg.pinv(_scaled(rows))
    covariance = inverse @ inverse.T
    return float(covariance[3, 4] / np.sqrt(covariance[3, 3] * covariance[4, 4]))


def _scaled(rows: Array) -> Array:
    """Columns of one size, which changes neither leverage nor correlations."""
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=0), 1e-300))
