"""The job: PDFs in; their text, and those that have none and why, out; resumable."""

from __future__ import annotations

import dataclasses
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import xxhash

from smolfast import __version__, _native
from smolfast.classify import Model, model_path
from smolfast.cluster import Engine, open_engine
from smolfast.curate.files.folder import KEPT, REMOVED, WORK, OutputFolder
from smolfast.curate.files.journal import JOURNAL
from smolfast.errors import SmolfastError
from smolfast.files import check_path, fingerprint, naming
from smolfast.io.documents import BatchWriter
from smolfast.io.json.journal import append_entry, finished_entries, is_whole
from smolfast.io.keep_apart import find_apart
from smolfast.io.locks import LOCK_FILE, hold
from smolfast.io.sources import Sources
from smolfast.io.stores.changes import describe_inputs, stat_source
from smolfast.io.stores.output import to_stores
from smolfast.pdf.fetch.limits import Limits
from smolfast.pdf.files.given import STORE, Given, is_address
from smolfast.pdf.files.rows import DUPLICATE_FILE, REMOVED_SCHEMA, Gone, Rows
from smolfast.pdf.files.sources import find_pdfs
from smolfast.pdf.files.summary import Counts, PdfSummary
from smolfast.pdf.input import Pdf
from smolfast.pdf.pdfium import pdfium_path
from smolfast.pdf.readers.extractors import OURS, Extractor, extractor_name, extractor_version, load_extractor
from smolfast.pdf.readers.ocr import recognizer
from smolfast.pdf.tasks import PdfJob, Result, Task
from smolfast.processes.pool import Tasks
from smolfast.progress import ProgressCallback, format_bytes

MANIFEST = "pdf.json"
PART_BYTES = 64 << 20
"""Of text, or eight times as much of PDFs. What a kill loses is less."""
PART_DOCUMENTS = 4096


@to_stores(PdfSummary)
def extract_pdfs(
    inputs: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    urls: Sequence[str] = (),
    refetch: bool = False,
    fetching: Limits | None = None,
    bytes_column: str | None = None,
    language_model: str | os.PathLike[str] | None = None,
    extractor: str | Extractor = OURS,
    ocr: str = "none",
    ocr_figures: bool = False,
    boxes: bool = False,
    page_seconds: float = 60.0,
    document_seconds: float = 3600.0,
    memory: int = 2 << 30,
    strict: bool = False,
    threads: int = 0,
    engine: str | Engine = "local",
    overwrite: bool = False,
    progress: ProgressCallback | None = None,
) -> PdfSummary:
    """From PDF files to documents with their text in reading order.

    PDFs of the same bytes are read once, and of texts that differ in white space alone the first stays. Each is read in
    a worker process. A page that takes `page_seconds` of CPU time, or ends its process, is left out with that reason,
    and costs no other page. Neither workers nor how often a run was interrupted changes a byte of what is written.

    Writes into the folder `output`:
        kept/part-00000.parquet, …: a row for each document that has text: `id`, `text`, `path`, `url`, `date`,
            `pages` (their number), `page_starts` (of each page the character of `text` where it begins), `empty_pages`
            and `failed_pages` (numbers from 1), `garbled` and `page_garbled` (the share of characters that stand for no
            letter), `needs_ocr` (pages that are pictures, and weren't read from them), `ocr_pages` (those that were),
            `ocr_confidence` and `page_ocr_confidence` (of these, from 0 to 1), `ocr_figures` (pictures in which
            something was read), `truncated` (the file's end is missing), `fetch` (`fetched`, or why not; null where
            nobody tried), `pdf_bytes`, `xxh3_128`, `extractor`; with a model `language`, `language_score` and
            `page_languages`; with `boxes` also `page_sizes` (`width` and `height` of each page in points) and `blocks`:
            of each its `page` from 1, its `kind`, its box (`x0`, `y0`, `x1`, `y1` in points from the page's upper left
            corner as it is seen), and from which character of `text` (`start`) to before which (`end`) it goes.
        removed/part-00000.parquet, …: a row for each document that went, and for each page that can't be read (`page`,
            from 1; null for a document), with the `reason`, and for a duplicate the id of the one that stays.
        pdf.json: options, inputs and counts. A run with the same ones does nothing.
        .fetched: what came from the web, with what a later run asks to know whether it is still the same.

    Args:
        inputs: files, folders (all below them that end in .pdf, and those of crawls), patterns; addresses that begin
            with http:// or https://; WARC files, of which PDFs are read; and files of parquet by name.
        urls: more addresses.
        refetch: fetch again what came with an address and is cut: by its mark (WARC-Truncated, a column
            `content_truncated`), without its end, or shorter than it says.
        fetching: limits of that; None for those of `Limits`.
        bytes_column: the column of parquet that holds PDFs; None for the only one of bytes.
        language_model: fastText's model that tells each page's language, or `lid.176`.
        extractor: "smolfast", "pypdfium2", "pdf-oxide", "docling-parse", MODULE:FUNCTION, or a function of a module or
            script that takes a PDF's bytes and gives the text of each page.
        ocr: what reads pages that are pictures: "none", "rapidocr", "tesseract", or "tesseract:deu+eng".
        ocr_figures: let it read the pictures on other pages too. What stands there follows their placeholder.
        boxes: write where the blocks of text stand on their pages.
        page_seconds: CPU time of a page; ten times as much by the clock.
        document_seconds: CPU time of a document, after which its other pages aren't read.
        memory: bytes that a worker may take for itself.
        strict: raise if files below a folder aren't read.
        threads: worker processes; 0 for every CPU that this process may use.
        engine: "local", or "ray" for a cluster, as `smolfast.cluster.open_engine` takes it; the same bytes.
        overwrite: replace an output made from other input or settings.
        progress: called with bytes done, bytes in all, and a note.

    Raises:
        SmolfastError: bad options or input; an output of another run, one that is or contains an input, or that another
            process writes; a full disk. Earlier output stays as it was.
    """
    for name, seconds in (("page_seconds", page_seconds), ("document_seconds", document_seconds)):
        if not seconds > 0:
            raise SmolfastError(f"{name} = {seconds!r}: give seconds, for example 60")
    if memory < 256 << 20:
        raise SmolfastError(f"memory = {memory}: a worker needs 256 MiB at least; give more bytes")
    limits = fetching or Limits()
    limits.check()
    chosen = extractor_name(extractor)
    load_extractor(chosen)
    reader = recognizer(ocr)
    if reader is not None and chosen != OURS:
        raise SmolfastError(f"ocr = {ocr!r}: {chosen} reads whole files; leave one of them out")
    if ocr_figures and reader is None:
        raise SmolfastError("ocr_figures: nothing that reads pictures is chosen; add --ocr rapidocr or --ocr tesseract")
    if boxes and chosen != OURS:
        raise SmolfastError(f"boxes: {chosen} doesn't say where text stands; leave one of them out")
    version = extractor_version(chosen)
    job = PdfJob(pdfium_path(), page_seconds, memory, document_seconds, chosen, ocr, ocr_figures, boxes)
    model = None if language_model is None else Model(model_path(language_model))
    folder = check_path(output)
    addresses = [*urls, *(os.fspath(one) for one in inputs if is_address(os.fspath(one)))]
    files = [one for one in inputs if not is_address(os.fspath(one))]
    sources = Sources([])
    if files or not addresses:
        writes = (KEPT, REMOVED, MANIFEST, WORK, STORE)
        sources, _ = find_apart(files, folder, strict=strict, writes=writes, find=find_pdfs)
    if folder.exists() and not folder.is_dir():
        raise SmolfastError(f"{folder} is a file; give a folder to write documents into")
    ordered = Sources(sorted(sources, key=lambda source: os.fsencode(source.path)), sources.passed_over)
    workers = threads or _native.available_threads()
    given = Given(ordered, addresses, bytes_column, workers, limits, refetch, folder / STORE)
    run = _Run(given, job, Rows(model, version, boxes), open_engine(engine), progress or _silent)
    with hold(folder / LOCK_FILE, folder):
        parameters = {
            "bytes_column": bytes_column,
            "page_seconds": page_seconds,
            "document_seconds": document_seconds,
            "memory": memory,
        }
        if addresses or refetch:
            parameters |= {"refetch": refetch, **dataclasses.asdict(limits)}
        made_from = {
            "smolfast": __version__,
            "extractor": version,
            **({} if reader is None else {"ocr": reader.name}),
            **({"ocr_figures": True} if ocr_figures else {}),
            **({"boxes": True} if boxes else {}),
            "parameters": parameters,
            **({} if model is None else {"models": {model.path: fingerprint(model.path)}}),
            **({"addresses": _summed(addresses)} if addresses else {}),
            "inputs": describe_inputs(one.path for one in ordered),
        }
        found = OutputFolder(folder, MANIFEST).result(made_from, run.run, overwrite=overwrite)
        with naming(folder / MANIFEST, "choose another output or add --overwrite"):
            return PdfSummary(**found["summary"], **ordered.summary())


def _summed(addresses: Sequence[str]) -> dict[str, Any]:
    return {"number": len(addresses), "xxh3_128": xxhash.xxh3_128_hexdigest("\n".join(addresses).encode())}


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

    def __init__(self, given: Given, job: PdfJob, rows: Rows, engine: Engine, progress: ProgressCallback) -> None:
        self._engine = engine
        self._given, self._job, self._rows, self._progress = given, job, rows, progress
        self._workers = engine.places if engine.spread else given.workers
        self._total = float(sum(stat_source(source.path)[0] for source in given.sources))
        self._began = time.monotonic()

    def run(self, work: Path) -> dict[str, Any]:
        """Read all documents into the work folder; what the manifest will say."""
        parts = list(finished_entries(work / JOURNAL, lambda found, number: _read_part(work, found, number)))
        for name in (KEPT, REMOVED):
            (work / name).mkdir(parents=True, exist_ok=True)
        counts = Counts()
        for finished in parts:
            counts.add(finished.counts)
        self._rows.know(work / name for one in parts for name in one.files if name.startswith(KEPT))
        outcomes = self._given.fetch(work, self._progress)
        fetched = (outcomes[url].size for url in self._given.urls)
        self._total += float(sum(fetched))
        self._began = time.monotonic()
        before = counts.numbers["pages"]
        others: Counter[str] = Counter()
        with (
            self._engine.pool(self._workers, self._job) as pool,
            closing(self._given.documents(outcomes, others)) as documents,
        ):
            results = self._results(pool, documents, parts[-1].end if parts else 0)
            while (part := self._part(work, len(parts), results, counts, before, pool)) is not None:
                entry = {**vars(part), "counts": part.counts.as_json()}
                append_entry(work / JOURNAL, entry)
                parts.append(part)
                counts.add(part.counts)
        outputs = {name: fingerprint(work / name) for one in parts for name in one.files}
        return {"outputs": outputs, "summary": counts.summary(others["records"])}

    def _results(
        self, pool: Tasks[Task, Result], documents: Iterator[Pdf], first: int
    ) -> Iterator[tuple[int, Pdf, Result | Gone]]:
        """Documents in order, with what came of them."""
        seen: dict[str, str] = {}
        waiting: dict[int, Pdf] = {}
        done: dict[int, Result | Gone] = {}
        numbered = enumerate(documents)
        ahead = 3 * self._workers
        number, more = first, True
        while more or waiting:
            while more and len(waiting) < ahead:
                found = next(numbered, None)
                if found is None:
                    more = False
                    break
                at, pdf = found
                same = None if pdf.reason else seen.get(pdf.hash)
                if not pdf.reason:
                    seen.setdefault(pdf.hash, pdf.id)
                if at < first:
                    continue
                waiting[at] = dataclasses.replace(pdf, content=None)
                if pdf.reason or same is not None:
                    done[at] = Gone(pdf.reason or DUPLICATE_FILE, same)
                else:
                    pool.submit(at, Task(pdf.file or pdf.path, pdf.content))
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
        results: Iterator[tuple[int, Pdf, Result | Gone]],
        before: Counts,
        pages_before: int,
        pool: Tasks[Task, Result],
    ) -> _Part | None:
        """Write documents until a part is full; None if there are no more."""
        first = next(results, None)
        if first is None and number > 0:
            return None
        counts, end = Counts(), 0
        names = {name: f"{name}/part-{number:05}.parquet" for name in (KEPT, REMOVED)}
        with (
            BatchWriter(work / names[KEPT], self._rows.kept_schema, threads=1) as kept,
            BatchWriter(work / names[REMOVED], REMOVED_SCHEMA, threads=1) as removed,
        ):
            while first is not None:
                at, pdf, result = first
                end = at + 1
                stays, goes = self._rows.of(pdf, result, counts)
                for writer, rows, schema in ((kept, stays, self._rows.kept_schema), (removed, goes, REMOVED_SCHEMA)):
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
        self._progress(
            float(done), max(self._total, float(done), 1.0), note + (f", {deaths} workers replaced" if deaths else "")
        )


def _read_part(work: Path, found: Any, number: int) -> _Part | None:
    files = {str(name): int(size) for name, size in found["files"].items()}
    part = _Part(int(found["number"]), int(found["end"]), Counts.from_json(found["counts"]), files)
    whole = part.number == number and all(is_whole(work / name, size) for name, size in files.items())
    return part if whole else None
