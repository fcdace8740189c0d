"""Clipping rules against the papers' formulas, worked out by hand or in numpy."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from smolfast.clipping import AdaGC, Clipping, GlobalClip, ZClip, make_clipper


def test_global() -> None:
    assert GlobalClip(1.0).factors([3.0, 4.0]) == pytest.approx(0.2)
    assert GlobalClip(5.0).factors([3.0, 4.0]) == 1.0


def test_zclip_against_the_formula() -> None:
    norms = np.random.default_rng(0).normal(1.0, 0.1, 60)
    norms[[40, 50]] = 9.0, 3.0
    clip = ZClip(1e9)
    factors = [clip.factors([float(norm)]) for norm in norms]
    mean, deviation = norms[:25].mean(), norms[:25].std()
    assert factors[:25] == [1.0] * 25
    for norm, factor in zip(norms[25:], factors[25:], strict=True):
        z = (norm - mean) / deviation
        clipped = mean + 2.5**2 / z * deviation if z > 2.5 else norm
        assert factor * norm == pytest.approx(clipped, rel=1e-4)
        mean = 0.97 * mean + 0.03 * clipped
        deviation = math.sqrt(0.97 * deviation**2 + 0.03 * (clipped - mean) ** 2)
    assert factors[40] < 0.15 < factors[50] < 0.5


def test_zclip_obeys_the_fixed_bound() -> None:
    clip = ZClip(1.0)
    assert all(clip.factors([4.0]) == 0.25 for _ in range(40))


def test_adagc_clips_only_what_stands_out() -> None:
    clip = AdaGC(5.0)
    for _ in range(100):
        assert clip.factors([3.0, 4.0]) == [1.0, 1.0]
    assert clip.average == [3.0, 4.0]
    assert clip.factors([30.0, 4.0]) == pytest.approx([1.05 * 3.0 / 30.0, 1.0])
    assert clip.average == pytest.approx([0.98 * 3.0 + 0.02 * 3.15, 4.0])
    assert clip.factors([0.0, 0.0]) == [1.0, 1.0]


def test_adagc_starts_from_the_smallest_clipped_norm() -> None:
    clip = AdaGC(1.0)
    assert clip.factors([3.0, 4.0]) == pytest.approx([0.2, 0.2])
    clip.factors([0.1, 0.9])
    assert clip.average == pytest.approx([0.1, 0.8])


@pytest.mark.parametrize("kind", ["global", "zclip", "adagc"])
@pytest.mark.parametrize("cut", [3, 30, 110])
def test_the_memory_comes_back_through_json(kind: Clipping, cut: int) -> None:
    norms = np.random.default_rng(1).lognormal(0.0, 1.0, (130, 3)).tolist()
    whole = make_clipper(kind, 2.0)
    expected = [whole.factors(norm) for norm in norms]
    first, second = make_clipper(kind, 2.0), make_clipper(kind, 2.0)
    found = [first.factors(norm) for norm in norms[:cut]]
    second.load(json.loads(json.dumps(first.state())))
    assert found + [second.factors(norm) for norm in norms[cut:]] == expected
