"""Clipping rules against the papers' formulas, worked out by hand or in numpy."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from smolfast.train.clipping import AdaGC, Clipper, Clipping, GlobalClip, ZClip, make_clipper


def factors(clip: Clipper, norms: list[float]) -> list[float] | float:
    tensor = torch.tensor(norms, dtype=torch.float64)
    return clip.factors(float(tensor.norm()), tensor)


def test_global() -> None:
    assert factors(GlobalClip(1.0), [3.0, 4.0]) == pytest.approx(0.2)
    assert factors(GlobalClip(5.0), [3.0, 4.0]) == 1.0


def test_zclip_against_the_formula() -> None:
    norms = np.random.default_rng(0).normal(1.0, 0.1, 60)
    norms[[40, 50]] = 9.0, 3.0
    clip = ZClip(1e9)
    found = [clip.factors(float(norm), torch.tensor([norm])) for norm in norms]
    mean, deviation = norms[:25].mean(), norms[:25].std()
    assert found[:25] == [1.0] * 25
    for norm, factor in zip(norms[25:], found[25:], strict=True):
        z = (norm - mean) / deviation
        clipped = mean + 2.5**2 / z * deviation if z > 2.5 else norm
        assert factor * norm == pytest.approx(clipped, rel=1e-4)
        mean = 0.97 * mean + 0.03 * clipped
        deviation = math.sqrt(0.97 * deviation**2 + 0.03 * (clipped - mean) ** 2)
    assert found[40] < 0.15 < found[50] < 0.5


def test_zclip_obeys_the_fixed_bound() -> None:
    clip = ZClip(1.0)
    assert all(factors(clip, [4.0]) == 0.25 for _ in range(40))


def test_adagc_clips_only_what_stands_out() -> None:
    clip = AdaGC(5.0)
    for _ in range(100):
        assert factors(clip, [3.0, 4.0]) == [1.0, 1.0]
    assert clip.average == [3.0, 4.0]
    assert factors(clip, [30.0, 4.0]) == pytest.approx([1.05 * 3.0 / 30.0, 1.0])
    assert clip.average == pytest.approx([0.98 * 3.0 + 0.02 * 3.15, 4.0])
    assert factors(clip, [0.0, 0.0]) == [1.0, 1.0]


def test_adagc_starts_from_the_smallest_clipped_norm() -> None:
    clip = AdaGC(1.0)
    assert factors(clip, [3.0, 4.0]) == pytest.approx([0.2, 0.2])
    factors(clip, [0.1, 0.9])
    assert clip.average == pytest.approx([0.1, 0.8])


@pytest.mark.parametrize("kind", ["global", "zclip", "adagc"])
@pytest.mark.parametrize("cut", [3, 30, 110])
def test_the_memory_comes_back_through_json(kind: Clipping, cut: int) -> None:
    norms = np.random.default_rng(1).lognormal(0.0, 1.0, (130, 3)).tolist()
    whole = make_clipper(kind, 2.0)
    expected = [factors(whole, norm) for norm in norms]
    first, second = make_clipper(kind, 2.0), make_clipper(kind, 2.0)
    found = [factors(first, norm) for norm in norms[:cut]]
    second.load(json.loads(json.dumps(first.state())))
    assert found + [factors(second, norm) for norm in norms[cut:]] == expected
