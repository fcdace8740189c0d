"""Planted laws come back, with intervals that hold them; so do Hoffmann et al.'s runs where they are at hand."""

from __future__ import annotations

import csv
import os
import time
from pathlib import Path

import numpy as np
import pytest

from planted_laws import LAWS, equal_compute, noisy
from smolfast import scaling
from smolfast.errors import SmolfastError
from smolfast.scaling.fitting import without_each
from smolfast.scaling.law import NAMES, Law
from smolfast.scaling.solve import Problem, solve

CHINCHILLA = os.environ.get("SMOLFAST_CHINCHILLA_CSV", "")


@pytest.mark.parametrize("law", LAWS)
def test_a_planted_law_comes_back(law: Law) -> None:
    params, tokens = equal_compute(law)
    found = scaling.fit(params, tokens, law.loss(params, tokens))
    assert found.objective < 1e-20
    for name in NAMES:
        assert getattr(found, name) == pytest.approx(getattr(law, name), rel=1e-6)
    assert abs(found.alpha - law.alpha) < 1e-6 and abs(found.beta - law.beta) < 1e-6
    assert found.exponent == pytest.approx(law.beta / (law.alpha + law.beta))


def coverage(repeats: int, bootstraps: int) -> dict[str, int]:
    law = LAWS[0]
    params, tokens = equal_compute(law)
    inside = dict.fromkeys(("alpha", "beta", "E", "exponent"), 0)
    for seed in range(repeats):
        found = scaling.fit(params, tokens, noisy(law, params, tokens, seed), bootstraps=bootstraps, seed=seed)
        for name in inside:
            interval = found.interval(name)
            inside[name] += interval.low <= getattr(law, name) <= interval.high
            assert interval.low < interval.value < interval.high
    return inside


def test_intervals_hold_the_planted_law() -> None:
    assert min(coverage(20, 100).values()) >= 17  # P < 1e-3 at 95 %


@pytest.mark.slow
def test_intervals_hold_the_planted_law_in_93_of_100_repeats() -> None:
    assert min(coverage(100, 200).values()) >= 93


def test_an_interval_is_about_as_wide_as_the_estimates_spread() -> None:
    law = LAWS[0]
    params, tokens = equal_compute(law)
    found = [scaling.fit(params, tokens, noisy(law, params, tokens, seed)).alpha for seed in range(40)]
    interval = scaling.fit(params, tokens, noisy(law, params, tokens, 99)).interval("alpha")
    # 95 % of a normal distribution are 3.92 standard deviations wide.
    assert (interval.high - interval.low) / 3.92 / np.std(found) == pytest.approx(1.0, abs=0.4)


def test_many_starts_find_nothing_lower() -> None:
    law = LAWS[1]
    params, tokens = equal_compute(law, sizes=6)
    losses = noisy(law, params, tokens, 3)
    found = scaling.fit(params, tokens, losses)
    # Hoffmann et al.'s grid of starts, thinned.
    grid = np.meshgrid([-1.0, 0.0, 1.0], [0.0, 10.0, 20.0], [0.0, 10.0, 20.0], [0.0, 0.5, 1.0], [0.0, 0.5, 1.0])
    starts = np.stack([part.ravel() for part in grid], -1)
    starts[:, :3] = np.exp(starts[:, :3])
    problem = Problem.of(params, tokens, losses)
    _, sums = solve(problem, np.ones((len(starts), len(params))), problem.centred(starts + 1e-9))
    assert found.objective <= sums.min() * (1 + 1e-9)
    assert (sums < found.objective * (1 + 1e-6)).sum() > 10


def test_the_gradient_of_the_law() -> None:
    law = LAWS[1]
    exact, step = law.gradient(1e8, 2e9), 1e-6
    for place, name in enumerate(NAMES):
        value = getattr(law, name)
        shift = value * np.expm1(step) if place < 3 else step
        moved = Law(**{**law.as_dict(), name: value + shift})
        assert np.log(moved.loss(1e8, 2e9) / law.loss(1e8, 2e9)) / step == pytest.approx(exact[place], rel=1e-4)


def test_predictions_hold_new_runs() -> None:
    law = LAWS[1]
    params, tokens = equal_compute(law, np.geomspace(1e17, 1e19, 4), sizes=6)
    inside = 0
    for seed in range(25):
        fitted = scaling.fit(params, tokens, noisy(law, params, tokens, seed), bootstraps=100, seed=seed)
        came = float(noisy(law, np.array([3e8]), np.array([6e9]), 1000 + seed)[0])
        found = fitted.predict(3e8, 6e9, 0.9)
        assert found.low < found.value < found.high and found.level == 0.9
        assert fitted.predict(3e8, 6e9, 0.9, noise=False).high < found.high * 1.002
        inside += found.low <= came <= found.high
    assert 18 <= inside <= 25


def test_resampled_residuals_keep_the_design() -> None:
    """Few runs, of which two decide: the interval is narrower than that of resampled runs, and holds the law still."""
    law = LAWS[1]
    params, tokens = equal_compute(law, np.geomspace(1e16, 1e18, 3), sizes=4)
    inside, widths = 0, {"runs": 0.0, "residuals": 0.0}
    for seed in range(25):
        losses = noisy(law, params, tokens, seed)
        for resample in ("runs", "residuals"):
            fitted = scaling.fit(params, tokens, losses, bootstraps=100, seed=seed, resample=resample)
            found = fitted.predict(1e9, 2e10, noise=False)
            widths[resample] += np.log(found.high / found.low)
        inside += found.low <= float(law.loss(1e9, 2e10)) <= found.high
    assert widths["residuals"] < 0.8 * widths["runs"] and inside >= 17
    with pytest.raises(SmolfastError, match="choose runs or residuals"):
        scaling.fit(params, tokens, losses, resample="both")  # type: ignore[arg-type]


def test_points_of_one_run_are_drawn_together() -> None:
    law = LAWS[0]
    params, tokens = equal_compute(law, sizes=6)
    losses = noisy(law, params, tokens, 0)
    twice = [np.repeat(column, 2) for column in (params, tokens, losses)]
    groups = np.repeat(np.arange(len(params)), 2)
    apart = scaling.fit(*twice, bad="keep").interval("alpha")
    together = scaling.fit(*twice, bad="keep", groups=groups).interval("alpha")
    once = scaling.fit(params, tokens, losses).interval("alpha")
    width = [one.high - one.low for one in (apart, together, once)]
    assert width[1] == pytest.approx(width[2], rel=0.15)
    assert width[0] < 0.85 * width[2]


def test_a_law_that_is_left_out_of_the_runs_is_fitted_as_nothing() -> None:
    law = Law(E=0.0, A=100.0, B=300.0, alpha=0.3, beta=0.3)
    params, tokens = equal_compute(LAWS[0])
    found = scaling.fit(params, tokens, law.loss(params, tokens))
    assert found.E < 1e-6 and found.alpha == pytest.approx(0.3, abs=1e-5)
    assert any("the term E came out as nothing" in line for line in scaling.warnings(found))


def test_leaving_a_run_out_is_fitting_the_others() -> None:
    law = LAWS[0]
    params, tokens = equal_compute(law, sizes=4)
    losses = noisy(law, params, tokens, 5)
    left = without_each(scaling.fit(params, tokens, losses))[7]
    others = scaling.fit(*(np.delete(column, 7) for column in (params, tokens, losses)))
    assert left.alpha == pytest.approx(others.alpha, rel=1e-4) and left.beta == pytest.approx(others.beta, rel=1e-4)


def test_time() -> None:
    law = LAWS[0]
    params, tokens = equal_compute(law)
    losses = noisy(law, params, tokens, 0)
    scaling.fit(params, tokens, losses)
    started = time.process_time()
    found = scaling.fit(params, tokens, losses)
    assert time.process_time() - started < 1
    started = time.process_time()
    assert found.interval("alpha").high > found.alpha and len(found.draws) == 1000
    assert time.process_time() - started < 60


@pytest.mark.skipif(not CHINCHILLA, reason="SMOLFAST_CHINCHILLA_CSV names no svg_extracted_data.csv")
def test_hoffmanns_runs() -> None:
    with Path(CHINCHILLA).open(encoding="utf-8", newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: float(row["loss"]))[:-5]
    params, flops, losses = (
        np.array([float(row[name]) for row in rows]) for name in ("Model Size", "Training FLOP", "loss")
    )
    found = scaling.fit(params, flops / 6 / params, losses)
    assert len(rows) == 240
    assert found.objective <= 0.0010183
    assert (found.alpha, found.beta, found.E) == pytest.approx((0.34730, 0.36716, 1.81718), abs=5e-5)
    for name, published in (("alpha", 0.34781), ("beta", 0.36585), ("E", 1.81686), ("exponent", 0.513)):
        interval = found.interval(name)
        assert interval.low < published < interval.high
    interval = found.interval("alpha")
    assert (interval.high - interval.low) / 3.92 == pytest.approx(0.0154, rel=0.15)


@pytest.mark.parametrize(
    ("level", "name", "message"),
    [(0.95, "gamma", "no parameter 'gamma'"), (1.0, "alpha", "level = 1.0"), (0.0, "alpha", "level = 0.0")],
)
def test_intervals_of_nothing(level: float, name: str, message: str) -> None:
    law = LAWS[0]
    params, tokens = equal_compute(law, sizes=4)
    found = scaling.fit(params, tokens, noisy(law, params, tokens, 0), bootstraps=100)
    with pytest.raises(SmolfastError, match=message):
        found.interval(name, level)
