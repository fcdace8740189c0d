"""The documents to read: PDF files, and rows of parquet whose column holds PDFs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from smolfast.errors import SmolfastError
from smolfast.files import describe_os_error
from smolfast.io.sources import Sources, document_id, find_by_name

_BLOCK = 1 << 20
_ROWS = 8
"""Of a file of parquet in memory at a time: each may be of many megabytes."""


@dataclass(frozen=True)
class Pdf:
    """One document."""

    id: str
    path: str
    size: int
    hash: str
    """xxh3-128 of its bytes."""
    content: bytes | None
    """Of a row."""


def find_pdfs(inputs: Sequence[str | os.PathLike[str]]) -> Sources:
    """The files that `inputs` name: below a folder those that end in .pdf, else also .parquet.

    Raises:
        SmolfastError: nothing given, a missing path, a URL, nothing found.
    """
    for given in inputs:
        if "://" in os.fspath(given):
            raise SmolfastError(f"{os.fspath(given)} is a URL; fetch it first, and give the file")
    return find_by_name(inputs, "pdf", lambda path: path.lower().endswith(".pdf"), (".pdf",))


def is_parquet(path: str) -> bool:
    """Whether a named file holds rows."""
    return path.lower().endswith(".parquet")


def read_pdfs(sources: Sources, column: str | None) -> Iterator[Pdf]:
    """The documents in order.

    Raises:
        SmolfastError: a file that can't be read, or one of parquet without a column of bytes.
    """
    for source in sources:
        try:
            if is_parquet(source.path):
                yield from _rows(source.path, column)
            else:
                size, made = _hashed(source.path)
                yield Pdf(document_id(source.path), source.path, size, made, None)
        except OSError as error:
            raise SmolfastError(f"can't read {source.path}: {describe_os_error(error)}") from error
        except pa.ArrowException as error:
            raise SmolfastError(f"can't read {source.path}: {' '.join(str(error).split())}; leave it out") from error


def _hashed(path: str) -> tuple[int, str]:
    digest = xxhash.xxh3_128()
    size = 0
    with open(path, "rb") as file:  # noqa: PTH123 - the name need not be UTF-8
        while block := file.read(_BLOCK):
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()


def _rows(path: str, column: str | None) -> Iterator[Pdf]:
    with pq.ParquetFile(pa.OSFile(os.fsencode(path), "rb")) as file:
        chosen = column or _column(file.schema_arrow, path)
        if chosen not in file.schema_arrow.names or not _is_bytes(file.schema_arrow.field(chosen).type):
            have = ", ".join(file.schema_arrow.names)
            raise SmolfastError(f"{path} has no column {chosen!r} of bytes; give one of its columns: {have}")
        has_id = "id" in file.schema_arrow.names
        row = 0
        for batch in file.iter_batches(_ROWS, columns=[chosen, *(["id"] if has_id else [])]):
            for content, name in zip(
                batch.column(chosen), batch.column("id") if has_id else [None] * batch.num_rows, strict=True
            ):
                data = _content(content.as_py())
                named = None if name is None or name.as_py() is None else str(name.as_py())
                made = xxhash.xxh3_128_hexdigest(data)
                yield Pdf(named or f"{document_id(path)}:{row}", path, len(data), made, data)
                row += 1


def _column(schema: pa.Schema, path: str) -> str:
    found = [field.name for field in schema if _is_bytes(field.type)]
    if not found:
        raise SmolfastError(f"{path} has no column of bytes; give PDF files, or a file of parquet that holds them")
    if len(found) > 1:
        raise SmolfastError(
            f"{path} has columns of bytes: {', '.join(found)}; name the one with the PDFs (--bytes-column)"
        )
    return str(found[0])


def _content(value: Any) -> bytes:
    """The bytes of a cell: its own, or those of the structs in which the hub's datasets keep files."""
    found = value.get("bytes") if isinstance(value, dict) else value
    return bytes(found or b"")


def _is_bytes(type_: pa.DataType) -> bool:
    if pa.types.is_dictionary(type_):
        return _is_bytes(type_.value_type)
    if pa.types.is_struct(type_):
        return any(field.name == "bytes" and _is_bytes(field.type) for field in type_)
    return bool(pa.types.is_binary(type_) or pa.types.is_large_binary(type_) or pa.types.is_binary_view(type_))
