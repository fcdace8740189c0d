"""The last stage: kept documents with their text repaired and redacted, and all that went in one form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from smolfast import text as texts
from smolfast.crawl.stretch import PAGE_SCHEMA
from smolfast.io.documents import BatchWriter, utf8_bytes
from smolfast.io.schemas.columns import byte_lengths, select

SHARD_BYTES = 256 << 20
"""Of text in a file of kept documents."""
SHARD_ROWS = 1 << 20

WHY = pa.schema(
    [
        ("stage", pa.string()),
        ("reason", pa.string()),
        ("filter", pa.string()),
        ("value", pa.float64()),
        ("threshold", pa.float64()),
        ("document", pa.int64()),
        ("duplicate_of", pa.string()),
    ]
)
"""What `removed/` says of each document beside its page: the stage and the reason; what was measured and compared; its
number among the documents that the rules judged; and for a duplicate the id of the document that stays for it."""


@dataclass
class Finished:
    """What the last stage counted."""

    documents: int = 0
    bytes: int = 0
    fixed: int = 0
    """Documents whose encoding was repaired."""
    redacted: int = 0
    """Documents in which an address was replaced."""
    outputs: list[str] = field(default_factory=list)
    languages: Counter[str] = field(default_factory=Counter)
    """Kept documents by language, where several are kept."""
    languages_gone: Counter[str] = field(default_factory=Counter)
    """By reason, the documents that went for their language."""
    languages_gone_bytes: Counter[str] = field(default_factory=Counter)
    duplicates: Counter[str] = field(default_factory=Counter)
    """By kind, exact or near."""
    duplicate_bytes: Counter[str] = field(default_factory=Counter)


def batches_of(paths: Iterable[Path]) -> Iterator[pa.RecordBatch]:
    """The rows of parquet files that we wrote, in bounded memory."""
    for path in paths:
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
            for group in range(file.num_row_groups):
                yield from file.iter_batches(1 << 14, row_groups=[group])


class Finisher:
    """Writes kept/ and removed/ in the work folder."""

    def __init__(self, work: Path, threads: int, found: Finished, *, fix: bool, redact: bool) -> None:
        self.found = found
        self._work, self._threads = work, threads
        self._fix, self._redact = fix, redact
        self._removed_parts = 0

    def write_kept(self, paths: list[Path], meanwhile: Callable[[int], None], language: str = "") -> None:
        """Shards of the documents that stay, of one language in its own folder."""
        schema = pq.read_schema(paths[0]) if paths else PAGE_SCHEMA
        folder = f"kept/{language}" if language else "kept"
        (self._work / folder).mkdir(exist_ok=True)
        batches = batches_of(paths)
        pending = next(batches, None)
        number = 0
        while number == 0 or pending is not None:
            name = f"{folder}/part-{number:05}.parquet"
            size = rows = 0
            with BatchWriter(self._work / name, schema, threads=self._threads) as writer:
                while pending is not None and size < SHARD_BYTES and rows < SHARD_ROWS:
                    lengths = np.cumsum(byte_lengths(pending.column("text")).to_numpy(zero_copy_only=False))
                    full = int(np.searchsorted(lengths, SHARD_BYTES - size)) + 1
                    take = min(full, SHARD_ROWS - rows, pending.num_rows)
                    writer.write(self._treated(pending.slice(0, take)))
                    size, rows = size + (int(lengths[take - 1]) if take else 0), rows + take
                    meanwhile(take)
                    if language:
                        self.found.languages[language] += take
                    pending = pending.slice(take) if take < pending.num_rows else next(batches, None)
            self.found.outputs.append(name)
            number += 1

    def _treated(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        place = batch.schema.get_field_index("text")
        text = before = batch.column(place)
        if self._fix:
            text = texts.fix_mojibake(text, threads=self._threads)
            self.found.fixed += _differences(before, text)
        if self._redact:
            before, text = text, texts.redact(text, threads=self._threads)
            self.found.redacted += _differences(before, text)
        text = text.cast(batch.schema.field(place).type)
        self.found.documents += batch.num_rows
        self.found.bytes += utf8_bytes(text)
        return batch.set_column(place, batch.schema.field(place), text)

    def write_removed(self, batches: Iterable[pa.RecordBatch], extra: pa.Schema) -> None:
        """A file of removed documents; `extra` are columns beside the page's and those of WHY."""
        name = f"removed/part-{self._removed_parts:05}.parquet"
        self._removed_parts += 1
        schema = pa.schema([*PAGE_SCHEMA, *extra, *WHY])
        with BatchWriter(self._work / name, schema, threads=self._threads) as writer:
            for batch in batches:
                writer.write(_with(batch, schema))
        self.found.outputs.append(name)

    def duplicates(self, paths: list[Path], removed: Path) -> Iterator[pa.RecordBatch]:
        """The documents that deduplication took out of the files that it read."""
        table = pq.read_table(removed, columns=["file", "row", "kept_id", "jaccard", "kind"])
        files = table["file"].combine_chunks()
        for path in paths:
            rows = np.flatnonzero(pc.equal(files, str(path)).to_numpy(zero_copy_only=False))
            of_file = table.take(pa.array(rows)).combine_chunks()
            wanted = of_file["row"].to_numpy()
            first = start = 0
            for batch in batches_of([path]):
                stop = int(np.searchsorted(wanted, first + batch.num_rows))
                chosen = np.zeros(batch.num_rows, bool)
                chosen[wanted[start:stop] - first] = True
                gone, why = select(batch, chosen), of_file.slice(start, stop - start)
                sizes = byte_lengths(gone.column("text")).to_numpy(zero_copy_only=False)
                kinds = why["kind"].to_pylist()
                self.found.duplicates.update(kinds)
                for kind, size in zip(kinds, sizes.tolist(), strict=True):
                    self.found.duplicate_bytes[kind] += size
                yield added(
                    gone,
                    {
                        "stage": pa.array(["dedup"] * gone.num_rows, pa.string()),
                        "reason": pa.array([f"{kind} duplicate" for kind in kinds], pa.string()),
                        "value": _whole(why["jaccard"]),
                        "duplicate_of": _whole(why["kept_id"]),
                    },
                )
                first, start = first + batch.num_rows, stop


def staged(batches: Iterable[pa.RecordBatch], stage: str) -> Iterator[pa.RecordBatch]:
    """Rows with the stage at which they went."""
    for batch in batches:
        yield added(batch, {"stage": pa.array([stage] * batch.num_rows, pa.string())})


def added(batch: pa.RecordBatch, columns: dict[str, Any]) -> pa.RecordBatch:
    """A batch with more columns."""
    return pa.RecordBatch.from_arrays([*batch.columns, *columns.values()], [*batch.schema.names, *columns])


def _with(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The columns of a schema, null where the batch has none."""
    names = set(batch.schema.names)
    columns = [
        batch.column(field.name).cast(field.type) if field.name in names else pa.nulls(batch.num_rows, field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    found = column.combine_chunks()
    return found if isinstance(found, pa.Array) else found.chunk(0)


def _differences(before: pa.Array, after: pa.Array) -> int:
    return int(pc.sum(pc.not_equal(before.cast(pa.large_string()), after.cast(pa.large_string()))).as_py() or 0)
