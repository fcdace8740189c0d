"""How much a file of documents holds, for progress."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from smolfast.io.sources import Source, open_source


def source_size(source: Source) -> int:
    """Bytes of a local file, for progress; 1 of a URL."""
    return 1 if "://" in source.path else Path(source.path).stat().st_size


def source_rows(source: Source) -> int:
    """Rows of a local parquet file, for progress; 0 where that isn't known."""
    if source.kind != "parquet" or "://" in source.path:
        return 0
    try:
        with open_source(source.path) as stream, pq.ParquetFile(stream) as file:
            return int(file.metadata.num_rows)
    except (OSError, pa.ArrowException, ValueError):
        return 0
