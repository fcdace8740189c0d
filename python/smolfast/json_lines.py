"""Files of JSON lines: their lines one by one, and record batches to one file, both in bounded memory."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self

import pyarrow as pa

from smolfast.errors import SmolfastError
from smolfast.files import atomic_path, final_path

CODECS = {".gz": "gzip", ".zst": "zstd"}

# More than any document; a few kB of zstd can hold a line of gigabytes.
MOST_LINE_BYTES = 256 << 20


def read_lines(stream: pa.NativeFile, path: str) -> Iterator[tuple[int, bytes]]:
    """The lines that aren't blank with their numbers, from 1; decompressed by the suffix of `path`, without a mark.

    Raises:
        SmolfastError: an empty file where there should be a compressed one, or a line of more than `MOST_LINE_BYTES`.
        OSError: a damaged stream.
    """
    codec = CODECS.get(PurePosixPath(path).suffix.lower())
    if codec is not None:
        if stream.size() == 0:
            raise SmolfastError(f"{path} is empty, which no {codec} file is; make or download it again")
        stream = pa.CompressedInputStream(stream, codec)
    lines = io.BufferedReader(stream, 1 << 20)
    number = 0
    while line := lines.readline(MOST_LINE_BYTES + 1):
        number += 1
        if len(line) > MOST_LINE_BYTES:
            raise SmolfastError(
                f"{path}, line {number}: longer than {MOST_LINE_BYTES >> 20} MiB; split or remove the line, or store "
                "the documents as parquet"
            )
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line.isspace():
            yield number, line


class JsonLinesWriter:
    """Write record batches to one .jsonl, .jsonl.gz or .jsonl.zst file that is whole or absent.

    A line is an object of the columns in their order, not escaped to ASCII. When the block raises, nothing remains and
    an earlier file stays as it was.

    Raises:
        SmolfastError: the file can't be written, or a value has no form in JSON (for example a timestamp).
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        temporary = self._stack.enter_context(atomic_path(self.path))
        stream = self._stack.enter_context(pa.OSFile(os.fsencode(temporary), "wb"))
        codec = CODECS.get(final_path(self.path).suffix)
        if codec is not None:
            stream = self._stack.enter_context(pa.CompressedOutputStream(stream, codec))
        self._stream = stream
        return self

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows."""
        try:
            lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in batch.to_pylist()]
        except TypeError as error:
            raise SmolfastError(f"can't write {self.path}: {error}; write parquet instead") from error
        self._stream.write("".join(lines).encode())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._stack.__exit__(kind, error, trace)
