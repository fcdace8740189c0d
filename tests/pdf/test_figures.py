"""Pictures among the text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from made_pdfs import draw, essay, filled, sentence
from smolfast import SmolfastError
from smolfast.commands.main import main
from smolfast.pdf import extract_pdfs
from smolfast.pdf.pdfium import pdfium_path
from smolfast.pdf.readers.ocr import DPI, Line
from smolfast.pdf.reading import Block, Document, Options, read_pdf
from smolfast.pdf.text import FIGURE, text_of

Image = pytest.importorskip("PIL.Image")
Make = Callable[..., Path]


def picture() -> Any:
    return Image.new("L", (8, 8), 99)


def kinds(path: Path, page: int = 0) -> list[str]:
    blocks = read_pdf(path.read_bytes(), pdfium_path(), lost={}).pages[page]
    assert blocks is not None
    return [block.kind for block in blocks]


def text(path: Path) -> str:
    return text_of(read_pdf(path.read_bytes(), pdfium_path(), lost={}).pages).text


@pytest.mark.parametrize("above", [False, True])
def test_a_caption_is_tied_to_its_picture(make: Make, above: bool) -> None:
    def page(pen: Any) -> None:
        y = draw(pen, filled(range(4), 450, pen, 10), 60, 780) - 20
        if above:
            y = draw(pen, ["Figure 3: a mill at night"], 60, y) - 6
        pen.drawInlineImage(picture(), 60, y - 200, 300, 200)
        y -= 220
        if not above:
            y = draw(pen, ["Figure 3: a mill at night"], 60, y)
        draw(pen, filled(range(4, 8), 450, pen, 10), 60, y - 30)

    path = make("a.pdf", page)
    assert kinds(path) == ["text", "figure", "caption", "text"]
    assert f"\n\n{FIGURE}\nFigure 3: a mill at night\n\n{sentence(4)[:6]}" in text(path)


def test_pictures_without_captions_stand_behind_what_is_above_them(make: Make) -> None:
    """In the second column, in two parts."""

    def page(pen: Any) -> None:
        draw(pen, filled(range(8), 220, pen, 10), 60, 780)
        y = draw(pen, filled(range(8, 12), 220, pen, 10), 310, 780)
        for at in range(2):
            pen.drawInlineImage(picture(), 310 + 100 * at, y - 110, 100, 100)
        draw(pen, filled(range(12, 15), 220, pen, 10), 310, y - 140)

    path = make("a.pdf", page)
    assert kinds(path).count("figure") == 1
    parts = text(path).split(f"\n\n{FIGURE}\n\n")
    assert [" ".join(part.split()) for part in parts] == [
        " ".join(map(sentence, numbers)) for numbers in (range(12), range(12, 15))
    ]


def test_what_is_no_figure(make: Make) -> None:
    """Signs, grounds of a text, whole pages, and what stands on every page."""

    def page(pen: Any) -> None:
        pen.drawInlineImage(picture(), 0, 0, 595, 842)
        pen.drawInlineImage(picture(), 500, 790, 30, 30)
        pen.drawInlineImage(picture(), 50, 600, 480, 200)
        draw(pen, filled(range(8), 450, pen, 10), 60, 780)

    assert set(kinds(make("a.pdf", page))) == {"text"}
    sign = Block("figure", (400, 20, 480, 80), 0, 0, "")
    other = Block("figure", (60, 400, 300, 600), 0, 0, "")
    pages = [[sign, Block("text", (60, 100, 500, 300), 10, 40, sentence(number)), other] for number in range(4)]
    assert text_of(pages).text.count(FIGURE) == 8
    moved = [other._replace(box=(60, 300 + 20 * number, 300, 600)) for number in range(9)]
    pages = [[sign, Block("text", (60, 100, 500, 300), 10, 40, sentence(n)), moved[n]] for n in range(9)]
    found = text_of(pages)
    assert found.text.count(FIGURE) == 9 and found.running == 0
    alone = text_of([[other], pages[0], []])
    assert alone.empty == [1, 3] and alone.text.startswith(FIGURE + "\n\nNow"), "a page of pictures alone is empty"


def test_more_pictures_than_are_looked_at(make: Make) -> None:
    def page(pen: Any) -> None:
        for at in range(500):
            pen.drawInlineImage(picture(), at % 25 * 20, at // 25 * 20, 20, 20)
        draw(pen, filled(range(2), 450, pen, 10), 60, 780)

    assert kinds(make("a.pdf", page)) == ["text"]


class Reader:
    """Reads the same in every picture."""

    name = "reader 1"

    def __init__(self, *lines: Line) -> None:
        self.lines, self.seen = list(lines), []  # type: ignore[var-annotated]

    def read(self, picture: Any, seconds: float) -> list[Line]:
        self.seen.append(picture)
        return self.lines


def with_figure(pen: Any) -> None:
    y = draw(pen, filled(range(4), 450, pen, 10), 60, 780) - 20
    grey = Image.new("L", (60, 40), 255)
    grey.paste(0, (10, 10, 50, 20))
    pen.drawInlineImage(grey, 60, y - 200, 300, 200)
    draw(pen, ["Figure 3: a mill at night"], 60, y - 214)


def read_with(path: Path, reader: Any) -> Document:
    return read_pdf(path.read_bytes(), pdfium_path(), lost={}, options=Options(by=reader, figures=True))


def test_text_inside_figures_follows_their_placeholder(make: Make) -> None:
    path = make("a.pdf", with_figure, essay(4, 8))
    reader = Reader(Line("A wheel", (40, 40, 300, 80), 30, 0.9), Line("of old oak", (40, 390, 380, 430), 30, 0.9))
    found = read_with(path, reader)
    scale = DPI / 72
    assert [picture.shape for picture in reader.seen] == [
        (pytest.approx(200 * scale, abs=2), pytest.approx(300 * scale, abs=2))
    ]
    written = text_of(found.pages)
    assert f"\n\n{FIGURE}\nA wheel\nof old oak\nFigure 3: a mill at night" in written.text
    assert found.figures == 1 and not found.ocr and not found.failed_figures
    block = next(one for one in written.blocks if one.kind == "figure")
    assert written.text[block.start : block.end] == f"{FIGURE}\nA wheel\nof old oak"
    without = text_of(read_with(path, Reader()).pages)
    assert f"\n\n{FIGURE}\nFigure 3" in without.text, "nothing was found in it"


def test_blank_figures_are_not_read(make: Make) -> None:
    def page(pen: Any) -> None:
        draw(pen, filled(range(4), 450, pen, 10), 60, 780)
        pen.drawInlineImage(Image.new("L", (60, 40), 200), 60, 300, 300, 200)

    reader = Reader(Line("Thank you for watching", (0, 0, 90, 9), 9, 0.99))
    assert read_with(make("a.pdf", page), reader).figures == 0 and not reader.seen


def test_figures_that_cannot_be_read_cost_no_text(make: Make) -> None:
    class Broken(Reader):
        def read(self, picture: Any, seconds: float) -> list[Line]:
            raise self.lines[0]  # type: ignore[misc]

    path = make("a.pdf", with_figure)
    for error, why in ((TimeoutError(), "figures: timed out"), (ValueError(), "figures: ocr failed")):
        found = read_with(path, Broken(error))  # type: ignore[arg-type]
        assert found.failed_figures == {1: why} and not found.failed and found.pages[0]


def test_the_job_reads_figures(programs: Path, make: Make, tmp_path: Path) -> None:
    make("in/a.pdf", with_figure)
    arguments = ["pdf", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--ocr", "rapidocr", "--ocr-figures"]
    assert main([*arguments, "--threads", "1"]) == 0
    row = pq.read_table(tmp_path / "out" / "kept").to_pylist()[0]
    assert f"{FIGURE}\nThe old mills by the river\nFigure 3" in row["text"] and row["ocr_figures"] == 1
    with pytest.raises(SmolfastError, match=r"nothing that reads pictures is chosen; add --ocr rapidocr"):
        extract_pdfs([tmp_path / "in"], tmp_path / "other", ocr_figures=True)
