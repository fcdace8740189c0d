"""Documents in and out: text files, JSON lines and parquet as Arrow record batches; parquet written atomically.

Every stage reads text through `find_sources` and `read_batches` and writes tables through `BatchWriter`, so that
what is a document, what is an error and what the bytes on disk look like is decided once.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from smolfast import _native
from smolfast.batch_writer import BatchWriter
from smolfast.boundary import reading
from smolfast.columns import byte_lengths, column_names, is_bytes, is_string, select
from smolfast.errors import SmolfastError
from smolfast.json_lines import read_lines
from smolfast.schemas import twice
from smolfast.sources import SUFFIXES, Kind, Source, document_id, find_sources, one_line, open_source

__all__ = [
    "SUFFIXES",
    "BatchWriter",
    "ErrorPolicy",
    "Kind",
    "Source",
    "find_sources",
    "read_batches",
    "stored_schema",
    "utf8_bytes",
]

ErrorPolicy = Literal["fail", "replace", "skip"]

BATCH_BYTES = 8 << 20
REMEDY = "give --errors replace or --errors skip"


def read_batches(
    source: Source,
    *,
    text_column: str = "text",
    columns: Sequence[str] | None = None,
    errors: str = "fail",
    batch_bytes: int = BATCH_BYTES,
    counts: Counter[str] | None = None,
) -> Iterator[pa.RecordBatch]:
    """Stream a source as record batches of about `batch_bytes` of input, in bounded memory.

    The text column comes as large_string without nulls, whatever string or binary type it was stored as; the other
    columns of parquet come as they are, with their metadata. A text file
    is one row, with columns `id` (the source's path) and `text_column`; a leading byte-order mark is dropped. Of JSON
    lines, the first batch decides the other columns and their types (bool, int64, float64, else string, where values
    that aren't strings are kept as JSON); blank lines are passed over. Line numbers count from 1, parquet rows and
    byte offsets from 0.

    JSON lines are parsed with the standard library, since it can say which line is broken and read columns of mixed
    type. It gives 360 MB of documents of 15 kB per CPU second, where pyarrow.json gives 520.

    Args:
        source: one of `find_sources`.
        text_column: the column that holds the text; it must be there in parquet and JSON lines.
        columns: the other columns to keep; None keeps all. Names that aren't there are ignored.
        errors: what to do with a row whose text isn't UTF-8 (a lone surrogate in JSON is such text) or is missing
            (null): "fail", "replace" bad bytes by U+FFFD and null by the empty text, or "skip" the row. String
            columns beside the text follow the same rule, but may be null.
        batch_bytes: roughly how much a batch holds; a longer document makes a longer batch.
        counts: if given, its "replaced" and "skipped" grow by the rows that were.

    Raises:
        SmolfastError: bad text under "fail", a corrupt or truncated file, a broken JSON line, no text column.
    """
    if errors not in get_args(ErrorPolicy):
        raise SmolfastError(f"errors = {errors!r} is unknown; choose one of {', '.join(get_args(ErrorPolicy))}")
    counts = Counter() if counts is None else counts
    reader = _Reader(source.path, text_column, columns, errors, max(1, batch_bytes), counts)
    with reading(source.path), open_source(source.path) as stream:
        if source.kind == "text":
            yield from reader.text(stream)
        elif source.kind == "jsonl":
            yield from reader.json_lines(stream)
        else:
            yield from reader.parquet(stream)


def stored_schema(source: Source, *, text_column: str = "text", errors: str = "fail") -> pa.Schema | None:
    """The columns of a source: of parquet as its footer has them, else those of its first batch; None without rows.

    Raises:
        SmolfastError: as `read_batches` does of a footer or a first batch.
    """
    if source.kind != "parquet":
        first = next(read_batches(source, text_column=text_column, errors=errors), None)
        return None if first is None else first.schema
    reader = _Reader(source.path, text_column, None, errors, BATCH_BYTES, Counter())
    with reading(source.path), open_source(source.path) as stream, pq.ParquetFile(stream) as file:
        return reader.parquet_schema(file)


class _Reader:
    """The three formats, with the rules they share for bad text."""

    def __init__(
        self,
        path: str,
        text_column: str,
        columns: Sequence[str] | None,
        errors: str,
        batch_bytes: int,
        counts: Counter[str],
    ) -> None:
        self.path = path
        self.text_column = text_column
        self.columns = None if columns is None else {*columns, text_column}
        self.errors = errors
        self.batch_bytes = batch_bytes
        self.counts = counts

    def keeps(self, name: str) -> bool:
        return self.columns is None or name in self.columns

    def text(self, stream: pa.NativeFile) -> Iterator[pa.RecordBatch]:
        data = stream.read().removeprefix(b"\xef\xbb\xbf")
        text = self.decode(data, "")
        if text is None:
            self.counts["skipped"] += 1
            return
        columns = {self.text_column: pa.array([text], pa.large_string())}
        if self.keeps("id"):
            columns = {"id": pa.array([document_id(self.path)], pa.string()), **columns}
        yield pa.RecordBatch.from_pydict(columns)

    # JSON lines

    def json_lines(self, stream: pa.NativeFile) -> Iterator[pa.RecordBatch]:
        schema: pa.Schema | None = None
        rows: list[tuple[int, dict[str, Any]]] = []
        size = 0
        for number, line in read_lines(stream, self.path):
            row = self.json_row(line, number)
            if row is not None:
                rows.append((number, row))
            size += len(line)
            if size >= self.batch_bytes and rows:
                schema = schema or self.json_schema(rows)
                yield self.json_batch(rows, schema)
                rows, size = [], 0
        if rows:
            yield self.json_batch(rows, schema or self.json_schema(rows))

    def json_row(self, line: bytes, number: int) -> dict[str, Any] | None:
        text = self.decode(line, f", line {number}")
        if text is None:
            self.counts["skipped"] += 1
            return None
        try:
            row = json.loads(text)
        except json.JSONDecodeError as error:
            raise SmolfastError(
                f"{self.path}, line {number}: not JSON ({error.msg} at character {error.pos}); "
                "correct or remove the line"
            ) from error
        except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets thousands deep
            raise SmolfastError(f"{self.path}, line {number}: {one_line(error)}; remove the line") from error
        if not isinstance(row, dict):
            raise SmolfastError(
                f'{self.path}, line {number}: not a JSON object; each line must be like {{"{self.text_column}": "…"}}'
            )
        return row

    def json_schema(self, rows: list[tuple[int, dict[str, Any]]]) -> pa.Schema:
        names = list(dict.fromkeys(name for _, row in rows for name in row))
        if self.text_column not in names:
            raise self.no_text_column(names)
        fields = []
        for name in names:
            if name == self.text_column:
                fields.append(pa.field(name, pa.large_string()))
            elif self.keeps(name):
                kinds = {type(value) for _, row in rows if (value := row.get(name)) is not None}
                fields.append(pa.field(name, _json_type(kinds)))
        return pa.schema(fields)

    def json_batch(self, rows: list[tuple[int, dict[str, Any]]], schema: pa.Schema) -> pa.RecordBatch:
        kept = []
        for number, row in rows:
            text = row.get(self.text_column)
            if text is not None and not isinstance(text, str):
                raise SmolfastError(
                    f"{self.path}, line {number}: '{self.text_column}' is a {type(text).__name__}, not a string; "
                    "correct the line or name another --text-column"
                )
            if text is None:
                text = self.missing(f", line {number}")
                if text is None:
                    self.counts["skipped"] += 1
                    continue
                row = {**row, self.text_column: text}
            kept.append((number, row))
        try:
            return self.json_arrays(kept, schema)
        except UnicodeEncodeError:
            return self.json_arrays(self.without_surrogates(kept), schema)

    def json_arrays(self, rows: list[tuple[int, dict[str, Any]]], schema: pa.Schema) -> pa.RecordBatch:
        known = set(schema.names)
        for number, row in rows:
            for name in row:
                if name not in known and self.keeps(name):
                    raise SmolfastError(
                        f"{self.path}, line {number}: the key '{name}' is in no line of the first {self.batch_bytes} "
                        "bytes; give it in the first line (null will do), or remove it"
                    )
        arrays = []
        for field in schema:
            values = [row.get(field.name) for _, row in rows]
            if field.name != self.text_column and pa.types.is_string(field.type):
                values = [v if v is None or isinstance(v, str) else json.dumps(v, ensure_ascii=False) for v in values]
            try:
                arrays.append(pa.array(values, field.type))
            except (pa.ArrowException, OverflowError, TypeError) as error:
                raise SmolfastError(
                    f"{self.path}, lines {rows[0][0]} to {rows[-1][0]}: '{field.name}' was {field.type} before, but "
                    f"here: {one_line(error)}; give the column one type or remove it"
                ) from error
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    def without_surrogates(self, rows: list[tuple[int, dict[str, Any]]]) -> list[tuple[int, dict[str, Any]]]:
        r"""Apply the error rule to rows with a lone surrogate (`"\ud800"`) anywhere."""
        kept = []
        for number, row in rows:
            text = json.dumps(row, ensure_ascii=False)
            clean = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            if clean == text:
                kept.append((number, row))
            elif self.errors == "fail":
                raise SmolfastError(f"{self.path}, line {number}: a lone surrogate, so not UTF-8; {REMEDY}")
            elif self.errors == "replace":
                kept.append((number, json.loads(clean)))
                self.counts["replaced"] += 1
            else:
                self.counts["skipped"] += 1
        return kept

    # Parquet

    def parquet(self, stream: pa.NativeFile) -> Iterator[pa.RecordBatch]:
        # Read pages as they are needed, not all of a row group's: both settings, or a group of 240 MB takes 277 MB
        # instead of 46.
        file = pq.ParquetFile(stream, pre_buffer=False, buffer_size=1 << 20, page_checksum_verification=True)
        schema = self.parquet_schema(file)
        kept = [name for name in schema.names if self.keeps(name)]
        # A name also stands for the columns that begin with it and a dot; without names there is no question.
        chosen = None if len(kept) == len(schema.names) else kept
        schema = pa.schema([schema.field(name) for name in kept], schema.metadata)
        row = 0
        for group in range(file.num_row_groups):
            meta = file.metadata.row_group(group)
            rows = max(1, self.batch_bytes * meta.num_rows // max(1, meta.total_byte_size))
            size = min(rows, 1 << 20)
            times = self.old_times(stream, file, schema, group, size)
            for batch in file.iter_batches(size, row_groups=[group], columns=chosen):
                if times is not None:
                    self.check_times(batch, next(times), row)
                yield self.checked(batch, row, schema)
                row += batch.num_rows

    def old_times(
        self, stream: pa.NativeFile, file: pq.ParquetFile, schema: pa.Schema, group: int, size: int
    ) -> Iterator[pa.RecordBatch] | None:
        """Columns of times in 96 bits, as Spark and Impala wrote them, in microseconds; None if there are none."""
        columns = [file.schema.column(place) for place in range(len(file.schema))]
        old = {column.path.split(".")[0] for column in columns if column.physical_type == "INT96"}
        names = [name for name in schema.names if name.split(".")[0] in old]
        if not names:
            return None
        coarse = pq.ParquetFile(stream, pre_buffer=False, buffer_size=1 << 20, coerce_int96_timestamp_unit="us")
        batches: Iterator[pa.RecordBatch] = coarse.iter_batches(size, row_groups=[group], columns=names)
        return batches

    def check_times(self, batch: pa.RecordBatch, coarse: pa.RecordBatch, row: int) -> None:
        """Refuse times that pyarrow's nanoseconds in 64 bits don't hold: it reads others in their place."""
        for field, column in zip(coarse.schema, coarse.columns, strict=True):
            index = batch.schema.get_field_index(field.name)
            try:
                if index >= 0:
                    column.cast(batch.schema.field(index).type)
            except pa.ArrowInvalid as error:
                raise SmolfastError(
                    f"{self.path}, rows {row} to {row + batch.num_rows - 1}: column '{field.name}' (INT96) has a time "
                    "outside the years 1677 to 2262; write it as a timestamp of microseconds (in Spark, "
                    "spark.sql.parquet.outputTimestampType=TIMESTAMP_MICROS)"
                ) from error

    def parquet_schema(self, file: pq.ParquetFile) -> pa.Schema:
        schema = file.schema_arrow
        names = schema.names
        if self.text_column not in names:
            raise self.no_text_column(names)
        if len(set(names)) != len(names):
            raise twice(self.path, next(name for index, name in enumerate(names) if name in names[:index]))
        stored = schema.field(self.text_column).type
        value = stored.value_type if pa.types.is_dictionary(stored) else stored
        if not is_bytes(value) and not pa.types.is_null(value):
            raise SmolfastError(
                f"{self.path}: column '{self.text_column}' holds {stored}, not strings; name another --text-column "
                f"(there are: {column_names(names)})"
            )
        return schema

    def checked(self, batch: pa.RecordBatch, first_row: int, schema: pa.Schema) -> pa.RecordBatch:
        arrays, keep = [], np.ones(batch.num_rows, bool)
        fields = []
        for field in schema:
            column = batch.column(field.name)
            is_text = field.name == self.text_column
            if is_text:
                column = _as_large_string(column)
            elif column.type != field.type:  # A batch's dictionary has indices of 32 bits, whatever the file's.
                column = column.cast(field.type)
            if is_string(column.type):
                column = self.repaired(column, field.name, first_row, keep, nulls=not is_text)
            else:
                column.validate(full=True)
            arrays.append(column)
            fields.append(field.with_type(column.type))
        checked = pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields, schema.metadata))
        self.counts["skipped"] += int(len(keep) - keep.sum())
        return select(checked, keep)

    def repaired(
        self, column: pa.Array, name: str, first_row: int, keep: npt.NDArray[np.bool_], *, nulls: bool
    ) -> pa.Array:
        """`column` with the error rule applied; clears `keep` where a row has to go."""
        if (nulls or column.null_count == 0) and _is_valid(column):
            return column
        binary = pa.large_binary() if pa.types.is_large_string(column.type) else pa.binary()
        texts: list[str | None] = []
        for index, raw in enumerate(column.cast(binary).to_pylist()):
            where = f", row {first_row + index}, column '{name}'"
            text = None
            if raw is not None:
                text = self.decode(raw, where)
            elif not nulls:
                text = self.missing(where)
            if text is None and (raw is not None or not nulls):
                keep[index] = False
            texts.append(text)
        return pa.array(texts, column.type)

    # The error rule

    def decode(self, raw: bytes, where: str) -> str | None:
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            if self.errors == "fail":
                raise SmolfastError(
                    f"{self.path}{where}: not UTF-8 at byte {error.start} (0x{raw[error.start]:02x}); {REMEDY}"
                ) from error
        if self.errors == "skip":
            return None
        self.counts["replaced"] += 1
        return raw.decode("utf-8", "replace")

    def missing(self, where: str) -> str | None:
        if self.errors == "fail":
            raise SmolfastError(f"{self.path}{where}: the text is missing (null); {REMEDY}")
        if self.errors == "skip":
            return None
        self.counts["replaced"] += 1
        return ""

    def no_text_column(self, names: Sequence[str]) -> SmolfastError:
        return SmolfastError(
            f"{self.path} has no column '{self.text_column}'; give as --text-column one of those it has: "
            f"{column_names(names) or '(none)'}"
        )


def _json_type(kinds: set[type]) -> pa.DataType:
    types = {
        frozenset({bool}): pa.bool_(),
        frozenset({int}): pa.int64(),
        frozenset({float}): pa.float64(),
        frozenset({int, float}): pa.float64(),
    }
    return types.get(frozenset(kinds), pa.string())


def _as_large_string(column: pa.Array) -> pa.Array:
    """Strings or binary of any kind as large_string, the bytes unchecked."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if is_string(column.type) or pa.types.is_null(column.type):
        return column.cast(pa.large_string())
    column = column.cast(pa.large_binary())
    return pa.Array.from_buffers(pa.large_string(), len(column), column.buffers(), column.null_count, column.offset)


def _is_valid(column: pa.Array) -> bool:
    column.validate()
    # Arrow's own check, validate(full=True), takes three times as long.
    return bool(_native.is_valid_utf8(column))


def utf8_bytes(column: pa.Array) -> int:
    """Bytes of all the texts of a string column, nulls counting nothing."""
    return int(pc.sum(byte_lengths(column)).as_py() or 0)
