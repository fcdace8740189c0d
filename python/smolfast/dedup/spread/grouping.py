"""From records of keys to components, and from components to what becomes of their documents."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smolfast import _native
from smolfast.dedup.clustering import find_clusters
from smolfast.dedup.rules import Rules
from smolfast.dedup.spread.components import Links, scattered
from smolfast.dedup.spread.pieces import RAGGED, Columns, Fates
from smolfast.dedup.store import DocumentStore, Position

Documents = npt.NDArray[np.int64]


def link(starts: Documents, bounds: Documents, *records: tuple[npt.NDArray[Any], npt.NDArray[Any]]) -> list[Links]:
    """Links of documents that share a key, for each shard: the first of a key with all others.

    Args:
        starts: the number of each piece's first document.
        records: of each piece, keys of one range and rows.
    """
    keys = np.concatenate([key for key, _ in records])
    documents = np.concatenate([row + start for (_, row), start in zip(records, starts, strict=False)])
    order = np.argsort(keys, kind="stable")
    keys, documents = keys[order], documents[order]
    again = np.flatnonzero(keys[1:] == keys[:-1]) + 1
    if not len(again):
        return scattered(np.empty((0, 2), np.int64), bounds, both=True)
    heads = np.ones(len(keys), np.bool_)
    heads[again] = False
    first = np.maximum.accumulate(np.where(heads, np.arange(len(keys)), 0))[again]
    # Several bands link the same two.
    pairs = np.unique(np.stack([documents[first], documents[again]], axis=1), axis=0)
    return scattered(pairs, bounds, both=True)


def split(members: Links, count: int) -> list[Documents]:
    """The documents of whole components in so many bins of about the same size, each ascending."""
    starts = np.flatnonzero(np.diff(members[:, 0], prepend=-1))
    sizes = np.diff(np.append(starts, len(members)))
    bin_of = np.minimum(starts * count // max(1, len(members)), count - 1)
    of_member = np.repeat(bin_of, sizes)
    return [np.sort(members[of_member == at, 1]) for at in range(count)]


def by_piece(starts: Documents, documents: Documents) -> list[Documents]:
    """Documents by the piece that they lie in."""
    ends = np.searchsorted(documents, starts)
    return [documents[ends[at] : ends[at + 1]] for at in range(len(starts) - 1)]


def decide(
    rules: Rules, memory: int, protected: int, starts: Documents, documents: Documents, *parts: Columns
) -> list[Fates]:
    """What becomes of the documents of whole components, for each piece.

    Numbered anew in their order they are a run of their own, with numbers of 32 bits. What doesn't fit in memory goes
    to this machine's disk.

    Args:
        documents: their numbers, ascending.
        parts: their columns, piece by piece.
    """
    count = len(documents)
    with tempfile.TemporaryDirectory(prefix="smolfast-") as folder:
        layout = rules.layout()
        del layout["source"]
        store = DocumentStore(layout, Path(folder), memory)
        values = dict.fromkeys(RAGGED, 0)
        for part in parts:
            rows = len(part["length"])
            if not rows:
                continue
            columns = dict(part)
            for name, end in RAGGED.items():
                if name in columns:
                    columns[end] = columns[end] + values[name]
                    values[name] += len(columns[name])
            # What came from another process has a dtype that is equal to numpy's own, but not the same.
            signatures = columns["signature"].view(rules.hasher.dtype)
            keys = _native.band_keys(signatures, rules.bands, rules.rows, 1)
            columns |= {f"band-{band:03}": keys[band] for band in range(rules.bands)}
            store.append(columns, rows, Position(), {})
        store.finish()
        before = int(np.searchsorted(documents, protected))
        found = find_clusters(store, rules, memory=memory, threads=1, protected=before)
        stays = documents.copy()
        stays[found.removed] = documents[found.kept_for]
        jaccard, exact = np.full(count, np.nan), np.zeros(count, np.bool_)
        jaccard[found.removed], exact[found.removed] = found.jaccard, found.exact
        roots, sizes = documents[found.roots], found.sizes.astype(np.int64)
    ends = np.searchsorted(documents, starts)
    columns_of: Sequence[npt.NDArray[Any]] = (documents, roots, sizes, stays, jaccard, exact)
    return [Fates(*(column[ends[at] : ends[at + 1]] for column in columns_of)) for at in range(len(starts) - 1)]
