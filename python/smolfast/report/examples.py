"""Near-duplicates worth showing: found in the removal record, their texts looked up in what deduplication read."""

from __future__ import annotations

import posixpath
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from smolfast.errors import SmolfastError

_BANDS = (0.95, 0.9, 0.85, 0.8, 0.7, 0.0)
_CANDIDATES_PER_BAND = 12
_MOST_CHARACTERS = 400_000
_READABLE = (300, 20_000)


@dataclass(frozen=True)
class Example:
    """A removed document beside the one kept for it."""

    removed_id: str
    kept_id: str
    jaccard: float
    removed_text: str
    kept_text: str


def near_duplicate_examples(folder: Path, most: int = 4) -> tuple[list[Example], int]:
    """Up to `most` instructive pairs, most alike first, and the number of near-duplicates removed in all.

    One pair a cluster, spread over the range of Jaccard, 1.0 only where there is nothing below; readable lengths, few
    changed words and documents of different names are preferred.

    Raises:
        SmolfastError: a table of the run is broken.
    """
    removed_path = folder / "dedup" / "removed.parquet"
    if not removed_path.exists():
        return [], 0
    near = _near_removals(removed_path)
    candidates = _spread(near)
    rows = {row for band in candidates for r in band for row in (r["row"], r["kept_row"])}
    texts = _texts(folder / "normalize" / "documents.parquet", rows)

    ranked: list[list[Example]] = []
    for band in candidates:
        examples = []
        for r in band:
            removed_id, kept_id = str(r["id"]), str(r["kept_id"])
            left, right = texts.get((r["row"], removed_id)), texts.get((r["kept_row"], kept_id))
            if left is not None and right is not None and left != right:
                left, right = left[:_MOST_CHARACTERS], right[:_MOST_CHARACTERS]
                examples.append(Example(removed_id, kept_id, r["jaccard"], left, right))
        ranked.append(sorted(examples, key=_instructive, reverse=True))
    chosen: list[Example] = []
    for place in range(_CANDIDATES_PER_BAND):
        chosen += [band[place] for band in ranked if place < len(band)]
    return sorted(chosen[:most], key=lambda e: (-e.jaccard, e.removed_id)), near.num_rows


def _near_removals(path: Path) -> pa.Table:
    """The rows of the removal record on documents that resembled the one kept without being equal to it."""
    columns = ["row", "id", "kept_row", "kept_id", "jaccard", "cluster_id", "kind"]
    try:
        with path.open("rb") as file:
            missing = [name for name in columns if name not in pq.read_schema(file).names]
            if missing:
                raise SmolfastError(f"{path} has no column {missing[0]}; delete the dedup folder and run again")
            return pq.read_table(file, columns=columns, filters=[("kind", "=", "near")])
    except (pa.ArrowException, OSError) as error:
        raise SmolfastError(f"{path} can't be read ({error}); delete the dedup folder and run again") from error


def _spread(near: pa.Table) -> list[list[dict[str, Any]]]:
    """Candidates by band of Jaccard below 1, evenly taken, one a cluster; pairs at 1 only where there are no others."""
    jaccard, cluster = near["jaccard"].to_numpy(), near["cluster_id"].to_numpy()
    bands = np.where(jaccard >= 1, len(_BANDS), np.digitize(jaccard, _BANDS))
    order = np.lexsort((cluster, bands))  # stable: equals stay in input order
    first = np.sort(np.unique(cluster[order], return_index=True)[1])
    taken: list[list[dict[str, Any]]] = []
    for band in range(len(_BANDS) + 1):
        found = order[first][bands[order[first]] == band]
        if band == len(_BANDS) and any(taken):
            break
        if len(found) > _CANDIDATES_PER_BAND:
            found = found[np.arange(_CANDIDATES_PER_BAND) * len(found) // _CANDIDATES_PER_BAND]
        taken.append(near.take(found).to_pylist())
    return taken


def _texts(path: Path, rows: set[int]) -> dict[tuple[int, str], str]:
    """The texts at these rows, by row and id; nothing without the file."""
    if not path.exists() or not rows:
        return {}
    found: dict[tuple[int, str], str] = {}
    first = 0
    try:
        with path.open("rb") as stream, pq.ParquetFile(stream) as file:
            for batch in file.iter_batches(batch_size=1024, columns=["id", "text"]):
                for row in sorted(rows & set(range(first, first + batch.num_rows))):
                    found[row, str(batch["id"][row - first])] = str(batch["text"][row - first])
                first += batch.num_rows
    except (pa.ArrowException, OSError, KeyError) as error:
        raise SmolfastError(f"{path} can't be read ({error}); delete {path.parent} and run again") from error
    return found


def _instructive(example: Example) -> tuple[float, Any]:
    left, right = Counter(example.removed_text.split()), Counter(example.kept_text.split())
    changed = ((left - right) + (right - left)).total()
    words = sum(1 for c in example.removed_text[:4000] if c.isalpha() or c == " ") / max(
        1, len(example.removed_text[:4000])
    )
    score = 2.0 * (1 <= changed <= 60)
    score += all(_READABLE[0] <= len(text) <= _READABLE[1] for text in (example.removed_text, example.kept_text))
    score += words > 0.6
    score += 0.5 * (posixpath.basename(example.removed_id) != posixpath.basename(example.kept_id))
    return score, -changed
