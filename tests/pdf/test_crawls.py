"""PDFs of WARC files, beside files of their own."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from kills import content
from made_pdfs import essay, make_pdf, sentence
from odd_hosts import serving
from warcs import http, page, record, write

pytest.importorskip("fastwarc")

from smolfast.crawl.files import ranges
from smolfast.crawl.reading.faults import Place
from smolfast.pdf import Limits, extract_pdfs
from smolfast.pdf.tasks import DEATHS
from smolfast.pdf.warc.reading import read_crawl, scanning
from smolfast.pdf.warc.scans import ScanJob

Make = Callable[..., Path]


def rows(folder: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


@pytest.fixture(scope="module")
def pdfs(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("pdfs")
    return [make_pdf(folder / f"{n}.pdf", essay(10 * n, 10 * n + 4)).read_bytes() for n in range(8)]


def held(body: bytes, url: str, content_type: str = "application/pdf", headers: str = "", **options: str) -> bytes:
    return record(http(body, content_type=content_type, **options), url, headers=headers)


def crawl(pdfs: list[bytes]) -> list[bytes]:
    site = "http://example.org"
    return [
        record(b"software: x\r\n", kind="warcinfo"),
        page(1),
        held(pdfs[0], f"{site}/a"),
        held(pdfs[1], f"{site}/b.PDF?x=1", "application/octet-stream"),
        held(pdfs[2], f"{site}/c", "text/html", "WARC-Identified-Payload-Type: application/pdf\r\n"),
        held(pdfs[0], f"{site}/again"),
        held(b"<p>not here", f"{site}/soft-404.pdf", "text/html"),
        held(b"", f"{site}/404.pdf", status="404 Not Found"),
        held(pdfs[3][:700], f"{site}/cut", headers="WARC-Truncated: length\r\n"),
        held(pdfs[4][:-20], f"{site}/long", headers="WARC-Truncated: length\r\n"),
        record(pdfs[5], f"{site}/resource", "resource", headers="").replace(b"text/plain", b"application/pdf"),
        record(http(pdfs[6], content_type="application/pdf"), f"{site}/wrong", length=9),
        page(2, "<p>about /pdf and .pdf"),
        record(http(b""), f"{site}/request.pdf", "request"),
        held(pdfs[7], "http://[broken/g.pdf", "text/x"),
    ]


@pytest.mark.parametrize("how", ["gzip", "zstd", "plain"])
def test_pdfs_of_a_crawl(pdfs: list[bytes], tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ending = {"gzip": ".gz", "zstd": ".zst", "plain": ""}[how]
    (tmp_path / "in").mkdir()
    path = write(tmp_path / "in" / f"a.warc{ending}", crawl(pdfs), how)
    (tmp_path / "in" / "b.pdf").write_bytes(pdfs[1])
    make_pdf(tmp_path / "in" / "c.pdf", essay(90, 93))
    summary = extract_pdfs([tmp_path / "in"], tmp_path / "out", threads=1)
    kept = {row["url"] or Path(row["path"]).name: row for row in rows(tmp_path / "out" / "kept")}
    site = "http://example.org"
    names = [f"{site}/a", f"{site}/b.PDF?x=1", f"{site}/c", f"{site}/long", f"{site}/resource"]
    assert list(kept) == [*names, "http://[broken/g.pdf", "c.pdf"]
    first = kept[f"{site}/a"]
    assert (first["id"], first["path"]) == (f"<urn:uuid:{site}/a>", str(path))
    assert first["date"] == "2024-01-02T03:04:05Z" and first["pdf_bytes"] == len(pdfs[0])
    assert " ".join(first["text"].split()) == " ".join(map(sentence, range(4)))
    assert kept[f"{site}/long"]["truncated"] and not first["truncated"]
    gone = {row["url"] or row["id"]: row["reason"] for row in rows(tmp_path / "out" / "removed")}
    fault = next(name for name in gone if name.startswith(f"{path}@"))
    assert gone.pop(fault) == "wrong Content-Length"
    assert gone == {
        f"{site}/again": "duplicate_file",
        f"{site}/soft-404.pdf": "not a PDF",
        f"{site}/cut": "truncated",
        str(tmp_path / "in" / "b.pdf"): "duplicate_file",
    }
    assert summary.other_records == 5 and summary.documents_in == 12
    monkeypatch.setattr(ranges, "STRETCH_BYTES", 1500)
    extract_pdfs([tmp_path / "in"], tmp_path / "two", threads=2)
    assert content(tmp_path / "two") == content(tmp_path / "out")


def test_damaged_crawls_cost_what_is_damaged(pdfs: list[bytes], tmp_path: Path) -> None:
    whole = write(tmp_path / "a.warc.gz", crawl(pdfs)).read_bytes()
    generator = random.Random(1)
    for _ in range(5):
        turned = bytearray(whole)
        for _ in range(8):
            turned[generator.randrange(len(turned))] = generator.randrange(256)
        (tmp_path / "a.warc.gz").write_bytes(turned[: generator.choice((len(turned), len(turned) // 2))])
        summary = extract_pdfs([tmp_path / "a.warc.gz"], tmp_path / "out", threads=1, overwrite=True)
        assert summary.documents_in == len(rows(tmp_path / "out" / "kept")) + sum(
            row["page"] is None for row in rows(tmp_path / "out" / "removed")
        )


def test_a_record_that_ends_its_worker_costs_itself_alone(
    pdfs: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker is killed at its second PDF, as if a library had crashed there."""
    from collections import Counter

    from smolfast.io.sources import Source

    path = write(tmp_path / "a.warc.gz", [held(pdfs[n], f"http://example.org/{n}") for n in range(4)])
    (tmp_path / "crashing.py").write_text(
        "import os\nfrom smolfast.pdf.warc import records, worker\nfrom smolfast.processes.serving import run\n"
        "real = records.pdf_of\n"
        "def pdf_of(raw):\n    if b'example.org/1' in raw.data:\n        os.abort()\n    return real(raw)\n"
        "records.pdf_of = pdf_of\nrun(worker.serve)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(ScanJob, "module", "crashing")
    with scanning(1) as pool:
        found = list(read_crawl(Source(str(path), "pdf"), pool, 2, Counter()))
        assert pool.deaths == 1
    assert [(one.url, one.reason) for one in found if one.url] == [(f"http://example.org/{n}", "") for n in (0, 2, 3)]
    assert [one.reason for one in found if not one.url] == [DEATHS["killed"]]
    assert Place(0) < Place(1)


def test_what_a_crawl_cut_is_fetched_again(pdfs: list[bytes], tmp_path: Path) -> None:
    with serving() as host:
        host.answers = {"/a": lambda asked: asked.give(200, pdfs[3])}
        path = write(
            tmp_path / "a.warc.gz",
            [held(pdfs[3][:700], host.url("/a"), headers="WARC-Truncated: length\r\n"), held(pdfs[0], host.url("/b"))],
        )
        limits = Limits(host_seconds=0, allow_private=True)
        summary = extract_pdfs([path], tmp_path / "out", refetch=True, fetching=limits, threads=1)
        assert host.count["/b"] == 0
    assert summary.fetched == 1
    found = [(row["fetch"], row["truncated"], row["pdf_bytes"]) for row in rows(tmp_path / "out" / "kept")]
    assert found == [("fetched", False, len(pdfs[3])), (None, False, len(pdfs[0]))]
