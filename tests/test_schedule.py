"""Warm-up–stable–decay: its corners, and that it never leaves (0, 1]."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smolfast.schedule import warmup_stable_decay


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
