"""Split documents into train and held-out by a hash of their text."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import xxhash

from smolfast.boundary import computing
from smolfast.columns import select
from smolfast.documents import BatchWriter, find_sources, read_batches, utf8_bytes
from smolfast.errors import SmolfastError
from smolfast.shards import common_schema

if TYPE_CHECKING:
    from smolfast.progress import ProgressCallback

SIDES = ("train", "held_out")


def split_documents(
    documents: str | os.PathLike[str],
    output_folder: str | os.PathLike[str],
    *,
    held_out_fraction: float,
    seed: int,
    text_column: str = "text",
    progress: ProgressCallback | None = None,
) -> dict[str, Any]:
    """Write `train.parquet` and `held_out.parquet`, every column kept as it is, the documents in their order.

    A document is held out when the 64-bit xxh3 of its text, under `seed`, lies in the lowest `held_out_fraction` of
    its range. So its side depends on nothing but its text and the seed, and equal texts share a side. Split after
    deduplication, so that no near-duplicate crosses.

    Returns:
        documents_in, bytes_in, documents_out, bytes_out (UTF-8 bytes of text; out equals in), train_documents,
        train_bytes, held_out_documents, held_out_bytes.

    Raises:
        SmolfastError: input that can't be read, columns that can't be joined or stored, a side without documents, a
            disk that can't be written.
    """
    limit = min(int(held_out_fraction * 2**64), 2**64 - 1)
    counts: Counter[str] = Counter()
    total = 0
    folder = Path(output_folder)
    sources = find_sources([documents])
    schema = common_schema(sources, text_column=text_column)
    with (
        BatchWriter(folder / "train.parquet", schema) as train,
        BatchWriter(folder / "held_out.parquet", schema) as held_out,
    ):
        for index, source in enumerate(sources):
            row = 0
            for batch in read_batches(source, text_column=text_column):
                with computing(source.path, row, batch.num_rows):
                    texts = batch.column(text_column).cast(pa.large_binary()).to_pylist()
                    hashes = [xxhash.xxh3_64_intdigest(text, seed % 2**64) for text in texts]
                    is_held_out = np.array(hashes, np.uint64) < np.uint64(limit)
                    parts = [select(batch, ~is_held_out), select(batch, is_held_out)]
                row += batch.num_rows
                for side, writer, part in zip(SIDES, (train, held_out), parts, strict=True):
                    writer.write(part)
                    counts[f"{side}_documents"] += part.num_rows
                    counts[f"{side}_bytes"] += utf8_bytes(part.column(text_column))
                total = counts["train_documents"] + counts["held_out_documents"]
                if progress is not None:
                    progress(index, len(sources), f"{total:,} documents")
        for side, remedy in (("train", "lower"), ("held_out", "raise")):
            if not counts[f"{side}_documents"]:
                raise SmolfastError(
                    f"the {side} side is empty: {total} documents at split.held_out_fraction = {held_out_fraction}; "
                    f"give more --input or {remedy} split.held_out_fraction"
                )
    bytes_in = counts["train_bytes"] + counts["held_out_bytes"]
    return {
        "documents_in": total,
        "bytes_in": bytes_in,
        "documents_out": total,
        "bytes_out": bytes_in,
        **{f"{side}_{what}": counts[f"{side}_{what}"] for side in SIDES for what in ("documents", "bytes")},
    }
