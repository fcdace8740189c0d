"""The compressed members of a crawl's file, which mostly hold a record each; unpacked piece by piece, never whole."""

from __future__ import annotations

import io
import zlib
from typing import Protocol

import pyarrow as pa

from smolfast.crawl.reading.faults import MemberError

BLOCK = 1 << 16
"""Bytes read from a file at a time."""
MOST_UNPACKED = 1 << 30
"""Bytes that are unpacked of one member beyond what its records take: a member that explodes costs no more."""

_GZIP = b"\x1f\x8b\x08"
_ZSTD = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = tuple(bytes((0x50 + kind, 0x2A, 0x4D, 0x18)) for kind in range(16))
_START = b"WARC/"


class Member(Protocol):
    """The plain bytes of a member, in order."""

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; none at its end. Raises MemberError."""

    def end(self) -> int:
        """The offset behind it, once all of it is read."""


class GzipMember:
    """One member of a gzip file."""

    def __init__(self, file: pa.NativeFile, offset: int) -> None:
        self._file = file
        self._at = offset
        self._unpack = zlib.decompressobj(31)
        self._packed = b""

    def read(self, size: int) -> bytes:
        while not self._unpack.eof:
            if not self._packed:
                self._file.seek(self._at)
                self._packed = self._file.read(BLOCK)
                self._at += len(self._packed)
                if not self._packed:
                    raise MemberError("cut off")
            try:
                plain = self._unpack.decompress(self._packed, size)
            except zlib.error as error:
                raise MemberError("damaged gzip") from error
            # At the member's end zlib leaves the tail of the call before.
            self._packed = b"" if self._unpack.eof else self._unpack.unconsumed_tail
            if plain:
                return plain
        return b""

    def end(self) -> int:
        return self._at - len(self._unpack.unused_data)


class ZstdMember:
    """One frame of a zstd file. Its blocks say how long they are, so its end is known without unpacking."""

    def __init__(self, file: pa.NativeFile, offset: int, dictionary: bytes | None = None) -> None:
        self._end = _zstd_end(file, offset)
        file.seek(offset)
        self._stream = _unpacked_zstd(_Section(file, offset, self._end), dictionary)

    def read(self, size: int) -> bytes:
        try:
            return bytes(self._stream.read(min(size, BLOCK * 4)))
        except (OSError, pa.ArrowException) as error:
            raise MemberError("damaged zstd") from error

    def end(self) -> int:
        return self._end


class PlainMember:
    """A file that isn't compressed."""

    def __init__(self, file: pa.NativeFile, offset: int) -> None:
        self._file = file
        self.at = offset

    def read(self, size: int) -> bytes:
        self._file.seek(self.at)
        found = bytes(self._file.read(size))
        self.at += len(found)
        return found

    def end(self) -> int:
        return int(self._file.size())

    def is_boundary(self, offset: int) -> bool:
        """Whether a record, or the file, ends there."""
        if offset >= self.end():
            return offset == self.end()
        self._file.seek(offset)
        return bytes(self._file.read(16)).lstrip(b"\r\n")[:5] in (b"WARC/", b"")


class _Section(io.RawIOBase):
    """Some bytes of a file as a file of their own."""

    def __init__(self, file: pa.NativeFile, start: int, end: int) -> None:
        self._file, self._at, self._end = file, start, end

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        left = self._end - self._at
        self._file.seek(self._at)
        found = bytes(self._file.read(left if size < 0 else min(size, left)))
        self._at += len(found)
        return found


def _unpacked_zstd(section: io.RawIOBase, dictionary: bytes | None) -> io.BufferedIOBase | pa.NativeFile:
    if dictionary is None:
        return pa.CompressedInputStream(pa.PythonFile(section, "r"), "zstd")
    from fastwarc.stream_io import ZstdReader

    found: io.BufferedIOBase = ZstdReader(section, dictionary=dictionary)
    return found


def _zstd_end(file: pa.NativeFile, offset: int) -> int:
    """The offset behind the frame at `offset` (RFC 8878, 3.1.1)."""
    file.seek(offset)
    head = bytes(file.read(6))
    if len(head) < 6:
        raise MemberError("cut off")
    descriptor = head[4]
    single = bool(descriptor & 0x20)
    content = (1 if single else 0, 2, 4, 8)[descriptor >> 6]
    at = offset + 5 + (0 if single else 1) + (0, 1, 2, 4)[descriptor & 3] + content
    size = file.size()
    while True:
        if at + 3 > size:
            raise MemberError("cut off")
        file.seek(at)
        block = bytes(file.read(3))
        word = int.from_bytes(block, "little")
        kind = word >> 1 & 3
        if kind == 3:
            raise MemberError("damaged zstd")
        at += 3 + (1 if kind == 1 else word >> 3)
        if word & 1:
            break
    at += 4 if descriptor & 4 else 0
    if at > size:
        raise MemberError("cut off")
    return at


class Members:
    """The members of an open file."""

    def __init__(self, file: pa.NativeFile) -> None:
        self.file = file
        self.size = int(file.size())
        file.seek(0)
        head = bytes(file.read(4))
        self.kind = "gzip" if head[:3] == _GZIP else "zstd" if head == _ZSTD or head in _SKIPPABLE else "plain"
        self._dictionary = self._read_dictionary() if head == _SKIPPABLE[13] else None

    def at(self, offset: int) -> Member | None:
        """The member that begins at an offset; None where there is none.

        Raises:
            MemberError: it is damaged or cut off.
        """
        if self.kind == "plain":
            return PlainMember(self.file, offset)
        self.file.seek(offset)
        head = bytes(self.file.read(4))
        if self.kind == "gzip":
            return GzipMember(self.file, offset) if head[:3] == _GZIP else None
        return ZstdMember(self.file, offset, self._dictionary) if head == _ZSTD else None

    def going_on(self, end: int) -> tuple[int, Member] | None:
        """The member behind offset `end`, and where it is, if no record begins with it: it may go on with one."""
        offset = self.after_padding(end)
        try:
            member = self.at(offset) if offset < self.size and not self._is_record(offset) else None
        except MemberError:
            return None
        return None if member is None else (offset, member)

    def after_padding(self, offset: int) -> int:
        """The offset behind zeros, which tapes and disks leave, and behind zstd's skippable frames."""
        while offset < self.size:
            self.file.seek(offset)
            block = bytes(self.file.read(BLOCK))
            if self.kind == "zstd" and block[:4] in _SKIPPABLE and len(block) >= 8:
                offset += 8 + int.from_bytes(block[4:8], "little")
                continue
            rest = block.lstrip(b"\0")
            offset += len(block) - len(rest)
            if rest:
                return offset
        return self.size

    def search(self, start: int, stop: int) -> int | None:
        """The first offset in [start, stop) at which a member begins whose first bytes are a record's."""
        wanted = _GZIP if self.kind == "gzip" else _ZSTD if self.kind == "zstd" else _START
        # A record of a plain file begins a line.
        at = start
        while at < stop:
            self.file.seek(at)
            block = bytes(self.file.read(min(1 << 20, stop - at + len(wanted) - 1)))
            place = block.find(wanted)
            while place >= 0:
                if self._is_record(at + place):
                    return at + place
                place = block.find(wanted, place + 1)
            if len(block) < len(wanted):
                return None
            at += len(block) - len(wanted) + 1
        return None

    def _is_record(self, offset: int) -> bool:
        if self.kind == "plain":
            self.file.seek(max(0, offset - 1))
            found = bytes(self.file.read(8))
            return found.startswith(b"WARC/1." if offset == 0 else b"\nWARC/1.")
        try:
            member = self.at(offset)
            return member is not None and member.read(16).lstrip(b"\r\n").startswith(_START)
        except MemberError:
            return False

    def _read_dictionary(self) -> bytes:
        """What the frames are unpacked with, as the WARC-zstd specification puts it before them."""
        self.file.seek(4)
        size = int.from_bytes(self.file.read(4), "little")
        content = bytes(self.file.read(min(size, 1 << 27)))
        if content[:4] == _ZSTD:
            content = bytes(pa.CompressedInputStream(pa.BufferReader(content), "zstd").read())
        return content
