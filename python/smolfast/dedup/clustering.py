"""From the columns of a store to clusters: which document of each stays, and what to say of the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from smolfast import _native
from smolfast.dedup.index import JoinedStore
from smolfast.dedup.store import DocumentStore

Verify = Literal["none", "signature", "exact"]

_RECORD_BYTES = 40
"""A document's share of one thread's work on one band: its record while sorting, and the mapped key."""


@dataclass(frozen=True)
class Clusters:
    """Clusters of N documents, M of which are in one of two documents or more."""

    roots: npt.NDArray[np.uint32]
    """[N]: a cluster's number is that of its first document."""
    sizes: npt.NDArray[np.uint32]
    """[N]: how many documents the document's cluster has."""
    kept: npt.NDArray[np.bool_]
    """[N]: whether the document stays."""
    removed: npt.NDArray[np.uint32]
    """The documents that go, ascending."""
    kept_for: npt.NDArray[np.uint32]
    """The document that stays of each one removed."""
    jaccard: npt.NDArray[np.float32]
    """Of each one removed with the one that stays: exact if the shingle sets were stored, estimated otherwise."""
    exact: npt.NDArray[np.bool_]
    """Whether the text of each one removed is that of the one that stays."""
    count: int
    """Clusters of two documents or more."""


def find_clusters(
    store: DocumentStore | JoinedStore,
    *,
    bands: int,
    signature_size: int,
    threshold: float,
    verify: Verify,
    keep: str,
    memory: int,
    threads: int,
    protected: int = 0,
) -> Clusters:
    """Group equal texts and near-duplicates, and choose what stays.

    Args:
        verify: "none" joins all that share a band; "signature" and "exact" join those pairs whose estimated or exact
            Jaccard similarity reaches `threshold`. Of groups beyond 32 documents each is compared with up to 32 others.
        keep: "first", "longest", or "score"; ties go to the first.
        memory: bytes for sorting band records; keys are read in several passes where they don't fit.
        protected: documents of lower number than this stay before all others (what is compared against).
    """
    workers = threads or _native.available_threads()
    parts = max(1, -(-workers * _RECORD_BYTES * store.documents // max(1, memory)))
    sets = _native.DocumentSets(store.documents)
    low = store.load("text-low")
    sets.unite([store.pieces("text-high")], parts, threads, _native.StoredHashes(low), 1.0)

    signatures = _native.StoredSignatures(
        store.source("signature"), signature_size, store.layout["signature"].dtype.itemsize
    )
    alike: _native.Pairs = signatures
    if verify == "exact":
        alike = _native.StoredSets(store.source("shingle"), store.load("shingle-end"))
    pairs = None if verify == "none" else alike
    # A few bands at a time, so that no more of them are mapped than threads can use.
    for first in range(0, bands, workers):
        names = [f"band-{band:03}" for band in range(first, min(bands, first + workers))]
        sets.unite([store.pieces(name) for name in names], parts, threads, pairs, threshold)
    roots = sets.roots()
    return _choose(store, roots, low, alike, keep, threads, protected)


def _choose(
    store: DocumentStore | JoinedStore,
    roots: npt.NDArray[np.uint32],
    low: npt.NDArray[np.uint64],
    alike: _native.Pairs,
    keep: str,
    threads: int,
    protected: int,
) -> Clusters:
    sizes = np.bincount(roots, minlength=len(roots)).astype(np.uint32)[roots]
    members = np.nonzero(sizes > 1)[0]
    member_roots = roots[members]
    rank: npt.NDArray[np.float64] = np.zeros(len(members))
    if keep != "first":
        rank = -store.load("length" if keep == "longest" else "score")[members].astype(np.float64)
    if protected:
        rank[members < protected] = -np.inf
    order = np.lexsort((members, rank, member_roots))
    starts = np.nonzero(np.diff(member_roots[order], prepend=-1))[0] if len(order) else np.empty(0, np.int64)
    stays = np.zeros(len(roots), np.uint32)
    stays[member_roots[order[starts]]] = members[order[starts]]
    kept = np.ones(len(roots), np.bool_)
    kept[members] = (stays[member_roots] == members) | (members < protected)
    removed = np.nonzero(~kept)[0].astype(np.uint32)
    kept_for = stays[roots[removed]]
    high = store.load("text-high")
    exact = (high[removed] == high[kept_for]) & (low[removed] == low[kept_for])
    jaccard = alike.jaccard(removed, kept_for, threads)
    jaccard[exact] = 1.0
    return Clusters(roots, sizes, kept, removed, kept_for, jaccard, exact, len(starts))
