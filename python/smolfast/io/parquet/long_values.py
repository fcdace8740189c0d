"""Parquet pages of values of many megabytes, compressed from where they lie.

pyarrow's encoder holds such a value three times over: writing a document of 1 GiB peaked at 3.9 GB, and at 1.5 GB this
way. The pages are those that pyarrow writes for a flat column without a dictionary: data pages of version 1, PLAIN,
zstd, with a checksum (apache/parquet-format: parquet.thrift, README.md "Data Pages", Encodings.md "RLE").
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from smolfast.io.parquet.row_groups import I32, I64, LIST, STRUCT, Struct, encode, write_varint

PAGE_BYTES = 1 << 20
STEP_BYTES = 1 << 20
MOST_PAGE_BYTES = (1 << 31) - 1 - PAGE_BYTES
"""A page's size has 31 bits, and a page is closed by the value that brings it to PAGE_BYTES."""

_PLAIN, _RLE, _DATA_PAGE = 0, 3, 0
_UNCOMPRESSED, _COMPRESSED, _STATISTICS, _ENCODING_STATS, _SIZE_STATISTICS = 6, 7, 12, 13, 16


@dataclass
class LongColumn:
    """The pages of one column of a row group."""

    pieces: list[bytes] = field(default_factory=list)
    pages: int = 0
    uncompressed: int = 0

    @property
    def size(self) -> int:
        """Bytes in the file, headers included."""
        return sum(map(len, self.pieces))

    def describe(self, meta: Struct) -> None:
        """Make the ColumnMetaData of pyarrow's stand-in, a column of as many empty values, that of these pages."""
        meta[_UNCOMPRESSED] = (I64, self.uncompressed)
        meta[_COMPRESSED] = (I64, self.size)
        for number in (_STATISTICS, _SIZE_STATISTICS):
            meta.pop(number, None)
        page = {1: (I32, _DATA_PAGE), 2: (I32, _PLAIN), 3: (I32, self.pages)}
        meta[_ENCODING_STATS] = (LIST, (STRUCT, [page]))


def encode_long_column(column: pa.ChunkedArray, *, nullable: bool) -> LongColumn:
    """Encode strings or binary.

    Args:
        nullable: whether the schema lets values be null.

    Raises:
        ValueError: a value beyond MOST_PAGE_BYTES.
    """
    made = LongColumn()
    page: list[memoryview | None] = []
    size = 0
    for value in _values(column):
        if value is not None and len(value) > MOST_PAGE_BYTES:
            raise ValueError(f"a value of {len(value)} bytes fits into no page")
        page.append(value)
        size += 0 if value is None else len(value) + 4
        if size >= PAGE_BYTES:
            _add_page(made, page, nullable)
            page, size = [], 0
    if page:
        _add_page(made, page, nullable)
    return made


def _values(column: pa.ChunkedArray) -> Iterator[memoryview | None]:
    for chunk in column.chunks:
        large = pa.types.is_large_string(chunk.type) or pa.types.is_large_binary(chunk.type)
        if not large:
            chunk = chunk.cast(pa.large_binary())
        _, offsets, data = chunk.buffers()
        ends: npt.NDArray[np.int64] = np.frombuffer(offsets, np.int64, len(chunk) + 1, 8 * chunk.offset)
        valid = chunk.is_valid().to_numpy(zero_copy_only=False)
        view = memoryview(data if data is not None else b"")
        for row in range(len(chunk)):
            yield view[ends[row] : ends[row + 1]] if valid[row] else None


class _Pieces(io.RawIOBase):
    """What a compressor gives, in pieces, so that nothing grows by being copied."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.size = 0
        self.checksum = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self.pieces.append(piece)
        self.size += len(piece)
        self.checksum = zlib.crc32(piece, self.checksum)
        return len(piece)


def _add_page(column: LongColumn, values: list[memoryview | None], nullable: bool) -> None:
    body = _Pieces()
    levels = _levels(values) if nullable else b""
    uncompressed = len(levels)
    with pa.CompressedOutputStream(pa.PythonFile(body, "w"), "zstd") as stream:
        stream.write(levels)
        for value in values:
            if value is None:
                continue
            uncompressed += 4 + len(value)
            stream.write(len(value).to_bytes(4, "little"))
            for start in range(0, len(value), STEP_BYTES):
                stream.write(value[start : start + STEP_BYTES])
    data_page = {1: (I32, len(values)), 2: (I32, _PLAIN), 3: (I32, _RLE), 4: (I32, _RLE)}
    signed = body.checksum - (1 << 32) if body.checksum >> 31 else body.checksum
    header = encode(
        {
            1: (I32, _DATA_PAGE),
            2: (I32, uncompressed),
            3: (I32, body.size),
            4: (I32, signed),
            5: (STRUCT, data_page),
        }
    )
    column.pieces += [header, *body.pieces]
    column.pages += 1
    column.uncompressed += len(header) + uncompressed


def _levels(values: list[memoryview | None]) -> bytes:
    """Definition levels of one bit: runs of 1 for a value, 0 for a null."""
    present = np.array([value is not None for value in values])
    starts = np.concatenate([[0], np.nonzero(np.diff(present))[0] + 1])
    runs = bytearray()
    for start, end in zip(starts, [*starts[1:], len(values)], strict=True):
        write_varint(runs, int(end - start) << 1)
        runs.append(int(present[start]))
    return len(runs).to_bytes(4, "little") + bytes(runs)


__all__ = ["MOST_PAGE_BYTES", "LongColumn", "encode_long_column"]
