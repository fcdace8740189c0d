"""What a run writes: the kept documents, and a line on each one removed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from smolfast.dedup.clustering import Clusters, Removed
from smolfast.dedup.index import NAMES_SCHEMA, Index, names_table
from smolfast.dedup.lines import RepeatedLines
from smolfast.io.documents import BatchWriter, utf8_bytes
from smolfast.io.schemas.columns import COLUMN_KEY, as_names, select
from smolfast.io.sources import document_id, said

CLUSTER_COLUMNS = ("cluster_id", "cluster_size")

REMOVED_SCHEMA = pa.schema(
    [
        ("file", pa.string()),
        ("row", pa.int64()),
        ("id", pa.string()),
        ("kept_file", pa.string()),
        ("kept_row", pa.int64()),
        ("kept_id", pa.string()),
        ("jaccard", pa.float64()),
        ("cluster_id", pa.int64()),
        ("kind", pa.string()),
    ]
)


@dataclass(frozen=True)
class DedupSummary:
    """Counts of a run; bytes are UTF-8 bytes of text."""

    documents_in: int
    bytes_in: int
    documents_out: int
    bytes_out: int
    exact_duplicates: int
    """Removed documents whose text is that of the kept one."""
    near_duplicates: int
    """The other removed documents."""
    clusters: int
    """Clusters of two documents or more; of some of them several are kept."""
    skipped: int
    """Rows left out because their text was not UTF-8 or missing (`errors="skip"`)."""
    lines_removed: int = 0
    """Lines taken out of kept documents (`lines`)."""
    near_by_jaccard: dict[str, int] = field(default_factory=dict)
    """Near-duplicates by the similarity to the document kept for them: counts for "0.00-0.50", "0.50-0.55", …"""
    passed_over: int = 0
    """Files and folders of the given folders that weren't read."""
    passed_over_files: str = ""
    """Their names, by reason."""

    def as_dict(self) -> dict[str, Any]:
        """The fields by name; those on what was passed over only if something was."""
        return said(self)


class Names:
    """What documents are called: file, row and id, of those that a run has to name."""

    def __init__(
        self,
        files: list[str],
        starts: list[int],
        sizes: np.ndarray[Any, Any] | None,
        id_column: str,
        index: Index | None,
        *,
        all_ids: bool = False,
    ) -> None:
        """Source i is `files[i]` and holds the documents from starts[i] to starts[i + 1]; those before are the index's.

        Args:
            sizes: of the cluster of each document that is met; None if they are met elsewhere.
            all_ids: remember the id of every document, not only of those in a cluster with others.
        """
        self._files = files
        self._starts = np.asarray(starts, np.int64)
        self._sizes = sizes
        self._column = id_column
        self._index = index
        self._all = all_ids
        self._documents: list[np.ndarray[Any, Any]] = []
        self._ids: list[pa.Array] = []

    def meet(self, first: int, batch: pa.RecordBatch, file: str, row: int) -> None:
        """Note the ids of a batch, in ascending order; its first row is document `first`, row `row` of `file`."""
        if self._all:
            where = np.arange(batch.num_rows)
        else:
            assert self._sizes is not None
            where = np.nonzero(self._sizes[first : first + batch.num_rows] > 1)[0]
        if not len(where):
            return
        self._documents.append(where + first)
        file = document_id(file)
        if self._column in batch.schema.names:
            chosen = np.zeros(batch.num_rows, bool)
            chosen[where] = True
            ids = as_names(select(batch.select([self._column]), chosen).column(0))
            if ids.null_count:
                ids = pc.coalesce(ids, pa.array([f"{file}:{row + int(at)}" for at in where], pa.string()))
        else:
            ids = pa.array([f"{file}:{row + int(at)}" for at in where], pa.string())
        self._ids.append(ids)

    def known(self) -> tuple[np.ndarray[Any, Any], pa.Array]:
        """The documents whose ids are known, ascending, and those."""
        if not self._documents:
            return np.empty(0, np.int64), pa.array([], pa.string())
        return np.concatenate(self._documents), pa.concat_arrays(self._ids)

    def learn(self, documents: np.ndarray[Any, Any], ids: pa.Array) -> None:
        """Take over what another has met."""
        if len(documents):
            self._documents.append(documents)
            self._ids.append(ids)

    def table(self, documents: np.ndarray[Any, Any]) -> pa.Table:
        """File, row and id of some documents, in their order."""
        documents = documents.astype(np.int64)
        parts, places = [], []
        indexed = documents < self._starts[0]
        if indexed.any():
            assert self._index is not None
            parts.append(self._index.names(documents[indexed]))
            places.append(np.nonzero(indexed)[0])
        own = documents[~indexed]
        if len(own):
            source = np.searchsorted(self._starts, own, side="right") - 1
            files = pa.DictionaryArray.from_arrays(pa.array(source, pa.int32()), pa.array(self._files, pa.string()))
            known, ids = self.known()
            ids = ids.take(pa.array(np.searchsorted(known, own)))
            parts.append(names_table(files, own - self._starts[source], ids))
            places.append(np.nonzero(~indexed)[0])
        if len(parts) < 2:
            return parts[0] if parts else NAMES_SCHEMA.empty_table()
        return pa.concat_tables(parts).take(pa.array(np.argsort(np.concatenate(places))))


def write_kept(
    path: Path,
    batches: Iterable[tuple[int, pa.RecordBatch]],
    clusters: Clusters,
    text_column: str,
    repeated: RepeatedLines | None,
    threads: int,
    *,
    schema: pa.Schema | None = None,
    prefix: str = "",
) -> tuple[int, int]:
    """Write the kept rows with `cluster_id` and `cluster_size`; `batches` come with their first document's number.

    Args:
        schema: of the rows, as they are to be stored; by default that of the first batch.
        prefix: comes before the names of the two columns.

    Returns:
        documents and UTF-8 bytes of text written.
    """
    documents = size = 0
    with open_kept(path, schema, prefix, threads) as writer:
        for first, batch in batches:
            part = slice(first, first + batch.num_rows)
            if repeated is not None:
                at = batch.schema.get_field_index(text_column)
                batch = batch.set_column(at, batch.schema.field(at), repeated.drop(first, batch.column(at)))
            kept = with_clusters(batch, clusters.roots[part], clusters.sizes[part], clusters.kept[part], prefix)
            documents += kept.num_rows
            size += utf8_bytes(kept.column(text_column))
            writer.write(kept)
    return documents, size


def _added(prefix: str) -> list[pa.Field]:
    return [pa.field(prefix + name, pa.int64(), metadata={COLUMN_KEY: name}) for name in CLUSTER_COLUMNS]


def open_kept(path: Path, schema: pa.Schema | None, prefix: str, threads: int) -> BatchWriter:
    """The writer of the kept rows, whose input has that schema."""
    stored = None if schema is None else pa.schema([*schema, *_added(prefix)], schema.metadata)
    return BatchWriter(path, stored, threads=threads)


def with_clusters(
    batch: pa.RecordBatch,
    roots: np.ndarray[Any, Any],
    sizes: np.ndarray[Any, Any],
    kept: np.ndarray[Any, Any],
    prefix: str,
) -> pa.RecordBatch:
    """The kept rows of a batch, with the columns on their clusters."""
    columns = [*batch.columns, pa.array(roots.astype(np.int64)), pa.array(sizes.astype(np.int64))]
    fields = pa.schema([*batch.schema, *_added(prefix)], batch.schema.metadata)
    return select(pa.RecordBatch.from_arrays(columns, schema=fields), kept)


def write_removed(path: Path, removed: Removed, names: Names) -> None:
    """Write one row for each removed document, in input order."""
    with BatchWriter(path, schema=REMOVED_SCHEMA) as writer:
        for batch in _removed_batches(removed, names):
            writer.write(batch)


def _removed_batches(removed: Removed, names: Names) -> Iterator[pa.RecordBatch]:
    step = 1 << 16
    for start in range(0, len(removed.documents), step):
        part = slice(start, start + step)
        columns = [
            *names.table(removed.documents[part]).columns,
            *names.table(removed.kept_for[part]).columns,
            pa.array(removed.jaccard[part]),
            pa.array(removed.cluster[part].astype(np.int64)),
            pa.array(np.where(removed.exact[part], "exact", "near").tolist(), pa.string()),
        ]
        yield from pa.table(columns, schema=REMOVED_SCHEMA).combine_chunks().to_batches()
