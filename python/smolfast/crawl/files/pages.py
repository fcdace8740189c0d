"""The first stage: files of a crawl cut into stretches, read by all workers at once, and written in order."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from smolfast.cluster import Engine
from smolfast.crawl.files.journal import Counts, Journal, Part
from smolfast.crawl.files.ranges import CrawlFile, open_file, results_in_order
from smolfast.crawl.reading.faults import Place
from smolfast.crawl.stretch import PAGE_SCHEMA, ROW_SCHEMA, Stretch
from smolfast.crawl.stretches import Result, Setup
from smolfast.io.documents import BatchWriter, utf8_bytes
from smolfast.io.schemas.columns import select
from smolfast.io.sources import Source
from smolfast.processes.pool import Tasks
from smolfast.progress import ProgressCallback, format_bytes

PART_BYTES = 64 << 20
"""Of text. What a kill loses is less."""
PART_ROWS = 1 << 18

KEPT, REMOVED = "kept", "removed"


def read_pages(
    sources: Sequence[Source],
    folder: Path,
    setup: Setup,
    workers: int,
    progress: ProgressCallback,
    engine: Engine,
) -> tuple[list[Part], dict[str, float]]:
    """Read and extract all pages into `folder`: kept/ and removed/ in parts of parquet, and a journal.

    Rows are in the order of the input, whatever workers there are: a worker looks for the first record of its range,
    and if that isn't where the range before ended, the range is read again from there.

    Returns:
        the parts, and seconds of the workers by stage (of this run).
    """
    files = [open_file(source) for source in sources]
    journal = Journal(folder)
    parts = journal.finished()
    seconds: dict[str, float] = defaultdict(float)
    for name in (KEPT, REMOVED):
        (folder / name).mkdir(parents=True, exist_ok=True)
    first, place = (parts[-1].source, parts[-1].place) if parts else (0, Place(0))
    with engine.pool(workers, setup) as pool:
        results = results_in_order(files, first, place, pool, 3 * workers)
        reached = _Reached(files, parts, progress)
        while True:
            part = _write_part(folder, len(parts), results, seconds, reached, pool)
            if part is None:
                return parts, seconds
            journal.add(part)
            parts.append(part)


def _write_part(
    folder: Path,
    number: int,
    results: Iterator[tuple[int, Place, Result]],
    seconds: dict[str, float],
    reached: _Reached,
    pool: Tasks[Stretch, Result],
) -> Part | None:
    """Write results until a part is full; None if there are no more."""
    counts = Counts()
    last = None
    names = {name: f"{name}/part-{number:05}.parquet" for name in (KEPT, REMOVED)}
    with contextlib.ExitStack() as stack:
        writer = None
        for source, place, result in results:
            if writer is None:
                # One thread each: workers have the others.
                kept = stack.enter_context(BatchWriter(folder / names[KEPT], PAGE_SCHEMA, threads=1))
                removed = stack.enter_context(BatchWriter(folder / names[REMOVED], ROW_SCHEMA, threads=1))
                writer = _Writer(kept, removed)
            writer.add(result, counts)
            for stage, spent in result.seconds.items():
                seconds[stage] += spent
            last = (source, place)
            reached.show(source, place, counts, pool.deaths)
            if counts.kept_bytes >= PART_BYTES or counts.kept + counts.removed.total() >= PART_ROWS:
                break
    if last is None:
        return None
    reached.finished.add(counts)
    return Part(number, *last, counts, {name: (folder / name).stat().st_size for name in names.values()})


class _Writer:
    """The two files of a part."""

    def __init__(self, kept: BatchWriter, removed: BatchWriter) -> None:
        self._kept, self._removed = kept, removed

    def add(self, result: Result, counts: Counts) -> None:
        """Write the rows of a result, and count."""
        counts.records += result.records
        counts.html_bytes += result.html_bytes
        counts.not_pages.update(result.not_pages)
        for batch in result.batches():
            stays = batch.column("reason").is_null().to_numpy(zero_copy_only=False)
            kept = select(batch, stays).select(PAGE_SCHEMA.names)
            removed = select(batch, ~stays)
            self._kept.write(kept)
            self._removed.write(removed)
            counts.kept += kept.num_rows
            counts.kept_bytes += utf8_bytes(kept.column("text"))
            reasons = pc.binary_join_element_wise(removed.column("stage"), removed.column("reason"), "/")
            counts.removed.update(reasons.to_pylist())
            known = np.asarray(batch.column("charset_from").is_valid())
            counts.pages += batch.num_rows - sum(
                1 for row in removed.select(["stage", "id"]).to_pylist() if row["stage"] == "read" and not row["id"]
            )
            counts.charsets.update(select(batch, known).column("charset_from").to_pylist())


class _Reached:
    """How much of the input is done, in bytes of its files, with pages and bytes a second of this run."""

    def __init__(self, files: Sequence[CrawlFile], parts: Sequence[Part], progress: ProgressCallback) -> None:
        self._files, self._progress = files, progress
        self.finished = Counts()
        for part in parts:
            self.finished.add(part.counts)
        self._before = (self.finished.pages, self.finished.html_bytes)
        self._began = time.monotonic()

    def show(self, source: int, place: Place, counts: Counts, deaths: int) -> None:
        done = sum(file.size for file in self._files[:source]) + self._files[source].position(place)
        pages, size = self.finished.pages + counts.pages, self.finished.html_bytes + counts.html_bytes
        seconds = max(time.monotonic() - self._began, 1e-3)
        rates = (pages - self._before[0]) / seconds, (size - self._before[1]) / seconds
        note = f"{pages:,} pages, {rates[0]:,.0f} pages/s, {format_bytes(rates[1])}/s"
        if deaths:
            note += f", {deaths} workers replaced"
        self._progress(done, float(sum(file.size for file in self._files)) or 1.0, note)
