"""The job: PDF files in; their text, and those that have none and why, out; resumable."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from smolfast import __version__, _native
from smolfast.curate.files.folder import KEPT, REMOVED, WORK, OutputFolder
from smolfast.curate.files.journal import JOURNAL
from smolfast.errors import SmolfastError
from smolfast.files import check_path, fingerprint, naming
from smolfast.io.documents import BatchWriter
from smolfast.io.json.journal import append_entry, finished_entries, is_whole
from smolfast.io.keep_apart import find_apart
from smolfast.io.locks import LOCK_FILE, hold
from smolfast.io.sources import Sources, document_id
from smolfast.pdf.files.sources import Pdf, find_pdfs, read_pdfs
from smolfast.pdf.files.summary import Counts, PdfSummary
from smolfast.pdf.pdfium import pdfium_path, pdfium_version
from smolfast.pdf.tasks import PdfJob, Result, Task
from smolfast.processes.pool import Pool
from smolfast.progress import ProgressCallback, format_bytes

MANIFEST = "pdf.json"
PART_BYTES = 64 << 20
"""Of text, or eight times as much of PDFs. What a kill loses is less."""
PART_DOCUMENTS = 4096

KEPT_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.large_string()),
        ("path", pa.string()),
        ("pages", pa.int32()),
        ("page_starts", pa.list_(pa.int64())),
        ("empty_pages", pa.list_(pa.int32())),
        ("failed_pages", pa.list_(pa.int32())),
        ("truncated", pa.bool_()),
        ("pdf_bytes", pa.int64()),
        ("xxh3_128", pa.string()),
        ("extractor", pa.string()),
    ]
)
REMOVED_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("path", pa.string()),
        ("page", pa.int32()),
        ("reason", pa.string()),
        ("duplicate_of", pa.string()),
        ("pdf_bytes", pa.int64()),
        ("xxh3_128", pa.string()),
    ]
)


def extract_pdfs(
    inputs: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    bytes_column: str | None = None,
    page_seconds: float = 60.0,
    memory: int = 2 << 30,
    strict: bool = False,
    threads: int = 0,
    overwrite: bool = False,
    progress: ProgressCallback | None = None,
) -> PdfSummary:
    """From PDF files to documents with their text in reading order.

    PDFs of the same bytes are read once. Each is read in a worker process. A page that takes `page_seconds` of CPU
    time, or ends its process, is left out with that reason, and costs no other page. Neither workers nor how often a
    run was interrupted changes a byte of what is written.

    Writes into the folder `output`:
        kept/part-00000.parquet, …: a row for each document that has text: `id`, `text`, `path`, `pages` (their number),
            `page_starts` (of each page the character of `text` where it begins), `empty_pages` and `failed_pages`
            (numbers from 1), `truncated` (the file's end is missing), `pdf_bytes`, `xxh3_128`, `extractor`.
        removed/part-00000.parquet, …: a row for each document that went, and for each page that can't be read (`page`,
            from 1; null for a document), with the `reason`, and for a duplicate the id of the one that stays.
        pdf.json: options, inputs and counts. A run with the same ones does nothing.

    Args:
        inputs: files, folders (all below them that end in .pdf), patterns; and files of parquet by name.
        bytes_column: the column of parquet that holds PDFs; None for the only one of bytes.
        page_seconds: CPU time of a page; ten times as much by the clock.
        memory: bytes that a worker may take for itself.
        strict: raise if files below a folder aren't read.
        threads: worker processes; 0 for every CPU that this process may use.
        overwrite: replace an output made from other input or settings.
        progress: called with bytes done, bytes in all, and a note.

    Raises:
        SmolfastError: bad options or input; an output of another run, one that is or contains an input, or that another
            process writes; a full disk. Earlier output stays as it was.
    """
    if not page_seconds > 0:
        raise SmolfastError(f"page_seconds = {page_seconds!r}: give seconds, for example 60")
    if memory < 256 << 20:
        raise SmolfastError(f"memory = {memory}: a worker needs 256 MiB at least; give more bytes")
    job = PdfJob(pdfium_path(), page_seconds, memory)
    folder = check_path(output)
    sources, _ = find_apart(inputs, folder, strict=strict, writes=(KEPT, REMOVED, MANIFEST, WORK), find=find_pdfs)
    if folder.exists() and not folder.is_dir():
        raise SmolfastError(f"{folder} is a file; give a folder to write documents into")
    ordered = Sources(sorted(sources, key=lambda source: os.fsencode(source.path)), sources.passed_over)
    run = _Run(ordered, job, bytes_column, threads or _native.available_threads(), progress or _silent)
    with hold(folder / LOCK_FILE, folder):
        made_from = {
            "smolfast": __version__,
            "extractor": pdfium_version(),
            "parameters": {"bytes_column": bytes_column, "page_seconds": page_seconds, "memory": memory},
            "inputs": [{"path": document_id(one.path), "xxh3_128": fingerprint(one.path)} for one in ordered],
        }
        found = OutputFolder(folder, MANIFEST).result(made_from, run.run, overwrite=overwrite)
        with naming(folder / MANIFEST, "choose another output or add --overwrite"):
            return PdfSummary(**found["summary"], **ordered.summary())


def _silent(done: float, total: float, note: str) -> None:
    pass


@dataclass
class _Part:
    """Documents that are read and written."""

    number: int
    end: int
    """The number of the document after it."""
    counts: Counts
    files: dict[str, int]


class _Run:
    """One run."""

    def __init__(
        self, sources: Sources, job: PdfJob, column: str | None, workers: int, progress: ProgressCallback
    ) -> None:
        self._sources, self._job, self._column = sources, job, column
        self._workers, self._progress = workers, progress
        self._total = float(sum(Path(source.path).stat().st_size for source in sources)) or 1.0
        self._began = time.monotonic()

    def run(self, work: Path) -> dict[str, Any]:
        """Read all documents into the work folder; what the manifest will say."""
        parts = list(finished_entries(work / JOURNAL, lambda found, number: _read_part(work, found, number)))
        for name in (KEPT, REMOVED):
            (work / name).mkdir(parents=True, exist_ok=True)
        counts = Counts()
        for finished in parts:
            counts.add(finished.counts)
        before = counts.numbers["pages"]
        with Pool(self._workers, self._job) as pool:
            results = self._results(pool, parts[-1].end if parts else 0)
            while (part := self._part(work, len(parts), results, counts, before, pool)) is not None:
                entry = {**vars(part), "counts": part.counts.as_json()}
                append_entry(work / JOURNAL, entry)
                parts.append(part)
                counts.add(part.counts)
        outputs = {name: fingerprint(work / name) for one in parts for name in one.files}
        return {"outputs": outputs, "summary": counts.summary()}

    def _results(self, pool: Pool[Task, Result], first: int) -> Iterator[tuple[int, Pdf, Result | str]]:
        """Documents in order, with what came of them, or the id of the one with the same bytes."""
        seen: dict[str, str] = {}
        waiting: dict[int, Pdf] = {}
        done: dict[int, Result | str] = {}
        documents = enumerate(read_pdfs(self._sources, self._column))
        ahead = 3 * self._workers
        number, more = first, True
        while more or waiting:
            while more and len(waiting) < ahead:
                found = next(documents, None)
                if found is None:
                    more = False
                    break
                at, pdf = found
                same = seen.get(pdf.hash)
                seen.setdefault(pdf.hash, pdf.id)
                if at < first:
                    continue
                waiting[at] = pdf
                if same is not None:
                    done[at] = same
                else:
                    pool.submit(at, Task(pdf.path, pdf.content))
            if not waiting:
                break
            while number not in done:
                at, result = pool.next()
                done[at] = result
            yield number, waiting.pop(number), done.pop(number)
            number += 1

    def _part(
        self,
        work: Path,
        number: int,
        results: Iterator[tuple[int, Pdf, Result | str]],
        before: Counts,
        pages_before: int,
        pool: Pool[Task, Result],
    ) -> _Part | None:
        """Write documents until a part is full; None if there are no more."""
        first = next(results, None)
        if first is None and number > 0:
            return None
        counts, end = Counts(), 0
        names = {name: f"{name}/part-{number:05}.parquet" for name in (KEPT, REMOVED)}
        with (
            BatchWriter(work / names[KEPT], KEPT_SCHEMA, threads=1) as kept,
            BatchWriter(work / names[REMOVED], REMOVED_SCHEMA, threads=1) as removed,
        ):
            while first is not None:
                at, pdf, result = first
                end = at + 1
                stays, goes = _rows(pdf, result, counts)
                for writer, rows, schema in ((kept, stays, KEPT_SCHEMA), (removed, goes, REMOVED_SCHEMA)):
                    if rows:
                        writer.write(pa.RecordBatch.from_pylist(rows, schema=schema))
                self._show(before, counts, pages_before, pool.deaths)
                numbers = counts.numbers
                size = max(numbers["bytes_out"], numbers["bytes_in"] // 8)
                if size >= PART_BYTES or numbers["documents_in"] >= PART_DOCUMENTS:
                    break
                first = next(results, None)
        return _Part(number, end, counts, {name: (work / name).stat().st_size for name in names.values()})

    def _show(self, before: Counts, counts: Counts, pages_before: int, deaths: int) -> None:
        pages = before.numbers["pages"] + counts.numbers["pages"]
        rate = (pages - pages_before) / max(time.monotonic() - self._began, 1e-3)
        done = before.numbers["bytes_in"] + counts.numbers["bytes_in"]
        note = f"{pages:,} pages, {rate:,.0f} pages/s, {format_bytes(done)}"
        self._progress(float(done), self._total, note + (f", {deaths} workers replaced" if deaths else ""))


def _read_part(work: Path, found: Any, number: int) -> _Part | None:
    files = {str(name): int(size) for name, size in found["files"].items()}
    part = _Part(int(found["number"]), int(found["end"]), Counts.from_json(found["counts"]), files)
    whole = part.number == number and all(is_whole(work / name, size) for name, size in files.items())
    return part if whole else None


def _rows(pdf: Pdf, result: Result | str, counts: Counts) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of a document for kept/ and removed/; counts it."""
    about = {"id": pdf.id, "path": document_id(pdf.path), "pdf_bytes": pdf.size, "xxh3_128": pdf.hash}
    counts.numbers.update({"documents_in": 1, "bytes_in": pdf.size})
    if isinstance(result, str):
        counts.documents["exact duplicate"] += 1
        return [], [{**about, "reason": "exact duplicate", "duplicate_of": result}]
    numbers = {"pages": result.pages, "empty_pages": len(result.empty), "failed_pages": len(result.failed)}
    counts.numbers.update({**numbers, "running_lines": result.running})
    gone = [{**about, "page": page, "reason": reason} for page, reason in sorted(result.failed.items())]
    counts.pages.update(result.failed.values())
    if result.reason:
        counts.documents[result.reason] += 1
        return [], [{**about, "reason": result.reason}, *gone]
    counts.numbers.update(
        {"documents_out": 1, "bytes_out": len(result.text.encode()), "truncated": int(result.truncated)}
    )
    row = {
        **about,
        "text": result.text,
        "pages": result.pages,
        "page_starts": result.starts,
        "empty_pages": result.empty,
        "failed_pages": sorted(result.failed),
        "truncated": result.truncated,
        "extractor": pdfium_version(),
    }
    return [row], gone
