"""The input cut into parts, whatever batches it is read in; and the two files that a part becomes."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from smolfast.curate.files.folder import KEPT, REMOVED
from smolfast.curate.files.journal import Part
from smolfast.curate.files.options import Options
from smolfast.curate.files.tallies import EXAMPLES, Tallies
from smolfast.curate.files.verdicts import Judged
from smolfast.files import fingerprint
from smolfast.io.background import prefetch
from smolfast.io.documents import BatchWriter, Source, read_batches, utf8_bytes
from smolfast.io.schemas.columns import COLUMN_KEY, byte_lengths, conform, select

PART_BYTES = 256 << 20
"""Of text. What a kill loses is less, and a file of so much is neither small nor large."""
PART_ROWS = 1 << 20


@dataclass(frozen=True)
class Piece:
    """Rows of one batch that belong to one part."""

    batch: pa.RecordBatch
    part: int
    source: int
    row: int
    """Of its first row in the source."""
    document: int
    """The number of its first row over all sources."""
    skipped: int
    """Rows left out in the sources before."""


def read_pieces(
    sources: Sequence[Source], schema: pa.Schema, options: Options, last: Part | None, counts: Counter[int]
) -> Generator[Piece]:
    """The rows after part `last`, in pieces. A part ends with the row that brings it to PART_BYTES or PART_ROWS.

    Args:
        counts: gets the rows left out so far, by source.
    """
    part, document, skipped = (0, 0, 0) if last is None else (last.number + 1, last.end, last.skipped)
    first_source, known = (0, 0) if last is None else (last.source, last.row)
    size = rows = 0
    for source, row, batch, left_out in prefetch(_read(sources, schema, options, first_source)):
        counts[source] = left_out
        if source == first_source and row < known:
            done = min(known - row, batch.num_rows)
            batch, row = batch.slice(done), row + done
        ends = np.cumsum(byte_lengths(batch.column(options.text_column)).to_numpy(zero_copy_only=False))
        start = before = 0
        before_source = skipped + sum(count for index, count in counts.items() if index < source)
        while start < batch.num_rows:
            full = int(np.searchsorted(ends, PART_BYTES - size + before)) + 1
            stop = min(full, start + PART_ROWS - rows, batch.num_rows)
            piece = batch.slice(start, stop - start)
            yield Piece(piece, part, source, row + start, document, before_source)
            size, rows, document = size + int(ends[stop - 1]) - before, rows + stop - start, document + stop - start
            start, before = stop, int(ends[stop - 1])
            if size >= PART_BYTES or rows >= PART_ROWS:
                part, size, rows = part + 1, 0, 0


def _read(
    sources: Sequence[Source], schema: pa.Schema, options: Options, first: int
) -> Iterator[tuple[int, int, pa.RecordBatch, int]]:
    """Batches with their source, first row and the rows left out of that source so far; an empty one ends a source."""
    place = schema.get_field_index(options.text_column)  # as `read_batches` gives the text
    schema = schema.set(place, schema.field(place).with_type(pa.large_string()))
    for index in range(first, len(sources)):
        counts: Counter[str] = Counter()
        row = 0
        for batch in read_batches(
            sources[index],
            text_column=options.text_column,
            types=options.types,
            errors=options.errors,
            counts=counts,
        ):
            yield index, row, conform(batch, schema, sources[index].path), counts["skipped"]
            row += batch.num_rows
        yield index, row, _none(schema), counts["skipped"]


def _none(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.nulls(0, field.type) for field in schema], schema=schema)


@dataclass(frozen=True)
class Schemas:
    """The columns of what stays and of what goes."""

    kept: pa.Schema
    removed: pa.Schema


def stored_schemas(schema: pa.Schema, options: Options) -> Schemas:
    """The columns of the input, and those that are added."""

    def field(name: str, type_: pa.DataType) -> pa.Field:
        return pa.field(options.prefix + name, type_, metadata={COLUMN_KEY: name})

    signals = [field(name, type_) for name, type_ in options.signal_columns().items()] if options.signals else []
    why = [
        field("document", pa.int64()),
        field("reason", pa.string()),
        field("filter", pa.string()),
        field("value", pa.float64()),
        field("threshold", pa.float64()),
    ]
    return Schemas(
        pa.schema([*schema, *signals], schema.metadata), pa.schema([*schema, *why, *signals], schema.metadata)
    )


class PartWriter:
    """Writes the two files of a part, and counts what is in them."""

    def __init__(self, work: Path, number: int, schemas: Schemas, options: Options, threads: int) -> None:
        self.tallies = Tallies()
        self.starts: dict[int, int] = {}
        self._number = number
        self._work = work
        self._options = options
        self._schemas = schemas
        self._threads = threads
        self._first: int | None = None
        self._removed_rows = 0
        self._names = [f"{folder}/part-{number:05}.parquet" for folder in (KEPT, REMOVED)]
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        kept, removed = self._names
        with contextlib.ExitStack() as opened:
            self._kept = opened.enter_context(BatchWriter(self._work / kept, self._schemas.kept, threads=self._threads))
            self._removed = opened.enter_context(
                BatchWriter(self._work / removed, self._schemas.removed, threads=self._threads)
            )
            self._stack = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._stack.__exit__(kind, error, trace)

    def add(self, piece: Piece, judged: Judged) -> None:
        """Write the rows of a piece."""
        if self._first is None:
            self._first = piece.document
        if piece.row == 0:
            self.starts[piece.source] = piece.document
        self._last = piece
        lengths = byte_lengths(piece.batch.column(self._options.text_column)).to_numpy(zero_copy_only=False)
        self._write(piece, judged)
        self._count(piece, judged, lengths)

    def _write(self, piece: Piece, judged: Judged) -> None:
        batch, options = piece.batch, self._options
        signals = judged.signals.columns if options.signals else []
        columns = batch.columns
        columns[batch.schema.get_field_index(options.text_column)] = judged.text
        kept = pa.schema([*batch.schema, *list(self._schemas.kept)[len(columns) :]], batch.schema.metadata)
        stays = select(pa.RecordBatch.from_arrays([*columns, *signals], schema=kept), judged.keep)
        self.tallies.bytes_out += utf8_bytes(stays.column(options.text_column))
        self._kept.write(stays)
        why = [
            pa.array(np.arange(piece.document, piece.document + batch.num_rows)),
            judged.named(0),
            judged.named(1),
            pa.array(judged.value, from_pandas=True),
            pa.array(judged.threshold, from_pandas=True),
        ]
        removed = pa.schema([*batch.schema, *list(self._schemas.removed)[len(columns) :]], batch.schema.metadata)
        goes = pa.RecordBatch.from_arrays([*batch.columns, *why, *signals], schema=removed)
        self._removed.write(select(goes, ~judged.keep))

    def _count(self, piece: Piece, judged: Judged, lengths: npt.NDArray[np.int64]) -> None:
        tallies = self.tallies
        tallies.documents_in += len(lengths)
        tallies.bytes_in += int(lengths.sum())
        tallies.documents_out += int(judged.keep.sum())
        tallies.rewritten += int(judged.rewritten.sum())
        tallies.add(Tallies(languages=judged.languages))
        place = self._removed_rows + np.cumsum(~judged.keep) - 1
        self._removed_rows += int((~judged.keep).sum())
        for code, (reason, filter_) in enumerate(judged.reasons):
            rows = np.flatnonzero(judged.reason == code)
            if not len(rows):
                continue
            tallies.remove(reason, filter_, len(rows), int(lengths[rows].sum()))
            value, threshold = judged.value[rows], judged.threshold[rows]
            # Where nothing is measured the first ones are as near as any.
            distance = np.nan_to_num(np.abs(value - threshold) / np.where(threshold == 0, 1.0, np.abs(threshold)))
            chosen = np.lexsort((rows, distance))[:EXAMPLES]
            near = [
                [float(distance[at]), piece.document + int(rows[at]), self._number, int(place[rows[at]])]
                for at in chosen
            ]
            tallies.add(Tallies(nearest={reason: near}))
        for name, column in zip(judged.signals.schema.names, judged.signals.columns, strict=True):
            tallies.measure(name, column.cast(pa.float64()).to_numpy(zero_copy_only=False))

    def finished(self) -> Part:
        """The part, once the block has ended."""
        assert self._first is not None
        last = self._last
        return Part(
            number=self._number,
            source=last.source,
            row=last.row + last.batch.num_rows,
            first=self._first,
            end=last.document + last.batch.num_rows,
            starts=self.starts,
            skipped=last.skipped,
            tallies=self.tallies,
            files={name: [(self._work / name).stat().st_size, fingerprint(self._work / name)] for name in self._names},
        )
