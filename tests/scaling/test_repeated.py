"""What repetition costs comes back where it was planted."""

from __future__ import annotations

import numpy as np
import pytest

from planted_laws import LAWS, equal_compute, noisy
from smolfast import scaling
from smolfast.errors import SmolfastError
from smolfast.scaling.repeated import effective, fit_repeated

# Muennighoff et al.'s.
TOKENS_HALF, PARAMS_HALF = 15.39, 5.31


def runs() -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    unique = np.repeat([1e8, 4e8, 1.6e9], 12)
    epochs = np.tile(np.repeat([2.0, 6.0, 20.0, 60.0], 3), 3)
    params = np.tile([2e7, 1e8, 5e8], 12)
    return params, unique * epochs, unique


def test_planted_values_come_back() -> None:
    law = LAWS[1]
    params, tokens, unique = runs()
    losses = law.loss(*effective(law, params, tokens, unique, TOKENS_HALF, PARAMS_HALF))
    once_n, once_d = equal_compute(law, sizes=5)
    once = scaling.fit(once_n, once_d, law.loss(once_n, once_d), bootstraps=100)
    found = fit_repeated(once, params, tokens, losses, unique)
    assert found.tokens_half.value == pytest.approx(TOKENS_HALF, rel=1e-4)
    assert found.params_half.value == pytest.approx(PARAMS_HALF, rel=1e-4)
    assert found.objective < 1e-8
    assert found.loss(params, tokens, unique) == pytest.approx(losses, rel=1e-6)


def test_intervals_hold_planted_values() -> None:
    law = LAWS[1]
    params, tokens, unique = runs()
    exact = law.loss(*effective(law, params, tokens, unique, TOKENS_HALF, PARAMS_HALF))
    once_n, once_d = equal_compute(law)
    once = scaling.fit(once_n, once_d, noisy(law, once_n, once_d, 1, 0.002), bootstraps=100)
    losses = exact * np.exp(np.random.default_rng(2).normal(0, 0.002, len(exact)))
    found = fit_repeated(once, params, tokens, losses, unique)
    assert found.tokens_half.low < TOKENS_HALF < found.tokens_half.high
    assert found.params_half.low < PARAMS_HALF < found.params_half.high


def test_text_seen_once_is_the_law_itself() -> None:
    law = LAWS[1]
    best_n, d = law.compute_optimal(1e20)
    n, new = effective(law, best_n * 0.5, d, 10 * d, TOKENS_HALF, PARAMS_HALF)
    assert (float(n), float(new)) == pytest.approx((best_n * 0.5, d))
    with pytest.raises(SmolfastError, match="3 runs repeat their text"):
        once_n, once_d = equal_compute(law, sizes=4)
        fit_repeated(scaling.fit(once_n, once_d, law.loss(once_n, once_d)), *[[1.0] * 3] * 4)
