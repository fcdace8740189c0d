"""Rows and columns of record batches of any Arrow type, also of those that pyarrow's own functions don't take."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from smolfast.errors import SmolfastError
from smolfast.io.sources import one_line


def is_string(type_: pa.DataType) -> bool:
    """Whether an Arrow type is one of the three string types."""
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_))


def is_bytes(type_: pa.DataType) -> bool:
    """Whether an Arrow type holds strings or binary of any length."""
    return is_string(type_) or bool(
        pa.types.is_binary(type_) or pa.types.is_large_binary(type_) or pa.types.is_binary_view(type_)
    )


def byte_lengths(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Bytes of each value of a column of strings or binary; null for null."""
    if pa.types.is_string_view(column.type) or pa.types.is_binary_view(column.type):
        column = column.cast(pa.large_binary())
    return pc.binary_length(column)


def select(batch: pa.RecordBatch, mask: npt.NDArray[np.bool_]) -> pa.RecordBatch:
    """The rows where `mask`, bool [rows], is true; of any type, where `RecordBatch.filter` has no form for views."""
    if mask.all():
        return batch
    try:
        return batch.filter(pa.array(mask))
    except pa.ArrowNotImplementedError:  # pyarrow has no such kernel for views and some extension types
        edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0))
        parts = [batch.slice(start, stop - start) for start, stop in edges.reshape(-1, 2).tolist()]
        if not parts:
            return batch.slice(0, 0)
        (joined,) = pa.Table.from_batches(parts).combine_chunks().to_batches()
        return joined


def conform(batch: pa.RecordBatch, schema: pa.Schema, path: str) -> pa.RecordBatch:
    """The batch as one of `schema`: columns in that order, cast where no value changes, null where there are none.

    Raises:
        SmolfastError: a column that the schema hasn't, or a value that has no equal in the schema's type.
    """
    if batch.schema.equals(schema, check_metadata=True):
        return batch
    names = set(batch.schema.names)
    extra = [name for name in batch.schema.names if schema.get_field_index(name) < 0]
    if extra:
        raise SmolfastError(
            f"{path}: the inputs have different columns ({column_names(schema.names)} and then "
            f"{column_names(batch.schema.names)}); give each the same, with null where there is no value"
        )
    arrays = []
    for field in schema:
        column = batch.column(field.name) if field.name in names else pa.nulls(batch.num_rows, field.type)
        if column.type != field.type:
            column = _cast(column, field, path)
        if not field.nullable and column.null_count:
            raise SmolfastError(f"{path}: column '{field.name}' has nulls, which it had not before; make it nullable")
        arrays.append(column)
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _cast(column: pa.Array, field: pa.Field, path: str) -> pa.Array:
    if pa.types.is_null(column.type):
        return pa.nulls(len(column), field.type)
    try:
        if pa.types.is_dictionary(column.type) and not pa.types.is_dictionary(field.type):
            column = column.dictionary_decode()
        return column.cast(field.type)
    except (pa.ArrowException, ValueError) as error:
        raise SmolfastError(
            f"{path}: column '{field.name}' was {field.type} before and is {column.type} here, which it doesn't hold: "
            f"the inputs' columns have different types ({one_line(error)}); cast it to one type in all of them"
        ) from error


def as_names(column: pa.Array) -> pa.Array:
    """Ids of any type as string: UTF-8 as it is, other bytes in hex, UUIDs as usual, structs and lists as JSON."""
    type_ = column.type
    if is_string(type_):
        return column.cast(pa.string())
    if pa.types.is_dictionary(type_):
        return as_names(column.dictionary_decode())
    simple = pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_)
    if simple or pa.types.is_null(type_) or pa.types.is_boolean(type_) or pa.types.is_temporal(type_):
        try:
            return column.cast(pa.string())
        except pa.ArrowNotImplementedError:  # the same
            pass
    hexadecimal = pa.types.is_fixed_size_binary(type_)
    return pa.array([_name(value, hexadecimal) for value in column.to_pylist()], pa.string())


def _name(value: Any, hexadecimal: bool) -> str | None:
    if value is None:
        return None
    if isinstance(value, bytes):
        try:
            return value.hex() if hexadecimal else value.decode()
        except UnicodeDecodeError:
            return value.hex()
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


COLUMN_KEY = b"smolfast"
"""In the metadata of a column that a stage adds: what it is, whatever its name."""


def find_column(schema: pa.Schema, what: str) -> str | None:
    """The name of the column that a stage added as `what` ("cluster_id"), the latest if there are several; else None.

    One without metadata (another library wrote the file anew) is known by that name.
    """
    marked = [field.name for field in schema if (field.metadata or {}).get(COLUMN_KEY) == what.encode()]
    if marked:
        return str(marked[-1])
    return what if what in schema.names else None


def column_names(names: Sequence[str]) -> str:
    """Columns for a message, at most twenty."""
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
