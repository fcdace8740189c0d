"""Other libraries, and functions of the user's, in the place of our own reading."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from made_pdfs import draw, essay, sentence
from pdf_extractors import Deadly, Patchy, one_by_one, refuses, shouted
from smolfast import SmolfastError
from smolfast.commands.main import main
from smolfast.pdf import extract_pdfs
from smolfast.pdf.readers.extractors import extractor_name, load_extractor

Make = Callable[..., Path]


def row_of(path: Path, output: Path, extractor: Any) -> dict[str, Any]:
    extract_pdfs([path], output, extractor=extractor, threads=1)
    (row,) = pq.read_table(output / "kept").to_pylist()
    return dict(row)


def test_a_function(make: Make, tmp_path: Path) -> None:
    path = make("a.pdf", essay(0, 3))
    row = row_of(path, tmp_path / "out", shouted)
    size = path.stat().st_size
    assert row["text"] == f"ONE OF {size} BYTES\n\nTWO\n  with a second line\n\nand a paragraph"
    assert row["pages"] == 2 and row["extractor"] == "pdf_extractors:shouted"
    lazy = row_of(path, tmp_path / "lazy", one_by_one)
    assert lazy["text"] == "first third" and lazy["empty_pages"] == [2], "a sentence that goes on over a page's end"


def test_a_page_that_dies_costs_itself(make: Make, tmp_path: Path) -> None:
    path = make("a.pdf", essay(0, 3))
    row = row_of(path, tmp_path / "out", Deadly)
    assert row["failed_pages"] == [2] and row["text"] == "page 1 page 3"
    assert row_of(path, tmp_path / "patchy", Patchy)["failed_pages"] == [2]
    extract_pdfs([path], tmp_path / "none", extractor=refuses, threads=1)
    (gone,) = pq.read_table(tmp_path / "none" / "removed").to_pylist()
    assert gone["reason"] == "damaged"


def test_pypdfium2(make: Make, tmp_path: Path) -> None:
    pytest.importorskip("pypdfium2")

    def page(number: int) -> Callable[[Any], None]:
        def drawn(pen: Any) -> None:
            draw(pen, ["Annual Report of the Mills"], 60, 810)
            essay(4 * number, 4 * number + 4)(pen)

        return drawn

    path = make("a.pdf", *map(page, range(6)))
    row = row_of(path, tmp_path / "out", "pypdfium2")
    assert row["text"].split() == " ".join(map(sentence, range(24))).split(), "running lines go here too"
    assert row["extractor"].startswith("pypdfium2 ") and row["pages"] == 6


def test_names(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_extractor(extractor_name("smolfast")) is None
    path = str(make("a.pdf", essay(0, 3)))
    monkeypatch.setattr("smolfast.pdf.readers.extractors.find_spec", lambda name: None)
    for options, why in (
        (["--extractor", "nonesuch"], "give one of smolfast, pypdfium2, pdf-oxide, docling-parse, or MODULE:FUNCTION"),
        (["--extractor", "pdf-oxide"], "pdf-oxide isn't installed; install it with: pip install pdf-oxide"),
        (["--extractor", "no.such.module:read"], "No module named 'no'"),
        (["--extractor", "os:nothing"], "has no attribute 'nothing'; correct the name"),
        (["--extractor", "os:sep"], "sep is no function; name one that takes bytes and gives the text of each page"),
        (["--extractor", "os:fsencode", "--ocr", "tesseract"], "tesseract"),
        (["--ocr", "nonesuch"], "no OCR is called 'nonesuch'"),
    ):
        assert main(["pdf", path, "-o", str(tmp_path / "out"), *options]) == 2
        said = capsys.readouterr().err
        assert why in said and said.count("\n") == 1, said
    with pytest.raises(SmolfastError, match="define it with def"):
        extract_pdfs([path], tmp_path / "out", extractor=lambda data: [])


@pytest.mark.parametrize("name", ["pdf-oxide", "docling-parse"])
def test_others(make: Make, tmp_path: Path, name: str) -> None:
    pytest.importorskip(name.replace("-", "_"))
    row = row_of(make("a.pdf", essay(0, 3)), tmp_path / "out", name)
    assert row["text"].split() == " ".join(map(sentence, range(3))).split()
