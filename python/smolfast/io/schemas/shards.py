"""The columns of all files of a job, known before the first row of them is read."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from smolfast.errors import SmolfastError
from smolfast.io.boundary import reading
from smolfast.io.documents import stored_schema
from smolfast.io.schemas.unite import may_lose, unite
from smolfast.io.sources import ROW_KINDS, Source, one_line, open_source


def common_schema(
    sources: Sequence[Source],
    *,
    text_column: str = "text",
    types: Mapping[str, str] | None = None,
    errors: str = "fail",
    reserved: Sequence[str] = (),
    one_job: bool = True,
) -> pa.Schema | None:
    """The columns of rows from all of `sources`, as `smolfast.io.schemas.unite` joins them; None if none has rows.

    Parquet's come from the footers, whether or not there are rows, those of other formats from their first rows. The
    text column is of a string or binary type as stored.

    Args:
        reserved: names that the job gives to columns of its own.
        one_job: these are all its files, so that each of `types` must be of a column.

    Raises:
        SmolfastError: columns that can't be joined, or of a reserved name; or as `stored_schema`.
    """
    found = []
    asked = dict.fromkeys(types or {}, False)
    for source in sources:
        schema = stored_schema(source, text_column=text_column, types=types, errors=errors)
        if source.kind in ROW_KINDS:
            asked = {name: there or schema is None or name in schema.names for name, there in asked.items()}
        if schema is not None:
            refuse_reserved(schema, source.path, reserved)
            found.append((source, schema))
    for name, there in asked.items():
        if one_job and not there:
            raise SmolfastError(
                f"no file of JSON or CSV has a column '{name}' to give a type; correct the name, or leave out "
                f"--column-type {shlex.quote(name)}=…"
            )
    if not found:
        return None
    united = unite([(source.path, schema) for source, schema in found])
    for source, schema in found:
        if source.kind == "parquet":
            kept = zip(schema, (united.field(name).type for name in schema.names), strict=True)
            _check_bounds(
                source,
                [(field, type_) for field, type_ in kept if field.name != text_column and may_lose(field.type, type_)],
            )
    place = united.get_field_index(text_column)
    if pa.types.is_null(united.field(place).type):
        united = united.set(place, united.field(place).with_type(pa.string()))
    return united


def refuse_reserved(schema: pa.Schema, path: str, reserved: Sequence[str]) -> None:
    """Refuse a file's columns that have the name of one that the job adds."""
    taken = [name for name in reserved if name in schema.names]
    if taken:
        raise SmolfastError(
            f"{path} has a column '{taken[0]}' of its own, a name that the output gives to another; name the output's "
            "otherwise with --prefix, for example --prefix smolfast_"
        )


def _check_bounds(source: Source, promoted: Sequence[tuple[pa.Field, pa.DataType]]) -> None:
    """Refuse promotions that values may not survive, as the statistics of a parquet file tell."""
    if not promoted:
        return
    with reading(source.path), open_source(source.path) as stream, pq.ParquetFile(stream) as file:
        places = {file.schema.column(place).path: place for place in range(len(file.schema))}
        bounds: dict[str, list[object]] = {field.name: [] for field, _ in promoted}
        for number in range(file.num_row_groups):
            group = file.metadata.row_group(number)
            for field, _ in promoted:
                bounds[field.name] += _bounds(group.column(places[field.name]), field.type)
    for field, type_ in promoted:
        why = _loss(bounds[field.name], field.type, type_)
        if why is not None:
            raise SmolfastError(
                f"column '{field.name}' is {field.type} in {source.path}, but with the other files it would be "
                f"{type_}, which loses values ({why}); cast it to one type in all files"
            )


def _bounds(column: pq.ColumnChunkMetaData, type_: pa.DataType) -> list[object]:
    """The least and the greatest value; None where that isn't told; nothing of a column of nulls."""
    statistics = column.statistics
    if statistics is None or not statistics.has_min_max:
        return [] if statistics is not None and statistics.null_count == column.num_values else [None]
    # Of a time the number, since Python's own times hold fewer.
    names = ("min_raw", "max_raw") if pa.types.is_temporal(type_) else ("min", "max")
    return [getattr(statistics, name) for name in names]


def _loss(bounds: Sequence[object], type_: pa.DataType, united: pa.DataType) -> str | None:
    """Why values within these bounds may not survive; None if all do."""
    if None in bounds:
        return "its statistics don't tell whether it holds all values"
    try:
        stored = pa.array(bounds, pa.int64() if pa.types.is_temporal(type_) else type_)
        stored.cast(type_).cast(united)
    except (pa.ArrowException, ValueError, OverflowError) as error:
        return one_line(error)
    return None
