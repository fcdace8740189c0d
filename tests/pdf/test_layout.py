"""Order and content of pages whose text is known."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from made_pdfs import draw, essay, filled, sentence
from smolfast import SmolfastError, _native
from smolfast.pdf.pdfium import pdfium_path
from smolfast.pdf.reading import Block, read_pdf
from smolfast.pdf.text import Text, text_of, without_running_lines

Make = Callable[..., Path]


def read(path: Path) -> Text:
    found = read_pdf(path.read_bytes(), pdfium_path(), lost={})
    assert not found.reason
    return text_of(found.pages)


def in_order(text: str, numbers: range) -> None:
    """Each sentence is there whole, and they follow each other."""
    flat = " ".join(text.split())
    places = [flat.find(sentence(number)) for number in numbers]
    assert -1 not in places, [sentence(number) for number, place in zip(numbers, places, strict=True) if place < 0]
    assert places == sorted(places)


@pytest.mark.parametrize("columns", [1, 2, 3])
@pytest.mark.parametrize("shift", [0.0, 4.0])
def test_columns_are_read_one_after_the_other(make: Make, columns: int, shift: float) -> None:
    """`shift`: the columns' lines need not stand on common baselines."""
    width = 500 / columns - 20

    def page(pen: Any) -> None:
        draw(pen, ["A title over all of the columns of this page"], 50, 800, 20)
        for column in range(columns):
            numbers = range(8 * column, 8 * column + 8)
            draw(pen, filled(numbers, width, pen, 9), 50 + column * (width + 20), 760 - shift * column, 9)

    text = read(make("a.pdf", page)).text
    assert text.startswith("# A title over all of the columns of this page\n\n")
    in_order(text, range(8 * columns))


@pytest.mark.parametrize("order", ["columns", "rows"])
def test_columns_whose_lines_stand_apart(make: Make, order: str) -> None:
    """Another size and distance of lines, and the page's number between the columns."""

    def page(pen: Any) -> None:
        strokes = []
        for column, (size, numbers) in enumerate(((10, range(9)), (8, range(9, 14)))):
            for at, line in enumerate(filled(numbers, 200, pen, size)):
                strokes.append((70 + 1.2 * size * at, column, line, size))
        for y, column, line, size in sorted(strokes, key=lambda one: one[1 if order == "columns" else 0]):
            draw(pen, [line], 60 + 230 * column, 842 - y, size)
        draw(pen, ["17"], 272, 40)

    text = read(make("a.pdf", page)).text
    in_order(text, range(14))
    assert text.endswith("\n\n17")


def test_a_picture_inside_a_column(make: Make) -> None:
    """Its caption belongs to that column, and what stands below both columns doesn't."""

    def page(pen: Any) -> None:
        y = draw(pen, filled(range(4), 220, pen, 10), 60, 780)
        draw(pen, [*filled(range(4, 6), 220, pen, 10)], 60, y - 120)
        draw(pen, filled(range(6, 14), 220, pen, 10), 310, 780)
        y = draw(pen, ["A heading over all"], 60, 470, 14)
        draw(pen, filled(range(14, 18), 470, pen, 10), 60, y)

    text = read(make("a.pdf", page)).text
    in_order(text, range(18))
    assert f"\n\n## A heading over all\n\n{sentence(14)[:8]}" in text


def test_a_sentence_goes_on_in_the_next_column(make: Make) -> None:
    def page(pen: Any) -> None:
        lines = filled(range(8), 220, pen, 10)
        half = len(lines) // 2
        draw(pen, [*lines[: half - 1], "and so the mill was of good repu-"], 60, 780)
        draw(pen, ["tation, as all", *lines[half:]], 310, 780)

    text = read(make("a.pdf", page)).text
    assert "of good reputation, as all" in text.replace("\n", " ")


def test_numbers_and_words_in_columns_are_no_text(make: Make) -> None:
    """Two words and a number a row: a table of four columns, and not two columns of text."""

    def page(pen: Any) -> None:
        for row in range(9):
            for x, cell in zip((60, 200, 300, 420), ("old mills", "near a river", str(row * 7), "bread"), strict=True):
                pen.drawString(x, 700 - 16 * row, cell)

    assert read(make("a.pdf", page)).text.count("| old mills | near a river |") == 9


def test_cells_of_several_lines(make: Make) -> None:
    rows = [
        [["Town"], ["What they say"]],
        [["Ulm"], ["The river carries its water", "past the old mills and", "on to the sea"]],
        [["Bern at", "the Aare"], ["Bread and a good repu-", "tation"]],
        [["Lyon"], ["Nothing"]],
    ]

    def page(pen: Any) -> None:
        y = draw(pen, filled(range(3), 450, pen, 10), 60, 700) - 20
        for row in rows:
            for x, lines in zip((60, 200), row, strict=True):
                draw(pen, lines, x, y)
            y -= 12 * max(map(len, row)) + 7
        draw(pen, filled(range(3, 6), 450, pen, 10), 60, y - 10)

    text = read(make("a.pdf", page)).text
    in_order(text, range(6))
    assert (
        "| Town | What they say |\n|---|---|\n"
        "| Ulm | The river carries its water past the old mills and on to the sea |\n"
        "| Bern at the Aare | Bread and a good reputation |\n| Lyon | Nothing |\n"
    ) in text


def test_lines_of_a_list_hang_behind_their_number(make: Make) -> None:
    def page(pen: Any) -> None:
        y = 700.0
        for number in range(3):
            lines = filled(range(3 * number, 3 * number + 3), 400, pen, 10)
            draw(pen, [f"{number + 1}."], 60, y)
            y = draw(pen, lines, 74, y)

    text = read(make("a.pdf", page)).text
    in_order(text, range(9))
    assert [line[:3] for line in text.split("\n")] == ["1. ", "2. ", "3. "]


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_turned_pages(make: Make, turn: int) -> None:
    def page(pen: Any) -> None:
        pen.setPageRotation(turn)
        draw(pen, filled(range(6), 400, pen, 10), 60, 700)

    in_order(read(make("a.pdf", page)).text, range(6))


def test_text_that_runs_upwards_comes_behind_what_runs_across(make: Make) -> None:
    def page(pen: Any) -> None:
        pen.saveState()
        pen.translate(40, 100)
        pen.rotate(90)
        draw(pen, ["Printed at the margin"], 0, 0)
        pen.restoreState()
        draw(pen, filled(range(6), 400, pen, 10), 60, 700)

    text = read(make("a.pdf", page)).text
    in_order(text, range(6))
    assert text.endswith("\n\nPrinted at the margin")


def test_a_table_is_rows(make: Make) -> None:
    rows = [["Town", "River", "Mills"], ["Ulm", "Danube", "12"], ["Bern", "Aare | Sihl", "7"], ["Lyon", "Rhône", "31"]]

    def page(pen: Any) -> None:
        y = draw(pen, filled(range(3), 450, pen, 10), 60, 700) - 20
        for row in rows:
            for cell, x in zip(row, (60, 200, 350), strict=True):
                pen.drawString(x, y, cell)
            y -= 14
        draw(pen, filled(range(3, 6), 450, pen, 10), 60, y - 20)

    text = read(make("a.pdf", page)).text
    in_order(text, range(6))
    table = "| Town | River | Mills |\n|---|---|---|\n| Ulm | Danube | 12 |\n| Bern | Aare \\| Sihl | 7 |\n"
    assert table + "| Lyon | Rhône | 31 |\n" in text


def test_headings_captions_and_footnotes(make: Make) -> None:
    def page(pen: Any) -> None:
        y = draw(pen, ["The mills"], 60, 780, 18)
        y = draw(pen, filled(range(5), 450, pen, 10), 60, y - 10)
        draw(pen, ["1 A note on the mills of the lower river and its people."], 60, 60, 8)
        y = draw(pen, ["Figure 3: a mill at night"], 60, y - 30)
        draw(pen, filled(range(5, 9), 450, pen, 10), 60, y - 30)

    blocks = read_pdf(make("a.pdf", page).read_bytes(), pdfium_path(), lost={}).pages[0]
    assert blocks is not None
    assert [block.kind for block in blocks] == ["text", "text", "caption", "text", "footnote"]
    text = text_of([blocks]).text
    assert text.startswith("# The mills\n\nNow ax")
    assert text.endswith("1 A note on the mills of the lower river and its people.")


def test_hyphens_at_the_end_of_lines(make: Make) -> None:
    lines = [
        "A mill of good repu-",
        "tation stood here, a well-known house, and a well-",
        "known one it stays for all who come by the river.",
    ]
    text = read(make("a.pdf", lambda pen: draw(pen, lines, 60, 700))).text
    assert " ".join(text.split()) == (
        "A mill of good reputation stood here, a well-known house, and a well-known one it stays for all who come by "
        "the river."
    )


def on_a_grid(pen: Any, line: str, y: float, size: float = 9, pitch: float = 5.4) -> None:
    """A place for each letter, as LaTeX's listings set programs: what a word leaves is spread over its letters."""
    pen.setFont("Helvetica", size)
    for match in re.finditer(r"\S+", line):
        word = match[0]
        gap = (len(word) * pitch - pen.stringWidth(word, "Helvetica", size)) / (len(word) + 1)
        pen.drawString(60 + match.start() * pitch + gap, y, word, charSpace=gap)


def test_letters_on_a_grid_are_words(make: Make) -> None:
    lines = [
        "if installed, all files still fit: little is left",
        "filename tftpclient /install/initrd.gz it is a b c",
    ]

    def page(pen: Any) -> None:
        for at, line in enumerate(lines):
            on_a_grid(pen, line, 700 - 11 * at)

    text = read(make("a.pdf", page)).text
    assert text.split() == " ".join(lines).split()


def test_words_of_one_letter_stay_apart(make: Make) -> None:
    lines = ["I am a mill by a river, a b c d of it.", "It is a way to say I, a, b and c in a line."]
    text = read(make("a.pdf", lambda pen: draw(pen, lines, 60, 700))).text
    assert text.split() == " ".join(lines).split()


def test_lines_that_were_ended_on_purpose_stay(make: Make) -> None:
    def page(pen: Any) -> None:
        y = draw(pen, filled(range(4), 450, pen, 10), 60, 700)
        draw(pen, ["zz = open(name)", "zz.write(line)", "zz.close()"], 60, y - 30)

    assert read(make("a.pdf", page)).text.endswith("\n\nzz = open(name)\nzz.write(line)\nzz.close()")


def test_running_lines_go_and_tables_stay(make: Make) -> None:
    def page(number: int) -> Callable[[Any], None]:
        def drawn(pen: Any) -> None:
            draw(pen, ["Annual Report of the Mills"], 60, 810)
            draw(pen, filled(range(4 * number, 4 * number + 4), 450, pen, 10), 60, 760)
            draw(pen, [f"Page {number + 1} of 12"], 280, 40)

        return drawn

    found = read(make("a.pdf", *map(page, range(12))))
    assert found.running == 24
    assert "Annual" not in found.text and not re.search("Page|of 12", found.text)
    in_order(found.text, range(48))
    for number, start in enumerate(found.starts):
        assert found.text[start:].startswith(f"Now {'abcdefghij'[4 * number // 10 % 10] if number > 2 else ''}"), number
    few = read(make("b.pdf", *map(page, range(4))))
    assert few.running == 0, "on fewer than five pages a line may be text"
    rows = [[Block("table", (0, 0, 1, 1), 10, 3, "| Total |")] for _ in range(9)]
    assert without_running_lines(rows) == (rows, 0)


def test_headers_that_name_each_chapter_go(make: Make) -> None:
    """Each stands on three pages of 24; so does the first sentence of a page that has another place each time."""

    def page(number: int) -> Callable[[Any], None]:
        def drawn(pen: Any) -> None:
            draw(pen, [f"{sentence(100 + number // 3)[4:30]} {number + 1}"], 60, 810)
            y = draw(pen, ["The same words"], 60, 780 - 13 * (number % 7))
            draw(pen, filled(range(4 * number, 4 * number + 4), 450, pen, 10), 60, y - 20)

        return drawn

    found = read(make("a.pdf", *map(page, range(24))))
    assert found.running == 48, "the second is on all pages: FinePDFs' rule"
    few = read(make("b.pdf", *map(page, range(4)), *(essay(200 + 4 * at, 204 + 4 * at) for at in range(6))))
    assert few.running == 0 and few.text.count("The same words") == 4


def test_right_to_left() -> None:
    """A row of Hebrew with a number in it, drawn from the right as it is written."""
    words = ["\u05e9\u05dc\u05d5\u05dd", "\u05e2\u05d5\u05dc\u05dd", "42", "\u05d8\u05d5\u05d1"]
    codes, places = [], []
    x = 400.0
    for word in words:
        if word == "42":
            x -= 10
            places += [(x, 90, x + 5, 100, x, 98), (x + 5, 90, x + 10, 100, x + 5, 98)]
        else:
            for _ in word:
                x -= 6
                places.append((x, 90, x + 6, 100, x, 98))
        codes += [*map(ord, word), 32]
        places.append((0.0,) * 6)
        x -= 4
    blocks = _native.arrange(
        np.array(codes, np.uint32), np.array(places), np.full(len(codes), 10.0), np.zeros(len(codes), np.int32)
    )
    assert [block[4] for block in blocks] == [" ".join(words)]


def test_pages_in_chinese_have_no_spaces_at_line_ends() -> None:
    block = Block("text", (0, 0, 1, 1), 10, 8, "\u6cb3\u6d41\u7d93\u904e\n\u820a\u78e8\u574a\nand mills")
    assert text_of([[block]]).text == "\u6cb3\u6d41\u7d93\u904e\u820a\u78e8\u574a and mills"


def test_korean_lines_end_between_words_or_inside_them() -> None:
    """\ud658\uacbd\uc744 stands elsewhere as one word; what else meets at a line's end are two."""
    lines = "\ud658\uacbd\uc744 \uc124\uce58\n\ud560 \uc218 \ud658\n\uacbd\uc744 \uc4f0\ub294"
    block = Block("text", (0, 0, 1, 1), 10, 8, lines)
    expected = "\ud658\uacbd\uc744 \uc124\uce58 \ud560 \uc218 \ud658\uacbd\uc744 \uc4f0\ub294"
    assert text_of([[block]]).text == expected


def test_the_layout_bears_any_numbers() -> None:
    generator = np.random.default_rng(1)
    for count in (0, 1, 50, 3000):
        for scale in (1e-3, 600.0, 1e12):
            places = generator.uniform(-scale, scale, (count, 6))
            codes = generator.integers(0, 0x110000, count).astype(np.uint32)
            turns = generator.integers(-9, 9, count).astype(np.int32)
            for block in _native.arrange(codes, places, generator.uniform(0.1, 30, count), turns):
                assert block[0] in ("text", "table", "caption", "footnote") and block[4]
    with pytest.raises(SmolfastError, match="don't fit together"):
        _native.arrange(np.zeros(2, np.uint32), np.zeros((1, 6)), np.zeros(2), np.zeros(2, np.int32))


def test_a_word_that_is_broken_twice() -> None:
    """The second half of one word isn't the first one of another, as in a search from left to right."""
    hyphen = chr(2)
    for given, expected in (
        (f"a{hyphen}b{hyphen}c", "ab-c"),
        (f"a{hyphen}b{hyphen}c{hyphen}d", "ab-cd"),
        (f"one{hyphen}two three{hyphen}four", "onetwo threefour"),
        (f"{hyphen}a {hyphen}", "-a -"),
        (f"a{hyphen}{hyphen}b", "a--b"),
        (f"x_1{hyphen}y2.", "x_1y2."),
    ):
        assert text_of([[Block("text", (0, 0, 1, 1), 10, 8, given)]]).text == expected, given


def test_a_hyphen_stays_where_the_word_stands_with_it_elsewhere() -> None:
    hyphen = chr(2)
    broken = Block("text", (0, 0, 1, 1), 10, 8, f"Well{hyphen}known and made{hyphen}up and re{hyphen}do.")
    for other, expected in (
        ("(well-known) make-up", "Well-known and madeup and redo."),
        ("WELL-KNOWN, Wellknown, re-do-it", "Wellknown and madeup and redo."),
        ("a.re-do", "Wellknown and madeup and re-do."),
    ):
        text = text_of([[broken, Block("text", (0, 5, 1, 6), 10, 8, other)]]).text
        assert text.split("\n\n")[0] == expected, other


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="how memory is kept is glibc's")
def test_pages_are_read_in_memory_that_is_there(make: Make) -> None:
    """Memory that goes back to the system after each page, and comes again with zeros, costs a seventh of the time."""
    data = make("a.pdf", *(lambda pen: draw(pen, filled(range(40), 450, pen, 6), 60, 780, 6),) * 8).read_bytes()
    script = (
        "import resource, sys; from smolfast.pdf.pdfium import pdfium_path; from smolfast.pdf.reading import read_pdf\n"
        "data = sys.stdin.buffer.read()\n"
        "for _ in range(3): read_pdf(data, pdfium_path(), lost={})\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for _ in range(20): read_pdf(data, pdfium_path(), lost={})\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 160)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], input=data, check=True, stdout=subprocess.PIPE)
    assert float(done.stdout) < 10, "faults a page"
