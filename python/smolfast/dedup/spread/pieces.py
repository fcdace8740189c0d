"""What is done to a piece of the input: signed, looked up, and filtered, where it is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from smolfast.dedup.output import Names, with_clusters
from smolfast.dedup.signing import CHANGED, Job, sign_batch
from smolfast.errors import SmolfastError
from smolfast.io.boundary import computing
from smolfast.io.documents import BATCH_BYTES, read_batches, utf8_bytes
from smolfast.io.parquet.stretches import Stretch
from smolfast.io.schemas.columns import conform

Columns = dict[str, npt.NDArray[Any]]
NO_KEY = np.uint64(0xFFFFFFFFFFFFFFFF)
RAGGED = {"shingle": "shingle-end"}
"""Columns of a number of values that differs, and those that say where they end."""


@dataclass(frozen=True)
class Piece:
    """Stretches that are worked on together."""

    number: int
    stretches: tuple[Stretch, ...]


@dataclass(frozen=True)
class Signed:
    """What is known of a piece."""

    rows: list[int]
    """Documents of each stretch."""
    skipped: int
    """Rows of the input that were left out."""
    size: int
    """UTF-8 bytes of the input's text."""


def sign_piece(job: Job, ranges: int, piece: Piece) -> list[Any]:
    """Sign a piece.

    Returns:
        a `Signed`; the columns that later stages need; and for each range of keys its records: key and row.
    """
    parts: list[Columns] = []
    rows: list[int] = []
    counts: Counter[str] = Counter()
    done: dict[str, int] = {}
    for stretch in piece.stretches:
        read = 0
        for batch in _read(job, stretch, counts):
            with computing(stretch.source.path, stretch.row + read, batch.num_rows):
                parts.append(sign_batch(job, batch, stretch.number, done))
            read += batch.num_rows
        rows.append(read)
    columns = _joined(job, parts)
    bands = [columns.pop(f"band-{band:03}") for band in range(job.rules.bands)]
    keys = [*bands, columns["text-high"]]
    signed = Signed(rows, counts["skipped"], done.get("bytes", 0))
    return [signed, columns, *_by_range(keys, ranges)]


def _read(job: Job, stretch: Stretch, counts: Counter[str]) -> Iterator[pa.RecordBatch]:
    """The batches of a stretch as `read_all` gives them; `counts` gets what is left out of the input."""
    own = stretch.number >= job.against
    schema = job.schema if own else None
    if schema is not None:
        place = schema.get_field_index(job.rules.text_column)
        schema = schema.set(place, schema.field(place).with_type(pa.large_string()))
    for batch in read_batches(
        stretch.source,
        text_column=job.rules.text_column,
        types=job.rules.types,
        errors=job.rules.errors,
        batch_bytes=BATCH_BYTES,
        counts=counts if own else Counter(),
        groups=stretch.groups,
    ):
        yield batch if schema is None else conform(batch, schema, stretch.source.path)


def _joined(job: Job, parts: list[Columns]) -> Columns:
    layout = job.rules.layout()
    del layout["source"]
    columns: Columns = {}
    for name, column in layout.items():
        found = [part[name].reshape(-1) for part in parts]
        values = np.concatenate(found) if found else np.empty(0, column.dtype)
        columns[name] = values.astype(column.dtype, copy=False)
    width = layout["signature"].width
    columns["signature"] = columns["signature"].reshape(-1, width)
    return columns


def _by_range(keys: list[npt.NDArray[np.uint64]], ranges: int) -> list[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """Records by the top bits of their keys."""
    key = np.concatenate(keys)
    row = np.tile(np.arange(len(keys[0]), dtype=np.uint32), len(keys))
    some = key != NO_KEY
    key, row = key[some], row[some]
    place = (key >> np.uint64(32)) * np.uint64(ranges) >> np.uint64(32)
    order = np.argsort(place, kind="stable")
    ends = np.searchsorted(place[order], np.arange(ranges + 1))
    key, row = key[order], row[order]
    return [(key[ends[at] : ends[at + 1]].copy(), row[ends[at] : ends[at + 1]].copy()) for at in range(ranges)]


def rows_of(columns: Columns, rows: npt.NDArray[np.int64]) -> Columns:
    """Columns of these rows; of a ragged one where its values end among these."""
    found = {}
    for name, values in columns.items():
        if name in RAGGED.values():
            continue
        if name in RAGGED:
            ends = columns[RAGGED[name]]
            starts = np.concatenate([np.zeros(1, ends.dtype), ends])[:-1][rows]
            lengths = ends[rows] - starts
            after = np.cumsum(lengths)
            places = np.arange(int(after[-1]) if len(after) else 0) + np.repeat(starts - (after - lengths), lengths)
            found[name], found[RAGGED[name]] = values[places], after
        else:
            found[name] = values[rows]
    return found


def choose_rows(columns: Columns, first: int, *bins: npt.NDArray[np.int64]) -> list[Columns]:
    """Of the documents of a piece, whose first has that number, the columns for each bin."""
    return [rows_of(columns, documents - first) for documents in bins]


@dataclass(frozen=True)
class Fates:
    """What becomes of documents in clusters of two or more, ascending."""

    documents: npt.NDArray[np.int64]
    roots: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    stays: npt.NDArray[np.int64]
    """The document that stays for each; itself if it does."""
    jaccard: npt.NDArray[np.float64]
    exact: npt.NDArray[np.bool_]

    @staticmethod
    def none() -> Fates:
        """Of no document."""
        numbers = np.empty(0, np.int64)
        return Fates(numbers, numbers, numbers, numbers, np.empty(0), np.empty(0, np.bool_))

    @staticmethod
    def joined(parts: list[Fates]) -> Fates:
        """All of several, ascending."""
        columns = [np.concatenate([getattr(part, one.name) for part in parts]) for one in fields(Fates)]
        order = np.argsort(columns[0], kind="stable")
        return Fates(*(column[order] for column in columns))

    def where(self, chosen: npt.NDArray[np.bool_]) -> Fates:
        """Those of them."""
        return Fates(*(getattr(self, one.name)[chosen] for one in fields(Fates)))


@dataclass(frozen=True)
class Filtered:
    """What is left of a piece, and what is said of it."""

    kept: list[pa.RecordBatch]
    documents: int
    size: int
    named: npt.NDArray[np.int64]
    """Documents in clusters of two or more."""
    ids: pa.Array
    gone: Fates
    """Of those that go."""
    clusters: int
    """Of two documents or more, whose first lies here."""


def filter_piece(job: Job, piece: Piece, first: int, rows: list[tuple[int, int]], *parts: Fates) -> Filtered:
    """Read a piece again and keep what stays.

    Args:
        first: the number of its first document.
        rows: of each stretch, its first row among those read of the source, and how many it has.
    """
    fates = Fates.joined(list(parts)) if parts else Fates.none()
    count = sum(of_stretch for _, of_stretch in rows)
    roots, sizes = np.arange(first, first + count), np.ones(count, np.int64)
    stays = np.ones(count, np.bool_)
    places = fates.documents - first
    roots[places], sizes[places], stays[places] = fates.roots, fates.sizes, fates.stays == fates.documents
    names = Names([], [0], sizes, job.rules.id_column, None)
    kept, size, at = [], 0, 0
    for stretch, (row, of_stretch) in zip(piece.stretches, rows, strict=True):
        end = at + of_stretch
        for batch in _read(job, stretch, Counter()):
            part = slice(at, at + batch.num_rows)
            if part.stop > end:
                raise SmolfastError(CHANGED)
            with computing(stretch.source.path, row, batch.num_rows):
                names.meet(at, batch, stretch.source.path, row)
            if stretch.number >= job.against:
                left = with_clusters(batch, roots[part], sizes[part], stays[part], job.rules.prefix)
                kept.append(left)
                size += utf8_bytes(left.column(job.rules.text_column))
            at, row = part.stop, row + batch.num_rows
        if at != end:
            raise SmolfastError(CHANGED)
    named, ids = names.known()
    clusters = int(((fates.roots == fates.documents) & (fates.sizes > 1)).sum())
    gone = fates.where(fates.stays != fates.documents)
    return Filtered(kept, sum(batch.num_rows for batch in kept), size, named + first, ids, gone, clusters)
