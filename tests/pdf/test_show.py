"""A page drawn with its blocks."""

from __future__ import annotations

import base64
import json
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from made_pdfs import draw, filled, sentence
from smolfast.commands.main import main
from smolfast.pdf.show import as_png, show_page
from smolfast.report.pdf_page import ShownBlock, pdf_page

Make = Callable[..., Path]


def page(number: int) -> Callable[[Any], None]:
    def drawn(pen: Any) -> None:
        draw(pen, ["Annual Report of the Mills"], 60, 810)
        y = draw(pen, [f"The mills of {sentence(number)[:7]}"], 60, 770, 18)
        draw(pen, filled(range(4 * number, 4 * number + 4), 450, pen, 10), 60, y)
        for row, cells in enumerate((("Town", "Mills"), ("Ulm", "12"), ("Bern", "<7>"))):
            for x, cell in zip((60, 300), cells, strict=True):
                pen.drawString(x, 500 - 14 * row, cell)

    return drawn


def test_what_is_shown(make: Make) -> None:
    path = make("a.pdf", *map(page, range(6)))
    shown = show_page(path, 3)
    assert (shown.number, shown.pages, shown.width, shown.height, shown.route.where) == (3, 6, 595, 842, "text")
    assert shown.running == [0] and [block.kind for block in shown.blocks] == ["text", "text", "text", "table"]
    assert shown.texts[1].startswith("# The mills of Now c") and shown.texts[3].startswith("| Town | Mills |\n")
    assert shown.png.startswith(b"\x89PNG\r\n\x1a\n") and struct.unpack(">II", shown.png[16:24]) == (1190, 1684)


def test_the_command(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(make("a.pdf", *map(page, range(6))))
    output = tmp_path / "page.html"
    assert main(["pdf", "show", path, "--page", "2", "-o", str(output), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["page"], said["pages"], said["blocks"], said["text_from"]) == (2, 6, 4, "text")
    html = output.read_text()
    assert re.findall(r'id="block-(\d)"', html) == list("1234") and html.count('href="#block-') == 4
    assert "running line, taken out" in html and "&lt;7&gt;" in html and "<7>" not in html
    assert "img-src data:;" in html and base64.b64encode(show_page(path, 2).png).decode() in html
    assert main(["pdf", "show", path, "-o", str(output)]) == 0, "its own page may be replaced"
    assert "1 of 6 pages; 4 blocks in reading order" in capsys.readouterr().err
    taken = tmp_path / "notes.txt"
    taken.write_text("mine")
    picture = tmp_path / "picture.pdf"
    picture.write_bytes(b"\xff\xd8\xff\xe0 JFIF")
    for arguments, why in (
        ([path, "--page", "7", "-o", str(output)], "has no page 7; give one from 1 to 6"),
        ([path, "-o", str(taken)], "is no page of smolfast's"),
        ([str(tmp_path / "none.pdf"), "-o", str(output)], "can't read"),
        ([str(picture), "-o", str(output)], "not a PDF; give another file"),
        ([path, "-o", str(output), "--ocr", "nonesuch"], "no OCR is called"),
    ):
        assert main(["pdf", "show", *arguments]) == 2
        said = capsys.readouterr().err
        assert why in said and said.count("\n") == 1, said
    assert taken.read_text() == "mine"


def test_a_page_without_text() -> None:
    html = pdf_page("a", "b", b"png", 10, 10, [], [("size", "none")])
    assert "No text was found on this page." in html and 'href="#block' not in html
    marked = pdf_page("a", "b", b"png", 10, 10, [ShownBlock("figure", (-5, -5, 3, 3), 0, "")], [])
    assert "picture" in marked and "points" not in marked.split("<main>")[1].split("</main>")[0]


def test_png() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    data = as_png(pixels)
    at, parts = 8, {}
    while at < len(data):
        (size,), kind = struct.unpack(">I", data[at : at + 4]), data[at + 4 : at + 8]
        content = data[at + 8 : at + 8 + size]
        assert struct.unpack(">I", data[at + 8 + size : at + 12 + size]) == (zlib.crc32(kind + content),)
        parts[kind] = content
        at += 12 + size
    assert list(parts) == [b"IHDR", b"IDAT", b"IEND"]
    rows = np.frombuffer(zlib.decompress(parts[b"IDAT"]), np.uint8).reshape(5, 22)
    assert not rows[:, 0].any() and (rows[:, 1:].reshape(5, 7, 3) == pixels[:, :, ::-1]).all()
