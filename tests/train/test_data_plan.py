"""Mixtures: exact shares, nothing twice, any step from settings and seed alone, any number of ranks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smolfast.config import StageConfig, TrainConfig
from smolfast.errors import SmolfastError
from smolfast.tokens.files import PackedWindows, TokenFile
from smolfast.train.data_plan import DataPlan, _apportion


def token_file(first: int, count: int) -> TokenFile:
    """Documents of seven distinct tokens from `first` on, so that a token says which source it came from."""
    starts = np.append(np.arange(0, count, 7), count).astype(np.int64)
    return TokenFile(Path("x"), np.arange(first, first + count, dtype=np.uint16), starts, 0, 60_000, 0)


SOURCES = {"web": token_file(0, 5_000), "code": token_file(10_000, 2_000), "math": token_file(20_000, 400)}


def plan(steps: int = 50, sources: dict[str, TokenFile] | None = None, **changes: Any) -> DataPlan:
    values: dict[str, Any] = {
        "sequence_length": 8,
        "batch_size": 8,
        "micro_batch_size": 2,
        "mixture": {"web": 0.7, "code": 0.2, "math": 0.1},
    }
    return DataPlan(sources or SOURCES, TrainConfig(**values | changes), steps, seed=3)


def source_of(tokens: np.ndarray[Any, Any]) -> list[str]:
    return [("web", "code", "math")[row[0] // 10_000] for row in tokens]


def test_one_source_is_packed_windows() -> None:
    alone = plan(sources={"web": SOURCES["web"]}, mixture={})
    windows = PackedWindows(SOURCES["web"], 8, 8, seed=3)
    for step in (0, 5, 2 * windows.steps_per_epoch + 1):
        rows = alone.rows(step)
        tokens, ids = windows.batch(step)
        assert np.array_equal(rows.tokens, tokens) and np.array_equal(rows.document_ids, ids)
        assert np.array_equal(SOURCES["web"].tokens[rows.positions], tokens)


def test_shares_are_exact_within_a_window() -> None:
    mixed = plan()
    total = dict.fromkeys(SOURCES, 0)
    for step in range(50):
        names = source_of(mixed.rows(step).tokens)
        assert len(names) == 8
        assert {name: names.count(name) for name in set(names)} == mixed.counts(step)
        for name in SOURCES:
            total[name] += names.count(name)
            assert abs(total[name] - 8 * (step + 1) * {"web": 0.7, "code": 0.2, "math": 0.1}[name]) <= 1
    assert total == {"web": 280, "code": 80, "math": 40}


@given(st.lists(st.floats(0.001, 1.0), min_size=1, max_size=6), st.lists(st.integers(1, 64), min_size=1, max_size=60))
def test_any_weights_are_kept_to_within_a_window_a_source(raw: list[float], seats: list[int]) -> None:
    weights = {str(index): value / sum(raw) for index, value in enumerate(raw)}
    owed: dict[str, float] = {}
    given_so_far = dict.fromkeys(weights, 0)
    for done, count in enumerate(seats, 1):
        given_now = _apportion(count, weights, owed)
        assert sum(given_now.values()) == count and min(given_now.values()) >= 0
        for name, weight in weights.items():
            given_so_far[name] += given_now[name]
            assert abs(given_so_far[name] - weight * sum(seats[:done])) < len(weights)


def test_a_source_is_read_once_before_it_is_read_again() -> None:
    mixed = plan(steps=40)
    seen: dict[str, list[int]] = {name: [] for name in SOURCES}
    for step in range(40):
        tokens = mixed.rows(step).tokens
        for name, row in zip(source_of(tokens), tokens[:, 1:], strict=True):
            seen[name] += row.tolist()
    assert len(set(seen["web"])) == len(seen["web"]) and len(set(seen["code"])) == len(seen["code"])
    assert len(seen["math"]) == 32 * 8 and len(set(seen["math"])) == 32 * 8


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_any_step_on_any_number_of_ranks(ranks: int) -> None:
    stages = (StageConfig(fraction=0.4), StageConfig(fraction=0.6, weights={"math": 0.5, "code": 0.5}))
    options: dict[str, Any] = {"stages": stages, "batch_ramp_fraction": 0.5, "batch_ramp_start": 4}
    forward = plan(**options)
    expected = [forward.rows(step) for step in range(60)]
    for step in (59, 0, 30, 20, 19, 55):
        fresh = plan(**options)  # as after a restart: nothing remembered
        size = fresh.batch_size(step)
        parts = [fresh.rows(step, rank * size // ranks, (rank + 1) * size // ranks) for rank in range(ranks)]
        for name in ("tokens", "document_ids", "positions"):
            found = np.concatenate([getattr(part, name) for part in parts])
            assert np.array_equal(found, getattr(expected[step], name))


def test_stages_change_weights_and_lengths() -> None:
    staged = plan(
        stages=(
            StageConfig(fraction=0.5),
            StageConfig(fraction=0.3, weights={"code": 1.0}),
            StageConfig(fraction=0.2, sequence_length=32),
        )
    )
    assert [staged.stage(step) for step in (0, 24, 25, 39, 40, 49, 1_000)] == [0, 0, 1, 1, 2, 2, 2]
    assert staged.counts(24).keys() == SOURCES.keys()
    assert staged.counts(25) == {"code": 8}
    assert staged.rows(39).tokens.shape == (8, 9) and staged.rows(40).tokens.shape == (8, 33)


def test_the_batch_grows() -> None:
    ramped = plan(batch_ramp_fraction=0.4, batch_ramp_start=2)
    assert [len(ramped.rows(step).tokens) for step in (0, 6, 7, 19, 20, 49)] == [2, 2, 4, 6, 8, 8]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mixture": {"web": 0.7, "code": 0.3056}}, r"train\.mixture sums to 1\.0056; make it 1, or set train\.norm"),
        ({"mixture": {"web": 0.7, "books": 0.3}}, r"train\.mixture names 'books'; the sources are web, code, math"),
        ({"mixture": {}}, r"3 sources \(web, code, math\) and no weights; set train\.mixture, for example"),
        ({"stages": (StageConfig(fraction=1, weights={"web": 0.5}),)}, r"train\.stages\[0\]\.weights sums to 0\.5"),
        ({"sequence_length": 1_000}, "too little text"),
    ],
)
def test_mistakes_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SmolfastError, match=message):
        plan(**changes)


def test_published_weights_are_normalised_on_request() -> None:
    mixed = plan(mixture={"web": 0.7, "code": 0.3056}, normalize_mixture=True)
    assert mixed.weights == [{"web": pytest.approx(0.7 / 1.0056), "code": pytest.approx(0.3056 / 1.0056)}]
