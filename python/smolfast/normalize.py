"""Normalise the text column of files: any documents in, parquet out, every other column kept."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from smolfast import text
from smolfast.documents import BatchWriter, ErrorPolicy, find_sources, read_batches, utf8_bytes
from smolfast.progress import ProgressCallback


def normalize_documents(
    inputs: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    form: text.Form = "NFC",
    text_column: str = "text",
    errors: ErrorPolicy = "fail",
    threads: int = 0,
    progress: ProgressCallback | None = None,
) -> dict[str, Any]:
    """Write `output` (parquet) with the text column in Unicode normalisation form `form`.

    Args:
        inputs: files, folders or URLs, as `smolfast.documents.find_sources` takes them.
        form: NFC, NFD, NFKC or NFKD (Unicode Standard Annex 15).
        errors: for bytes that are not UTF-8: "fail", "replace" or "skip" the document.
        threads: 0 for every CPU this process may use. The result does not depend on it.

    Returns:
        documents_in, bytes_in, documents_out, bytes_out, documents_changed; bytes are UTF-8 bytes of text.
    """
    sources = find_sources(inputs)
    counts = dict.fromkeys(("documents_in", "bytes_in", "documents_out", "bytes_out", "documents_changed"), 0)
    with BatchWriter(output) as writer:
        for index, source in enumerate(sources):
            for batch in read_batches(source, text_column=text_column, errors=errors):
                before = batch.column(text_column)
                after = text.normalize(before, form, threads=threads)
                after = after.combine_chunks() if isinstance(after, pa.ChunkedArray) else after
                position = batch.schema.get_field_index(text_column)
                writer.write(batch.set_column(position, pa.field(text_column, after.type), after))
                counts["documents_in"] += batch.num_rows
                counts["documents_out"] += batch.num_rows
                counts["bytes_in"] += utf8_bytes(before)
                counts["bytes_out"] += utf8_bytes(after)
                counts["documents_changed"] += pc.sum(pc.not_equal(before, after.cast(before.type))).as_py() or 0
                if progress is not None:
                    progress(index, len(sources), f"{counts['documents_in']:,} documents")
    return counts
