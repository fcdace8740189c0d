"""Files in and out: find documents, read them as Arrow batches, write parquet and JSON lines. No torch."""

from __future__ import annotations

from smolfast.io.documents import ErrorPolicy, read_batches, utf8_bytes
from smolfast.io.json.lines import JsonLinesWriter
from smolfast.io.parquet.writer import BatchWriter
from smolfast.io.sources import Source, find_sources

__all__ = ["BatchWriter", "ErrorPolicy", "JsonLinesWriter", "Source", "find_sources", "read_batches", "utf8_bytes"]
