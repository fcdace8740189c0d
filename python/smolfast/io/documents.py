"""Documents in and out: text, JSON, CSV, Arrow and parquet as Arrow record batches; parquet written atomically.

Every stage reads text through `find_sources` and `read_batches` and writes tables through `BatchWriter`, so that
what is a document, what is an error and what the bytes on disk look like is decided once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from smolfast import _native
from smolfast.errors import SmolfastError
from smolfast.io.boundary import reading
from smolfast.io.byte_streams import codec, open_utf8
from smolfast.io.json.lines import MOST_LINE_BYTES
from smolfast.io.json.values import TYPES
from smolfast.io.parquet.writer import BatchWriter
from smolfast.io.rows.arrow_files import read_arrow
from smolfast.io.rows.record_batches import RowReader, TextRule, no_text_column
from smolfast.io.schemas.columns import byte_lengths, column_names, is_bytes, is_string, select
from smolfast.io.schemas.unite import twice, without_views
from smolfast.io.sources import ROW_KINDS, SUFFIXES, Kind, Source, Sources, document_id, find_sources, open_source

__all__ = [
    "ROW_KINDS",
    "SUFFIXES",
    "BatchWriter",
    "ErrorPolicy",
    "Kind",
    "Source",
    "Sources",
    "find_sources",
    "read_batches",
    "stored_schema",
    "utf8_bytes",
]

ErrorPolicy = Literal["fail", "replace", "skip"]

BATCH_BYTES = 8 << 20


def read_batches(
    source: Source,
    *,
    text_column: str = "text",
    columns: Sequence[str] | None = None,
    types: Mapping[str, str] | None = None,
    errors: str = "fail",
    batch_bytes: int = BATCH_BYTES,
    counts: Counter[str] | None = None,
    templates: bool = False,
    groups: tuple[int, int] | None = None,
) -> Iterator[pa.RecordBatch]:
    """Stream a source as record batches of about `batch_bytes` of input, in bounded memory.

    The text column comes as large_string without nulls, whatever string or binary type it was stored as; the other
    columns of parquet and Arrow's files come as they are, with their metadata. A text file is one row, with columns
    `id` (the source's path) and `text_column`. Line numbers count from 1, rows and byte offsets from 0.

    JSON's other columns get types that hold every value of the file exactly: bool, int64, uint64, float64, string, a
    string of JSON where none of them does (`smolfast.io.json.values`), or null where all are. An absent key is a null.
    Cells of CSV are strings, empty ones too; where commas don't part the text's name from the others in its first line,
    semicolons, tabs or bars may. Blank lines are passed over. Compressed files, and UTF-16 and UTF-32 with a byte-order
    mark, are read as what they hold.

    JSON is parsed with the standard library, since it can say which line is broken and read columns of mixed type. It
    gives 360 MB of documents of 15 kB per CPU second, where pyarrow.json gives 520.

    Args:
        source: one of `find_sources`.
        text_column: the column that holds the text; it must be there but in text files.
        columns: the other columns to keep; None keeps all. Names that aren't there are ignored.
        types: of columns of JSON and CSV, by name: "string", "int64", "uint64", "float64" or "bool". A value that the
            type doesn't hold exactly is an error; an empty cell of CSV is null unless the type is "string".
        errors: what to do with a row whose text isn't UTF-8 (a lone surrogate in JSON is such text) or is missing
            (null): "fail", "replace" bad bytes by U+FFFD and null by the empty text, or "skip" the row. String
            columns beside the text follow the same rule, but may be null.
        batch_bytes: roughly how much a batch holds; a longer document makes a longer batch.
        counts: if given, its "replaced" and "skipped" grow by the rows that were.
        templates: of JSON, give in the place of other columns each line as it stands, with a hole for the text, which
            `JsonLinesWriter` fills. So nothing else of the line changes: absent keys, keys twice, digits, order.
        groups: of parquet, the first row group to read and the one after the last.

    Raises:
        SmolfastError: bad text under "fail", a corrupt or truncated file, a broken line, no text column.
    """
    if errors not in get_args(ErrorPolicy):
        raise SmolfastError(f"errors = {errors!r} is unknown; choose one of {', '.join(get_args(ErrorPolicy))}")
    asked = _types(types)
    counts = Counter() if counts is None else counts
    kept = None if columns is None else frozenset({*columns, text_column})
    batch_bytes = max(1, batch_bytes)
    with reading(source.path):
        if source.kind in ROW_KINDS:
            rows = RowReader(source.path, source.kind, text_column, kept, asked, errors, counts)
            as_lines = templates and source.kind in ("jsonl", "json")
            yield from rows.templates(batch_bytes) if as_lines else rows.batches(batch_bytes)
            return
        reader = _Reader(source.path, text_column, kept, errors, batch_bytes, counts)
        if source.kind == "text":
            yield from reader.text()
            return
        with open_source(source.path) as stream:
            yield from reader.parquet(stream, groups) if source.kind == "parquet" else reader.arrow(stream)


def stored_schema(
    source: Source, *, text_column: str = "text", types: Mapping[str, str] | None = None, errors: str = "fail"
) -> pa.Schema | None:
    """The columns of a source: of parquet and Arrow's files as they say, of JSON and CSV as all their rows do.

    None for JSON without rows and CSV without a line of names.

    Raises:
        SmolfastError: as `read_batches`.
    """
    with reading(source.path):
        if source.kind in ROW_KINDS:
            rows = RowReader(source.path, source.kind, text_column, None, _types(types), errors, Counter())
            return rows.whole_schema(BATCH_BYTES)
        if source.kind == "text":
            return pa.schema([("id", pa.string()), (text_column, pa.large_string())])
        reader = _Reader(source.path, text_column, None, errors, BATCH_BYTES, Counter())
        with open_source(source.path) as stream:
            if source.kind == "parquet":
                with pq.ParquetFile(stream) as file:
                    schema = reader.checked_schema(file.schema_arrow)
                    reader.check_intervals(file, schema.names)
                    return schema
            return reader.checked_schema(read_arrow(stream, BATCH_BYTES)[0])


def _types(types: Mapping[str, str] | None) -> dict[str, pa.DataType]:
    """The types asked for, by column."""
    for name, type_ in (types or {}).items():
        if type_ not in TYPES:
            raise SmolfastError(f"the type {type_!r} of column '{name}' is unknown; choose one of {', '.join(TYPES)}")
    return {name: TYPES[type_] for name, type_ in (types or {}).items()}


class _Reader:
    """Text and Arrow's formats."""

    def __init__(
        self,
        path: str,
        text_column: str,
        columns: frozenset[str] | None,
        errors: str,
        batch_bytes: int,
        counts: Counter[str],
    ) -> None:
        self.path = path
        self.text_column = text_column
        self.columns = columns
        self.batch_bytes = batch_bytes
        self.counts = counts
        self.rule = TextRule(path, errors, counts)

    def keeps(self, name: str) -> bool:
        return self.columns is None or name in self.columns

    def text(self) -> Iterator[pa.RecordBatch]:
        with open_utf8(self.path) as stream:
            data = stream.read() if codec(self.path) is None else stream.read(MOST_LINE_BYTES + 1)
        if codec(self.path) is not None and len(data) > MOST_LINE_BYTES:
            raise SmolfastError(
                f"{self.path} holds more than {MOST_LINE_BYTES >> 20} MiB, as one document; unpack or split it"
            )
        text = self.rule.decode(data, "")
        if text is None:
            self.counts["skipped"] += 1
            return
        columns = {self.text_column: pa.array([text], pa.large_string())}
        if self.keeps("id"):
            columns = {"id": pa.array([document_id(self.path)], pa.string()), **columns}
        yield pa.RecordBatch.from_pydict(columns)

    def arrow(self, stream: pa.NativeFile) -> Iterator[pa.RecordBatch]:
        schema, batches = read_arrow(stream, self.batch_bytes)
        schema = self.checked_schema(schema)
        schema = pa.schema([field for field in schema if self.keeps(field.name)], schema.metadata)
        row = 0
        for batch in batches:
            yield self.checked(batch, row, schema)
            row += batch.num_rows

    # Parquet

    def parquet(self, stream: pa.NativeFile, groups: tuple[int, int] | None) -> Iterator[pa.RecordBatch]:
        # Read pages as they are needed, not all of a row group's: both settings, or a group of 240 MB takes 277 MB
        # instead of 46.
        file = pq.ParquetFile(stream, pre_buffer=False, buffer_size=1 << 20, page_checksum_verification=True)
        schema = self.checked_schema(file.schema_arrow)
        kept = [name for name in schema.names if self.keeps(name)]
        self.check_intervals(file, kept)
        # A name also stands for the columns that begin with it and a dot; without names there is no question.
        chosen = None if len(kept) == len(schema.names) else kept
        schema = pa.schema([schema.field(name) for name in kept], schema.metadata)
        first, stop = groups or (0, file.num_row_groups)
        row = sum(file.metadata.row_group(group).num_rows for group in range(first))
        for group in range(first, stop):
            meta = file.metadata.row_group(group)
            rows = max(1, self.batch_bytes * meta.num_rows // max(1, meta.total_byte_size))
            size = min(rows, 1 << 20)
            times = self.old_times(stream, file, schema, group, size)
            for batch in file.iter_batches(size, row_groups=[group], columns=chosen):
                if times is not None:
                    self.check_times(batch, next(times), row)
                yield self.checked(batch, row, schema)
                row += batch.num_rows

    def check_intervals(self, file: pq.ParquetFile, names: Sequence[str]) -> None:
        """Refuse what pyarrow takes for mere bytes: it would be written as such."""
        for place in range(len(file.schema)):
            column = file.schema.column(place)
            if column.converted_type == "INTERVAL" and any(f"{column.path}.".startswith(f"{name}.") for name in names):
                raise SmolfastError(
                    f"{self.path}: column '{column.path}' is an INTERVAL, which pyarrow has no type for; cast it to "
                    "another type or drop it"
                )

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

    def checked_schema(self, schema: pa.Schema) -> pa.Schema:
        """The columns that a file says it has, if there is a text column among them and no name twice."""
        names = schema.names
        if self.text_column not in names:
            raise no_text_column(self.path, self.text_column, names)
        if len(set(names)) != len(names):
            raise twice(self.path, next(name for index, name in enumerate(names) if name in names[:index]))
        stored = schema.field(self.text_column).type
        value = stored.value_type if pa.types.is_dictionary(stored) else stored
        if not is_bytes(value) and not pa.types.is_null(value):
            others = [name for name in names if name != self.text_column]
            remedy = f"name another --text-column (there are: {column_names(others)})" if others else "give other files"
            raise SmolfastError(f"{self.path}: column '{self.text_column}' holds {stored}, not strings; {remedy}")
        return without_views(schema)

    def checked(self, batch: pa.RecordBatch, first_row: int, schema: pa.Schema) -> pa.RecordBatch:
        arrays, keep = [], np.ones(batch.num_rows, bool)
        fields = []
        for field in schema:
            column = batch.column(field.name)
            is_text = field.name == self.text_column
            if is_text:
                column = _as_large_string(column)
            elif column.type != field.type:  # A dictionary: of a view, or a batch's with indices of 32 bits.
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
                text = self.rule.decode(raw, where)
            elif not nulls:
                text = self.rule.missing(where)
            if text is None and (raw is not None or not nulls):
                keep[index] = False
            texts.append(text)
        return pa.array(texts, column.type)


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
