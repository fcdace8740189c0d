"""Files of JSON: their lines or values one by one, and record batches to lines, both in bounded memory."""

from __future__ import annotations

import bz2
import codecs
import contextlib
import io
import json
import lzma
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from smolfast.errors import SmolfastError
from smolfast.files import atomic_path, final_path, shown
from smolfast.io.byte_streams import codec
from smolfast.io.json.values import HOLE, decode_cell, is_json, scan_of

# More than any document; a few kB of zstd can hold a line of gigabytes.
MOST_LINE_BYTES = 256 << 20

TEMPLATE = "\0line"
"""The column of lines with a hole for the text: no key's name has a zero byte where it could be typed."""


def read_lines(lines: io.BufferedReader, path: str) -> Iterator[tuple[int, bytes]]:
    """The lines that aren't blank with their numbers, from 1.

    Raises:
        SmolfastError: a line of more than `MOST_LINE_BYTES`.
    """
    number = 0
    while line := lines.readline(MOST_LINE_BYTES + 1):
        number += 1
        if len(line) > MOST_LINE_BYTES:
            raise _too_long(path, number)
        if not line.isspace():
            yield number, line


def _too_long(path: str, number: int) -> SmolfastError:
    return SmolfastError(
        f"{path}, line {number}: longer than {MOST_LINE_BYTES >> 20} MiB; split or remove the line, or store "
        "the documents as parquet"
    )


def read_values(stream: io.BufferedReader, path: str) -> Iterator[tuple[int, bytes]]:
    """The objects of a .json file, each as one line, with the number of the line where it starts.

    By its content the file is JSON lines, one list of objects, or objects one after another in any layout.

    Raises:
        SmolfastError: as `read_lines`; a list that is broken or isn't closed.
    """
    if stream.peek(1).lstrip()[:1] == b"[":
        yield from _Values(stream, path, 1, b"").all()
        return
    lines = read_lines(stream, path)
    first = next(lines, None)
    if first is not None and _is_json(first[1]):
        yield first
        yield from lines
    elif first is not None:
        yield from _Values(stream, path, *first).all()


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


class _Values:
    """Values of a list or a sequence, found one after another in what has been read so far."""

    def __init__(self, stream: io.BufferedReader, path: str, line: int, start: bytes) -> None:
        self.stream = stream
        self.path = path
        self.line = line  # of `text[at]`
        self.decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self.text = self.decoder.decode(start)
        self.at = 0
        self.ended = False
        self.scan = scan_of(json.JSONDecoder())

    def all(self) -> Iterator[tuple[int, bytes]]:
        listed = self.peek() == "["
        if listed:
            self.at += 1
        first = True
        while True:
            after = self.peek()
            if listed and after == "]" and first:
                break
            if not first and listed:
                if after not in (",", "]"):
                    raise self.broken("expecting ',' or the list's end")
                self.at += 1
                if after == "]":
                    break
                after = self.peek()
            if not after:
                if listed:
                    raise self.broken("the list isn't closed")
                return
            yield self.value()
            first = False
        self.at += first
        if self.peek():
            raise self.broken("something follows the list")

    def peek(self) -> str:
        """The next character that isn't space; "" at the end."""
        while True:
            while self.at < len(self.text) and self.text[self.at] in " \t\r\n":
                self.line += self.text[self.at] == "\n"
                self.at += 1
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.more():
                return ""

    def more(self) -> bool:
        """Read about as much again as is waiting; False at the end."""
        if not self.ended:
            block = self.stream.read(max(1 << 20, len(self.text) - self.at))
            self.ended = not block
            self.text = self.text[self.at :] + self.decoder.decode(block, self.ended)
            self.at = 0
        return not self.ended

    def value(self) -> tuple[int, bytes]:
        while True:
            try:
                _, end = self.scan(self.text, self.at)
                break
            except RecursionError as error:
                raise self.broken("brackets thousands deep") from error
            except StopIteration as error:
                at, what = error.value, "expecting value"
            except json.JSONDecodeError as error:
                at, what = error.pos, error.msg
            except ValueError as error:  # a number of thousands of digits
                raise self.broken(" ".join(str(error).split())) from error
            # What is broken far from the end of what was read stays broken; a string may end later.
            if (at < len(self.text) - 16 and not what.startswith("Unterminated string")) or not self.more():
                self.line += self.text.count("\n", self.at, at)
                raise self.broken(what)
            if len(self.text) > MOST_LINE_BYTES:
                raise _too_long(self.path, self.line)
        raw, line = self.text[self.at : end], self.line
        self.line += raw.count("\n")
        self.at = end
        return line, raw.replace("\n", " ").replace("\r", " ").encode("utf-8", "surrogateescape")

    def broken(self, what: str) -> SmolfastError:
        return SmolfastError(f"{self.path}, line {self.line}: not JSON ({what}); correct or remove it")


class JsonLinesWriter:
    """Write record batches to one file of JSON lines that is whole or absent; packed if its name ends so.

    A line is an object of the columns in their order, not escaped to ASCII; columns of JSON texts (see
    `smolfast.io.json.values`) come as the values that they were. When the block raises, nothing remains and an earlier
    file stays as it was.

    Raises:
        SmolfastError: the file can't be written, or a value has no form in JSON (for example a timestamp or NaN).
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.rows = 0
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        temporary = self._stack.enter_context(atomic_path(self.path))
        with contextlib.ExitStack() as opened:
            opened.push(self._stack)
            stream: Any = self._stack.enter_context(pa.OSFile(os.fsencode(temporary), "wb"))
            name = codec(final_path(self.path).name)
            if name in ("gzip", "zstd"):
                stream = self._stack.enter_context(pa.CompressedOutputStream(stream, name))
            elif name is not None:
                packed = {"bzip2": bz2.BZ2File, "xz": lzma.LZMAFile}[name]
                stream = self._stack.enter_context(packed(stream, "wb"))
            self._stream = stream
            opened.pop_all()
        return self

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows."""
        if batch.schema.get_field_index(TEMPLATE) == 1:
            lines = self._filled(batch)
        elif any(map(is_json, batch.schema)):
            lines = self._assembled(batch)
        else:
            lines = self._dumped(batch)
        self.rows += batch.num_rows
        self._stream.write("".join(f"{line}\n" for line in lines).encode())

    def _filled(self, batch: pa.RecordBatch) -> list[str]:
        """Lines whose text, the first column, comes into the hole of the second; further columns come behind."""
        texts, templates, *further = (column.to_pylist() for column in batch.columns)
        lines = [
            template.replace(HOLE, json.dumps(text, ensure_ascii=False))
            for text, template in zip(texts, templates, strict=True)
        ]
        for name, values in zip(batch.schema.names[2:], further, strict=True):
            key = json.dumps(name, ensure_ascii=False)
            lines = [f"{line[:-1]}, {key}: {_dump(value)}}}" for line, value in zip(lines, values, strict=True)]
        return lines

    def _dumped(self, batch: pa.RecordBatch) -> list[str]:
        rows = batch.to_pylist()
        try:
            return [json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows]
        except (TypeError, ValueError) as error:
            raise self._unwritable(batch, error) from error

    def _assembled(self, batch: pa.RecordBatch) -> list[str]:
        """Lines put together from each cell's JSON."""
        columns = []
        for field, column in zip(batch.schema, batch.columns, strict=True):
            try:
                cells = [
                    "null" if value is None else decode_cell(value) if is_json(field) else _dump(value)
                    for value in column.to_pylist()
                ]
            except (TypeError, ValueError) as error:
                raise self._unwritable(batch, error) from error
            key = json.dumps(field.name, ensure_ascii=False)
            columns.append([f"{key}: {cell}" for cell in cells])
        return [f"{{{', '.join(cells)}}}" for cells in zip(*columns, strict=True)]

    def _unwritable(self, batch: pa.RecordBatch, error: Exception) -> SmolfastError:
        """Which value it was."""
        for row, values in enumerate(batch.to_pylist()):
            for name, value in values.items():
                try:
                    _dump(value)
                except (TypeError, ValueError):
                    what = f"{value}" if isinstance(value, float) else f"a {type(value).__name__}"
                    if isinstance(value, (list, dict)):
                        what += " with something in it"
                    return SmolfastError(
                        f"can't write {shown(self.path)}: row {self.rows + row}, column '{name}' holds {what} that "
                        "JSON has no form for; write parquet instead"
                    )
        return SmolfastError(f"can't write {shown(self.path)}: {error}; write parquet instead")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._stack.__exit__(kind, error, trace)


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
