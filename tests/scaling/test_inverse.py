"""From compute or a loss back to a model and its tokens."""

from __future__ import annotations

import numpy as np
import pytest

from planted_laws import LAWS, equal_compute, noisy
from smolfast import scaling
from smolfast.errors import SmolfastError
from smolfast.scaling.inverse import best_point, compute_optimal, smallest_model
from smolfast.scaling.plans.shapes import flops_per_token

LAW = LAWS[1]


@pytest.fixture(scope="module")
def fitted() -> scaling.Fit:
    params, tokens = equal_compute(LAW, np.geomspace(1e17, 1e20, 5), sizes=8)
    return scaling.fit(params, tokens, noisy(LAW, params, tokens, 0), bootstraps=200)


def test_the_best_point_is_the_formulas() -> None:
    assert best_point(LAW, 1e21) == pytest.approx(LAW.compute_optimal(1e21), rel=0.01)
    n, d = LAW.compute_optimal(1e21)
    assert 6 * n * d == pytest.approx(1e21)
    assert all(LAW.loss(n, d) <= LAW.loss(n * factor, d / factor) for factor in (0.5, 0.9, 1.1, 2))


def test_exact_operations_leave_fewer_tokens() -> None:
    def exact(params: object) -> object:
        return flops_per_token(params, vocab_size=49152, sequence_length=2048)

    n, d = best_point(LAW, 1e19, exact)
    assert float(flops_per_token(n, vocab_size=49152, sequence_length=2048)) * d == pytest.approx(1e19)
    assert d < LAW.compute_optimal(1e19)[1]


def test_intervals_hold_the_planted_optimum(fitted: scaling.Fit) -> None:
    found = compute_optimal(fitted, 1e22, level=0.95)
    n, d = LAW.compute_optimal(1e22)
    for name, true in (("params", n), ("tokens", d), ("loss", float(LAW.loss(n, d)))):
        assert found[name].low < true < found[name].high


def test_the_smallest_model_for_an_over_training_factor(fitted: scaling.Fit) -> None:
    found = smallest_model(fitted, 1e21, 3.0)
    n, d, loss = (found[name].value for name in ("params", "tokens", "loss"))
    assert float(fitted.law.loss(n, d)) == pytest.approx(loss, rel=1e-9)
    assert loss == pytest.approx(compute_optimal(fitted, 1e21)["loss"].value)
    assert 6 * n * d == pytest.approx(3e21, rel=0.02)
    assert n < 0.5 * fitted.law.compute_optimal(1e21)[0]
    assert found["params"].low < n < found["params"].high
    once = smallest_model(fitted, 1e21, 1.0)["params"].value
    assert once == pytest.approx(fitted.law.compute_optimal(1e21)[0], rel=0.02)
    with pytest.raises(SmolfastError, match=r"an over-training factor of 0.5"):
        smallest_model(fitted, 1e21, 0.5)


def test_tokens_for_a_loss(fitted: scaling.Fit) -> None:
    found = fitted.tokens_for(1e9, 2.4)
    assert float(fitted.law.loss(1e9, found.value)) == pytest.approx(2.4)
    assert found.low < found.value < found.high
    with pytest.raises(SmolfastError, match="comes to no less than"):
        fitted.tokens_for(1e6, 1.9)
    with pytest.raises(SmolfastError, match="params = -1"):
        fitted.predict(-1, 1e9)
