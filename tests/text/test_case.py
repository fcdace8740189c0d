"""Lower case and case folding against Python's own, under every implementation."""

from __future__ import annotations

import unicodedata

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smolfast import SmolfastError, text

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


def test_every_length_and_place() -> None:
    """ASCII is checked and mapped in one pass, 256 and 64 bytes at a time; what isn't takes the other way."""
    strings = ["a" * size for size in range(0, 600, 7)] + ["Q" * size for size in range(0, 600, 7)]
    for place in (*range(70), 250, 255, 256, 257, 300):
        for piece in ("Z", "[", "@", "É", "ẞ"):
            strings += ["x" * place + piece, "X" * place + piece + "y" * 300]
    for kind in (pa.string(), pa.large_string()):
        column = pa.array(strings, kind)
        assert text.casefold(column, threads=1).to_pylist() == [s.casefold() for s in strings]
        assert text.lower(column, threads=2).to_pylist() == [s.lower() for s in strings]


def test_large_columns_on_one_thread_and_two() -> None:
    """Where one thread works alone tasks write to their place in the output at once, whoever changes first."""
    strings = ["lower", None, "É" * 700, "Mixed CASE " * 40, "same" * 300, ""] * 900
    strings = ["nothing to do"] * 40_000 + strings + ["nothing"] * 40_000 + strings
    want = [s if s is None else s.casefold() for s in strings]
    for column in (pa.array(strings), pa.chunked_array([strings, [], strings[:7]], pa.string())):
        one, two = text.casefold(column, threads=1), text.casefold(column, threads=2)
        assert one.to_pylist() == two.to_pylist() == (want + want[:7])[: len(column)]


@pytest.mark.parametrize("place", [0, 5, 63, 64, 255, 256, 300])
def test_broken_utf8_between_letters_of_ascii(place: int) -> None:
    rows = [b"FINE", b"A" * place + b"\xff" + b"B" * 400, b"Fine"]
    column = pa.array(rows, pa.binary()).view(pa.string())
    with pytest.raises(SmolfastError, match=f"row 1 is not UTF-8 at byte {place};"):
        text.casefold(column)
    expected = [row.decode(errors="replace").casefold() for row in rows]
    assert text.casefold(column, errors="replace").to_pylist() == expected


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
