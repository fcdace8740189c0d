"""Japanese set from top to bottom, in columns from right to left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from smolfast import _native
from smolfast.pdf.pdfium import pdfium_path
from smolfast.pdf.reading import read_pdf
from smolfast.pdf.text import text_of
from vertical_pdfs import vertical_pdf

TEXT = (
    "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。何でも薄暗いじめじめした所で"
    "ニャーニャー泣いていた事だけは記憶している。吾輩はここで始めて人間というものを見た。"
)
SECOND = (
    "しかもあとで聞くとそれは書生という人間中で一番獰悪な種族であったそうだ。この書生というのは時々我々を"
    "捕えて煮て食うという話である。しかしその当時は何という考もなかったから別段恐しいとも思わなかった。"
)


def columns(text: str, *, x: float = 500, y: float = 780, letters: int = 20) -> list[tuple[float, float, str]]:
    """Lines of a size of 12, the right one first."""
    return [(x - at // letters * 20, y, text[at : at + letters]) for at in range(0, len(text), letters)]


def read(data: bytes) -> str:
    return text_of(read_pdf(data, pdfium_path(), lost={}).pages).text


def test_columns_from_right_to_left() -> None:
    assert read(vertical_pdf(columns(TEXT))) == TEXT
    assert read(vertical_pdf(columns(TEXT)[::-1])) == TEXT, "in whatever order they are drawn"


def test_tiers_one_below_the_other() -> None:
    """The upper one first; a page number that stands across comes behind them."""
    data = vertical_pdf([*columns(SECOND, y=500), *columns(TEXT)], numbers=["12"])
    assert "".join(read(data).split()) == TEXT + SECOND + "12"


def letters(lines: Sequence[str], *, step: float = 10, pitch: float = 18) -> list[tuple[Any, ...]]:
    """Blocks of letters that are placed one by one, as browsers write them; two digits in a row share a square."""
    codes: list[int] = []
    places: list[tuple[float, ...]] = []
    for at, line in enumerate(lines):
        x, y = 400 - pitch * at, 100.0
        for place, letter in enumerate(line):
            second = letter.isdigit() and line[place - 1 : place].isdigit()
            y -= step if second else 0
            left, width = (x + 5 * second, 5) if letter.isdigit() else (x, 10)
            codes += [ord(letter), ord(" ")]  # PDFium sees a new line in each
            places += [(left, y, left + width, y + 10, left, y + 8.8), (0.0,) * 6]
            y += step
    count = len(codes)
    turns = np.zeros(count, np.int32)
    return list(_native.arrange(np.array(codes, np.uint32), np.array(places), np.full(count, 10.0), turns))


@pytest.mark.parametrize("step", [10, 13])
def test_letters_placed_one_by_one_and_numbers_among_them(step: float) -> None:
    lines = ["明治38年に水車は12台", "だけ残った。", "川は流れる。"]
    blocks = letters(lines, step=step)
    assert [block[4] for block in blocks] == ["\n".join(lines)] or "".join(b[4] for b in blocks).split() == lines
    x0, y0, x1, y1 = blocks[0][1]
    assert 360 < x0 < x1 <= 410 and y0 == pytest.approx(100, abs=1) and y1 > y0 + 5 * step


def test_lines_across_stay_lines() -> None:
    """Rows of ideographs close below each other, and a narrow column of a table in them."""
    rows = ["川は流れる水車は回る", "人々は岸を歩いて話す", "本と紙と石と硝子と光"]
    codes = [ord(letter) for row in rows for letter in row]
    places = [
        (60 + 10.0 * at, 100 + 11.0 * line, 70 + 10.0 * at, 110 + 11.0 * line, 60 + 10.0 * at, 108.8 + 11 * line)
        for line, row in enumerate(rows)
        for at in range(len(row))
    ]
    count = len(codes)
    blocks = _native.arrange(
        np.array(codes, np.uint32), np.array(places), np.full(count, 10.0), np.zeros(count, np.int32)
    )
    assert [block[4] for block in blocks] == ["\n".join(rows)]


def test_two_columns_without_spaces() -> None:
    """Across: lines of scripts that set no spaces fill columns too."""
    codes: list[int] = []
    places: list[tuple[float, ...]] = []
    for row in range(6):
        for column, text in enumerate((TEXT, SECOND)):
            for at, letter in enumerate(text[14 * row : 14 * row + 14]):
                x, y = 60 + 180 * column + 10.0 * at, 100 + 16.0 * row
                codes.append(ord(letter))
                places.append((x, y, x + 10, y + 10, x, y + 8.8))
    count = len(codes)
    blocks = _native.arrange(
        np.array(codes, np.uint32), np.array(places), np.full(count, 10.0), np.zeros(count, np.int32)
    )
    assert "".join("".join(block[4].split()) for block in blocks) == TEXT[:84] + SECOND[:84]
