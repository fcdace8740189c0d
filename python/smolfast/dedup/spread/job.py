"""The run, from who asks: pieces are begun, and what they leave goes from stage to stage without passing here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from smolfast.cluster import Engine
from smolfast.dedup.clustering import Removed
from smolfast.dedup.histogram import count_by_jaccard
from smolfast.dedup.output import DedupSummary, Names, open_kept, write_removed
from smolfast.dedup.signing import SIGNING_SHARE, Job, total_size
from smolfast.dedup.spread.components import find_components
from smolfast.dedup.spread.grouping import by_piece, decide, link, split
from smolfast.dedup.spread.pieces import (
    Fates,
    Piece,
    Signed,
    choose_rows,
    filter_piece,
    sign_piece,
)
from smolfast.errors import SmolfastError
from smolfast.io.amounts import source_rows, source_size
from smolfast.io.parquet.stretches import STRETCH_BYTES, Stretch, cut
from smolfast.io.sources import document_id

MOST_PIECES = 4096
"""Each piece leaves something for each range of keys: Ray keeps track of each of these."""
RANGE_BYTES = 1 << 30
SHARD_DOCUMENTS = 1 << 26
BIN_DOCUMENTS = (1 << 14, 1 << 19)
"""Documents of components that are decided together, at least and at most (or one component)."""


def run_apart(job: Job, engine: Engine, kept: Path, removed: Path) -> DedupSummary:
    """Deduplicate on the engine's machines; the bytes of both files are those of a run on one.

    Raises:
        SmolfastError: options that need all documents in one place; no documents.
    """
    if job.rules.lines is not None:
        raise SmolfastError("--lines compares the lines of all documents in one place; leave out --engine ray")
    apart = engine.put(replace(job, threads=1, progress=_silent, held=None))
    total = total_size(job)
    pieces = _pieces(job)
    ranges = _ranges(job, engine)
    signing = [engine.submit(sign_piece, apart, ranges, piece, parts=2 + ranges) for piece in pieces]
    signed: list[Signed] = []
    for one in signing:
        signed.append(engine.get(one[0]))
        documents = sum(sum(found.rows) for found in signed)
        job.progress(SIGNING_SHARE * total * len(signed) / len(pieces), total, f"{documents:,} documents signed")
    starts = np.cumsum([0, *(sum(found.rows) for found in signed)])
    count = int(starts[-1])
    if count == 0:
        raise SmolfastError(f"no documents in {', '.join(source.path for source in job.sources[:3])}; give other input")
    first_of = _first_documents(job, pieces, signed)
    protected = first_of[job.against] if job.against < len(job.sources) else count
    job.progress(SIGNING_SHARE * total, total, "joining near-duplicates")
    fates = _decided(job, engine, signing, starts, ranges, protected)
    del signing
    names = Names([document_id(source.path) for source in job.sources], first_of, None, job.rules.id_column, None)
    documents_out = bytes_out = 0
    gone: list[Fates] = []
    clusters = 0
    with open_kept(kept, job.schema, job.rules.prefix, job.threads) as writer:
        todo = _filters(apart, pieces, signed, starts, first_of, fates)
        for at, found in enumerate(engine.ordered(filter_piece, todo)):
            for batch in found.kept:
                writer.write(batch)
            documents_out, bytes_out = documents_out + found.documents, bytes_out + found.size
            names.learn(found.named, found.ids)
            clusters += found.clusters
            gone.append(found.gone)
            job.progress((0.65 + 0.35 * (at + 1) / len(pieces)) * total, total, "writing")
    all_gone = Fates.joined(gone)
    write_removed(
        removed, Removed(all_gone.documents, all_gone.stays, all_gone.jaccard, all_gone.exact, all_gone.roots), names
    )
    exact = int(all_gone.exact.sum())
    return DedupSummary(
        documents_in=count - protected,
        bytes_in=sum(one.size for one in signed),
        documents_out=documents_out,
        bytes_out=bytes_out,
        exact_duplicates=exact,
        near_duplicates=len(all_gone.documents) - exact,
        clusters=clusters,
        skipped=sum(one.skipped for one in signed),
        near_by_jaccard=count_by_jaccard(all_gone.jaccard[~all_gone.exact]),
        **job.passed_over,
    )


def _silent(done: float, total: float, note: str) -> None:
    pass


def _pieces(job: Job) -> list[Piece]:
    """The input in pieces of consecutive stretches."""
    size = max(STRETCH_BYTES, int(total_size(job)) // MOST_PIECES)
    pieces: list[list[Stretch]] = []
    held = 0
    for stretch in cut(job.sources, fine=True):
        share = min(STRETCH_BYTES, source_size(stretch.source))
        if not pieces or held + share > size:
            pieces.append([])
            held = 0
        pieces[-1].append(stretch)
        held += share
    return [Piece(number, tuple(stretches)) for number, stretches in enumerate(pieces)]


def _ranges(job: Job, engine: Engine) -> int:
    """In how many ranges keys are cut: each is sorted by one worker."""
    known = [source_rows(source) for source in job.sources]
    documents = sum(rows or source_size(source) / 1000 for rows, source in zip(known, job.sources, strict=True))
    needed = 12 * (job.rules.bands + 1) * documents / RANGE_BYTES
    return max(2, min(engine.places, len(job.sources)), int(needed) + 1)


def _first_documents(job: Job, pieces: Sequence[Piece], signed: Sequence[Signed]) -> list[int]:
    """The number of each source's first document."""
    rows = [0] * len(job.sources)
    for piece, found in zip(pieces, signed, strict=True):
        for stretch, count in zip(piece.stretches, found.rows, strict=True):
            rows[stretch.number] += count
    return [int(first) for first in np.cumsum([0, *rows])[:-1]]


def _decided(
    job: Job, engine: Engine, signing: Sequence[Sequence[Any]], starts: Any, ranges: int, protected: int
) -> list[list[Any]]:
    """For each bin, what stands for the `Fates` of each piece."""
    count = int(starts[-1])
    shards = -(-count // SHARD_DOCUMENTS)
    bounds = np.array([count * at // shards for at in range(shards + 1)])
    linked = [
        engine.submit(link, starts, bounds, *(one[2 + range_] for one in signing), parts=shards)
        for range_ in range(ranges)
    ]
    found = find_components(engine, [[one[shard] for one in linked] for shard in range(shards)], bounds)
    members: list[int] = engine.get([engine.submit(len, shard) for shard in found.shards])
    least, most = BIN_DOCUMENTS
    size = min(most, max(least, sum(members) // engine.places + 1))
    bins: list[Any] = []
    for shard, length in zip(found.shards, members, strict=True):
        if length:
            bins += engine.submit(split, shard, -(-length // size), parts=-(-length // size))
    of_pieces = [engine.submit(by_piece, starts, one, parts=len(signing)) for one in bins]
    columns = [
        engine.submit(choose_rows, one[1], int(starts[at]), *(chosen[at] for chosen in of_pieces), parts=len(bins))
        for at, one in enumerate(signing)
        if bins
    ]
    memory = job.memory // 4
    return [
        engine.submit(
            decide, job.rules, memory, protected, starts, one, *(part[at] for part in columns), parts=len(signing)
        )
        for at, one in enumerate(bins)
    ]


def _filters(
    job: Any,
    pieces: Sequence[Piece],
    signed: Sequence[Signed],
    starts: Any,
    first_of: Sequence[int],
    fates: Sequence[Sequence[Any]],
) -> Iterator[tuple[Any, ...]]:
    """The arguments of `filter_piece`, piece by piece."""
    for at, (piece, found) in enumerate(zip(pieces, signed, strict=True)):
        document, rows = int(starts[at]), []
        for stretch, count in zip(piece.stretches, found.rows, strict=True):
            rows.append((document - first_of[stretch.number], count))
            document += count
        yield (job, piece, int(starts[at]), rows, *(one[at] for one in fates))
