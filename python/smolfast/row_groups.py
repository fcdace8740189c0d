"""Parquet row groups encoded apart, by several threads, and joined into one file.

pyarrow encodes a file's row groups one after another on one core; here each is first a file of its own, in memory. Its
pages are copied as they are, and the footers are joined: Thrift structures in the compact protocol (apache/thrift,
doc/specs/thrift-compact-protocol.md), whose fields apache/parquet-format's parquet.thrift numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, BinaryIO

MAGIC = b"PAR1"

# Types of the compact protocol.
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)

# Fields of parquet.thrift.
_FILE_ROWS, _FILE_ROW_GROUPS = 3, 4
_GROUP_COLUMNS, _GROUP_FILE_OFFSET, _GROUP_ORDINAL = 1, 5, 7
_CHUNK_FILE_OFFSET, _CHUNK_META = 2, 3
_META_OFFSETS = (9, 10, 11, 14)  # of data pages, index pages, dictionary pages, bloom filter

Struct = dict[int, tuple[int, Any]]
"""Fields by number, each with its type; a list is (type of its items, items)."""


@dataclass
class RowGroupFile:
    """A parquet file under way: `add` encoded groups in order, then `finish`."""

    stream: BinaryIO
    _footer: Struct = field(default_factory=dict)
    _at: int = 0

    def add(self, encoded: bytes | memoryview) -> None:
        """Append the row groups of a whole parquet file of the same schema."""
        encoded = memoryview(encoded)
        if bytes(encoded[-4:]) != MAGIC:
            raise ValueError("not a parquet file")
        size = int.from_bytes(encoded[-8:-4], "little")
        footer = decode(bytes(encoded[-8 - size : -8]))
        if not self._footer:
            self._write(MAGIC)
            self._footer = {**footer, _FILE_ROWS: (_I64, 0), _FILE_ROW_GROUPS: (_LIST, (_STRUCT, []))}
        shift = self._at - len(MAGIC)
        groups = self._footer[_FILE_ROW_GROUPS][1][1]
        for group in footer[_FILE_ROW_GROUPS][1][1]:
            _shift(group, shift, len(groups))
            groups.append(group)
        self._footer[_FILE_ROWS] = (_I64, self._footer[_FILE_ROWS][1] + footer[_FILE_ROWS][1])
        self._write(encoded[len(MAGIC) : -8 - size])

    def finish(self) -> None:
        """Write the footer."""
        footer = encode(self._footer)
        self._write(footer + len(footer).to_bytes(4, "little") + MAGIC)

    def _write(self, data: bytes | memoryview) -> None:
        self.stream.write(data)
        self._at += len(data)


def _shift(group: Struct, by: int, ordinal: int) -> None:
    def moved(fields: Struct, number: int) -> None:
        kind, offset = fields.get(number, (0, 0))
        if offset:  # a file offset of 0 means that there is none
            fields[number] = (kind, offset + by)

    moved(group, _GROUP_FILE_OFFSET)
    # 16 bits and optional: left out where a file has more groups than that.
    group[_GROUP_ORDINAL] = (_I16, ordinal)
    if ordinal > 0x7FFF:
        del group[_GROUP_ORDINAL]
    for chunk in group[_GROUP_COLUMNS][1][1]:
        moved(chunk, _CHUNK_FILE_OFFSET)
        for number in _META_OFFSETS:
            moved(chunk[_CHUNK_META][1], number)


def decode(data: bytes) -> Struct:
    """A Thrift structure in the compact protocol."""
    return _Reader(data).struct()


def encode(fields: Struct) -> bytes:
    """The inverse of `decode`."""
    out = bytearray()
    _write_value(out, _STRUCT, fields)
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
        if kind in (_I16, _I32, _I64):
            return self.zigzag()
        if kind == _STRUCT:
            return self.struct()
        if kind in (_DOUBLE, _BINARY):
            size = 8 if kind == _DOUBLE else self.varint()
            self.at += size
            return self.data[self.at - size : self.at]
        if kind in (_LIST, _SET):
            head = self.byte()
            size = head >> 4 if head >> 4 != 15 else self.varint()
            return head & 15, [self.value(head & 15) for _ in range(size)]
        raise ValueError(f"a parquet footer has no values of Thrift type {kind}")


def _write_varint(out: bytearray, value: int) -> None:
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def _write_value(out: bytearray, kind: int, value: Any) -> None:
    if kind in (_TRUE, _FALSE, _BYTE):
        out.append(value)
    elif kind in (_I16, _I32, _I64):
        _write_varint(out, value << 1 if value >= 0 else (-value << 1) - 1)
    elif kind == _STRUCT:
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
            _write_varint(out, len(value))
        out += value
    else:
        item_kind, items = value
        if len(items) < 15:
            out.append(len(items) << 4 | item_kind)
        else:
            out.append(0xF0 | item_kind)
            _write_varint(out, len(items))
        for item in items:
            _write_value(out, item_kind, item)


__all__ = ["RowGroupFile", "decode", "encode"]
