"""The least Huber sum of log losses, for many weightings of the same runs at once.

Variable projection finds the basin: where α and β are given, E, A and B are linear, so a grid over two exponents
stands for all five parameters. Newton steps end the search. The log of the law is a log-sum-exp of terms that are
linear in (log E, log A, log B, α, β), so the Hessian is exact and cheap. Nearly all residuals lie outside of δ, where
the sum is hardly smooth: δ falls to its value in stages.

The sum, not the mean: a mean is so small that optimisers stop before its end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from smolfast.scaling.law import Array

DELTA = 1e-3
_STAGES = (100.0, 10.0, 1.0)
_EXPONENTS = np.geomspace(0.04, 2.5, 22)
_LOWEST, _HIGHEST = 0.005, 4.0
_STEPS = 60
_SUPPORTS = ((0, 1, 2), (0, 1), (0, 2), (1, 2), (0,), (1,), (2,))
# A term that the data doesn't want is this small beside the losses, not 0, so that it has a logarithm.
_NOTHING = 1e-9


@dataclass(frozen=True)
class Problem:
    """Runs, centred: around the mean of log N and log D the parameters pull least at each other.

    Attributes:
        x, z: log N and log D less their means, [n]. y: log losses, [n].
        x0, z0: those means.
    """

    x: Array
    z: Array
    y: Array
    x0: float
    z0: float

    @classmethod
    def of(cls, params: Array, tokens: Array, losses: Array) -> Problem:
        x, z = np.log(params), np.log(tokens)
        return cls(x - x.mean(), z - z.mean(), np.log(losses), float(x.mean()), float(z.mean()))

    def natural(self, theta: Array) -> Array:
        """(E, A, B, α, β) [S, 5] of centred parameters (log E, log a, log b, α, β) [S, 5]."""
        e, a, b, alpha, beta = theta.T
        return np.stack([np.exp(e), np.exp(a + alpha * self.x0), np.exp(b + beta * self.z0), alpha, beta], -1)

    def centred(self, natural: Array) -> Array:
        """The other way round."""
        E, A, B, alpha, beta = np.maximum(natural, 1e-300).T
        return np.stack([np.log(E), np.log(A) - alpha * self.x0, np.log(B) - beta * self.z0, alpha, beta], -1)


def solve(
    problem: Problem,
    weights: Array,
    starts: Array,
    delta: float = DELTA,
    *,
    logs: Array | None = None,
    near: bool = False,
) -> tuple[Array, Array]:
    """Newton steps from each start to the least weighted Huber sum.

    Args:
        weights: of the runs, [S, n]. starts: centred parameters, [S, 5]. logs: log losses in the place of the
            problem's, [S, n].
        near: whether the starts lie so close that four digits of a step are enough, as in a bootstrap.

    Returns:
        centred parameters [S, 5] and sums [S].
    """
    theta = starts.copy()
    value = np.full(len(theta), np.inf)
    y = np.broadcast_to(problem.y if logs is None else logs, weights.shape)
    for stage in _STAGES[1 if near else 0 :]:
        theta, value = _newton(problem, weights, y, theta, delta * stage, 1e-7 if near else 1e-15)
    return theta, value


def search(problem: Problem, weights: Array, delta: float = DELTA, most: int = 6) -> Array:
    """Centred starts [≤ most, 5]: the lowest valleys of the grid over α and β. weights [n]."""
    alpha, beta = (grid.ravel() for grid in np.meshgrid(_EXPONENTS, _EXPONENTS, indexing="ij"))
    # Columns of the linear problem, over the losses: relative errors are those of logs. [grid, n, 3]
    columns = np.stack(
        [
            np.ones((len(alpha), len(problem.x))),
            np.exp(-alpha[:, None] * problem.x),
            np.exp(-beta[:, None] * problem.z),
        ],
        -1,
    ) * np.exp(-problem.y)[:, None]  # fmt: skip
    importance = np.broadcast_to(weights, columns.shape[:2])
    for _ in range(5):  # least absolute errors, by weights
        linear = _non_negative(columns, importance)
        errors = np.abs(np.einsum("gnk,gk->gn", columns, linear) - 1.0)
        importance = weights / np.maximum(errors, 10 * delta)
    sums = (weights * _huber(errors, delta)).sum(1).reshape(len(_EXPONENTS), -1)
    starts = np.concatenate([np.log(np.maximum(linear, _NOTHING)), alpha[:, None], beta[:, None]], -1)
    padded = np.pad(sums, 1, constant_values=np.inf)
    sides = [padded[1 + i : padded.shape[0] - 1 + i, 1 + j : padded.shape[1] - 1 + j]
             for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j]  # fmt: skip
    valleys = np.flatnonzero((sums[None] <= np.stack(sides)).all(0).ravel())
    return np.asarray(starts[valleys[np.argsort(sums.ravel()[valleys])][:most]])


def terms(problem: Problem, theta: Array) -> tuple[Array, Array]:
    """Log losses [S, n], and the share of each of the law's three terms, [S, n, 3]."""
    e, a, b, alpha, beta = (column[:, None] for column in theta.T)
    parts = np.stack(np.broadcast_arrays(e, a - alpha * problem.x, b - beta * problem.z), -1)
    top = parts.max(-1, keepdims=True)
    powers = np.exp(parts - top)
    whole = powers.sum(-1, keepdims=True)
    return (np.log(whole) + top)[..., 0], powers / whole


def jacobian(problem: Problem, shares: Array) -> Array:
    """Derivatives of the log losses by the centred parameters, [S, n, 5]."""
    return np.concatenate([shares, -problem.x[:, None] * shares[..., 1:2], -problem.z[:, None] * shares[..., 2:3]], -1)


def _objective(problem: Problem, weights: Array, y: Array, theta: Array, delta: float) -> Array:
    """Weighted Huber sums [S]."""
    return np.asarray((weights * _huber(terms(problem, theta)[0] - y, delta)).sum(-1))


def _newton(
    problem: Problem, weights: Array, y: Array, theta: Array, delta: float, least: float
) -> tuple[Array, Array]:
    theta = theta.copy()
    value = _objective(problem, weights, y, theta, delta)
    damping = np.full(len(theta), 1e-6)
    going = np.arange(len(theta))
    for _ in range(_STEPS):
        gradient, hessian = _derivatives(problem, weights[going], y[going], theta[going], delta)
        roots, axes = np.linalg.eigh(hessian)
        # Down also where the sum is bent upwards; damped relative to the steepest bend.
        bend = np.abs(roots) + damping[going, None] * np.maximum(np.abs(roots).max(-1, keepdims=True), 1e-300)
        step = -np.einsum("sij,sj->si", axes, np.einsum("sji,sj->si", axes, gradient) / bend)
        step *= np.minimum(1.0, 2.0 / np.maximum(np.abs(step).max(-1, keepdims=True), 1e-300))
        tried = theta[going] + step
        tried[:, 3:] = np.clip(tried[:, 3:], _LOWEST, _HIGHEST)
        tried[:, :3] = np.maximum(tried[:, :3], np.log(_NOTHING) + problem.y.min())
        found = _objective(problem, weights[going], y[going], tried, delta)
        better = found < value[going]
        gain = value[going] - found
        moved = np.abs(tried - theta[going]).max(-1)
        chosen = going[better]
        theta[chosen], value[chosen] = tried[better], found[better]
        damping[chosen] = np.maximum(damping[chosen] * 0.1, 1e-12)
        damping[going[~better]] = damping[going[~better]] * 10 + 1e-9
        still = np.where(better, (gain > least * value[going]) & (moved > 1e-13), damping[going] < 1e6)
        going = going[still]
        if not len(going):
            break
    return theta, value


def _derivatives(problem: Problem, weights: Array, y: Array, theta: Array, delta: float) -> tuple[Array, Array]:
    predicted, shares = terms(problem, theta)
    errors = predicted - y
    slope = weights * np.clip(errors, -delta, delta)
    curvature = weights * (np.abs(errors) <= delta)
    rows = jacobian(problem, shares)
    gradient = np.einsum("sn,sni->si", slope, rows)
    hessian = np.einsum("sn,sni,snj->sij", curvature - slope, rows, rows, optimize=True)
    # Σ share_k u_k u_kᵀ, where u_k are the derivatives of a term's log: (1), (1, −x), (1, −z).
    bent = slope[..., None] * shares
    hessian[:, 0, 0] += bent[..., 0].sum(-1)
    for part, exponent, place in ((1, 3, problem.x), (2, 4, problem.z)):
        hessian[:, part, part] += bent[..., part].sum(-1)
        mixed = (-place * bent[..., part]).sum(-1)
        hessian[:, part, exponent] += mixed
        hessian[:, exponent, part] += mixed
        hessian[:, exponent, exponent] += (place**2 * bent[..., part]).sum(-1)
    return np.asarray(gradient), np.asarray(hessian)


def _huber(errors: Array, delta: float) -> Array:
    size = np.abs(errors)
    return np.where(size <= delta, 0.5 * size**2, delta * (size - 0.5 * delta))


def _non_negative(columns: Array, weights: Array) -> Array:
    """Weighted least squares to 1 with no coefficient below 0, [grid, 3]: the best of all sets of columns."""
    gram = np.einsum("gn,gnk,gnl->gkl", weights, columns, columns, optimize=True)
    right = np.einsum("gn,gnk->gk", weights, columns, optimize=True)
    best, least = np.zeros_like(right), np.full(len(gram), np.inf)
    for support in _SUPPORTS:
        at = np.ix_(range(len(gram)), support, support)
        inner = gram[at] + 1e-13 * np.trace(gram, axis1=1, axis2=2)[:, None, None] * np.eye(len(support))
        part = np.linalg.solve(inner, right[:, support, None])[..., 0]
        squares = np.where((part >= 0).all(-1), -(right[:, support] * part).sum(-1), np.inf)
        better = squares < least
        least[better] = squares[better]
        full = np.zeros_like(right)
        full[:, support] = part
        best[better] = full[better]
    return np.asarray(best)
