"""Parquet row groups encoded apart, by several threads, and joined into one file.

pyarrow encodes a file's row groups one after another on one core; here each is first a file of its own, in memory. Its
pages are copied as they are, and the footers are joined: Thrift structures in the compact protocol (apache/thrift,
doc/specs/thrift-compact-protocol.md), whose fields apache/parquet-format's parquet.thrift numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol

MAGIC = b"PAR1"

# Types of the compact protocol.
_TRUE, _FALSE, _BYTE, _I16, I32, I64, _DOUBLE, _BINARY, LIST, _SET, _MAP, STRUCT = range(1, 13)

# Fields of parquet.thrift.
_FILE_ROWS, _FILE_ROW_GROUPS = 3, 4
_GROUP_COLUMNS, _GROUP_BYTES, _GROUP_FILE_OFFSET, _GROUP_COMPRESSED, _GROUP_ORDINAL = 1, 2, 5, 6, 7
_CHUNK_FILE_OFFSET, _CHUNK_META = 2, 3
_META_PATH, _META_UNCOMPRESSED, _META_COMPRESSED, _META_PAGES = 3, 6, 7, 9
_META_DICTIONARY = 11
_META_OFFSETS = (9, 10, 11, 14)  # of data pages, index pages, dictionary pages, bloom filter

Struct = dict[int, tuple[int, Any]]
"""Fields by number, each with its type; a list is (type of its items, items)."""


class Pages(Protocol):
    """A column's pages made elsewhere."""

    pieces: list[bytes]

    def describe(self, meta: Struct) -> None:
        """Alter the ColumnMetaData of the pages replaced, except for where they are."""


@dataclass
class RowGroupFile:
    """A parquet file under way: `add` encoded groups in order, then `finish`."""

    stream: BinaryIO
    _footer: Struct = field(default_factory=dict)
    _at: int = 0

    def add(self, encoded: bytes | memoryview) -> None:
        """Append the row groups of a whole parquet file of the same schema."""
        encoded = memoryview(encoded)
        footer, pages = self._opened(encoded)
        shift = self._at - len(MAGIC)
        for group in footer[_FILE_ROW_GROUPS][1][1]:
            _move(group, _GROUP_FILE_OFFSET, shift)
            for chunk in group[_GROUP_COLUMNS][1][1]:
                _move(chunk, _CHUNK_FILE_OFFSET, shift)
                for number in _META_OFFSETS:
                    _move(chunk[_CHUNK_META][1], number, shift)
        self._list(footer)
        self._write(pages)

    def add_with(self, encoded: bytes | memoryview, columns: Mapping[str, Pages]) -> None:
        """Append a file's one row group with other pages in the place of some columns', which have no dictionary."""
        encoded = memoryview(encoded)
        footer, _ = self._opened(encoded)
        (group,) = footer[_FILE_ROW_GROUPS][1][1]
        first = self._at
        uncompressed = 0
        for chunk in group[_GROUP_COLUMNS][1][1]:
            meta = chunk[_CHUNK_META][1]
            path = [name.decode() for name in meta[_META_PATH][1][1]]
            start = min(meta[number][1] for number in (_META_PAGES, _META_DICTIONARY) if number in meta)
            pieces: Sequence[bytes | memoryview] = [encoded[start : start + meta[_META_COMPRESSED][1]]]
            if len(path) == 1 and path[0] in columns:
                columns[path[0]].describe(meta)
                pieces = columns[path[0]].pieces
            _move(meta, _META_PAGES, self._at - start)
            _move(meta, _META_DICTIONARY, self._at - start)
            _move(chunk, _CHUNK_FILE_OFFSET, self._at - start)
            uncompressed += meta[_META_UNCOMPRESSED][1]
            for piece in pieces:
                self._write(piece)
        group[_GROUP_BYTES] = (I64, uncompressed)
        group[_GROUP_COMPRESSED] = (I64, self._at - first)
        group[_GROUP_FILE_OFFSET] = (I64, first)
        self._list(footer)

    def _opened(self, encoded: memoryview) -> tuple[Struct, memoryview]:
        """Its footer and what lies before; the first one's footer starts this file's."""
        if bytes(encoded[-4:]) != MAGIC:
            raise ValueError("not a parquet file")
        size = int.from_bytes(encoded[-8:-4], "little")
        footer = decode(bytes(encoded[-8 - size : -8]))
        if not self._footer:
            self._write(MAGIC)
            self._footer = {**footer, _FILE_ROWS: (I64, 0), _FILE_ROW_GROUPS: (LIST, (STRUCT, []))}
        return footer, encoded[len(MAGIC) : -8 - size]

    def _list(self, footer: Struct) -> None:
        """Enter row groups whose offsets are this file's."""
        groups = self._footer[_FILE_ROW_GROUPS][1][1]
        for group in footer[_FILE_ROW_GROUPS][1][1]:
            # 16 bits and optional: left out where a file has more groups than that.
            group[_GROUP_ORDINAL] = (_I16, len(groups))
            if len(groups) > 0x7FFF:
                del group[_GROUP_ORDINAL]
            groups.append(group)
        self._footer[_FILE_ROWS] = (I64, self._footer[_FILE_ROWS][1] + footer[_FILE_ROWS][1])

    def finish(self) -> None:
        """Write the footer."""
        footer = encode(self._footer)
        self._write(footer + len(footer).to_bytes(4, "little") + MAGIC)

    def _write(self, data: bytes | memoryview) -> None:
        self.stream.write(data)
        self._at += len(data)


def _move(fields: Struct, number: int, by: int) -> None:
    kind, offset = fields.get(number, (0, 0))
    if offset:  # a file offset of 0 means that there is none
        fields[number] = (kind, offset + by)


def decode(data: bytes) -> Struct:
    """A Thrift structure in the compact protocol."""
    return _Reader(data).struct()


def encode(fields: Struct) -> bytes:
    """The inverse of `decode`."""
    out = bytearray()
    _write_value(out, STRUCT, fields)
    return bytes(out)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def zigzag(self) -> int:
        value = self.varint()
        return value >> 1 ^ -(value & 1)

    def struct(self) -> Struct:
        fields: Struct = {}
        number = 0
        while head := self.byte():
            number = number + (head >> 4) if head >> 4 else self.zigzag()
            kind = head & 15
            # A field's boolean value is its type.
            fields[number] = (kind, None if kind in (_TRUE, _FALSE) else self.value(kind))
        return fields

    def value(self, kind: int) -> Any:
        if kind in (_TRUE, _FALSE, _BYTE):
            return self.byte()
        if kind in (_I16, I32, I64):
            return self.zigzag()
        if kind == STRUCT:
            return self.struct()
        if kind in (_DOUBLE, _BINARY):
            size = 8 if kind == _DOUBLE else self.varint()
            self.at += size
            return self.data[self.at - size : self.at]
        if kind in (LIST, _SET):
            head = self.byte()
            size = head >> 4 if head >> 4 != 15 else self.varint()
            return head & 15, [self.value(head & 15) for _ in range(size)]
        raise ValueError(f"a parquet footer has no values of Thrift type {kind}")


def write_varint(out: bytearray, value: int) -> None:
    """Append a number, seven bits a byte."""
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def _write_value(out: bytearray, kind: int, value: Any) -> None:
    if kind in (_TRUE, _FALSE, _BYTE):
        out.append(value)
    elif kind in (_I16, I32, I64):
        write_varint(out, value << 1 if value >= 0 else (-value << 1) - 1)
    elif kind == STRUCT:
        before = 0
        for number, (field_kind, field_value) in sorted(value.items()):
            if 0 < number - before < 16:
                out.append(number - before << 4 | field_kind)
            else:
                out.append(field_kind)
                _write_value(out, _I16, number)
            if field_kind not in (_TRUE, _FALSE):
                _write_value(out, field_kind, field_value)
            before = number
        out.append(0)
    elif kind in (_DOUBLE, _BINARY):
        if kind == _BINARY:
            write_varint(out, len(value))
        out += value
    else:
        item_kind, items = value
        if len(items) < 15:
            out.append(len(items) << 4 | item_kind)
        else:
            out.append(0xF0 | item_kind)
            write_varint(out, len(items))
        for item in items:
            _write_value(out, item_kind, item)


__all__ = ["I32", "I64", "LIST", "STRUCT", "Pages", "RowGroupFile", "Struct", "decode", "encode", "write_varint"]
