"""Each filter against its plain form: the same reason and text, whatever the document."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from curate_documents import document, documents
from curate_plain_filters import decision
from hypothesis import given

from smolfast.curate import (
    C4BadWords,
    C4Paragraphs,
    C4Quality,
    Filter,
    FineWebQuality,
    GopherQuality,
    GopherRepetition,
    Rules,
    SymbolLines,
    decide,
    judge,
)

_LIMIT = st.sampled_from([0, 0.01, 0.1, 0.2, 1 / 3, 0.5, 2 / 3, 0.9])
_GRAMS = st.lists(
    st.tuples(st.integers(1, 6), st.sampled_from([0, 0.1, 0.3, 0.6])), max_size=4, unique_by=lambda g: g[0]
)
FILTERS: dict[str, st.SearchStrategy[Filter]] = {
    "gopher_repetition": st.builds(
        GopherRepetition, _LIMIT, _LIMIT, _LIMIT, _LIMIT, _GRAMS.map(tuple), _GRAMS.map(tuple)
    ),
    "gopher_quality": st.builds(
        GopherQuality,
        st.sampled_from([0, 1, 5, 50]),
        st.sampled_from([0, 20, 100000]),
        st.sampled_from([0, 2, 3.5]),
        st.sampled_from([0, 4, 10]),
        _LIMIT,
        _LIMIT,
        _LIMIT,
        _LIMIT,
        st.sampled_from([0, 1, 2]),
        st.sampled_from([("the", "be", "to"), ("über", "日本"), ()]),
    ),
    "c4_quality": st.builds(
        C4Quality,
        st.booleans(),
        st.booleans(),
        st.sampled_from([-1, 0, 1, 3]),
        st.sampled_from([-1, 1, 3]),
        st.sampled_from([-1, 0, 4, 1000]),
        st.booleans(),
        st.booleans(),
        st.booleans(),
        st.booleans(),
    ),
    "c4_paragraphs": st.builds(C4Paragraphs, st.sampled_from([1, 5, 200])),
    "c4_bad_words": st.builds(
        C4BadWords, st.sampled_from([("frank",), ("b", "abc", "日本"), ("σας", "3.5", "x")]), st.booleans()
    ),
    "fineweb_quality": st.builds(
        FineWebQuality,
        _LIMIT,
        st.booleans(),
        st.sampled_from([None, (".", "。"), ()]),
        _LIMIT,
        st.sampled_from([0, 5, 30]),
        _LIMIT,
        _LIMIT,
    ),
    "symbol_lines": st.builds(
        SymbolLines, st.sampled_from([None, ("|",), (), ("-", "|", "…")]), st.sampled_from(["", "\n", "gone"])
    ),
}


@pytest.mark.parametrize("name", FILTERS)
def test_decisions_and_texts(name: str) -> None:
    @given(FILTERS[name], documents)
    def holds(kind: Filter, texts: list[str]) -> None:
        table = judge(texts, Rules("own", "1", (kind,)), words="whitespace", threads=1)
        expected = [decision(kind, text) for text in texts]
        assert table["reason"].to_pylist() == [reason for reason, _ in expected]
        assert table["keep"].to_pylist() == [reason is None for reason, _ in expected]
        if kind.rewrites:
            assert table["text"].to_pylist() == [text for _, text in expected]
        else:
            assert "text" not in table.column_names

    holds()


@given(st.permutations(list(FILTERS)).flatmap(lambda names: st.tuples(*(FILTERS[n] for n in names[:4]))), document)
def test_sequences(kinds: tuple[Filter, ...], text: str) -> None:
    rules = Rules("own", "1", kinds)
    reason = None
    left = text
    for kind in kinds:
        reason, left = decision(kind, left)
        if reason is not None:
            break
    table = judge([text], rules, words="whitespace", threads=1)
    assert table["reason"].to_pylist() == [reason]
    if rules.rewrites:
        assert table["text"].to_pylist() == [left]
    measured = judge([text], rules, words="whitespace", threads=1, signals=True)
    assert measured.select(table.column_names).equals(table)
    if any(kind.checks() for kind in kinds):
        assert decide(measured, rules).equals(table.select(["keep", "reason"]).replace_schema_metadata())


@pytest.mark.parametrize("name", [name for name in FILTERS if name not in ("c4_bad_words", "symbol_lines")])
def test_other_thresholds_from_the_same_signals(name: str) -> None:
    """The numbers say for any thresholds what judging anew says."""

    @given(FILTERS[name], FILTERS[name], documents)
    def holds(kind: Filter, other: Filter, texts: list[str]) -> None:
        # The other's thresholds, with what is measured as it was.
        values = {**other.parameters(), **{key: kind.parameters()[key] for key in kind.measuring}}
        if isinstance(kind, GopherRepetition):
            for key in ("top_n_grams", "dup_n_grams"):
                values[key] = tuple((n, limit / 2) for n, limit in getattr(kind, key))
        changed = type(kind)(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
        signals = judge(texts, Rules("own", "1", (kind,)), words="whitespace", threads=1, signals=True)
        expected = judge(texts, Rules("own", "1", (changed,)), words="whitespace", threads=1)
        assert decide(signals, Rules("own", "1", (changed,)))["reason"].to_pylist() == expected["reason"].to_pylist()

    holds()
