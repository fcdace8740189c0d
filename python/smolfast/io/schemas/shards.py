"""The columns of all files of a job, known before the first row of them is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from smolfast.errors import SmolfastError
from smolfast.io.boundary import reading
from smolfast.io.documents import stored_schema
from smolfast.io.schemas.unite import may_lose, unite
from smolfast.io.sources import Source, one_line, open_source


def common_schema(
    sources: Sequence[Source],
    *,
    text_column: str = "text",
    types: Mapping[str, str] | None = None,
    errors: str = "fail",
    reserved: Sequence[str] = (),
) -> pa.Schema | None:
    """The columns of rows from all of `sources`, as `smolfast.io.schemas.unite` joins them; None if none has rows.

    Parquet's come from the footers, whether or not there are rows, those of other formats from their first rows. The
    text column is of a string or binary type as stored.

    Args:
        reserved: names that the job gives to columns of its own.

    Raises:
        SmolfastError: columns that can't be joined, or of a reserved name; or as `stored_schema`.
    """
    found = []
    for source in sources:
        schema = stored_schema(source, text_column=text_column, types=types, errors=errors)
        if schema is not None:
            refuse_reserved(schema, source.path, reserved)
            found.append((source, schema))
    if not found:
        return None
    united = unite([(source.path, schema) for source, schema in found])
    for source, schema in found:
        for field in schema:
            type_ = united.field(field.name).type
            if source.kind == "parquet" and field.name != text_column and may_lose(field.type, type_):
                _check_bounds(source, field, type_)
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


def _check_bounds(source: Source, field: pa.Field, type_: pa.DataType) -> None:
    """Refuse a promotion that values may not survive, as the statistics of a parquet file tell."""
    bounds: list[object] = []
    with reading(source.path), open_source(source.path) as stream, pq.ParquetFile(stream) as file:
        places = {file.schema.column(place).path: place for place in range(len(file.schema))}
        for group in range(file.num_row_groups):
            column = file.metadata.row_group(group).column(places[field.name])
            if column.statistics is None or not column.statistics.has_min_max:
                if column.statistics is None or column.statistics.null_count != column.num_values:
                    bounds.append(None)
            else:
                # Of a time the number, since Python's own times hold fewer.
                names = ("min_raw", "max_raw") if pa.types.is_temporal(field.type) else ("min", "max")
                bounds += [getattr(column.statistics, name) for name in names]
    why = "its statistics don't tell whether it holds all values"
    if None not in bounds:
        try:
            stored = pa.array(bounds, pa.int64()) if pa.types.is_temporal(field.type) else pa.array(bounds, field.type)
            stored.cast(field.type).cast(type_)
            return
        except (pa.ArrowException, ValueError, OverflowError) as error:
            why = one_line(error)
    raise SmolfastError(
        f"column '{field.name}' is {field.type} in {source.path}, but with the other files it would be {type_}, which "
        f"loses values ({why}); cast it to one type in all files"
    )
