"""FineWeb-2's rehydration: documents repeated by how many duplicates they stood for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
import pyarrow as pa

from smolfast.errors import SmolfastError

Rows = TypeVar("Rows", pa.Table, pa.RecordBatch)


def rehydrate(table: Rows, weights: Mapping[int, int], column: str = "cluster_size") -> Rows:
    """The table with each row repeated as often as the weight of its cluster's size says.

    FineWeb-2 repeats documents that had neither very few nor very many duplicates, since its filters removed the fewest
    of these. Its repository has weights by language (misc/rehydration/weights).

    Args:
        table: kept documents, each with the size of the cluster that it stands for (itself included).
        weights: how often from a size on: {1: 1, 2: 3, 5: 6} is once for 1, three times for 2 to 4, six times from 5
            on. Sizes below the first are taken once. JSON's keys ("2") are taken as numbers. A weight of 0 drops rows.
        column: the column of sizes, of an integer type: by default the one that `deduplicate` adds. In
            FineWeb-2's data it is called minhash_cluster_size.

    Returns:
        Rows in their order, a document's copies side by side, all columns and the schema as they were.

    Raises:
        SmolfastError: no such column, no integers in it, nulls, or weights that aren't numbers from 0.
    """
    steps: list[tuple[int, int]] = _steps(weights)
    if column not in table.schema.names:
        raise SmolfastError(
            f"no column {column!r}; name the one with the clusters' sizes: {', '.join(table.schema.names)}"
        )
    if not pa.types.is_integer(table.schema.field(column).type):
        raise SmolfastError(
            f"column {column!r} is of {table.schema.field(column).type}; it must be integers, the clusters' sizes"
        )
    values = table.column(column)
    if values.null_count:
        raise SmolfastError(f"column {column!r} has nulls; fill them with 1, the size of a cluster of one")
    sizes = np.asarray(values)
    starts = np.array([start for start, _ in steps], np.int64)
    repeats = np.array([1, *(repeat for _, repeat in steps)], np.int64)
    times = repeats[np.searchsorted(starts, sizes, side="right")]
    return table.take(pa.array(np.repeat(np.arange(len(sizes)), times)))


def _steps(weights: Mapping[int, int]) -> list[tuple[int, int]]:
    steps: dict[int, int] = {}
    for size, repeat in weights.items():
        try:
            at = int(size)
        except (TypeError, ValueError) as error:
            raise SmolfastError(f"weights: {size!r} is no cluster size; use whole numbers from 1") from error
        if at < 1 or isinstance(repeat, bool) or not isinstance(repeat, (int, np.integer)) or repeat < 0:
            raise SmolfastError(
                f"weights: {size!r}: {repeat!r}; use {{size from 1: times from 0}}, such as {{1: 1, 2: 3}}"
            )
        steps[at] = int(repeat)
    if not steps:
        raise SmolfastError("weights are empty; give {size: times}, such as {1: 1, 2: 3}")
    return sorted(steps.items())
