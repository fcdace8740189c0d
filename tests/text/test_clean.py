"""`clean` against a plain statement of its rules, and its counts."""

from __future__ import annotations

import re
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
import unicodedata2
from hypothesis import given, settings
from hypothesis import strategies as st

from smolfast import SmolfastError, _native, text

SPACES = [chr(c) for c in range(0x10000) if unicodedata.category(chr(c)) == "Zs" and c != 0x20]
ALL = ["line_endings", "control_characters", "zero_width", "spaces", "trailing_whitespace"]


def reference(string: str, rules: set[str], blank_lines: int | None, form: str | None) -> str:
    if "line_endings" in rules:
        string = re.sub("\r\n|[\r\x85\u2028\u2029]", "\n", string)
    if "control_characters" in rules:
        string = re.sub("[\x00-\x08\x0b-\x1f\x7f-\x9f]", "", string)
    if "zero_width" in rules:
        string = re.sub("[\u00ad\u200b\u2060\ufeff]", "", string)
    if "spaces" in rules:
        string = re.sub("[" + "".join(SPACES) + "]", " ", string)
    if "trailing_whitespace" in rules:
        string = re.sub("[ \t]+(?=\n|\\Z)", "", string)
    if blank_lines is not None:
        string = re.sub(f"(?<=\n)\n{{{blank_lines}}}(\n+)", "\n" * blank_lines, string)
        string = re.sub(f"\\A\n{{{blank_lines}}}\n+", "\n" * blank_lines, string)
    return unicodedata2.normalize(form, string) if form else string


PIECES = st.lists(
    st.one_of(
        st.sampled_from(
            ["a", "b c", " ", "\t", "\n", "\n\n\n", "\r\n", "\r", "\x85", "\u2028", "\u2029", "\x00", "\x7f"]
        ),
        st.sampled_from(
            ["\u200b", "\u200d", "\ufeff", "\u00ad", "e", "\u0301", "\u00a0", "\u3000", "é", "か", "😀", "\x9f"]
        ),
        st.characters(exclude_categories=["Cs", "Cn"]),
    ),
    max_size=40,
).map("".join)


@settings(max_examples=600, deadline=None)
@given(
    string=PIECES,
    rules=st.sets(st.sampled_from(ALL)) | st.just(set(ALL)),
    blank_lines=st.sampled_from([None, 0, 1, 2]),
    form=st.sampled_from([None, "NFC", "NFKC"]),
)
def test_rules(string: str, rules: set[str], blank_lines: int | None, form: text.Form | None) -> None:
    options = {name: name in rules for name in ALL}
    once = text.clean([string], blank_lines=blank_lines, form=form, **options).strings
    assert once.to_pylist() == [reference(string, rules, blank_lines, form)]
    if form != "NFKC":  # which makes spaces of other characters
        assert text.clean(once, blank_lines=blank_lines, form=form, **options).strings is once


# What a rule changes, and what looks much like it.
UNCLEAN = [
    "\r",
    "\r\n",
    "\x85",
    "\u2028",
    "\u2029",
    "\x00",
    "\x1f",
    "\x7f",
    "\x9f",
    "\u00ad",
    "\u200b",
    "\u2060",
    "\ufeff",
]
UNCLEAN += [*SPACES, " \n", "\t\n", "\n\n\n"]
FINE = [
    "\t",
    "\n",
    "\n\n",
    " ",
    "~",
    "\u00a1",
    "\u00ac",
    "\u00ae",
    "\u167f",
    "\u1681",
    "\u1000",
    "\u200c",
    "\u2010",
    "\u2027",
    "\u202a",
]
FINE += [
    "\u202e",
    "\u2030",
    "\u205e",
    "\u2061",
    "\u3001",
    "\u3041",
    "\u3680",
    "\ufefe",
    "\ufebf",
    "\ufbbf",
    "é",
    "か",
    "漢",
    "😀",
]


@pytest.mark.parametrize("filler", ["x", "é", "か", "😀"])
@pytest.mark.parametrize("piece", UNCLEAN + FINE)
def test_every_place_in_a_block(implementation: str, piece: str, filler: str) -> None:
    """Vectors take 32 or 64 bytes: a character may lie at any place, across two of them, and at the text's end."""
    strings = [filler * before + piece + "y" * after for before in range(70) for after in (0, 1, 70)]
    for rules in (set(ALL), {"spaces"}, {"zero_width", "trailing_whitespace"}, {"line_endings"}):
        options = {name: name in rules for name in ALL}
        cleaned = text.clean(strings, form=None, **options)
        assert cleaned.strings.to_pylist() == [reference(string, rules, 1, None) for string in strings]


@settings(max_examples=200, deadline=None)
@given(
    parts=st.lists(st.sampled_from([*UNCLEAN, *FINE, "x" * 31, "word " * 13, "語" * 21]), max_size=40),
    rules=st.sets(st.sampled_from(ALL)) | st.just(set(ALL)),
    blank_lines=st.sampled_from([None, 0, 1, 2, 3]),
)
def test_every_implementation(parts: list[str], rules: set[str], blank_lines: int | None) -> None:
    string = "".join(parts)
    options = {name: name in rules for name in ALL}
    counts = []
    for name in _native.implementations():
        _native.force_implementation(name)
        try:
            cleaned = text.clean([string], blank_lines=blank_lines, form=None, **options)
        finally:
            _native.force_implementation("auto")
        assert cleaned.strings.to_pylist() == [reference(string, rules, blank_lines, None)]
        counts.append(cleaned.counts)
    assert all(each == counts[0] for each in counts)


def test_odd_columns(implementation: str) -> None:
    strings = [None, "", "\r", "a", "x" * 63 + "\u00a0", "x" * 64 + " ", None, " \n" * 100]
    want = [None, "", "\n", "a", "x" * 63, "x" * 64, None, "\n"]
    for kind in (pa.string(), pa.large_string(), pa.string_view()):
        assert text.clean(pa.array(strings, kind)).strings.to_pylist() == want
    coded = pa.array(strings, pa.large_string()).dictionary_encode()
    assert text.clean(coded).strings.to_pylist() == want
    assert text.clean(pa.array([], pa.string())).strings.to_pylist() == []
    million = pa.array(["a\u00a0b \n"]).take(pa.array(np.zeros(1_000_000, np.int32)))
    cleaned = text.clean(million)
    assert cleaned.strings.unique().to_pylist() == ["a b\n"] and len(cleaned.strings) == 1_000_000
    assert (cleaned.counts["spaces"], cleaned.counts["trailing_whitespace"]) == (1_000_000, 1_000_000)


def test_text_that_is_not_utf8(implementation: str) -> None:
    column = pa.array([b"fine", b"x" * 62 + b"\xe2\x80", b"\xc2", b"a \xff\n"]).view(pa.string())
    with pytest.raises(SmolfastError, match="row 1 is not UTF-8 at byte 62"):
        text.clean(column)
    cleaned = text.clean(column, errors="replace").strings.to_pylist()
    assert cleaned == ["fine", "x" * 62 + "\ufffd", "\ufffd", "a \ufffd\n"]


def test_counts_say_what_changed() -> None:
    strings = pa.array(["a \t\r\nb\u00a0c\u200b\x00\n\n\n\ne\u0301", None, "fine"])
    cleaned = text.clean(strings)
    assert cleaned.strings.to_pylist() == ["a\nb c\n\né", None, "fine"]
    assert cleaned.counts == {
        "line_endings": 1,
        "control_characters": 1,
        "zero_width": 1,
        "spaces": 1,
        "trailing_whitespace": 2,
        "blank_lines": 2,
        "form": 1,
    }


def test_counts_do_not_depend_on_threads() -> None:
    strings = pa.array(["x \r\n\u200b y\u00a0" * (n % 50) for n in range(20_000)])
    one, four = text.clean(strings, threads=1), text.clean(strings, threads=4)
    assert one.counts == four.counts
    assert one.strings.equals(four.strings)


def test_unchanged_columns_come_back_as_they_are() -> None:
    same = pa.array(["one\n\ntwo", "日本語、テキスト", "déjà", ""])
    cleaned = text.clean(same)
    assert cleaned.strings is same
    assert not any(cleaned.counts.values())


def test_a_negative_number_of_blank_lines() -> None:
    with pytest.raises(SmolfastError, match="blank_lines is -1; give 0 or more, or None"):
        text.clean(["a"], blank_lines=-1)
