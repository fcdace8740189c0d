"""Sources cut into stretches that can be read apart: parquet by row groups, every other kind as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow.parquet as pq

from smolfast.io.boundary import reading
from smolfast.io.sources import Source, open_source

STRETCH_BYTES = 64 << 20
"""Of parquet, unpacked: enough that beginning a piece of work is little of it, and some hundreds fit in memory."""


@dataclass(frozen=True)
class Stretch:
    """Some row groups of a source, or all of it."""

    source: Source
    number: int
    """Of the source."""
    groups: tuple[int, int] | None = None
    """The first row group and the one after the last; None for a whole source."""
    row: int = 0
    """Of its first row in the source, as stored."""
    ends: bool = True
    """Whether it is the last of its source."""


def cut(sources: Sequence[Source], *, fine: bool) -> Iterator[Stretch]:
    """The stretches of all sources in order; sources as a whole unless `fine`."""
    for number, source in enumerate(sources):
        if not fine or source.kind != "parquet":
            yield Stretch(source, number)
            continue
        with reading(source.path), open_source(source.path) as stream, pq.ParquetFile(stream) as file:
            groups = [file.metadata.row_group(group) for group in range(file.num_row_groups)]
            rows = [group.num_rows for group in groups]
            sizes = [group.total_byte_size for group in groups]
        first = row = 0
        while True:
            stop, size = first, 0
            while stop < len(sizes) and (stop == first or size + sizes[stop] <= STRETCH_BYTES):
                size, stop = size + sizes[stop], stop + 1
            yield Stretch(source, number, (first, stop), row, stop == len(sizes))
            row, first = row + sum(rows[first:stop]), stop
            if first == len(sizes):
                break
