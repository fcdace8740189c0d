"""Record batches to one parquet file: atomic, in bounded memory, the same bytes however the rows were batched."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from smolfast import _native
from smolfast.errors import SmolfastError
from smolfast.files import atomic_path, shown
from smolfast.io.background import Background
from smolfast.io.boundary import writing
from smolfast.io.parquet.long_values import MOST_PAGE_BYTES, encode_long_column
from smolfast.io.parquet.row_groups import RowGroupFile
from smolfast.io.schemas.columns import byte_lengths, conform, is_bytes
from smolfast.io.schemas.unite import check_storable

ROW_GROUP_BYTES = 16 << 20
ROW_GROUP_ROWS = 1 << 16
STATISTICS_BYTES = 4096
MOST_THREADS = 8
"""Each holds a row group and what becomes of it, some 40 MiB."""


class BatchWriter:
    """Write record batches to one parquet file that is whole or absent.

    The bytes depend only on the rows, the schema and the pyarrow version, not on how the rows were cut into batches:
    a row group ends with the row that brings it to 16 MiB of values or 65,536 rows. zstd, with page checksums. Row
    groups are encoded by several threads, since compression takes most of the time.

        with BatchWriter("out.parquet") as writer:
            writer.write(batch)

    When the block raises, nothing remains and an earlier file stays as it was.

    Types, nullability and metadata are kept as pyarrow.parquet keeps them.

    Raises:
        SmolfastError: the file can't be written, a column has no form in parquet, a batch doesn't fit the schema, or no
            batch was written and no schema given.
    """

    def __init__(self, path: str | os.PathLike[str], schema: pa.Schema | None = None, *, threads: int = 0) -> None:
        """`schema` defaults to that of the first batch. `threads`: 0 for every CPU."""
        self.path = Path(path)
        self.schema = schema
        if schema is not None:
            check_storable(schema, f"can't write {self.path}")
        self.rows = 0
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = 0
        self._pending_bytes = 0
        self._threads = min(threads or _native.available_threads(), MOST_THREADS)
        self._pool: ThreadPoolExecutor | None = None
        self._encoding: deque[Future[pa.Buffer]] = deque()
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._temporary = self._stack.enter_context(atomic_path(self.path))
        with contextlib.ExitStack() as opened:
            opened.push(self._stack)
            self._file = RowGroupFile(self._stack.enter_context(self._temporary.open("wb")))
            self._saving = self._stack.enter_context(Background())
            opened.pop_all()
        return self

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows; columns may come in another order or as another type that casts without loss, or lack (null)."""
        if self.schema is None:
            check_storable(batch.schema, f"can't write {self.path}")
            self.schema = batch.schema
        with writing(self.path):
            self._write(batch)

    def _write(self, batch: pa.RecordBatch) -> None:
        assert self.schema is not None
        batch = conform(batch, self.schema, f"can't write {self.path}")
        _check_fixed_lists(batch, f"can't write {self.path}, row {self.rows}")
        ends = np.cumsum(_row_bytes(batch))
        self.rows += batch.num_rows
        start, before = 0, 0
        while start < batch.num_rows:
            full = np.searchsorted(ends, ROW_GROUP_BYTES - self._pending_bytes + before)
            stop = min(int(full) + 1, start + ROW_GROUP_ROWS - self._pending_rows, batch.num_rows)
            self._pending.append(batch.slice(start, stop - start))
            self._pending_rows += stop - start
            self._pending_bytes += int(ends[stop - 1]) - before
            start, before = stop, int(ends[stop - 1])
            if self._pending_bytes >= ROW_GROUP_BYTES or self._pending_rows >= ROW_GROUP_ROWS:
                self._flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        try:
            if kind is None:
                with writing(self.path):
                    self._finish()
        except BaseException as failed:
            # Through atomic_path, which removes the temporary file and words a full disk.
            if not self._stack.__exit__(type(failed), failed, failed.__traceback__):
                raise
            return None
        finally:
            if self._pool is not None:
                self._pool.shutdown(cancel_futures=True)
        return self._stack.__exit__(kind, error, trace)

    def _flush(self) -> None:
        table = pa.Table.from_batches(self._pending, self.schema)
        size = self._pending_bytes
        self._pending, self._pending_rows, self._pending_bytes = [], 0, 0
        if self._threads == 1 or size > 4 * ROW_GROUP_BYTES:
            # One huge document at a time.
            self._write_encoded(0)
            for part in _combined(table):
                long = {name for name in part.schema.names if _is_long(part[name])}
                if long:
                    pages = {
                        name: encode_long_column(part[name], nullable=part.schema.field(name).nullable) for name in long
                    }
                    self._file.add_with(_encode(_without_values(part, long)), pages)
                else:
                    self._file.add(_encode(part))
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, "smolfast-write")
        self._encoding.append(self._pool.submit(_encode, table))
        self._write_encoded(self._threads)

    def _write_encoded(self, waiting: int) -> None:
        """Write what the threads made, in order, until no more than so many row groups are under way."""
        while len(self._encoding) > waiting:
            self._file.add(self._encoding.popleft().result())
            if self._encoding:
                # The disk writes these while threads encode the next.
                self._file.stream.flush()
                self._saving.submit(lambda: os.fsync(self._file.stream.fileno()))

    def _finish(self) -> None:
        if self.schema is None:
            raise SmolfastError(f"can't write {shown(self.path)}: the input holds no documents; give another input")
        if self._pending:
            self._flush()
        self._write_encoded(0)
        if not self.rows:
            self._file.add(_encode(self.schema.empty_table()))
        self._file.finish()


def _encode(table: pa.Table) -> pa.Buffer:
    """A parquet file of one row group, or of more if the rows can't be in one; of none if there are no rows."""
    sink = pa.BufferOutputStream()
    # Dictionaries only of columns that are dictionaries, whose order of values pandas goes by: the wide columns are
    # distinct texts and ids, and zstd sees to repeated values. Statistics only of columns whose values are short enough
    # to stand in them: of a document of 1 GiB they take 3 GiB and 9 s to make, and then are left out.
    with pq.ParquetWriter(
        sink,
        table.schema,
        compression="zstd",
        use_dictionary=[field.name for field in table.schema if pa.types.is_dictionary(field.type)],
        write_page_checksum=True,
        write_statistics=[name for name in table.schema.names if not _has_long_values(table[name])],
    ) as writer:
        if table.num_rows:
            for part in _combined(table):
                writer.write_table(part, row_group_size=part.num_rows)
    return sink.getvalue()


def _combined(table: pa.Table) -> list[pa.Table]:
    """The rows in one chunk, as pages end where chunks do; in several if their categories outnumber their indices."""
    try:
        return [table.combine_chunks()]
    except pa.ArrowInvalid:
        if table.num_rows < 2:
            raise
        half = table.num_rows // 2
        return [*_combined(table.slice(0, half)), *_combined(table.slice(half))]


def _has_long_values(column: pa.ChunkedArray) -> bool:
    return _longest(column) > STATISTICS_BYTES


def _is_long(column: pa.ChunkedArray) -> bool:
    """Whether its pages are better made by encode_long_column. (Beyond what it takes, pyarrow says what is wrong.)"""
    return ROW_GROUP_BYTES < _longest(column) <= MOST_PAGE_BYTES


def _longest(column: pa.ChunkedArray) -> int:
    return int(pc.max(byte_lengths(column)).as_py() or 0) if is_bytes(column.type) else 0


def _without_values(table: pa.Table, names: set[str]) -> pa.Table:
    """The table with empty values in some columns."""
    for index, field in enumerate(table.schema):
        if field.name in names:
            table = table.set_column(index, field, pa.array([""] * table.num_rows, pa.string()).cast(field.type))
    return table


def _row_bytes(batch: pa.RecordBatch) -> npt.NDArray[np.int64]:
    """int64 [rows]: bytes of each row's strings, or 8 for a column of another type."""
    sizes = np.zeros(batch.num_rows, np.int64)
    for column in batch.columns:
        if is_bytes(column.type):
            sizes += pc.fill_null(byte_lengths(column), 0).to_numpy(zero_copy_only=False)
        else:
            sizes += 8
    return sizes


def _check_fixed_lists(batch: pa.RecordBatch, where: str) -> None:
    """Refuse nulls that pyarrow writes and can't read again: of lists of a fixed size."""
    for field, column in zip(batch.schema, batch.columns, strict=True):
        if _holds_fixed_list(field.type) and _has_null_fixed_list(column):
            raise SmolfastError(
                f"{where}: column '{field.name}' ({field.type}) has a null in the place of a list of a fixed size, "
                "which parquet can't hold; cast it to a list first"
            )


def _holds_fixed_list(type_: pa.DataType) -> bool:
    if isinstance(type_, pa.BaseExtensionType):
        type_ = type_.storage_type
    children = [type_.field(place).type for place in range(type_.num_fields)]
    return bool(pa.types.is_fixed_size_list(type_)) or any(map(_holds_fixed_list, children))


def _has_null_fixed_list(column: pa.Array) -> bool:
    type_ = column.type
    if isinstance(type_, pa.BaseExtensionType):
        return _has_null_fixed_list(column.storage)
    if pa.types.is_fixed_size_list(type_):
        return column.null_count > 0 or _has_null_fixed_list(column.flatten())
    if pa.types.is_struct(type_):
        return any(_has_null_fixed_list(part) for part in column.flatten())
    if pa.types.is_map(type_):
        return any(_has_null_fixed_list(part) for part in (column.keys, column.items))
    try:
        return type_.num_fields > 0 and _has_null_fixed_list(column.flatten())
    except pa.ArrowNotImplementedError:  # list views of some types
        return _has_null_fixed_list(column.values)
