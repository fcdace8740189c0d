"""Smoothed curves don't trail the values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smolfast.report.smoothing import smoothed


@given(st.integers(1, 80), st.integers(0, 20), st.floats(-5, 5), st.floats(-5, 5))
def test_a_straight_line_stays_where_it_is(length: int, half: int, start: float, slope: float) -> None:
    line = [start + slope * at for at in range(length)]
    assert smoothed(line, half) == pytest.approx(line, abs=1e-7)


def test_a_value_is_that_of_the_weighted_line_through_its_neighbours() -> None:
    values = np.random.default_rng(0).normal(size=60)
    half = 7
    for at in (0, 3, 30, 58, 59):
        places = np.arange(max(0, at - half), min(60, at + half + 1))
        weights = (1 - (np.abs(places - at) / (half + 1)) ** 3) ** 3
        _, level = np.polyfit(places - at, values[places], 1, w=np.sqrt(weights))
        assert smoothed(list(values), half)[at] == pytest.approx(level)


def test_a_step_is_met_at_its_middle_not_after_it() -> None:
    found = smoothed([1.0] * 50 + [0.0] * 50, 10)
    assert found[49] + found[50] == pytest.approx(1.0) and found[49] > 0.5 > found[50]


def test_noise_falls() -> None:
    noise = np.random.default_rng(1).normal(size=400)
    assert np.std(smoothed(list(noise), 20)) < 0.35 * np.std(noise)


def test_values_that_are_not_finite_stay_and_count_for_nobody() -> None:
    values = [1.0, math.nan, 3.0, 4.0, math.inf, 6.0]
    found = smoothed(values, 2)
    assert math.isnan(found[1]) and found[4] == math.inf
    assert [found[at] for at in (0, 2, 3, 5)] == pytest.approx([1.0, 3.0, 4.0, 6.0])
    assert smoothed([], 5) == [] and smoothed([2.0], 5) == [2.0]
    assert all(map(math.isnan, smoothed([math.nan] * 3, 1)))
