"""Near-duplicates worth showing: found in the removal record, their texts looked up in the run's tables."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True)
class _Removal:
    row: int
    removed_id: str
    kept_id: str
    jaccard: float
    cluster: int


def near_duplicate_examples(folder: Path, most: int = 4) -> tuple[list[Example], int]:
    """Up to `most` instructive pairs, most alike first, and the number of near-duplicates removed in all.

    One pair a cluster, spread over the range of Jaccard, 1.0 only where there is nothing below; readable lengths, few
    changed lines and documents of different names are preferred.

    Raises:
        SmolfastError: a table of the run is broken.
    """
    removed_path = folder / "dedup" / "removed.parquet"
    if not removed_path.exists():
        return [], 0
    removals = _near_removals(removed_path)
    candidates = _spread(removals)
    wanted = [removal for band in candidates for removal in band]
    removed_texts = _texts(
        folder / "normalize" / "documents.parquet", {r.removed_id for r in wanted}, {r.row for r in wanted}
    )
    kept_texts = _texts(folder / "dedup" / "kept.parquet", {r.kept_id for r in wanted})

    ranked: list[list[Example]] = []
    for band in candidates:
        examples = []
        for removal in band:
            left = removed_texts.get((removal.removed_id, removal.row), removed_texts.get((removal.removed_id, None)))
            right = kept_texts.get((removal.kept_id, None))
            if left is not None and right is not None and left != right:
                examples.append(
                    Example(
                        removal.removed_id,
                        removal.kept_id,
                        removal.jaccard,
                        left[:_MOST_CHARACTERS],
                        right[:_MOST_CHARACTERS],
                    )
                )
        ranked.append(sorted(examples, key=_instructive, reverse=True))
    chosen: list[Example] = []
    for place in range(_CANDIDATES_PER_BAND):
        chosen += [band[place] for band in ranked if place < len(band)]
    return sorted(chosen[:most], key=lambda e: (-e.jaccard, e.removed_id)), len(removals)


def _near_removals(path: Path) -> list[_Removal]:
    columns = ["row", "id", "kept_id", "jaccard", "cluster_id", "kind"]
    try:
        missing = [name for name in columns if name not in pq.read_schema(path).names]
        if missing:
            raise SmolfastError(f"{path} has no column {missing[0]}; delete the dedup folder and run again")
        table = pq.read_table(path, columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise SmolfastError(f"{path} can't be read ({error}); delete the dedup folder and run again") from error
    near = []
    for entry in table.to_pylist():
        if entry["kind"] != "exact" and entry["jaccard"] is not None:
            near.append(
                _Removal(
                    int(entry["row"]),
                    str(entry["id"]),
                    str(entry["kept_id"]),
                    float(entry["jaccard"]),
                    int(entry["cluster_id"]),
                )
            )
    return near


def _spread(removals: Iterable[_Removal]) -> list[list[_Removal]]:
    """Candidates by band of Jaccard below 1, evenly taken; pairs at 1 make the last band."""
    one_a_cluster: dict[tuple[int, int], _Removal] = {}
    for removal in removals:
        band = (
            len(_BANDS) if removal.jaccard >= 1 else next(i for i, low in enumerate(_BANDS) if removal.jaccard >= low)
        )
        one_a_cluster.setdefault((band, removal.cluster), removal)
    bands: list[list[_Removal]] = [[] for _ in range(len(_BANDS) + 1)]
    seen: set[int] = set()
    for (band, cluster), removal in sorted(one_a_cluster.items()):
        if cluster not in seen:
            seen.add(cluster)
            bands[band].append(removal)
    taken = [
        [band[len(band) * i // _CANDIDATES_PER_BAND] for i in range(_CANDIDATES_PER_BAND)]
        if len(band) > _CANDIDATES_PER_BAND
        else band
        for band in bands
    ]
    below_one = any(taken[:-1])
    return taken[:-1] if below_one else taken


def _texts(path: Path, ids: set[str], rows: set[int] | None = None) -> dict[tuple[str, int | None], str]:
    """Texts by (id, None), the first of equal ids, and by (id, row) for the wanted rows; nothing without the file."""
    if not path.exists() or not ids:
        return {}
    found: dict[tuple[str, int | None], str] = {}
    first_row = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024, columns=["id", "text"]):
                texts = batch.column("text")
                for index, value in enumerate(batch.column("id").to_pylist()):
                    if str(value) not in ids:
                        continue
                    key = str(value)
                    if (key, None) not in found:
                        found[key, None] = str(texts[index])
                    if rows is not None and first_row + index in rows:
                        found[key, first_row + index] = str(texts[index])
                first_row += batch.num_rows
    except (pa.ArrowException, OSError, KeyError) as error:
        raise SmolfastError(f"{path} can't be read ({error}); delete {os.fspath(path.parent)} and run again") from error
    return found


def _instructive(example: Example) -> tuple[float, Any]:
    left, right = example.removed_text.split("\n"), example.kept_text.split("\n")
    changed = len(set(left) ^ set(right))
    words = sum(1 for c in example.removed_text[:4000] if c.isalpha() or c == " ") / max(
        1, len(example.removed_text[:4000])
    )
    score = 2.0 * (1 <= changed <= 30)
    score += all(_READABLE[0] <= len(text) <= _READABLE[1] for text in (example.removed_text, example.kept_text))
    score += words > 0.6
    score += 0.5 * (posixpath.basename(example.removed_id) != posixpath.basename(example.kept_id))
    return score, -changed
