"""Decisions from signals that don't fit the rules; documents repeated by their clusters' sizes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from smolfast import SmolfastError
from smolfast.curate import GopherQuality, Rules, decide, judge, load_rules, rehydrate

RULES = load_rules("fineweb@0.10")
REPETITION, QUALITY, C4, FINEWEB = RULES.filters
TEXTS = ["the river and the stone have been here. " * 3, "A short one.", None]


def with_filters(*filters: Any) -> Rules:
    return Rules("own", "1", filters)


def test_what_says_what_is_measured_must_be_as_it_was() -> None:
    signals = judge(TEXTS, RULES, signals=True)
    for changed, said in (
        (replace(QUALITY, stop_words=("a",)), "gopher_quality was measured with stop_words"),
        (replace(C4, min_words_per_line=4), "c4_quality was measured with min_words_per_line = 3"),
        (replace(REPETITION, top_n_grams=((3, 0.1),)), "gopher_repetition was measured with top_n_grams"),
    ):
        filters = [changed if kind.name == changed.name else kind for kind in RULES.filters]
        with pytest.raises(SmolfastError, match=said):
            decide(signals, with_filters(*filters))


def test_filters_may_be_left_out_but_not_rewriters_or_the_order() -> None:
    signals = judge(TEXTS, RULES, signals=True)
    for kept in ((QUALITY, C4, FINEWEB), (REPETITION,), (C4,)):
        rules = with_filters(*kept)
        assert decide(signals, rules)["reason"].to_pylist() == judge(TEXTS, rules)["reason"].to_pylist()
    with pytest.raises(SmolfastError, match="without c4_quality, filters after it see another text"):
        decide(signals, with_filters(REPETITION, FINEWEB))
    with pytest.raises(SmolfastError, match="gopher_repetition wasn't measured, or stood elsewhere"):
        decide(signals, with_filters(QUALITY, REPETITION))


def test_missing_columns() -> None:
    signals = judge(TEXTS, RULES, signals=True)
    with pytest.raises(SmolfastError, match="no column gopher_quality_hash_ratio"):
        decide(signals.drop_columns(["gopher_quality_hash_ratio"]), RULES)
    with pytest.raises(SmolfastError, match="no column gopher_repetition_characters"):
        decide(judge(TEXTS, RULES), RULES)


def test_signals_need_no_metadata() -> None:
    signals = judge(TEXTS, RULES, signals=True)
    assert decide(signals.replace_schema_metadata(None), RULES).equals(decide(signals, RULES))


def test_language_of_the_signals_is_taken() -> None:
    signals = judge(TEXTS, "fineweb-2@1", "de", signals=True)
    assert decide(signals, "fineweb-2@1").equals(decide(signals, load_rules("fineweb-2@1", "de")))


def test_off_at_zero_is_no_check() -> None:
    off = GopherQuality(0, 0, 0, 0, 0, 0, 0, 0, 0)
    assert judge(["", "#", "..."], with_filters(off))["keep"].to_pylist() == [True] * 3


def test_rehydrate_repeats_by_steps() -> None:
    schema = pa.schema([("id", pa.int64()), ("size", pa.int32())], {b"k": b"v"})
    table = pa.table({"id": range(8), "size": [1, 2, 3, 4, 5, 6, 99, 0]}, schema)
    out = rehydrate(table, {"2": 3, 1: 1, 5: 0, 6: 2}, column="size")
    assert out["id"].to_pylist() == [0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 5, 5, 6, 6, 7]
    assert out.schema.equals(table.schema, check_metadata=True)
    assert rehydrate(table.to_batches()[0], {1: 2}, column="size").num_rows == 15
    assert rehydrate(table[:0], {1: 2}, column="size").num_rows == 0


def test_fineweb_2s_italian_weights() -> None:
    weights = {1: 1, 2: 3, 3: 4, 4: 5, 5: 6, 7: 7, 8: 8, 11: 9, 17: 10, 26: 9, 31: 8, 46: 7, 145: 1}
    sizes = [1, 2, 6, 10, 17, 25, 144, 145, 10_000]
    out = rehydrate(pa.table({"cluster_size": sizes}), weights)["cluster_size"].to_pylist()
    assert [out.count(size) for size in sizes] == [1, 3, 6, 8, 10, 10, 7, 1, 1]


@pytest.mark.parametrize(
    ("table", "weights", "said"),
    [
        ({"size": [1]}, {1: 1}, "no column 'cluster_size'; name the one"),
        ({"cluster_size": [1.0]}, {1: 1}, "must be integers"),
        ({"cluster_size": [1, None]}, {1: 1}, "has nulls"),
        ({"cluster_size": [1]}, {}, "weights are empty"),
        ({"cluster_size": [1]}, {"a": 1}, "'a' is no cluster size"),
        ({"cluster_size": [1]}, {0: 1}, "use {size from 1"),
        ({"cluster_size": [1]}, {1: -1}, "use {size from 1"),
        ({"cluster_size": [1]}, {1: 1.5}, "use {size from 1"),
    ],
)
def test_bad_weights(table: dict[str, Any], weights: Any, said: str) -> None:
    with pytest.raises(SmolfastError, match=said):
        rehydrate(pa.table(table), weights)
