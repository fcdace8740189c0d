"""Two texts side by side."""

from __future__ import annotations

import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smolfast.dedup import deduplicate
from smolfast.report.difference import Shared, compare, difference_table, in_words, shared_ngrams

_WORDS = st.lists(st.sampled_from(["red", "green", "blue", "(x)", "y=1", "\n", "  "]), max_size=60).map(" ".join)


@given(_WORDS, _WORDS)
def test_parts_are_stretches_of_the_texts_and_what_is_unmarked_is_equal(left: str, right: str) -> None:
    difference = compare(left, right)
    places = [0, 0]
    for part in difference.parts:
        for side, (text, pieces) in enumerate(((left, part.left), (right, part.right))):
            stretch = "".join(piece for piece, _ in pieces)
            at = text.find(stretch, places[side])
            assert at >= 0
            places[side] = at
        same = ["".join(t for t, changed in side if not changed).split() for side in (part.left, part.right)]
        assert "".join(same[0]) == "".join(same[1])
        assert any(changed for side in (part.left, part.right) for _, changed in side)
    equal = "".join(left.split()) == "".join(right.split())
    assert (difference.only_left + difference.only_right == 0) == equal == (not difference.parts)
    assert (difference.hidden > 0) <= (len(difference.parts) == 6)


def test_words_that_differ_are_marked() -> None:
    difference = compare("a\nthe quick brown fox\nb", "a\nthe quick red fox jumps\nb")
    (part,) = difference.parts
    assert part.left == (("a\nthe quick ", False), ("brown", True), (" fox\nb", False))
    assert part.right == (("a\nthe quick ", False), ("red", True), (" fox ", False), ("jumps", True), ("\nb", False))
    assert (difference.only_left, difference.only_right, difference.hidden, difference.skipped) == (1, 2, 0, 0)
    assert in_words(difference) == "1 word only in the removed text, 2 only in the one kept"


def test_lines_broken_elsewhere_differ_in_no_word() -> None:
    text = "Permission is hereby granted, free of charge, to any person obtaining a copy of this software"
    difference = compare(text, text.replace(" ", "\n   ", 9))
    assert difference.parts == () and in_words(difference) == "only white space differs"
    assert "<tbody>" not in difference_table(difference, "a", "b", "c")


def test_long_equal_parts_are_left_out_and_counted() -> None:
    words = [f"w{i}" for i in range(500)]
    difference = compare(" ".join(words), " ".join([*words[:250], "another", *words[251:]]))
    (part,) = difference.parts
    assert (part.skipped, difference.skipped) == (238, 237)
    assert part.left[0] == ("w238 " + " ".join(words[239:250]) + " ", False) and part.left[1] == ("w250", True)
    html = difference_table(difference, "a", "b", "c")
    assert "238 equal words not shown" in html and "237 equal words not shown" in html


def test_many_differences_are_cut_and_counted() -> None:
    words = [f"w{i}" for i in range(1000)]
    other = [f"x{i}" if i % 50 == 25 else word for i, word in enumerate(words)]
    difference = compare(" ".join(words), " ".join(other))
    assert len(difference.parts) == 6
    assert (difference.only_left, difference.only_right, difference.hidden) == (20, 20, 28)
    assert "28 more words that differ not shown" in difference_table(difference, "a", "b", "c")


def test_a_block_that_moved_is_removed_and_added() -> None:
    words = [f"w{i}" for i in range(100)]
    difference = compare(" ".join(words), " ".join([*words[:40], *words[60:], *words[40:60]]))
    assert (difference.only_left, difference.only_right) == (20, 20)


@pytest.mark.parametrize("texts", [("", ""), ("", "a"), ("a b", ""), (" \n", "\t")])
def test_empty_texts(texts: tuple[str, str]) -> None:
    difference = compare(*texts)
    assert difference.only_left == len(texts[0].split()) and difference.only_right == len(texts[1].split())


def test_long_changes_are_cut() -> None:
    html = difference_table(compare("old", "new " * 5000), "a", "b", "c")
    assert "<del>old</del>" in html and "more characters)</ins>" in html and len(html) < 2000


def test_large_texts_take_no_minute() -> None:
    begun = time.process_time()
    compare("a b " * 20_000, "b a a " * 13_000)
    compare(" ".join(f"x{i}" for i in range(40_000)), " ".join(f"y{i}" for i in range(40_000)))
    assert time.process_time() - begun < 20


@pytest.mark.parametrize("n", [1, 2, 5])
def test_shared_ngrams_are_those_of_deduplication(tmp_path: Path, n: int) -> None:
    left = "The river is four miles long, and nobody has measured it since 1911 - 東京 c'est l'été"
    right = left.replace("four", "three").replace("1911", "1912")
    pq.write_table(pa.table({"id": ["k", "r"], "text": [left, right]}), tmp_path / "in.parquet")
    settings = {"ngram": n, "verify": "exact", "num_perm": 64, "bands": 64, "rows": 1, "threshold": 0.01}
    deduplicate([tmp_path / "in.parquet"], tmp_path / "out", **settings)  # type: ignore[arg-type]
    (row,) = pq.read_table(tmp_path / "out" / "removed.parquet").to_pylist()
    assert 0 < row["jaccard"] < 1
    assert shared_ngrams(left, right, n).jaccard == pytest.approx(row["jaccard"])


def test_shared_ngrams_of_short_and_empty_texts() -> None:
    assert shared_ngrams("one two", "one two", 5) == Shared(1, 1)
    assert shared_ngrams("one two", "one three", 5).jaccard == 0
    assert shared_ngrams("", "", 5).jaccard == 1
