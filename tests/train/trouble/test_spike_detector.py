"""Spikes are found, healthy curves raise none, and the memory comes back."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from smolfast.train.trouble.spike_detector import SpikeDetector


def healthy(steps: int, seed: int) -> list[float]:
    """A loss curve: a fall, then noise around a slow fall."""
    noise = np.random.default_rng(seed).normal(0, 0.05, steps)
    return [float(3 + 5 * math.exp(-step / 60) + n) for step, n in enumerate(noise)]


@pytest.mark.parametrize("seed", range(20))
def test_a_healthy_curve_has_none(seed: int) -> None:
    detector = SpikeDetector()
    assert not any(detector.update(value) for value in healthy(2_000, seed))


@pytest.mark.parametrize("bad", [4.5, 50.0, math.inf, math.nan])
def test_a_spike_is_found_and_forgotten(bad: float) -> None:
    curve, detector = healthy(500, 0), SpikeDetector()
    for value in curve[:300]:
        detector.update(value)
    before = list(detector.values)
    assert detector.update(bad)
    assert list(detector.values) == before
    assert not any(detector.update(value) for value in curve[300:])


def test_the_line_is_six_deviations() -> None:
    detector = SpikeDetector(sigma=6.0, window=128)
    for index in range(200):
        detector.update(10.0 + (1.0 if index % 2 else -1.0))
    assert detector.deviations(16.0) == pytest.approx(6.0)
    assert not detector.update(15.99)
    assert SpikeDetector().deviations(1e9) == 0.0


def test_a_new_level_is_accepted() -> None:
    detector = SpikeDetector()
    for value in healthy(300, 1):
        detector.update(value)
    found = [detector.update(8.0) for _ in range(200)]
    assert all(found[:16]) and not any(found[-50:])


def test_flat_curves_tolerate_noise() -> None:
    detector = SpikeDetector()
    assert not any(detector.update(value) for value in [1.0] * 200 + [1.1])
    assert detector.update(1.2)


def test_the_memory_comes_back_through_json() -> None:
    curve = [*healthy(150, 2), 9.0, 9.0, *healthy(50, 3)]
    whole, first, second = SpikeDetector(), SpikeDetector(), SpikeDetector()
    expected = [whole.update(value) for value in curve]
    found = [first.update(value) for value in curve[:151]]
    second.load(json.loads(json.dumps(first.state())))
    assert found + [second.update(value) for value in curve[151:]] == expected
