"""Where blocks stand: on the page, and in the text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from made_pdfs import draw, essay, filled
from smolfast import SmolfastError
from smolfast.commands.main import main
from smolfast.pdf import extract_pdfs
from smolfast.pdf.pdfium import pdfium_path
from smolfast.pdf.reading import Block, read_pdf
from smolfast.pdf.text import text_of
from smolfast.pipeline.recipes import load_recipe, run

Make = Callable[..., Path]


def page(pen: Any) -> None:
    y = draw(pen, ["The mills"], 60, 780, 18)
    draw(pen, filled(range(3), 450, pen, 10), 60, y - 10)
    draw(pen, ["Figure 3: a mill at night"], 60, 400)


def test_a_column_of_blocks(make: Make, tmp_path: Path) -> None:
    make("in/a.pdf", page, lambda pen: None, essay(3, 6))
    assert main(["pdf", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--boxes", "--threads", "1"]) == 0
    row = pq.read_table(tmp_path / "out" / "kept").to_pylist()[0]
    assert row["page_sizes"] == [{"width": 595, "height": 842}] * 3
    found = [(one["page"], one["kind"], row["text"][one["start"] : one["end"]][:9]) for one in row["blocks"]]
    assert found == [
        (1, "heading", "# The mil"),
        (1, "text", "Now ax th"[:7] + found[1][2][7:]),
        (1, "caption", "Figure 3:"),
        (3, "text", found[3][2]),
    ]
    assert "".join(row["text"][one["start"] : one["end"]] for one in row["blocks"]) == row["text"].replace("\n\n", "")
    heading = row["blocks"][0]
    assert heading["x0"] == pytest.approx(60, abs=1) and 40 < heading["y0"] < 62 < heading["y1"] < 80
    assert heading["x1"] == pytest.approx(60 + 18 * 4, abs=12)
    plain = extract_pdfs([tmp_path / "in"], tmp_path / "plain", threads=1)
    assert (
        plain.documents_out == 1
        and "blocks" not in pq.read_schema(next((tmp_path / "plain" / "kept").glob("*.parquet"))).names
    )


def test_pages_that_are_not_read_have_no_size(make: Make) -> None:
    data = make("a.pdf", essay(0, 3), essay(3, 6)).read_bytes()
    found = read_pdf(data, pdfium_path(), lost={1: "timed out"})
    assert found.sizes == [None, (595, 842)] and [one.page for one in text_of(found.pages).blocks] == [2]


def test_offsets_where_words_are_joined() -> None:
    """Over columns, with a hyphen that goes and without one."""
    columns = [
        Block("text", (300 * (at % 2), 100, 300 * (at % 2) + 250, 700), 10, 40, text)
        for at, text in enumerate(("A mill of good repu-", "tation, and a\nriver that", "goes on"))
    ]
    found = text_of([columns[:2], columns[2:]])
    assert found.text == "A mill of good reputation, and a river that goes on"
    pieces = [found.text[one.start : one.end] for one in found.blocks]
    assert pieces == ["A mill of good repu", "tation, and a river that", "goes on"]
    assert [one.page for one in found.blocks] == [1, 1, 2] and found.starts == [0, found.blocks[2].start]


def test_other_extractors_have_none(make: Make, tmp_path: Path) -> None:
    with pytest.raises(SmolfastError, match=r"boxes: pypdfium2 doesn't say where text stands; leave one of them out"):
        extract_pdfs([make("a.pdf", essay(0, 3))], tmp_path / "out", boxes=True, extractor="pypdfium2")


def test_a_stage_of_a_recipe_has_them(make: Make, tmp_path: Path) -> None:
    make("in/a.pdf", page)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f'name = "placed"\n[stages.pdf]\ninput = "{tmp_path / "in"}"\nboxes = true\n')
    outcome = run(load_recipe(recipe), tmp_path / "out")
    outcome.check(tmp_path / "out" / "stages")
    row = pq.read_table(tmp_path / "out" / "pdf" / "kept").to_pylist()[0]
    assert [one["kind"] for one in row["blocks"]] == ["heading", "text", "caption"]
