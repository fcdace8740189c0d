"""The documents to read: PDF files, rows of parquet whose column holds PDFs, and records of crawls."""

from __future__ import annotations

import contextlib
import glob
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from smolfast.errors import SmolfastError
from smolfast.files import describe_os_error
from smolfast.io.sources import (
    CRAWLS,
    PassedOver,
    Sources,
    document_id,
    find_by_name,
    find_sources,
    is_crawl,
    is_url,
)
from smolfast.pdf.input import Pdf

_BLOCK = 1 << 20
_ABOUT = ("id", "url", "date")
"""Columns of parquet that come out as they are."""
_CUT = "content_truncated"
"""One that says, as Common Crawl's index does, that the file is cut."""
_ROWS = 8
"""Of a file of parquet in memory at a time: each may be of many megabytes."""


def find_pdfs(inputs: Sequence[str | os.PathLike[str]]) -> Sources:
    """The files that `inputs` name: below a folder those that end in .pdf and those of a crawl, else also .parquet.

    A pattern that ends in .parquet names files of parquet.

    Raises:
        SmolfastError: nothing given, a missing path, a URL of something else than a crawl, nothing found.
    """
    for given in inputs:
        if is_url(path := os.fspath(given)) and not is_crawl(path):
            raise SmolfastError(f"{path} is no address that PDFs are fetched from; give http:// or https://, or a file")
    endings = (".pdf", *CRAWLS)
    named: list[str | os.PathLike[str]] = []
    passed: list[PassedOver] = []
    for given in inputs:
        if glob.has_magic(path := os.fspath(given)) and is_parquet(path) and not os.path.lexists(path):
            rows_of = find_sources([path])
            named += [source.path for source in rows_of]
            passed += rows_of.passed_over
        else:
            named.append(given)
    try:
        found = find_by_name(named, "pdf", lambda path: path.lower().endswith(".pdf") or is_crawl(path), endings)
        return Sources(found, [*found.passed_over, *passed])
    except SmolfastError as error:
        for folder in map(Path, inputs):
            rows = next(folder.rglob("*.parquet"), None) if folder.is_dir() else None
            if rows is not None and "holds no file" in str(error):
                raise SmolfastError(
                    f"{folder} holds no PDF files. Parquet is read where files are named: give {rows}, or "
                    f"'{rows.parent}/*.parquet'"
                ) from error
        raise


def is_parquet(path: str) -> bool:
    """Whether a named file holds rows."""
    return path.lower().endswith(".parquet")


def read_pdfs(sources: Sources, column: str | None, workers: int, others: Counter[str]) -> Iterator[Pdf]:
    """The documents in order.

    Args:
        workers: processes that look through crawls.
        others: its `records` grows by the records of crawls that hold no PDF.

    Raises:
        SmolfastError: a file that can't be read, one of parquet without a column of bytes, a crawl without the extra
            that reads it.
    """
    with contextlib.ExitStack() as stack:
        pool = None
        for source in sources:
            try:
                if is_crawl(source.path):
                    from smolfast.pdf.warc.reading import read_crawl, scanning

                    pool = pool or stack.enter_context(scanning(workers))
                    yield from read_crawl(source, pool, workers + 1, others)
                elif is_parquet(source.path):
                    yield from _rows(source.path, column)
                else:
                    size, made = _hashed(source.path)
                    yield Pdf(document_id(source.path), source.path, size, made)
            except OSError as error:
                raise SmolfastError(f"can't read {source.path}: {describe_os_error(error)}") from error
            except pa.ArrowException as error:
                raise SmolfastError(
                    f"can't read {source.path}: {' '.join(str(error).split())}; leave it out"
                ) from error


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
        names = file.schema_arrow.names
        about = [name for name in (*_ABOUT, _CUT) if name in names and name != chosen]
        row = 0
        for batch in file.iter_batches(_ROWS, columns=[chosen, *about]):
            said = batch.select(about).to_pylist() if about else [{}] * batch.num_rows
            for content, known in zip(batch.column(chosen), said, strict=True):
                data = _content(content.as_py())
                texts = {name: str(known[name]) for name in _ABOUT if known.get(name) is not None}
                made = xxhash.xxh3_128_hexdigest(data)
                yield Pdf(
                    texts.get("id") or f"{document_id(path)}:{row}",
                    path,
                    len(data),
                    made,
                    data,
                    url=texts.get("url"),
                    date=texts.get("date"),
                    truncated=bool(known.get(_CUT)),
                )
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
