"""Intervals of paired differences: against tables, and by how often they hold the truth."""

from __future__ import annotations

import math
import random

import pytest

from smolfast.pipeline.sweeps.statistics import paired, t_below, t_quantile


@pytest.mark.parametrize(
    ("degrees", "quantile"),
    [
        (1, 12.7062047),
        (2, 4.3026527),
        (3, 3.1824463),
        (4, 2.7764451),
        (9, 2.2621572),
        (30, 2.0422725),
        (1000, 1.9623391),
    ],
)
def test_quantiles_of_the_tables(degrees: int, quantile: float) -> None:
    assert t_quantile(0.975, degrees) == pytest.approx(quantile, rel=1e-7)
    assert t_below(0.0, degrees) == 0.5


def test_a_planted_effect_is_shown_and_none_is_not() -> None:
    noise = [0.01, -0.02, 0.015, -0.005]
    base = [3.0, 3.1, 2.9, 3.05]
    after = [value - 0.2 + shift for value, shift in zip(base, noise, strict=True)]
    found = paired(base, after)
    assert found.low < -0.2 < found.high < 0 and found.verdict() == "better" and found.verdict(maximize=True) == "worse"
    swapped = paired(base, [base[1], base[0], base[3], base[2]])  # the same numbers under other seeds
    assert swapped.verdict() == "no difference shown" and swapped.mean == pytest.approx(0.0, abs=1e-12)


def test_one_pair_shows_nothing_and_equal_ones_are_certain() -> None:
    one = paired([1.0], [0.5])
    assert (one.mean, one.low, one.high) == (-0.5, -math.inf, math.inf) and one.verdict() == "no difference shown"
    same = paired([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    assert (same.low, same.high) == (0.0, 0.0) and same.verdict() == "no difference shown"


@pytest.mark.parametrize("pairs", [3, 5])
def test_the_interval_holds_the_truth_as_often_as_it_says(pairs: int) -> None:
    draw = random.Random(pairs)
    held = 0
    for _ in range(2000):
        base = [draw.gauss(3, 0.5) for _ in range(pairs)]  # what seeds share cancels
        after = [value + 0.1 + draw.gauss(0, 0.05) for value in base]
        found = paired(base, after)
        held += found.low <= 0.1 <= found.high
    assert 0.935 < held / 2000 < 0.965
