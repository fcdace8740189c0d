"""Pages that are pictures: drawn, read by another library, and put in order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from made_pdfs import draw, essay, filled, sentence
from smolfast import SmolfastError, _native
from smolfast.commands.main import main
from smolfast.pdf import extract_pdfs
from smolfast.pdf.pdfium import pdfium_path
from smolfast.pdf.readers.ocr import DPI, MOST_PIXELS, Line, RapidOcr, Tesseract, is_blank, read_page, recognizer
from smolfast.pdf.reading import Options, read_pdf
from smolfast.pdf.text import text_of

Make = Callable[..., Path]


class Reader:
    """Says what it is told to."""

    name = "reader 1"

    def __init__(self, *lines: Line) -> None:
        self.lines = list(lines)
        self.seen: list[tuple[int, ...]] = []

    def read(self, picture: Any, seconds: float) -> list[Line]:
        self.seen.append(picture.shape)
        return self.lines


def ink(pen: Any) -> None:
    """Letters as a picture would have them: outlines, with no text behind them."""
    for at in range(60):
        path = pen.beginPath()
        x, y = 60 + 8 * (at % 20), 700 - 20 * (at // 20)
        path.moveTo(x, y)
        for step in range(8):
            path.lineTo(x + (step % 3) * 2, y + step)
        pen.drawPath(path, stroke=0, fill=1)


def test_lines_become_blocks_in_reading_order(make: Make) -> None:
    """Two columns, whose lines an engine gives from top to bottom."""
    pdf = _native.Pdf(pdfium_path(), make("a.pdf", ink).read_bytes())
    scale = DPI / 72
    lines = []
    for row in range(8):
        for column, left in enumerate((60, 320)):
            text = " ".join(sentence(8 * column + row).split()[:7])
            box = (left * scale, (80 + 14 * row) * scale, (left + 220) * scale, (92 + 14 * row + row % 2) * scale)
            lines.append(Line(text, box, 9 * scale, 0.9 if column else 0.8))
    reading = read_page(pdf, 0, Reader(*lines, Line("", (0, 0, 9, 9), 9, 1), Line("specks", (0, 0, 9, 9), 9, 0.2)), 1.0)
    text = " ".join(block[4] for block in reading.blocks).replace("\n", " ").replace("\v", " ")
    assert text.split() == " ".join(" ".join(sentence(number).split()[:7]) for number in range(16)).split()
    assert 0.8 < reading.confidence < 0.9
    assert all(abs(block[2] - 9) < 1 for block in reading.blocks), "sizes of fonts are those on the page"


def test_what_goes_to_ocr(make: Make) -> None:
    path = make("a.pdf", essay(0, 5), ink, lambda pen: None, essay(5, 8))
    reader = Reader(Line("Old mills", (100, 100, 500, 140), 30, 0.75))
    found = read_pdf(path.read_bytes(), pdfium_path(), lost={}, options=Options(by=reader))
    assert len(reader.seen) == 1 and found.ocr == {2: 0.75} and found.needs_ocr == []
    text = text_of(found.pages)
    assert "\n\nOld mills\n\n" in text.text and text.empty == [3]
    without = read_pdf(path.read_bytes(), pdfium_path(), lost={})
    assert without.needs_ocr == [2] and without.ocr == {} and text_of(without.pages).empty == [2, 3]


def test_blank_pictures_are_not_read(make: Make) -> None:
    generator = np.random.default_rng(1)
    paper = generator.normal(235, 6, (800, 600)).clip(0, 255).astype(np.uint8)
    assert is_blank(paper) and is_blank(np.zeros((50, 50), np.uint8)) and is_blank(np.full((1, 1), 7, np.uint8))
    paper[100:110, 100:400] = 60
    assert not is_blank(paper)
    pdf = _native.Pdf(pdfium_path(), make("a.pdf", lambda pen: None).read_bytes())
    reader = Reader(Line("Thank you for watching", (0, 0, 90, 9), 9, 0.99))
    assert read_page(pdf, 0, reader, 1.0).blocks == [] and not reader.seen
    assert read_page(pdf, 7, reader, 1.0).blocks == [], "a page that isn't there"


def test_pictures_are_of_bounded_size(make: Make) -> None:
    from reportlab.pdfgen.canvas import Canvas

    path = make("a.pdf", essay(0, 3))
    large = path.with_name("large.pdf")
    pen = Canvas(str(large), pagesize=(14000, 14000))
    pen.rect(100, 100, 9000, 9000, fill=1)
    pen.save()
    wide = path.with_name("wide.pdf")
    pen = Canvas(str(wide), pagesize=(14000, 10))
    pen.rect(1, 1, 5, 5)
    pen.save()
    for file, channels in ((path, 1), (path, 3), (large, 1), (wide, 1)):
        drawn = _native.Pdf(pdfium_path(), file.read_bytes()).render(0, DPI / 72, MOST_PIXELS, channels)
        assert drawn is not None and drawn.shape[2] == channels
        assert drawn.shape[0] * drawn.shape[1] <= MOST_PIXELS and max(drawn.shape) <= 16384
    assert _native.Pdf(pdfium_path(), path.read_bytes()).render(0, -1.0, MOST_PIXELS, 1) is None


def test_tesseract(programs: Path, tmp_path: Path) -> None:
    reader = recognizer("tesseract:deu+eng")
    assert isinstance(reader, Tesseract) and reader.name == "tesseract 9.1 deu+eng"
    lines = reader.read(np.full((30, 20), 255, np.uint8), 60)
    assert lines[0] == Line("Old", (100, 100, 300, 140), 42, 0.965) and [line.text for line in lines] == [
        "Old",
        "mills",
        "noise",
    ]
    assert (tmp_path / "seen.pgm").read_bytes().startswith(b"P5 20 30 255\n\xff")
    with pytest.raises(SmolfastError, match=r"no language fra; install it, or give one of eng, deu"):
        recognizer("tesseract:fra")
    (programs / "tesseract").write_text("#!/bin/sh\nsleep 60\n")
    with pytest.raises(TimeoutError):
        reader.read(np.zeros((3, 3), np.uint8), 0.2)
    (programs / "tesseract").write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(OSError, match="ended with 3"):
        reader.read(np.zeros((3, 3), np.uint8), 60)


def test_which_are_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("smolfast.pdf.readers.ocr.find_spec", lambda name: None)
    assert recognizer("none") is None
    for chosen, why in (
        ("nonesuch", "give none, rapidocr, tesseract"),
        ("tesseract:../x", "no OCR is called"),
        ("rapidocr:eng", "no OCR is called"),
        ("rapidocr", r"install it with: pip install .*\[ocr\]"),
        ("tesseract", "no program called tesseract"),
    ):
        with pytest.raises(SmolfastError, match=why):
            recognizer(chosen)


@pytest.mark.parametrize("engine", ["rapidocr", "tesseract"])
def test_the_job(programs: Path, make: Make, tmp_path: Path, engine: str) -> None:
    make("in/a.pdf", essay(0, 5), ink, lambda pen: None)
    make("in/b.pdf", ink)
    summary = extract_pdfs([tmp_path / "in"], tmp_path / "out", ocr=engine, threads=1)
    assert (summary.ocr_pages, summary.needs_ocr_pages, summary.documents_out) == (2, 0, 2)
    rows = pq.read_table(tmp_path / "out" / "kept").to_pylist()
    assert [row["ocr_pages"] for row in rows] == [[2], [1]]
    words = "The old mills by the river" if engine == "rapidocr" else "Old mills"
    assert rows[1]["text"] == words and rows[0]["empty_pages"] == [3] and rows[0]["text"].endswith(words)
    assert rows[1]["ocr_confidence"] == pytest.approx(0.97 if engine == "rapidocr" else 0.926, abs=0.01)
    assert isinstance(recognizer("rapidocr"), RapidOcr)


def test_pages_that_are_not_read_are_named(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make("in/a.pdf", essay(0, 5), ink)
    assert main(["pdf", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--threads", "1"]) == 0
    assert "1 page is a picture; --ocr rapidocr reads it" in capsys.readouterr().err
    row = pq.read_table(tmp_path / "out" / "kept").to_pylist()[0]
    assert row["needs_ocr"] == [2] and row["ocr_pages"] == [] and row["ocr_confidence"] is None


def test_a_failing_engine_costs_its_page(make: Make) -> None:
    class Slow(Reader):
        def read(self, picture: Any, seconds: float) -> list[Line]:
            raise TimeoutError

    class Broken(Reader):
        def read(self, picture: Any, seconds: float) -> list[Line]:
            raise ValueError("no model")

    data = make("a.pdf", essay(0, 3), ink).read_bytes()
    for reader, why in ((Slow(), "timed out"), (Broken(), "ocr failed")):
        found = read_pdf(data, pdfium_path(), lost={}, options=Options(by=reader))
        assert found.failed == {2: why} and found.pages[1] is None and found.pages[0]


def test_hidden_text_stays_where_ocr_finds_nothing(make: Make) -> None:
    image = pytest.importorskip("PIL.Image")
    grey = image.effect_noise((60, 80), 120)

    def page(pen: Any) -> None:
        pen.drawInlineImage(grey, 0, 0, 595, 842)
        piece = pen.beginText(60, 700)
        piece.setFont("Helvetica", 10)
        piece.setTextRenderMode(3)
        for line in filled(range(4), 450, pen, 10):
            piece.textLine(line)
        pen.drawText(piece)

    data = make("a.pdf", page).read_bytes()
    for reader in (None, Reader()):
        found = read_pdf(data, pdfium_path(), lost={}, options=Options(by=reader))
        assert text_of(found.pages).text.split() == " ".join(map(sentence, range(4))).split()
        assert found.needs_ocr == ([1] if reader is None else [])
    better = Reader(Line("Read again", (100, 100, 500, 140), 30, 0.9))
    found = read_pdf(data, pdfium_path(), lost={}, options=Options(by=better))
    assert text_of(found.pages).text == "Read again"


def test_rapidocr_itself(make: Make) -> None:
    pytest.importorskip("rapidocr")
    pytest.importorskip("onnxruntime")
    pdf = _native.Pdf(
        pdfium_path(), make("a.pdf", lambda pen: draw(pen, ["The river carries its water"], 60, 700, 16)).read_bytes()
    )
    reading = read_page(pdf, 0, RapidOcr(), 60)
    assert [block[4] for block in reading.blocks] == ["The river carries its water"] and reading.confidence > 0.9
