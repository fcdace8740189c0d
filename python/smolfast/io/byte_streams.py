"""The bytes of a file as UTF-8, decompressed: gzip, zstd, bzip2 and xz, and UTF-16 and UTF-32 by their marks."""

from __future__ import annotations

import bz2
import codecs
import contextlib
import gzip
import importlib
import io
import lzma
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, BinaryIO, cast

import pyarrow as pa

from smolfast.errors import SmolfastError
from smolfast.io.sources import open_source, plain_name

CODECS = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd", ".bz2": "bzip2", ".xz": "xz"}
"""Compressions by the last suffix."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16's, which it starts with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_BLOCK = 1 << 18


def codec(path: str) -> str | None:
    """The compression that a name tells."""
    return CODECS.get(PurePosixPath(plain_name(path)).suffix.lower())


@contextlib.contextmanager
def open_utf8(path: str) -> Iterator[io.BufferedReader]:
    """Open a local path or a URL as plain UTF-8, without a byte-order mark. Half a UTF-16 pair comes as bad UTF-8.

    Raises:
        SmolfastError: an empty file where there should be a compressed one; UTF-16 or UTF-32 without a mark. What else
            may happen here and in reading, `reading` turns into one.
    """
    with open_source(path) as stored:
        name = codec(path)
        if name is not None and stored.size() == 0:
            raise SmolfastError(f"{path} is empty, which no {name} file is; make or download it again")
        plain = io.BufferedReader(_unpacked(stored, name), 1 << 20)
        start = plain.peek(1024)[:1024]
        encoding = next((encoding for mark, encoding in _MARKS if start.startswith(mark)), None)
        if encoding is None:
            unmarked = _unmarked(start)
            if unmarked is not None:
                raise SmolfastError(
                    f"{path} is {unmarked} without a byte-order mark; convert it: iconv -f {unmarked} -t UTF-8 {path} "
                    "> NEW"
                )
        elif encoding == "utf-8":
            plain.read(3)
        else:
            plain.read(4 if "32" in encoding else 2)
            plain = io.BufferedReader(_Recoded(plain, encoding), 1 << 20)
        yield plain


def _unpacked(stored: pa.NativeFile, name: str | None) -> Any:
    """A raw or buffered stream of the plain bytes; every member of a file of several."""
    if name is None:
        return stored
    if name == "zstd":
        return _long_zstd(stored) or pa.CompressedInputStream(stored, "zstd")
    # These, since Arrow calls the zeros corrupt that tapes and disks leave after gzip's last member, and has no xz.
    opened = {"gzip": gzip.GzipFile, "bzip2": bz2.BZ2File, "xz": lzma.LZMAFile}[name]
    return opened(**{"fileobj" if name == "gzip" else "filename": stored, "mode": "rb"})


def _long_zstd(stored: pa.NativeFile) -> BinaryIO | None:
    """A stream for windows of up to 2 GiB if this Python can (3.14) and the file's first frame asks for one."""
    head = stored.read(18)
    stored.seek(0)
    if _zstd_window(head) <= 1 << 27:
        return None
    try:
        zstd = importlib.import_module("compression.zstd")
    except ImportError:
        return None
    return cast("BinaryIO", zstd.ZstdFile(stored, options={zstd.DecompressionParameter.window_log_max: 31}))


def _zstd_window(head: bytes) -> int:
    """Bytes of the window that a frame's header asks for (RFC 8878, 3.1.1.1); 0 if this is none."""
    if len(head) < 18 or head[:4] != b"\x28\xb5\x2f\xfd":
        return 0
    descriptor = head[4]
    if not descriptor & 0x20:
        return (8 + (head[5] & 7)) << (7 + (head[5] >> 3))
    at, size = 5 + (0, 1, 2, 4)[descriptor & 3], 1 << (descriptor >> 6)
    return int.from_bytes(head[at : at + size], "little")


def _unmarked(start: bytes) -> str | None:
    """UTF-16 or UTF-32 of mostly Latin letters, by which bytes of each four are often zero and which seldom."""
    units = len(start) // 4
    if units < 4:
        return None
    zeros = [start[column : 4 * units : 4].count(0) / units for column in range(4)]
    for name, often in (("UTF-32LE", "0111"), ("UTF-32BE", "1110"), ("UTF-16LE", "0101"), ("UTF-16BE", "1010")):
        if all(share > 0.4 if zero == "1" else share < 0.1 for share, zero in zip(zeros, often, strict=True)):
            return name
    return None


class _Recoded(io.RawIOBase):
    """Bytes of another encoding as UTF-8."""

    def __init__(self, stream: io.BufferedReader, encoding: str) -> None:
        self._stream = stream
        # Half a pair goes through, as bytes that aren't UTF-8: the reader's rule for such text decides.
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
        self._ready = memoryview(b"")
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready and not self._ended:
            block = self._stream.read(_BLOCK)
            self._ended = not block
            self._ready = memoryview(self._decoder.decode(block, self._ended).encode("utf-8", "surrogatepass"))
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size
