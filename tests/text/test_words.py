"""Word segmentation against Unicode's own WordBreakTest and against a plain reading of UAX #29 over random text."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import lzma
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pytest
import unicodedata2
from hypothesis import given, settings
from hypothesis import strategies as st

from smolfast import SmolfastError, _native, text

DATA = Path(__file__).parents[1] / "data"


pytestmark = pytest.mark.usefixtures("implementation")


def found(string: str) -> list[str]:
    data = string.encode()
    return [data[begin:end].decode() for begin, end in text.words([string])[0].as_py()]


def is_kana(char: str) -> bool:
    name = unicodedata2.name(char, "")
    return "KATAKANA" in name or "HIRAGANA" in name or "KANA REPEAT" in name


def test_unicode_word_break_test() -> None:
    lines = []
    with lzma.open(DATA / "WordBreakTest.txt.xz", "rt", encoding="utf-8") as file:
        assert text.unicode_version in next(file)
        lines = [line.split("#")[0].split() for line in file if line[0] not in "#\n"]
    assert len(lines) > 1800
    checked = 0
    for line in lines:
        segments = [""]
        for mark, code in zip(line[0:-1:2], line[1::2], strict=True):
            char = chr(int(code, 16))
            segments[-1:] = [segments[-1], char] if mark == "÷" else [segments[-1] + char]
        string = "".join(segments)
        if any(is_kana(c) for c in string):
            continue  # kana are split per character, tested below
        # Circled letters are alphabetic though symbols.
        words = [s for s in segments if any(unicodedata2.category(c)[0] in "LN" or "Ⓐ" <= c <= "ⓩ" for c in s)]
        assert found(string) == words, ascii(string)
        checked += 1
    assert checked > 1500


@pytest.mark.parametrize(
    ("string", "words"),
    [
        ("Don't stop: 3.14, 1,000 and e.g. x_1!", ["Don't", "stop", "3.14", "1,000", "and", "e.g", "x_1"]),
        ("l'été à Zürich", ["l'été", "à", "Zürich"]),
        ("カタカナ ひらがなー", ["カ", "タ", "カ", "ナ", "ひ", "ら", "が", "な", "ー"]),
        ("か\u3099き", ["か\u3099", "き"]),
        ("中文分词abc字", ["中", "文", "分", "词", "abc", "字"]),
        ("ภาษาไทย", ["ภ", "า", "ษ", "า", "ไ", "ท", "ย"]),
        ("ที่ນີ້ខ្មែរ", ["ที่", "ນີ້", "ខ្", "មែ", "រ"]),
        ("한국어 단어", ["한국어", "단어"]),
        ("русские слова", ["русские", "слова"]),
        ("كلمات عربية", ["كلمات", "عربية"]),
        ("עבר\"ית צ'", ['עבר"ית', "צ'"]),
        ("__ _ ... 👩\u200d👧 ", []),
        ("", []),
        ("a\u0301\u0301 b", ["a\u0301\u0301", "b"]),
    ],
)
def test_examples(string: str, words: list[str]) -> None:
    assert found(string) == words
    # Anywhere in a vector, and across its edges.
    for shift in (1, 15, 29, 30, 31, 61, 62, 63):
        assert found("." * shift + " " + string + " " + "-" * 40) == words


PIECES = st.sampled_from(
    ["a", "b", "Z", "word", "1", "23", "_", ".", ",", "'", '"', ":", ";", " ", "  ", "\n", "\r\n", "é", "ß", "я", "ع",
     "א", "ת", "中", "か", "カ", "ー", "ท", "ี", "한", "\u0301", "\u00ad", "\u200d", "\u2019", "\u00b7", "😀", "👩", "🇫",
     "🇷", "ⓜ", "ℹ", "\u3000", "\u0915\u094d", "𐐀", "𝟘", "٣", "٬", "a.b", "a.", "1.", "1.2", "a'b"]
)  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(pieces=st.lists(PIECES, max_size=120))
def test_implementations_agree(pieces: list[str]) -> None:
    string = "".join(pieces)
    results = []
    for name in _native.implementations():
        _native.force_implementation(name)
        results.append(text.words([string]).to_pylist())
    _native.force_implementation("auto")
    assert all(result == results[0] for result in results)


def generator() -> ModuleType:
    """What writes the native tables: it knows each character's class."""
    path = Path(__file__).parents[2] / "csrc/text/generate_tables.py"
    spec = importlib.util.spec_from_file_location("generate_tables", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TABLES = generator()
SETS = TABLES.Properties(Path(TABLES.__file__).with_name("unicode_properties.txt")).sets
BREAKS = [name for name in TABLES.WORD_BREAKS if name not in ("Other", "Single")]


@functools.cache
def word_break(char: str) -> str:
    index = next((TABLES.WORD_BREAKS.index(n) for n in BREAKS if ord(char) in SETS[f"Word_Break={n}"]), 0)
    return str(TABLES.WORD_BREAKS[TABLES.word_break(ord(char), SETS, {ord(char): index})])


IGNORED = ("Extend", "Format", "ZWJ")
NEWLINES = ("Newline", "CR", "LF")
LETTERS = ("ALetter", "Hebrew_Letter")
NUMBER_MARKS = ("MidNum", "MidNumLet", "Single_Quote")
LETTER_MARKS = ("MidLetter", "MidNumLet", "Single_Quote")


def words_by_the_rules(string: str) -> list[str]:
    """UAX #29, rule by rule, with Single for what is a word of its own."""
    kinds = [word_break(char) for char in string]

    def before(i: int) -> int:  # the last place below `i` that WB4 doesn't skip
        while i > 0 and kinds[i - 1] in IGNORED and i > 1 and kinds[i - 2] not in NEWLINES:
            i -= 1
        return i - 1

    def after(i: int) -> str:
        return next((kind for kind in kinds[i + 1 :] if kind not in IGNORED), "")

    def joined(i: int) -> bool:
        previous, kind = kinds[i - 1], kinds[i]
        if previous in NEWLINES or kind in NEWLINES:
            return False
        if previous == "ZWJ" and ord(string[i]) in SETS["Extended_Pictographic"]:
            return True  # WB3c
        if kind in IGNORED or previous == kind == "WSegSpace":
            return True  # WB4, WB3d
        place = before(i)
        left, further = kinds[place], kinds[before(place)] if place > 0 else ""
        right = after(i)
        if left in LETTERS:
            if kind in (*LETTERS, "Numeric", "ExtendNumLet"):
                return True  # WB5, WB9, WB13a
            if kind in LETTER_MARKS and right in LETTERS:
                return True  # WB6
            return left == "Hebrew_Letter" and (
                kind == "Single_Quote" or (kind == "Double_Quote" and right == "Hebrew_Letter")
            )  # WB7a, WB7b
        if left in LETTER_MARKS and further in LETTERS and kind in LETTERS:
            return True  # WB7
        if left == "Double_Quote" and further == kind == "Hebrew_Letter":
            return True  # WB7c
        if left == "Numeric":
            if kind in (*LETTERS, "Numeric", "ExtendNumLet"):
                return True  # WB8, WB10, WB13a
            return kind in NUMBER_MARKS and right == "Numeric"  # WB12
        if left in NUMBER_MARKS and further == kind == "Numeric":
            return True  # WB11
        return left == "ExtendNumLet" and kind in (*LETTERS, "Numeric", "ExtendNumLet")  # WB13a, WB13b

    starts = [i for i in range(len(string)) if i == 0 or not joined(i)]
    segments = [string[begin:end] for begin, end in itertools.pairwise([*starts, len(string)])]
    wordlike = (*LETTERS, "Numeric", "Single")
    return [segment for segment in segments if any(word_break(char) in wordlike for char in segment)]


MARKED = st.sampled_from(
    ["a", "B", "1", "_", ".", ",", "'", '"', ":", " ", "\n", "é", "я", "ع", "א", "中", "か", "ท", "ี", "한", "\u0301",
     "\u00ad", "\u200d", "\u2019", "\u00b7", "😀", "\u3000", "\u202f", "\u203f", "क", "\u094d", "𐐀", "𝟘", "٣", "٬",
     "\u05f4", "\u064b", "\u05b0", "𠀀", "ạ", "ω", "\u200b", "。", "word " * 9, "かな" * 11, "كلمة " * 5, "x" * 70]
)  # fmt: skip


@settings(max_examples=1500, deadline=None)
@given(pieces=st.lists(MARKED, max_size=60))
def test_words_are_those_of_the_rules(pieces: list[str]) -> None:
    string = "".join(pieces)
    assert found(string) == words_by_the_rules(string)


def test_columns_nulls_and_threads() -> None:
    rows = ["one two", None, "", "drei vier fünf"] * 30_000
    one = text.words(pa.array(rows), threads=1)
    assert one[:4].to_pylist() == [[[0, 3], [4, 7]], None, [], [[0, 4], [5, 9], [10, 15]]]
    assert one.equals(text.words(rows, threads=3))
    chunked = pa.chunked_array([rows[:10], rows[10:]])
    assert text.words(chunked).to_pylist() == one.to_pylist()


def test_broken_utf8_is_named() -> None:
    column = pa.Array.from_buffers(pa.string(), 2, pa.array([b"ok", b"no\xff"], pa.binary()).buffers())
    with pytest.raises(SmolfastError, match="row 1 is not UTF-8 at byte 2;"):
        text.words(column)


# Characters that are read 64 bytes at a time, and others of the same class that are read one by one.
SAME_CLASS = str.maketrans(
    "aZéČžжЯѿ09_.':,; \n-×÷東龥䀀䷀",
    "αΩάνωβΔγ٠٩‿․’·٬٬\u2003\u2028‐⊗⊘𠀀𠀁𠀂☰",
)


@given(st.text(st.sampled_from([*map(chr, SAME_CLASS), *"aa00__..'  東", "\u0308", "\u200d"]), max_size=400))
def test_blocks_give_the_words_of_one_by_one(string: str) -> None:
    assert [word.translate(SAME_CLASS) for word in found(string)] == found(string.translate(SAME_CLASS))


def test_every_character_that_blocks_take_for_plain() -> None:
    chars = [chr(c) for part in (range(0xC0, 0x180), range(0x400, 0x480), range(0x4000, 0xA000)) for c in part]
    expected = []
    for char in chars:
        if unicodedata2.category(char) == "So" or char in "×÷":
            expected.append(["a", "a"])
        else:
            expected.append(["a", char, "a"] if char >= "\u4000" else [f"a{char}a"])
    rows = text.words([f"a{char}a" for char in chars]).to_pylist()
    got = [[f"a{char}a".encode()[b:e].decode() for b, e in row] for char, row in zip(chars, rows, strict=True)]
    assert got == expected
