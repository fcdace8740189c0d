"""Arrow schemas of the files of one job: united where nothing is lost, else refused by name."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from smolfast.errors import SmolfastError
from smolfast.io.json.values import TYPES, is_json
from smolfast.io.schemas.columns import is_string
from smolfast.io.sources import ROW_KINDS, kind_of

Metadata = dict[bytes, bytes]
Parts = Sequence[tuple[str, pa.Schema]]

HUGGING_FACE = b"huggingface"
PANDAS = b"pandas"
EXTENSION = b"ARROW:extension:name"
"""In a field's metadata: the extension type that it has where that type is known."""


def check_storable(schema: pa.Schema, path: str) -> None:
    """Refuse columns that a parquet file can't hold, by name.

    Raises:
        SmolfastError: two columns of one name, or a type without a form in parquet.
    """
    names = schema.names
    if len(set(names)) < len(names):
        raise twice(path, next(name for index, name in enumerate(names) if name in names[:index]))
    if _stored(schema):
        return
    bad = [field for field in schema if not _stored(pa.schema([field]))]
    listed = ", ".join(f"'{field.name}' ({field.type})" for field in bad[:5])
    raise SmolfastError(
        f"{path}: parquet has no form for column {listed or 'types'}; drop it or cast it to another type first"
    )


def twice(path: str, name: str) -> SmolfastError:
    """The error for a file in which a name stands for two columns."""
    return SmolfastError(f"{path} has two columns named '{name}'; rename one")


def _stored(schema: pa.Schema) -> bool:
    # pyarrow says so only when it meets such values, and not always.
    if any(_has_view(field.type, inside=False) for field in schema):
        return False
    try:
        pq.ParquetWriter(pa.BufferOutputStream(), schema).close()
    except (pa.ArrowException, ValueError):
        return False
    return True


def _has_view(type_: pa.DataType, *, inside: bool) -> bool:
    """Whether a struct or dictionary in it holds string_view or binary_view."""
    if pa.types.is_dictionary(type_):
        return _has_view(type_.value_type, inside=True)
    if pa.types.is_string_view(type_) or pa.types.is_binary_view(type_):
        return inside
    inside = inside or bool(pa.types.is_struct(type_))
    return any(_has_view(type_.field(place).type, inside=inside) for place in range(type_.num_fields))


def check_json(schema: pa.Schema, path: str) -> None:
    """Refuse columns whose values have no form in JSON, by name.

    Raises:
        SmolfastError: binary, times, decimals, or types of extensions, at any depth.
    """
    bad = [f"'{field.name}' ({field.type})" for field in schema if not _in_json(field.type)]
    if bad:
        raise SmolfastError(
            f"{path}: JSON has no form for column {', '.join(bad[:5])}; drop it, cast it to string, or write parquet"
        )


def _in_json(type_: pa.DataType) -> bool:
    if pa.types.is_dictionary(type_) or pa.types.is_run_end_encoded(type_):
        return _in_json(type_.value_type)
    if pa.types.is_nested(type_):
        return not pa.types.is_union(type_) and all(
            _in_json(type_.field(place).type) for place in range(type_.num_fields)
        )
    plain = pa.types.is_null(type_) or pa.types.is_boolean(type_) or pa.types.is_integer(type_)
    return bool(plain or pa.types.is_floating(type_) or is_string(type_))


def unite(parts: Parts) -> pa.Schema:
    """One schema for rows of several files: the columns of all, in the order in which they are met.

    Types are promoted as pyarrow's "permissive" does (null to anything, int32 to int64, string to large_string, structs
    to the fields of both), and dictionaries and views meet what they hold. A column that a file lacks is null there.
    Metadata is kept; of an entry that differs between files the first one's, but of `datasets`' features and pandas'
    columns each is compared. Where pandas' indexes differ, their columns stay as ordinary ones.

    Args:
        parts: each file's path and schema, at least one.

    Raises:
        SmolfastError: a column whose types can't be promoted, or which means something else (ClassLabel's names, an
            extension type) in another file; names the two files.
    """
    first, united = parts[0]
    fields = {field.name: (first, field) for field in united}
    metadata = dict(united.metadata or {})
    previous = united
    for path, schema in parts[1:]:
        if schema.equals(previous, check_metadata=True):
            continue
        previous = schema
        for field in schema:
            if field.name not in fields:
                fields[field.name] = (path, field.with_nullable(True))
            else:
                where, known = fields[field.name]
                fields[field.name] = (where, _united_field(known, field, where, path, parts))
        present = set(schema.names)
        for name, (where, known) in fields.items():
            if name not in present and not known.nullable:
                fields[name] = (where, known.with_nullable(True))
        metadata = _united_metadata(metadata, dict(schema.metadata or {}), parts[0][0], path)
    if len(parts) > 1:
        fields = {name: (path, _with_room(field)) for name, (path, field) in fields.items()}
    schema = pa.schema([field for _, field in fields.values()], metadata or None)
    return _without_changed_pandas_columns(schema, parts) if len(parts) > 1 else schema


def _with_room(field: pa.Field) -> pa.Field:
    """Indices of 32 bits for a dictionary: the values of all files may be more than a smaller type counts."""
    type_ = field.type
    if not pa.types.is_dictionary(type_) or type_.index_type.bit_width >= 32:
        return field
    return field.with_type(pa.dictionary(pa.int32(), type_.value_type, type_.ordered))


def _united_field(known: pa.Field, other: pa.Field, where: str, path: str, parts: Parts) -> pa.Field:
    if known.equals(other, check_metadata=True):
        return known
    metadata = {**(other.metadata or {}), **(known.metadata or {})}
    ours, theirs = ((field.metadata or {}).get(EXTENSION) for field in (known, other))
    if ours != theirs and not (pa.types.is_null(known.type) or pa.types.is_null(other.type)):
        names = [(name or b"none").decode(errors="replace") for name in (ours, theirs)]
        raise _differ(known.name, where, f"of extension type {names[0]}", path, f"of {names[1]}", parts)
    if is_json(known) != is_json(other) and not (pa.types.is_null(known.type) or pa.types.is_null(other.type)):
        kinds = ["of JSON values" if is_json(field) else str(field.type) for field in (known, other)]
        raise _differ(known.name, where, kinds[0], path, kinds[1], parts)
    type_ = common_type(known.type, other.type)
    if type_ is None:
        raise _differ(known.name, where, str(known.type), path, str(other.type), parts)
    return pa.field(known.name, type_, known.nullable or other.nullable, metadata or None)


def _differ(name: str, where: str, ours: str, path: str, theirs: str, parts: Parts = ()) -> SmolfastError:
    """The error for a column of two types; `parts`, if given, are those of all files."""
    remedy = "cast it to one type or drop it from one of them"
    asked = _type_to_ask_for({path: schema.field(name) for path, schema in parts if name in schema.names})
    if asked is not None:
        remedy = f"give --column-type {shlex.quote(f'{name}={asked}')}, or {remedy}"
    return SmolfastError(f"column '{name}' is {ours} in {where} but {theirs} in {path}; {remedy}")


def _type_to_ask_for(fields: Mapping[str, pa.Field]) -> str | None:
    """What a column of JSON or CSV may be asked to be, so that it meets those of the other files."""
    stored = {path: field for path, field in fields.items() if kind_of(path) not in ROW_KINDS}
    means_more = any(is_json(field) or EXTENSION in (field.metadata or {}) for field in stored.values())
    if len(stored) == len(fields) or means_more:
        return None
    types = [field.type for field in stored.values()]
    fitting = [name for name, type_ in TYPES.items() if all(common_type(type_, other) for other in types)]
    return min(fitting, key=lambda name: TYPES[name] not in types, default=None)  # the same, or else the first


def common_type(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The type that holds the values of both, or None. Which values of wide numbers fit only the values tell."""
    if one == other:
        return one
    if pa.types.is_null(one) or pa.types.is_null(other):
        return other if pa.types.is_null(one) else one
    dictionaries = [pa.types.is_dictionary(type_) for type_ in (one, other)]
    if any(dictionaries) and not (all(dictionaries) and one.value_type == other.value_type):
        return common_type(*(type_.value_type if pa.types.is_dictionary(type_) else type_ for type_ in (one, other)))
    one, other = _without_view(one), _without_view(other)
    try:
        fields = [pa.schema([("", type_)]) for type_ in (one, other)]
        united = pa.unify_schemas(fields, promote_options="permissive").field(0).type
        for type_ in (one, other):
            pa.nulls(1, type_).cast(united)
    except pa.ArrowException:
        return None
    return united


def without_views(schema: pa.Schema) -> pa.Schema:
    """The schema with dictionaries of string, as parquet has them, for those of string_view, as polars has them."""
    for place, field in enumerate(schema):
        type_ = field.type
        if pa.types.is_dictionary(type_) and _has_view(type_.value_type, inside=True):
            type_ = pa.dictionary(type_.index_type, _without_view(type_.value_type), type_.ordered)
            schema = schema.set(place, field.with_type(type_))
    return schema


def _without_view(type_: pa.DataType) -> pa.DataType:
    if pa.types.is_string_view(type_):
        return pa.string()
    return pa.binary() if pa.types.is_binary_view(type_) else type_


def may_lose(type_: pa.DataType, united: pa.DataType) -> bool:
    """Whether some values of a type have no equal in the one it was promoted to, so that a safe cast has to look."""
    if type_ == united:
        return False
    if pa.types.is_floating(united):
        return bool(pa.types.is_decimal(type_) or (pa.types.is_integer(type_) and type_.bit_width == 64))
    if pa.types.is_integer(united):
        return bool(pa.types.is_uint64(type_))
    return bool(pa.types.is_timestamp(united) or pa.types.is_duration(united))


# Metadata


def _united_metadata(known: Metadata, other: Metadata, where: str, path: str) -> Metadata:
    united = {**other, **known}
    ours, theirs = known.get(HUGGING_FACE), other.get(HUGGING_FACE)
    if ours is not None and theirs is not None and ours != theirs:
        united[HUGGING_FACE] = _united_features(ours, theirs, where, path)
    if PANDAS in united and known.get(PANDAS) != other.get(PANDAS):
        united[PANDAS] = _united_index(known.get(PANDAS), other.get(PANDAS))
    return united


def _united_features(ours: bytes, theirs: bytes, where: str, path: str) -> bytes:
    """`datasets`' features of the columns of both; a column may not mean two things."""
    known, other = _loaded(ours), _loaded(theirs)
    features, more = (_part(_part(found, "info"), "features") for found in (known, other))
    for name, feature in more.items():
        if name in features and _meaning(features[name]) != _meaning(feature):
            shown = [json.dumps(part, ensure_ascii=False)[:120] for part in (features[name], feature)]
            raise _differ(name, where, f"the feature {shown[0]}", path, shown[1])
    if not more.keys() - features.keys():
        return ours
    info = {**_part(known, "info"), "features": {**features, **more}}
    return json.dumps({**known, "info": info}, ensure_ascii=False).encode()


def _meaning(feature: Any) -> Any:
    """A feature, but of plain values nothing: their type is the column's."""
    return None if isinstance(feature, dict) and feature.get("_type") == "Value" else feature


def _united_index(ours: bytes | None, theirs: bytes | None) -> bytes:
    indexes = [_index(_loaded(found or b"{}")) for found in (ours, theirs)]
    united = _loaded(ours or theirs or b"{}")
    if indexes[0] != indexes[1] or indexes[0] is None:
        united["index_columns"] = []
    return json.dumps(united, ensure_ascii=False).encode()


def _index(pandas: Mapping[str, Any]) -> list[Any] | None:
    """pandas' index columns, none for rows merely counted from 0; None for other counting, which joining rows ends."""
    index = []
    for column in pandas.get("index_columns") or []:
        if isinstance(column, dict):
            if (column.get("start"), column.get("step")) != (0, 1):
                return None
        else:
            index.append(column)
    return index


def _without_changed_pandas_columns(schema: pa.Schema, parts: Sequence[tuple[str, pa.Schema]]) -> pa.Schema:
    """Take from pandas' metadata what it says of columns that are of another type here or there, as pandas sees it."""
    metadata = dict(schema.metadata or {})
    if PANDAS not in metadata:
        return schema
    seen: dict[str, set[str]] = {}
    for found in {(part.metadata or {}).get(PANDAS, b"{}") for _, part in parts}:
        for column in _loaded(found).get("columns") or []:
            kind = [column.get(key) for key in ("pandas_type", "numpy_type", "metadata")]
            seen.setdefault(str(column.get("field_name")), set()).add(json.dumps(kind))
    of_type: dict[str, set[str]] = {}
    for _, part in parts:
        for field in part:
            of_type.setdefault(field.name, set()).add(str(field.type))
    pandas = _loaded(metadata[PANDAS])
    pandas["columns"] = [
        column
        for column in pandas.get("columns") or []
        if len(seen.get(str(column.get("field_name")), ())) == 1
        and of_type.get(str(column.get("field_name"))) == {str(schema.field(str(column.get("field_name"))).type)}
    ]
    metadata[PANDAS] = json.dumps(pandas, ensure_ascii=False).encode()
    return schema.with_metadata(metadata)


def _loaded(value: bytes) -> dict[str, Any]:
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _part(of: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = of.get(name)
    return found if isinstance(found, dict) else {}
