"""Parts of a run judged on many machines: one look at the lengths of texts says where parts end, as on one machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from smolfast.cluster import Engine
from smolfast.cluster.places import Made, Place, token_in
from smolfast.curate.files.journal import Part
from smolfast.curate.files.options import Options
from smolfast.curate.files.parts import PART_BYTES, PART_ROWS, PartWriter, Piece, stored_schemas
from smolfast.curate.files.verdicts import judge_batch
from smolfast.io.documents import Source, read_batches
from smolfast.io.parquet.stretches import Stretch, cut
from smolfast.io.schemas.columns import byte_lengths, conform


@dataclass(frozen=True)
class _Measured:
    """The texts of a stretch."""

    stretch: Stretch
    lengths: npt.NDArray[np.unsignedinteger]
    """Bytes of each that is read."""
    skipped: int


@dataclass(frozen=True)
class _Span:
    """Rows of a stretch, counted among those of it that are read."""

    stretch: Stretch
    start: int
    stop: int
    row: int
    """Of the first, in the source."""
    document: int
    skipped: int
    """Rows left out in the sources before."""


@dataclass
class _Plan:
    """What a part is made of."""

    number: int
    spans: list[_Span] = field(default_factory=list)


def judge_apart(
    engine: Engine,
    sources: Sequence[Source],
    schema: pa.Schema,
    options: Options,
    work: Path,
    last: Part | None,
    counts: Counter[int],
) -> Iterator[Part]:
    """The parts after `last` in order, their files in `work`: of the same bytes as `PartWriter` makes here.

    Args:
        counts: gets the rows left out, by source.
    """
    first = 0 if last is None else last.source
    stretches = (
        Stretch(one.source, one.number + first, one.groups, one.row, one.ends)
        for one in cut(sources[first:], fine=True)
    )
    measured = engine.stream(partial(_measure, options), stretches)
    with token_in(work, engine) as token:
        judge = partial(_judge, schema, options, Place(work, token))
        for made in engine.stream(judge, _plans(measured, last, counts)):
            made.take()
            part: Part = made.said
            yield part


def _measure(options: Options, stretch: Stretch) -> Iterator[_Measured]:
    counts: Counter[str] = Counter()
    lengths = [np.empty(0, np.uint32)]
    # Another column's bad text makes a row go too.
    columns: list[str] | None = None if options.errors == "skip" else []
    for batch in read_batches(
        stretch.source,
        text_column=options.text_column,
        columns=columns,
        types=options.types,
        errors=options.errors,
        counts=counts,
        groups=stretch.groups,
    ):
        lengths.append(byte_lengths(batch.column(options.text_column)).to_numpy(zero_copy_only=False))
    found: npt.NDArray[np.unsignedinteger] = np.concatenate(lengths).astype(np.uint64)
    if len(found) and found.max() >> np.uint64(32) == 0:
        found = found.astype(np.uint32)
    yield _Measured(stretch, found, counts["skipped"])


def _plans(measured: Iterator[_Measured], last: Part | None, counts: Counter[int]) -> Iterator[_Plan]:
    """Parts as `read_pieces` cuts them."""
    number, document, before = (0, 0, 0) if last is None else (last.number + 1, last.end, last.skipped)
    first, known = (0, 0) if last is None else (last.source, last.row)
    plan, size, rows = _Plan(number), 0, 0
    source, row = first, 0
    for found in measured:
        if found.stretch.number != source:
            source, row = found.stretch.number, 0
        counts[source] += found.skipped
        skipped = before + sum(count for other, count in counts.items() if other < source)
        ends = np.cumsum(found.lengths, dtype=np.int64)
        start = min(max(0, known - row), len(ends)) if source == first else 0
        done = int(ends[start - 1]) if start else 0
        while start < len(ends):
            full = int(np.searchsorted(ends, PART_BYTES - size + done)) + 1
            stop = min(full, start + PART_ROWS - rows, len(ends))
            plan.spans.append(_Span(found.stretch, start, stop, row + start, document, skipped))
            size, rows, document = size + int(ends[stop - 1]) - done, rows + stop - start, document + stop - start
            start, done = stop, int(ends[stop - 1])
            if size >= PART_BYTES or rows >= PART_ROWS:
                yield plan
                plan, size, rows = _Plan(plan.number + 1), 0, 0
        row += len(ends)
    if plan.spans:
        yield plan


def _judge(schema: pa.Schema, options: Options, place: Place, plan: _Plan) -> Iterator[Made]:
    """Write the two files of a part."""
    made = Made(place)
    with made.writing() as folder:
        with PartWriter(folder, plan.number, stored_schemas(schema, options), options, 1) as writer:
            for span in plan.spans:
                for piece in _pieces(span, plan.number, schema, options):
                    writer.add(piece, judge_batch(piece.batch, options, 1, span.stretch.source.path, piece.row))
        made.said = writer.finished()
    yield made


def _pieces(span: _Span, part: int, schema: pa.Schema, options: Options) -> Iterator[Piece]:
    place = schema.get_field_index(options.text_column)  # as `read_batches` gives the text
    schema = schema.set(place, schema.field(place).with_type(pa.large_string()))
    source, at = span.stretch.source, 0
    for batch in read_batches(
        source,
        text_column=options.text_column,
        types=options.types,
        errors=options.errors,
        groups=span.stretch.groups,
    ):
        start, stop = max(span.start, at), min(span.stop, at + batch.num_rows)
        if start < stop:
            rows = conform(batch.slice(start - at, stop - start), schema, source.path)
            moved = start - span.start
            yield Piece(rows, part, span.stretch.number, span.row + moved, span.document + moved, span.skipped)
        at += batch.num_rows
        if at >= span.stop:
            return
