"""Where a page's text comes from."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from smolfast import _native
from smolfast.pdf.pdfium import pdfium_path
from smolfast.pdf.readers.routing import Features, Route, route_of

PAGE = Features(600, 800, 0, 0.0, 0, 0, 0, 0, False, [])
WHOLE = [(0.0, 0.0, 600.0, 800.0)]


@pytest.mark.parametrize(
    ("page", "route"),
    [
        (PAGE, Route("blank", "")),
        (PAGE._replace(letters=1, texts=1), Route("text", "")),
        (PAGE._replace(letters=100, unknown=10, texts=3), Route("text", "")),
        (PAGE._replace(letters=100, unknown=11, texts=3), Route("ocr", "garbled")),
        (PAGE._replace(letters=900, texts=4, hidden_texts=2, pictures=WHOLE), Route("ocr", "hidden text over a scan")),
        (PAGE._replace(letters=900, texts=4, hidden_texts=1, pictures=WHOLE), Route("text", "")),
        (PAGE._replace(letters=900, texts=4, hidden_texts=4), Route("text", "")),
        (PAGE._replace(letters=199, texts=4, pictures=WHOLE), Route("ocr", "scan")),
        (PAGE._replace(letters=200, texts=4, pictures=WHOLE), Route("text", "")),
        (PAGE._replace(pictures=[(0, 0, 600, 100)]), Route("ocr", "picture")),
        (PAGE._replace(pictures=[(0, 0, 60, 60)]), Route("blank", "")),
        (PAGE._replace(shapes=39), Route("blank", "")),
        (PAGE._replace(shapes=40), Route("ocr", "outlined letters")),
    ],
)
def test_the_rule(page: Features, route: Route) -> None:
    assert route_of(page) == route


def test_pictures_that_overlap_count_once() -> None:
    halves = [(0.0, 0.0, 600.0, 400.0)] * 5
    assert PAGE._replace(pictures=halves).cover() == pytest.approx(0.5)
    assert PAGE._replace(pictures=WHOLE).cover() == 1
    assert PAGE._replace(width=0, pictures=WHOLE).cover() == 0
    strips = [(0.0, 800 * at / 7, 600.0, 800 * (at + 1) / 7) for at in range(7)]
    assert PAGE._replace(pictures=strips).cover() == 1


def test_made_pages_of_every_class(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pypdfium2")
    pytest.importorskip("reportlab")  # which brings PIL, and a font
    monkeypatch.setattr(sys, "path", [*sys.path, str(Path(__file__).parents[2] / "benchmarks")])
    import pdf_pages as pages

    for name, (wanted, makers) in pages.CLASSES.items():
        data = pages.pages_of(name, len(makers))
        pdf = _native.Pdf(pdfium_path(), data)
        for page in range(pdf.pages):
            found = pdf.read(page)
            assert found is not None
            route = route_of(Features(found[0], found[1], *found[3]))
            assert route.where == wanted, (name, page, route)
        del pdf
