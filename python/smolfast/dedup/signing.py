"""The first pass over the text: everything later needs of a document, in columns of numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import localcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from smolfast import _native
from smolfast.dedup.rules import Rules
from smolfast.dedup.store import DocumentStore, Position
from smolfast.errors import SmolfastError
from smolfast.io.amounts import source_rows, source_size
from smolfast.io.background import prefetch
from smolfast.io.boundary import computing
from smolfast.io.documents import BATCH_BYTES, ROW_KINDS, Source, read_batches
from smolfast.io.schemas.columns import column_names, conform
from smolfast.progress import ProgressCallback

CHANGED = "the input changed while it was read; run again when nothing writes to it"
SIGNING_SHARE = 0.6
"""Of a run's progress; the rest is joining and writing."""


@dataclass
class Job:
    """One run: its files, its rules, and what it may use."""

    sources: list[Source]
    """What is compared against, then the input."""
    against: int
    """How many of the sources are only compared against."""
    output: Path
    rules: Rules
    threads: int
    memory: int
    progress: ProgressCallback
    passed_over: dict[str, Any] = field(default_factory=dict)
    """What the summary says of files that aren't read."""
    schema: pa.Schema | None = None
    """What rows of the input have in common, as they are to be stored; None leaves each file its own."""
    held: list[pa.RecordBatch] | None = field(default_factory=list)
    """The text of the first pass, for the second, while it fits."""
    held_bytes: int = 0


def sign_all(job: Job, store: DocumentStore) -> None:
    """Fill the store from where it stands."""
    at = store.position
    done = dict(store.extra)
    if at != Position():
        job.held = None  # The second pass has to read what a killed run signed.
    sizes = [source_size(source) for source in job.sources]
    total = total_size(job)
    rows_in_all = [source_rows(source) for source in job.sources]
    skipped = done.get("skipped-before", 0)  # in the sources before the one being read
    done["skipped-before"] = skipped
    read = 0
    current = at.source
    for index, batch, skipped_here in prefetch(read_all(job, at.source)):
        if index != current:
            current, read = index, 0
        if index >= job.against:
            done["skipped"] = skipped + skipped_here
        if batch is None:
            skipped += skipped_here if index >= job.against else 0
            done["skipped-before"] = skipped
            store.extra = dict(done)
            continue
        first, read = read, read + batch.num_rows
        known = at.row if index == at.source else 0
        if read <= known:
            continue
        if first < known:
            batch = batch.slice(known - first)
        with computing(job.sources[index].path, max(first, known), batch.num_rows):
            columns = sign_batch(job, batch, index, done)
        store.append(columns, batch.num_rows, Position(index, read), done)
        _hold(job, store, batch)
        share = read / rows_in_all[index] if rows_in_all[index] else 0.0
        reached = SIGNING_SHARE * (sum(sizes[:index]) + share * sizes[index])
        job.progress(reached, total, f"{store.documents:,} documents signed")


def read_all(job: Job, first: int) -> Iterator[tuple[int, pa.RecordBatch | None, int]]:
    """Batches with the number of their source and the rows skipped in it so far; None ends a source."""
    schema = job.schema
    if schema is not None:  # as `read_batches` gives the text
        place = schema.get_field_index(job.rules.text_column)
        schema = schema.set(place, schema.field(place).with_type(pa.large_string()))
    for index in range(first, len(job.sources)):
        source = job.sources[index]
        counts: Counter[str] = Counter()
        for batch in read_batches(
            source,
            text_column=job.rules.text_column,
            types=job.rules.types,
            errors=job.rules.errors,
            batch_bytes=min(BATCH_BYTES, max(1 << 20, job.memory // 32)),
            counts=counts,
        ):
            if schema is not None and index >= job.against:
                batch = conform(batch, schema, source.path)
            yield index, batch, counts["skipped"]
        yield index, None, counts["skipped"]


def sign_batch(job: Job, batch: pa.RecordBatch, source: int, done: dict[str, int]) -> dict[str, npt.NDArray[Any]]:
    """The columns of a batch; adds to the totals in `done`."""
    text = batch.column(job.rules.text_column)
    signatures = job.rules.hasher.signatures(text, threads=job.threads)
    keys = _native.band_keys(signatures, job.rules.bands, job.rules.rows, job.threads)
    hashes, lengths = _native.hash_texts(text, job.rules.exact == "simplified", job.threads)
    columns: dict[str, npt.NDArray[Any]] = {f"band-{band:03}": keys[band] for band in range(job.rules.bands)}
    columns |= {"text-high": hashes[0], "text-low": hashes[1], "length": lengths, "signature": signatures}
    columns["source"] = np.full(batch.num_rows, source, np.uint32)
    if job.rules.score_column is not None:
        columns["score"], columns["score-rest"] = _scores(
            batch, job.rules.score_column, job.sources[source], source < job.against
        )
    if job.rules.verify == "exact":
        offsets, values = job.rules.hasher.shingles(text, threads=job.threads)
        # 32 bits a shingle: two of a document's fall together with a chance of its size in 2³², far below what
        # Jaccard similarities are rounded to. datasketch's have no more.
        shift = np.uint64(0 if job.rules.hasher.scheme == "datasketch" else 32)
        columns["shingle"] = (values >> shift).astype(np.uint32)
        columns["shingle-end"] = offsets[1:] + done.get("shingles", 0)
        done["shingles"] = done.get("shingles", 0) + len(values)
    if job.rules.lines is not None:
        ends, columns["line"] = _native.hash_lines(text, job.rules.lines, job.threads)
        columns["line-end"] = ends + done.get("lines", 0)
        done["lines"] = done.get("lines", 0) + len(columns["line"])
    if source >= job.against:
        done["bytes"] = done.get("bytes", 0) + int(lengths.sum())
    return columns


def check_scores(schema: pa.Schema, column: str, source: Source) -> None:
    """Refuse a column of scores that isn't there or isn't of numbers."""
    if column not in schema.names:
        raise SmolfastError(
            f"{source.path} has no column '{column}' to keep the highest of; there are: {column_names(schema.names)}"
        )
    kind = schema.field(column).type
    tests = (pa.types.is_integer, pa.types.is_decimal, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null)
    if not any(is_of(kind) for is_of in tests):
        remedy = f", or give --column-type {column}=float64" if source.kind in ROW_KINDS else ""
        raise SmolfastError(f"{source.path}: column '{column}' holds {kind}, not numbers; name another{remedy}")


def _scores(
    batch: pa.RecordBatch, column: str, source: Source, against: bool
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Scores as sums of two doubles, which hold every integer and tell missing ones from −∞."""
    rest = np.zeros(batch.num_rows)
    if against:  # They stay whatever their score.
        return rest, rest
    check_scores(batch.schema, column, source)
    scores = batch.column(column)
    kind = scores.type
    if pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        values = np.array(scores.cast(pa.float64(), safe=False))
        inexact = np.nonzero(np.abs(values) >= 2.0**53 if pa.types.is_integer(kind) else ~np.isnan(values))[0]
        with localcontext(prec=100):
            for row, whole in zip(inexact, scores.take(pa.array(inexact)).to_pylist(), strict=True):
                values[row] = float(whole)
                rest[row] = float(whole - type(whole)(values[row]))
    else:
        values = scores.cast(pa.float64()).to_numpy(zero_copy_only=False)
    missing = np.isnan(values)
    rest[missing] = -1.0
    return np.where(missing, -np.inf, values), rest


def _hold(job: Job, store: DocumentStore, batch: pa.RecordBatch) -> None:
    """Keep the text for the second pass, unless it or the store outgrow a quarter of the memory."""
    if job.held is None:
        return
    job.held.append(batch)
    job.held_bytes += batch.nbytes
    if store.on_disk or job.held_bytes > job.memory // 4:
        job.held = None
        pa.default_memory_pool().release_unused()


def total_size(job: Job) -> float:
    """Bytes of all sources, for progress."""
    return float(sum(source_size(source) for source in job.sources)) or 1.0
