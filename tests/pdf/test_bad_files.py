"""Files that are made to break readers: each ends with text or a reason, and costs no neighbour."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from made_pdfs import essay, make_pdf, sentence
from mutated_pdfs import attack
from odd_pdfs import odd_files, page_of, stream
from smolfast import SmolfastError
from smolfast.pdf import extract_pdfs
from smolfast.pdf.pdfium import pdfium_path
from smolfast.pdf.reading import MOST_PAGES, read_pdf
from smolfast.pdf.show import show_page
from smolfast.pdf.tasks import PdfJob, Task
from smolfast.processes.pool import Pool


def rows(folder: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


DIED = {"crashed or out of memory", "out of memory", "timed out"}
EXPECTED: dict[str, set[str]] = {
    "a million drawings": {"no text"} | DIED,
    "a million texts": DIED,
    "bomb": DIED,
    "bomb in a bomb": DIED,
    "large picture": {""},
    "form that draws itself": {""} | DIED,
    "tables in a circle": {""},
    "pages in a circle": {"damaged"},
    "object that is itself": {"damaged", "no pages"},
    "nested arrays": {"", "damaged"},
    "zero pages": {"no pages"},
    "says two million pages": {"too many pages"},
    "ten thousand pages": {""},
    "script and attachment": {""},
}


def test_files_that_are_made_to_break_readers(tmp_path: Path) -> None:
    """Workers of 512 MiB; a good file stands between any two odd ones."""
    folder = tmp_path / "in"
    for number, (name, data) in enumerate(odd_files().items()):
        make_pdf(folder / f"{number:02}-good.pdf", essay(10 * number, 10 * number + 3))
        # Words of their own, so that none is taken for another's duplicate.
        odd = data.replace(b"(words of a page)", b"(words of %s)" % name.replace(" ", "").encode())
        (folder / f"{number:02}-{name}.pdf").write_bytes(odd)
    summary = extract_pdfs([folder], tmp_path / "out", threads=2, memory=512 << 20, page_seconds=10)
    kept = {Path(row["path"]).stem[3:]: row for row in rows(tmp_path / "out" / "kept") if "good" not in row["path"]}
    why: dict[str, set[str]] = {name: {""} for name in kept}
    for row in rows(tmp_path / "out" / "removed"):
        name = Path(row["path"]).stem[3:]
        if row["reason"] != "no readable page":
            why.setdefault(name, set()).add(row["reason"])
    assert {name: reasons <= EXPECTED[name] for name, reasons in why.items()} == dict.fromkeys(EXPECTED, True), why
    good = [row for row in rows(tmp_path / "out" / "kept") if "good" in row["path"]]
    assert [" ".join(row["text"].split()) for row in good] == [
        " ".join(map(sentence, range(10 * number, 10 * number + 3))) for number in range(len(EXPECTED))
    ]
    assert kept["ten thousand pages"]["pages"] == 10_000 and kept["ten thousand pages"]["text"].count("Page ") == 10_000
    assert summary.documents_in == 2 * len(EXPECTED)


def test_pages_that_are_not_there_are_not_gone_through() -> None:
    data = page_of(stream(b"")).replace(b"/Count 1>>", b"/Count %d>>" % (MOST_PAGES + 1))
    assert read_pdf(data, pdfium_path(), lost={}).reason == "too many pages"


def test_a_document_has_a_time_too(make: Callable[..., Path], tmp_path: Path) -> None:
    path = make("a.pdf", *[essay(n, n + 3) for n in range(0, 30, 3)])
    found = read_pdf(path.read_bytes(), pdfium_path(), lost={}, seconds=0)
    assert found.failed == dict.fromkeys(range(1, 11), "timed out") and found.pages == [None] * 10
    with Pool(1, PdfJob(pdfium_path(), 60.0, 1 << 30, document_seconds=0.0)) as pool:
        pool.submit(0, Task(str(path)))
        assert pool.next()[1].reason == "no readable page"
    with pytest.raises(SmolfastError, match="document_seconds"):
        extract_pdfs([path], tmp_path / "out", document_seconds=0)


def test_cut_at_every_64th_byte(make: Callable[..., Path], tmp_path: Path) -> None:
    """What is left of the second page is read, or there is a reason; a file that is cut is called so."""
    whole = make("a.pdf", essay(0, 4), essay(4, 8)).read_bytes()
    for end in range(0, len(whole) - 8, 64):
        found = read_pdf(whole[:end], pdfium_path(), lost={})
        assert found.truncated or found.reason == "not a PDF", end
        assert found.reason in ("", "truncated", "no pages", "not a PDF"), (end, found.reason)


def test_spoilt_files_among_good_ones(tmp_path: Path) -> None:
    said = attack(tmp_path, 150, 3, memory=512 << 20, page_seconds=5, threads=2)
    assert "150 spoilt files and 15 good ones" in said


def test_pipes_and_broken_links(make: Callable[..., Path], tmp_path: Path) -> None:
    """A pipe that is named is an error, not a wait; among what a pattern matches they are passed over."""
    make("in/a.pdf", essay(0, 3))
    os.mkfifo(tmp_path / "in" / "pipe.pdf")
    (tmp_path / "in" / "link.pdf").symlink_to("nowhere")
    with pytest.raises(SmolfastError, match=r"pipe.pdf: it is a pipe or a device; give a file"):
        extract_pdfs([tmp_path / "in" / "pipe.pdf"], tmp_path / "out")
    with pytest.raises(SmolfastError, match=r"pipe.pdf: it is a pipe or a device; give a file"):
        show_page(tmp_path / "in" / "pipe.pdf", 1)
    found = extract_pdfs([str(tmp_path / "in" / "*.pdf")], tmp_path / "out", threads=1)
    assert (found.documents_out, found.passed_over) == (1, 2) and "broken link or no file" in found.passed_over_files
