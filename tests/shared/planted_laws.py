"""Laws that tests plant, and the runs that they are to be found in again."""

from __future__ import annotations

import numpy as np

from smolfast.scaling.law import Array, Law

# The law of Open-Athena/vpnls' README; Hoffmann et al.'s runs fitted anew; exponents of isoflop-experiments' Chinchilla
# subset, with factors of ours.
LAWS = (
    Law(E=1.69, A=406.4, B=410.7, alpha=0.34, beta=0.28),
    Law(E=1.81718, A=477.72, B=2142.75, alpha=0.34730, beta=0.36716),
    Law(E=1.8608, A=520.0, B=3100.0, alpha=0.36, beta=0.40),
)
BUDGETS = np.geomspace(1e17, 1e22, 8)


def equal_compute(law: Law, budgets: Array = BUDGETS, sizes: int = 16, width: float = 8.0) -> tuple[Array, Array]:
    """N and D of `sizes` models for each budget, up to `width` times as large and as small as the best one."""
    spread = np.geomspace(1 / width, width, sizes)
    params = np.concatenate([law.compute_optimal(budget)[0] * spread for budget in budgets])
    return params, np.repeat(budgets, sizes) / 6 / params


def noisy(law: Law, params: Array, tokens: Array, seed: int, noise: float = 0.005) -> Array:
    """Losses with log-normal noise."""
    return np.asarray(law.loss(params, tokens) * np.exp(np.random.default_rng(seed).normal(0, noise, len(params))))
