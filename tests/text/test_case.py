"""Lower case and case folding against Python's own, under every implementation."""

from __future__ import annotations

import unicodedata

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smolfast import text

# Python's tables may be of an older Unicode version: what they know they know for good.
KNOWN = [chr(c) for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs")]


pytestmark = pytest.mark.usefixtures("implementation")


@pytest.mark.parametrize(("before", "after"), [("", ""), ("Ab" * 25, "Z" * 45), ("あΩß" * 5, "É")])
def test_every_code_point(before: str, after: str) -> None:
    strings = (
        [before + c + after for c in KNOWN] if not before else [before + c + after for c in KNOWN if c.lower() != c]
    )
    assert text.lower(strings).to_pylist() == [s.lower() for s in strings]
    assert text.casefold(strings).to_pylist() == [s.casefold() for s in strings]


MIXTURE = st.text(
    st.one_of(
        st.sampled_from("ABCxyz Σ\u03a3\u0301\u00ad'.ΑΣσ\u0345İIıẞßﬀΐĿ"),
        st.sampled_from([c for c in KNOWN if c.lower() != c or c.casefold() != c]),
        st.sampled_from(KNOWN),
    ),
    max_size=120,
)


@settings(max_examples=400, deadline=None)
@given(st.lists(MIXTURE, max_size=6))
def test_mixtures(strings: list[str]) -> None:
    assert text.lower(strings).to_pylist() == [s.lower() for s in strings]
    assert text.casefold(strings).to_pylist() == [s.casefold() for s in strings]


def test_final_sigma_looks_past_long_stretches() -> None:
    string = "Α" + "\u0301" * 1000 + "Σ" + "\u00ad" * 1000
    strings = [string, string + "Α", string[1:], "Σ" * 5000, "ΑΣ", "Σ", "ΑΣ.", "ΑΣ.Α"]
    assert text.lower(strings).to_pylist() == [s.lower() for s in strings]


def test_same_buffers_come_back_where_nothing_changes() -> None:
    same = pa.array(["plain text, 123", "ünïcode ñ", "日本語 кириллица", None])
    assert text.lower(same) is same
    assert text.casefold(same) is same
    assert text.casefold(pa.array(["STRASSE", None, "Straße"])).to_pylist() == ["strasse", None, "strasse"]
