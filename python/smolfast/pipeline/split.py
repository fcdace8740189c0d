"""Split documents into train and held-out by a hash of their text."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from smolfast.errors import SmolfastError
from smolfast.io.boundary import computing
from smolfast.io.documents import BatchWriter, read_batches, utf8_bytes
from smolfast.io.keep_apart import check_free, find_apart
from smolfast.io.schemas.columns import find_column, select
from smolfast.io.schemas.shards import common_schema

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
    types: Mapping[str, str] | None = None,
    errors: str = "fail",
    progress: ProgressCallback | None = None,
) -> dict[str, Any]:
    """Write `train.parquet` and `held_out.parquet`, every column kept as it is, the documents in their order.

    A document is held out when the 64-bit xxh3 of its text, under `seed`, lies in the lowest `held_out_fraction` of
    its range. So its side depends on nothing but its text and the seed, and equal texts share a side.

    Split after deduplication, so that no near-duplicate crosses: documents of one `cluster_id`, the column that
    `deduplicate` adds, go where the first of them goes. They are alike, if not enough for one to have been removed.

    Args:
        output_folder: files of these two names in it are replaced, whoever wrote them, as Python's writers do (the
            command refuses where it has no record of them); others stay. It may lie in `documents`, a folder, and
            isn't read then; files of these names there are refused.
        types: of columns of JSON and CSV, as `smolfast.io.read_batches` takes them.
        errors: for text that isn't UTF-8 or is missing: "fail", "replace" or "skip" the document.

    Returns:
        documents_in, bytes_in, documents_out, bytes_out (UTF-8 bytes of text; out equals in), train_documents,
        train_bytes, held_out_documents, held_out_bytes; documents_replaced and documents_skipped, by `errors`, and
        passed_over and passed_over_files, of a folder, where there are any.

    Raises:
        SmolfastError: input that can't be read, columns that can't be joined or stored, a side without documents, a
            disk that can't be written.
    """
    limit = min(int(held_out_fraction * 2**64), 2**64 - 1)
    counts: Counter[str] = Counter()
    repairs: Counter[str] = Counter()
    total = 0
    folder = Path(output_folder)
    names = [f"{side}.parquet" for side in SIDES]
    sources, inside = find_apart([documents], folder, writes=names)
    check_free(folder, names, inside)
    schema = common_schema(sources, text_column=text_column, types=types, errors=errors)
    sides: dict[int, bool] = {}
    with (
        BatchWriter(folder / "train.parquet", schema) as train,
        BatchWriter(folder / "held_out.parquet", schema) as held_out,
    ):
        for index, source in enumerate(sources):
            row = 0
            for batch in read_batches(source, text_column=text_column, types=types, errors=errors, counts=repairs):
                with computing(source.path, row, batch.num_rows):
                    texts = batch.column(text_column).cast(pa.large_binary()).to_pylist()
                    hashes = [xxhash.xxh3_64_intdigest(text, seed % 2**64) for text in texts]
                    is_held_out = np.array(hashes, np.uint64) < np.uint64(limit)
                    _follow_clusters(batch, is_held_out, sides)
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
                    f"give more documents or {remedy} split.held_out_fraction"
                )
    bytes_in = counts["train_bytes"] + counts["held_out_bytes"]
    return {
        "documents_in": total + repairs["skipped"],
        "bytes_in": bytes_in,
        "documents_out": total,
        "bytes_out": bytes_in,
        **{f"{side}_{what}": counts[f"{side}_{what}"] for side in SIDES for what in ("documents", "bytes")},
        **{f"documents_{what}": count for what, count in repairs.items() if count},
        **sources.summary(),
    }


def _follow_clusters(batch: pa.RecordBatch, is_held_out: npt.NDArray[np.bool_], sides: dict[int, bool]) -> None:
    """Put the documents of each cluster on the side of its first, which `sides` remembers."""
    ids, sizes = (_added(batch, name) for name in ("cluster_id", "cluster_size"))
    if ids is None:
        return
    several = pc.is_valid(ids)
    if sizes is not None:  # a cluster of one needs no memory
        several = pc.and_(several, pc.fill_null(pc.not_equal(sizes, 1), True))
    rows = np.nonzero(several.to_numpy(zero_copy_only=False))[0]
    for row, cluster in zip(rows, ids.take(pa.array(rows)).to_pylist(), strict=True):
        is_held_out[row] = sides.setdefault(cluster, bool(is_held_out[row]))


def _added(batch: pa.RecordBatch, name: str) -> pa.Array | None:
    """A column of integers that `deduplicate` added."""
    found = find_column(batch.schema, name)
    if found is None or not pa.types.is_integer(batch.schema.field(found).type):
        return None
    return batch.column(found)
