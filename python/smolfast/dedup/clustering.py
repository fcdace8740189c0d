"""From the columns of a store to clusters: which document of each stays, and what to say of the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from smolfast import _native
from smolfast.dedup.index import JoinedStore
from smolfast.dedup.rules import Rules
from smolfast.dedup.store import DocumentStore

_RECORD_BYTES = 40
"""A document's share of one thread's work on one band: its record while sorting, and the mapped key."""


@dataclass(frozen=True)
class Clusters:
    """Clusters of N documents, and what stays of them."""

    roots: npt.NDArray[np.uint32]
    """[N]: a cluster's number is that of its first document."""
    sizes: npt.NDArray[np.uint32]
    """[N]: how many documents the document's cluster has, those that go and those compared against included."""
    kept: npt.NDArray[np.bool_]
    """[N]: whether the document stays."""
    removed: npt.NDArray[np.uint32]
    """The documents that go, ascending."""
    kept_for: npt.NDArray[np.uint32]
    """The document that stays for each one removed."""
    jaccard: npt.NDArray[np.float64]
    """Of each one removed with the one that stays: exact if the shingle sets were stored, estimated otherwise."""
    exact: npt.NDArray[np.bool_]
    """Whether the text of each one removed is that of the one that stays."""
    count: int
    """Clusters of two documents or more."""


@dataclass(frozen=True)
class Removed:
    """R documents that go, ascending, and for which ones."""

    documents: npt.NDArray[Any]
    kept_for: npt.NDArray[Any]
    jaccard: npt.NDArray[np.float64]
    exact: npt.NDArray[np.bool_]
    cluster: npt.NDArray[Any]

    @staticmethod
    def of(clusters: Clusters) -> Removed:
        """Those of clusters."""
        gone = clusters.removed
        return Removed(gone, clusters.kept_for, clusters.jaccard, clusters.exact, clusters.roots[gone])


def find_clusters(
    store: DocumentStore | JoinedStore,
    rules: Rules,
    *,
    memory: int,
    threads: int,
    protected: int = 0,
) -> Clusters:
    """Group equal texts and near-duplicates, and choose what stays.

    Of groups beyond 32 documents that share a band each is compared with up to 32 others.

    Args:
        memory: bytes for sorting band records; keys are read in several passes where they don't fit.
        protected: documents of lower number than this stay before all others (what is compared against).
    """
    keep = "score" if rules.score_column else rules.keep
    workers = threads or _native.available_threads()
    parts = max(1, -(-workers * _RECORD_BYTES * store.documents // max(1, memory)))
    sets = _native.DocumentSets(store.documents)
    sets.unite([store.pieces("text-high")], None, parts, threads, _native.StoredHashes(store.load("text-low")), 1.0)
    texts = sets.roots()

    signatures = _native.StoredSignatures(
        store.source("signature"), rules.hasher.num_perm, store.layout["signature"].dtype.itemsize
    )
    similarity: _native.Pairs = signatures
    if rules.verify == "exact":
        similarity = _native.StoredSets(store.source("shingle"), store.load("shingle-end"))
    # A few bands at a time, so that no more of them are mapped than threads can use.
    for first in range(0, rules.bands, workers):
        names = [f"band-{band:03}" for band in range(first, min(rules.bands, first + workers))]
        sets.unite(
            [store.pieces(name) for name in names],
            texts if rules.text_decides else None,
            parts,
            threads,
            None if rules.verify == "none" else similarity,
            rules.threshold,
        )
    roots = sets.roots()
    sizes = np.bincount(roots, minlength=len(roots)).astype(np.uint32)[roots]
    order, starts = _best_first(store, roots, sizes, keep, protected)
    if rules.chains:
        stays = np.repeat(order[starts[:-1]], np.diff(starts))
        stays[order < protected] = order[order < protected]
    else:
        alike = _native.SharedBands(signatures, rules.bands, rules.rows) if rules.verify == "none" else similarity
        stays, _ = _native.choose_stars(
            order,
            starts,
            texts,
            alike,
            0.5 if rules.verify == "none" else rules.threshold,
            signatures,
            rules.bands,
            rules.rows,
            protected,
            rules.text_decides,
            threads,
        )
    kept = np.ones(len(roots), np.bool_)
    kept[order] = stays == order
    removed = np.nonzero(~kept)[0].astype(np.uint32)
    stays_for = np.zeros(len(roots), np.uint32)
    stays_for[order] = stays
    kept_for = stays_for[removed]
    exact = texts[removed] == texts[kept_for]
    jaccard = similarity.jaccard(removed, kept_for, threads)
    jaccard[exact] = 1.0
    return Clusters(roots, sizes, kept, removed, kept_for, jaccard, exact, len(starts) - 1)


def _best_first(
    store: DocumentStore | JoinedStore,
    roots: npt.NDArray[np.uint32],
    sizes: npt.NDArray[np.uint32],
    keep: str,
    protected: int,
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    """The documents of clusters of two or more, cluster by cluster and best first, and where each cluster starts."""
    members = np.nonzero(sizes > 1)[0].astype(np.uint32)
    ranks: list[npt.NDArray[Any]] = [members]  # the least important first, as lexsort takes them
    if keep == "longest":
        ranks.append(-store.load("length")[members])
    elif keep == "score":
        ranks += [-store.load("score-rest")[members], -store.load("score")[members]]
    if protected:
        for at, rank in enumerate(ranks[1:], 1):
            ranks[at] = np.where(members < protected, -np.inf, rank)
    order = members[np.lexsort((*ranks, roots[members]))]
    starts = np.nonzero(np.diff(roots[order].astype(np.int64), prepend=-1))[0]
    return order, np.append(starts, len(order)).astype(np.int64)
