"""Normalisation against unicodedata2 and Unicode's own NormalizationTest, under every implementation."""

from __future__ import annotations

import functools
import lzma
import os
from pathlib import Path

import pyarrow as pa
import pytest
import unicodedata2
from hypothesis import given, settings
from hypothesis import strategies as st

from smolfast import SmolfastError, text

FORMS: list[text.Form] = ["NFC", "NFD", "NFKC", "NFKD"]
CODE_POINTS = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
NORMALIZED = [c for c in CODE_POINTS if unicodedata2.decomposition(c) or unicodedata2.combining(c)]
DATA = Path(__file__).parents[1] / "data"


pytestmark = pytest.mark.usefixtures("implementation")


def test_unicode_version_is_that_of_the_reference() -> None:
    assert text.unicode_version == unicodedata2.unidata_version


# Around each code point: nothing; enough for the vector loops; marks that join and reorder; kana at vector edges.
AROUND = [("", ""), ("a" * 41, "b" * 41), ("e", "\u0301\u0323"), ("字" * 10, "く\u3099" * 4)]


@functools.cache
def groups(form: text.Form, around: int) -> tuple[list[str], list[str]]:
    """Lines of code points between `AROUND[around]`, and their normal forms; a line feed lets nothing join across."""
    before, after = AROUND[around]
    codes = CODE_POINTS if around == 0 else CODE_POINTS[:0x3400] + CODE_POINTS[0x3400::16] + NORMALIZED
    lines = ["\n".join(before + c + after for c in codes[start : start + 256]) for start in range(0, len(codes), 256)]
    return lines, [unicodedata2.normalize(form, line) for line in lines]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("around", range(len(AROUND)))
def test_every_code_point(form: text.Form, around: int) -> None:
    lines, expected = groups(form, around)
    got = text.normalize(lines, form).to_pylist()
    for line, want, have in zip(lines, expected, got, strict=True):
        if want != have:
            for item in line.split("\n"):
                assert text.normalize([item], form)[0].as_py() == unicodedata2.normalize(form, item), ascii(item)
            pytest.fail("a group differs though its lines don't")
    assert text.is_normalized(lines, form).to_pylist() == [a == b for a, b in zip(lines, expected, strict=True)]


def test_unicode_normalization_test() -> None:
    columns: list[list[str]] = [[] for _ in range(5)]
    with lzma.open(DATA / "NormalizationTest.txt.xz", "rt", encoding="utf-8") as lines:
        first = next(lines)
        assert text.unicode_version in first
        for line in lines:
            if line[0] in "#@\n":
                continue
            for column, field in zip(columns, line.split(";"), strict=False):
                column.append("".join(chr(int(code, 16)) for code in field.split()))
    assert len(columns[0]) > 20_000
    _, nfc, nfd, nfkc, nfkd = columns
    # The conformance clauses at the head of that file.
    for i, column in enumerate(columns):
        assert text.normalize(column, "NFC").to_pylist() == (nfkc if i > 2 else nfc)
        assert text.normalize(column, "NFD").to_pylist() == (nfkd if i > 2 else nfd)
        assert text.normalize(column, "NFKC").to_pylist() == nfkc
        assert text.normalize(column, "NFKD").to_pylist() == nfkd


# Mixtures that make the forms work: bases, marks of many classes, jamo and syllables, kana with voicing marks,
# compatibility characters, anything.
MIXTURE = st.text(
    st.one_of(
        st.sampled_from("aeouxyz \n"),
        st.sampled_from([c for c in NORMALIZED if unicodedata2.combining(c)]),
        st.sampled_from("\u0300\u0301\u0302\u0323\u0327\u0338\u0345\u05b0\u3099\u0c56\u1dc0\u302a"),
        st.sampled_from([c for c in NORMALIZED if unicodedata2.decomposition(c)]),
        st.characters(min_codepoint=0x1100, max_codepoint=0x11FF),
        st.characters(min_codepoint=0xAC00, max_codepoint=0xD7A3),
        st.characters(min_codepoint=0x3040, max_codepoint=0x30FF),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=150,
)


@settings(max_examples=300, deadline=None)
@given(strings=st.lists(MIXTURE, max_size=8), form=st.sampled_from(FORMS))
def test_mixtures(strings: list[str], form: text.Form) -> None:
    expected = [unicodedata2.normalize(form, s) for s in strings]
    once = text.normalize(strings, form)
    assert once.to_pylist() == expected
    assert text.normalize(once, form) is once
    assert text.is_normalized(strings, form).to_pylist() == [s == e for s, e in zip(strings, expected, strict=True)]


@pytest.mark.parametrize("form", FORMS)
def test_long_runs_of_marks_take_linear_time(form: text.Form) -> None:
    # Insertion would take minutes here. Classes alternate, so that every mark must move.
    marks = "\u0301\u0323" * 300_000
    got = text.normalize(["a" + marks], form)[0].as_py()
    assert got == unicodedata2.normalize(form, "a" + "\u0323" * 300_000 + "\u0301" * 300_000)


@pytest.mark.parametrize("between", ["", " ", "e", " e", "abc e", "x" * 15, "x" * 16, "x" * 17, "é", "\u11a7", "각"])
@pytest.mark.parametrize("after", ["", "\u0301", "\u11ab", "\u1161", "\u1112\u1161", "\u1112\u1161\u11ab\u0301", "字"])
def test_what_stands_after_jamo(between: str, after: str) -> None:
    for syllable in ("\u1112\u1161", "\u1112\u1161\u11ab"):
        string = "가 " + syllable * 3 + between + after + " " + syllable + between + after
        assert text.normalize([string])[0].as_py() == unicodedata2.normalize("NFC", string)


def test_same_buffers_come_back_where_nothing_changes() -> None:
    same = pa.array(["plain", None, "déjà", "日本語"])
    assert text.normalize(same, "NFC") is same
    chunked = pa.chunked_array([same, pa.array(["e\u0301"])])
    out = text.normalize(chunked, "NFC")
    assert out.to_pylist() == [*same.to_pylist(), "é"]
    assert out.chunk(0).buffers()[2].address == same.buffers()[2].address
    assert text.normalize(pa.chunked_array([], type=pa.string()), "NFC").to_pylist() == []


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
def test_arrow_layouts_slices_and_nulls(kind: pa.DataType) -> None:
    rows = ["e\u0301" * n if n % 3 else None for n in range(40)] + [
        "x",
        "",
        "o\u0308 and a longer tail than fits a view",
    ]
    expected = [None if r is None else unicodedata2.normalize("NFC", r) for r in rows]
    column = pa.array(rows, pa.large_string()).cast(kind)
    assert text.normalize(column).to_pylist() == expected
    assert text.normalize(column.slice(7, 30)).to_pylist() == expected[7:37]
    chunked = pa.chunked_array([column.slice(0, 5), column.slice(5, 0), column.slice(5)])
    out = text.normalize(chunked)
    assert out.to_pylist() == expected
    assert out.num_chunks == 3
    if kind != pa.string_view():
        assert out.type == kind
    assert text.normalize(rows).to_pylist() == expected


def test_polars_and_duckdb_columns() -> None:
    polars = pytest.importorskip("polars")
    duckdb = pytest.importorskip("duckdb")
    rows = ["e\u0301", None, "long enough to be out of line: o\u0308"]
    expected = ["é", None, "long enough to be out of line: ö"]
    assert text.normalize(polars.Series(rows)).to_pylist() == expected
    relation = duckdb.sql("select unnest(['e' || chr(769), null]) as t").to_arrow_table()
    assert text.normalize(relation["t"]).to_pylist() == ["é", None]


def test_threads_and_chunking_change_nothing() -> None:
    rows = [("cafe\u0301 " * (n % 90)) + "か\u3099" * (n % 7) for n in range(20_000)]
    one = text.normalize(rows, "NFC", threads=1)
    assert one.equals(text.normalize(rows, "NFC", threads=4))
    chunked = pa.chunked_array([rows[:100], rows[100:9000], rows[9000:]])
    assert text.normalize(chunked, "NFC", threads=2).to_pylist() == one.to_pylist()


def raw_column(rows: list[bytes]) -> pa.Array:
    """Bytes as a string column, unchecked, as a reader of broken files could make it."""
    binary = pa.array(rows, pa.binary())
    return pa.Array.from_buffers(pa.string(), len(rows), binary.buffers())


BROKEN = [
    b"\x80", b"\xff", b"\xc3", b"\xe3\x81", b"\xf0\x9f\x98", b"\xc0\xaf", b"\xe0\x80\xaf", b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"a\xf0\x90\x80b", b"\xe4\xb8\xad\xe4\xb8", b"\xf1\x80\x80\xc3\xa9",
]  # fmt: skip


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("before", [b"", b"x" * 31, "é字".encode() * 13])
def test_broken_utf8_is_named_or_replaced(broken: bytes, before: bytes) -> None:
    row = before + broken
    with pytest.raises(UnicodeDecodeError) as right:
        row.decode()
    column = raw_column([b"fine", "é".encode(), row, b"fine again"])
    with pytest.raises(SmolfastError, match=f"row 2 is not UTF-8 at byte {right.value.start};"):
        text.normalize(column)
    chunked = pa.chunked_array([pa.array(["a", "b"]), column])
    with pytest.raises(SmolfastError, match=f"row 4 is not UTF-8 at byte {right.value.start};"):
        text.normalize(chunked, threads=2)
    with pytest.raises(SmolfastError, match=f"row 2 is not UTF-8 at byte {right.value.start};"):
        text.is_normalized(column)
    # Python's decoder replaces maximal subparts as WHATWG's does.
    repaired = text.normalize(column, errors="replace").to_pylist()
    assert repaired == ["fine", "é", row.decode(errors="replace"), "fine again"]


@settings(max_examples=400, deadline=None)
@given(rows=st.lists(st.one_of(st.binary(max_size=90), MIXTURE.map(str.encode)), min_size=1, max_size=5))
def test_any_bytes(rows: list[bytes]) -> None:
    column = raw_column(rows)
    expected = [unicodedata2.normalize("NFC", row.decode(errors="replace")) for row in rows]
    assert text.normalize(column, errors="replace").to_pylist() == expected
    valid = [row.decode(errors="replace").encode() == row for row in rows]
    if all(valid):
        assert text.normalize(column).to_pylist() == expected
    else:
        with pytest.raises(SmolfastError, match=f"row {valid.index(False)} is not UTF-8"):
            text.normalize(column)


def test_characters_split_between_rows_are_broken() -> None:
    data = "é".encode() * 30
    offsets = pa.py_buffer(b"".join(n.to_bytes(4, "little") for n in (0, 21, 60)))
    column = pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(data)])
    with pytest.raises(SmolfastError, match="row 0 is not UTF-8 at byte 20;"):
        text.normalize(column)


def test_lone_surrogates() -> None:
    with pytest.raises(SmolfastError, match=r"strings\[1\] holds a lone surrogate"):
        text.normalize(["fine", "bad \ud800"])
    repaired = text.normalize(["fine", "bad \ud800", None, "\ud83d\ude00 e\u0301"], errors="replace")
    assert repaired.to_pylist() == ["fine", "bad \ufffd", None, "😀 é"]


def test_arguments_that_are_wrong() -> None:
    with pytest.raises(SmolfastError, match="form 'NFX' is unknown; use one of: NFC, NFD, NFKC, NFKD"):
        text.normalize(["a"], "NFX")  # type: ignore[arg-type]
    with pytest.raises(SmolfastError, match="errors 'ignore' is unknown; use one of: fail, replace"):
        text.normalize(["a"], errors="ignore")  # type: ignore[arg-type]
    with pytest.raises(SmolfastError, match="expected an Arrow string column or a list of str, got str"):
        text.normalize("a plain string")
    with pytest.raises(SmolfastError, match=r"strings\[1\] is int, expected str or None"):
        text.normalize(["a", 3])
    with pytest.raises(SmolfastError, match="format 'l'"):
        text.normalize(pa.array([1, 2]))


def stream_safe(string: str) -> str:
    """UAX #15, UAX15-D4, as written there."""
    out, count = [], 0
    for char in string:
        classes = [unicodedata2.combining(c) != 0 for c in unicodedata2.normalize("NFKD", char)]
        starts = classes.index(False) if False in classes else len(classes)
        if count + starts > 30:
            out.append("\u034f")
            count = 0
        out.append(char)
        count = count + len(classes) if all(classes) else classes[::-1].index(False)
    return "".join(out)


@settings(max_examples=100, deadline=None)
@given(
    runs=st.lists(st.tuples(st.sampled_from("aé\u0301\u0344\u0345\u0f73\u1fbe字한"), st.integers(1, 40)), max_size=6),
    form=st.sampled_from(FORMS),
)
def test_stream_safe(runs: list[tuple[str, int]], form: text.Form) -> None:
    string = "".join(char * times for char, times in runs)
    expected = unicodedata2.normalize(form, stream_safe(string))
    once = text.normalize([string, "plain"], form, stream_safe=True)
    assert once.to_pylist() == [expected, "plain"]
    assert text.normalize(once, form, stream_safe=True) is once


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from Linux's /proc")
@pytest.mark.skipif("san.so" in os.environ.get("LD_PRELOAD", ""), reason="a sanitizer's own memory is resident too")
def test_freed_outputs_are_kept_until_they_are_released() -> None:
    def resident() -> int:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    column = pa.array(["e\u0301" * 1000] * 16_000)
    text.release_memory()
    before = resident()
    size = text.normalize(column).nbytes
    assert resident() - before > size / 2
    text.release_memory()
    assert resident() - before < size / 2
    assert text.normalize(column[:3]).to_pylist() == ["é" * 1000] * 3
