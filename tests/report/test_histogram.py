"""Histograms: bars where the numbers lie, and each document on the right side of a threshold."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from smolfast.report.curation.histogram import Bin, Limit, histogram


def bars(page: Any, colour: int) -> list[tuple[float, float, float]]:
    """Left, right and top of the bars of a colour, in thousandths of the drawing."""
    paths = [a["d"] or "" for a in page.all("path") if a["class"] == f"fill s{colour}"]
    return [
        (float(left), float(right), float(top))
        for path in paths
        for left, top, right in re.findall(r"M([\d.]+) 1000V([\d.]+)H([\d.]+)V1000Z", path)
    ]


def test_bars_stand_where_their_numbers_lie(fake: SimpleNamespace) -> None:
    bins = [Bin(0.0, True, 9), Bin(0.3, True, 1), Bin(0.3, False, 1), Bin(0.5, False, 4)]
    page = fake.page(histogram("k", "dup", bins, [Limit(0.3, above=True)]))
    # The axis runs from 0 to 0.51, a hundredth a bar.
    (left, right, top), at_threshold = bars(page, 0)
    assert (left, top) == (0.0, 0.0) and abs(right - 1000 / 51) < 0.1
    # Of the two in the bar that begins at the threshold, the one that equals it stays: each has half the width.
    just_beyond, beyond = bars(page, 1)
    assert abs(at_threshold[0] - 30_000 / 51) < 0.1 and abs(at_threshold[1] - 30_500 / 51) < 0.1
    assert abs(just_beyond[0] - 30_500 / 51) < 0.1 and abs(beyond[0] - 50_000 / 51) < 0.1
    assert "Of 15 documents 5 (33.3%) lie above 0.3." in page.words
    limit = next(a for a in page.all("line") if a["class"] == "limit")
    assert limit["x1"] == limit["x2"] == f"{3000 / 51:.2f}%"


def test_a_number_that_equals_a_threshold_stays(fake: SimpleNamespace) -> None:
    bins = [Bin(49.0, True, 2), Bin(50.0, True, 3), Bin(51.0, True, 4)]
    assert "documents 4 (44.4%) lie above 50." in fake.page(histogram("k", "w", bins, [Limit(50, above=True)])).words
    assert "documents 2 (22.2%) lie below 50." in fake.page(histogram("k", "w", bins, [Limit(50, above=False)])).words
    both = [Limit(50, above=False, name="short"), Limit(1e5, above=True, name="long")]
    page = fake.page(histogram("k", "w", bins, both))
    assert "lie below 50 (short) or above 100,000 (long)." in page.words
    assert len([a for a in page.all("line") if a["class"] == "limit"]) == 2


def test_a_threshold_of_many_digits_is_said_to_be_about(fake: SimpleNamespace) -> None:
    page = fake.page(histogram("k", "w", [Bin(0.18, False, 3), Bin(0.2, True, 1)], [Limit(0.1834, above=True)]))
    assert "Of 4 documents about 1 (25.0%) lies above 0.1834." in page.words


def test_nothing_measured_is_said(fake: SimpleNamespace) -> None:
    page = fake.page(histogram("k", "w", [], [Limit(0.1, above=True)]))
    assert "w: measured on no document." in page.words and not page.all("svg")


@example(counts={(40, 0, False): 1}, limits=[(0.125, False)])
@example(counts={(40, 0, False): 1}, limits=[])
@given(
    st.dictionaries(
        st.tuples(st.integers(10, 99), st.integers(-6, 8), st.booleans()),
        st.integers(1, 10**9),
        min_size=1,
        max_size=40,
    ),
    st.lists(st.tuples(st.floats(0, 1e6), st.booleans()), max_size=3),
)
def test_any_numbers_make_a_drawing(counts: dict[tuple[int, int, bool], int], limits: list[tuple[float, bool]]) -> None:
    edges = sorted((float(f"{digits}e{power}"), not exact, count) for (digits, power, exact), count in counts.items())
    drawn = histogram(
        "k", "w", [Bin(low, not after, count) for low, after, count in edges], [Limit(*one) for one in limits]
    )
    assert "nan" not in drawn.lower() and "<svg" in drawn
    assert len(drawn) < 40_000


def test_what_equals_the_only_threshold_is_drawn_as_staying(fake: SimpleNamespace) -> None:
    bins = [Bin(0.0, True, 90), Bin(1.0, True, 10)]
    page = fake.page(histogram("k", "curly", bins, [Limit(0, above=True)]))
    assert len(bars(page, 0)) == 1 and len(bars(page, 1)) == 1
    assert bars(page, 0)[0][0] == 0.0 < bars(page, 1)[0][0]
    assert "Of 100 documents 10 (10.0%) lie above 0." in page.words


def test_none_beyond_is_said_in_words(fake: SimpleNamespace) -> None:
    page = fake.page(histogram("k", "w", [Bin(3.0, True, 2)], [Limit(1, above=False)]))
    assert "Of 2 documents none lies below 1." in page.words
