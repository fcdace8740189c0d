"""Record batches to one file of JSON lines: atomic, in bounded memory, the same bytes however the rows were batched."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa

from smolfast.errors import SmolfastError
from smolfast.files import TEMPORARY_SUFFIX, atomic_path

CODECS = {".gz": "gzip", ".zst": "zstd"}


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
        codec = CODECS.get(Path(self.path.name.removesuffix(TEMPORARY_SUFFIX)).suffix)
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
