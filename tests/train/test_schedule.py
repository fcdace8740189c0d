"""Schedules: their corners, and that rates never leave (0, 1]."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smolfast.train.schedule import ramped_batch_size, warmup_cosine, warmup_stable_decay


def test_corners() -> None:
    scales = [warmup_stable_decay(step, 10, warmup_fraction=0.2, decay_fraction=0.4) for step in range(10)]
    assert scales == pytest.approx([0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25])


def test_without_ramps_every_step_has_the_peak_rate() -> None:
    assert [warmup_stable_decay(step, 3, warmup_fraction=0, decay_fraction=0) for step in range(3)] == [1, 1, 1]


@given(st.integers(1, 5_000), st.floats(0, 1), st.data())
def test_rises_once_and_falls_once_within_bounds(steps: int, warmup: float, data: st.DataObject) -> None:
    decay = data.draw(st.floats(0, 1 - warmup))
    scales = [warmup_stable_decay(step, steps, warmup_fraction=warmup, decay_fraction=decay) for step in range(steps)]
    assert all(0 < scale <= 1 for scale in scales)
    top = scales.index(max(scales))
    assert scales[: top + 1] == sorted(scales[: top + 1])
    assert scales[top:] == sorted(scales[top:], reverse=True)


def test_square_root_decay_is_steepest_at_first() -> None:
    scales = [warmup_stable_decay(step, 8, warmup_fraction=0, decay_fraction=0.5, decay="1-sqrt") for step in range(8)]
    assert scales[:5] == [1] * 5
    assert scales[5:] == pytest.approx([1 - 0.5, 1 - 0.5**0.5, 1 - 0.75**0.5])


def test_cosine_corners() -> None:
    scales = [warmup_cosine(step, 11, warmup_fraction=2 / 11, final_fraction=0.1) for step in range(11)]
    assert scales[:2] == [0.5, 1.0]
    # Ten equal parts of the half turn from the last warm-up step: a half at the fifth, 0.1 a step after the end.
    assert scales[6] == pytest.approx(0.55)
    assert scales[2] == pytest.approx(0.1 + 0.9 * 0.5 * (1 + 0.9510565162951535))
    assert scales == [0.5, *sorted(scales[1:], reverse=True)] and 0.1 < scales[-1] < 0.13


@given(st.integers(1, 5_000), st.floats(0, 1), st.sampled_from(["linear", "1-sqrt"]))
def test_every_rate_is_above_nothing(steps: int, fraction: float, decay: Literal["linear", "1-sqrt"]) -> None:
    for step in {0, steps // 2, steps - 1}:
        assert 0 < warmup_stable_decay(step, steps, warmup_fraction=0, decay_fraction=fraction, decay=decay) <= 1
        assert 0 < warmup_cosine(step, steps, warmup_fraction=fraction) <= 1


def test_batches_grow_in_whole_micro_batches() -> None:
    sizes = [ramped_batch_size(step, 20, start=8, end=32, ramp_fraction=0.5, multiple=4) for step in range(20)]
    assert sizes == [8, 8, 12, 12, 16, 20, 20, 24, 24, 28, *[32] * 10]
    assert ramped_batch_size(0, 20, start=8, end=32, ramp_fraction=0.0, multiple=4) == 32
