"""Columns beside the text, of any Arrow type, through every stage that keeps them: they come back as they were."""

from __future__ import annotations

import decimal
import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from smolfast.dedup import deduplicate
from smolfast.errors import SmolfastError
from smolfast.normalize import normalize_documents
from smolfast.split import split_documents

UNITS = ("s", "ms", "us", "ns")
ZONES = (None, "UTC", "Europe/Berlin", "+05:30")


class Angle(pa.ExtensionType):
    """An extension type of a user's own."""

    def __init__(self) -> None:
        super().__init__(pa.float64(), "tests.angle")

    def __arrow_ext_serialize__(self) -> bytes:
        return b"degrees"

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: pa.DataType, serialized: bytes) -> Angle:
        return cls()


LEAVES = [
    pa.null(), pa.bool_(), pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(),
    pa.uint64(), pa.float16(), pa.float32(), pa.float64(), pa.decimal32(5, 2), pa.decimal64(12, 3),
    pa.decimal128(25, 4), pa.decimal256(60, 5), pa.date32(), pa.date64(), pa.time32("s"), pa.time32("ms"),
    pa.time64("us"), pa.time64("ns"), pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(3), pa.string(),
    pa.large_string(), pa.string_view(), pa.uuid(), pa.json_(), pa.bool8(), pa.opaque(pa.int32(), "a", "b"), Angle(),
    *(pa.timestamp(unit, zone) for unit in UNITS for zone in ZONES), *(pa.duration(unit) for unit in UNITS),
    pa.dictionary(pa.int32(), pa.string()), pa.dictionary(pa.int8(), pa.string(), ordered=True),
    pa.dictionary(pa.uint16(), pa.large_string()), pa.dictionary(pa.int32(), pa.binary()),
    pa.dictionary(pa.int16(), pa.int64()),
]  # fmt: skip
UNSTORED = [
    pa.month_day_nano_interval(), pa.sparse_union([pa.field("a", pa.int64()), pa.field("b", pa.string())]),
    pa.dense_union([pa.field("a", pa.int64()), pa.field("b", pa.string())]), pa.struct([]),
    pa.run_end_encoded(pa.int32(), pa.string()), pa.list_(pa.struct([])),
]  # fmt: skip

METADATA = st.none() | st.dictionaries(st.text("abé.:", min_size=1, max_size=4), st.text(max_size=5), max_size=2)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(["text.a", "a.b", "a", "", "é"])


def nested(inner: st.SearchStrategy[pa.DataType]) -> st.SearchStrategy[pa.DataType]:
    def field(name: str) -> st.SearchStrategy[pa.Field]:
        return st.builds(lambda type_, extra: pa.field(name, type_, metadata=extra), inner, METADATA)

    return (
        st.builds(pa.list_, field("item"))
        | st.builds(pa.large_list, inner)
        | st.builds(pa.list_view, inner)
        | st.builds(lambda type_: pa.list_(type_, 2), inner)
        | st.builds(lambda one, two: pa.struct([one, two]), field("text"), field("b.c"))
        | st.builds(lambda type_: pa.map_(pa.string(), type_), inner)
    )


TYPES = st.recursive(st.sampled_from(LEAVES), nested, max_leaves=4)


def values(type_: pa.DataType, rows: int, draw: np.random.Generator, nulls: bool = True) -> pa.Array:
    """Some values of a type, nulls among them."""
    if isinstance(type_, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(type_, values(type_.storage_type, rows, draw, nulls))
    missing = (draw.random(rows) < 0.3) & nulls
    if pa.types.is_dictionary(type_):
        known = values(type_.value_type, 4, draw, nulls=False).unique()
        places = pa.array(draw.integers(0, len(known), rows), type_.index_type, mask=missing)
        return pa.DictionaryArray.from_arrays(places, known, ordered=type_.ordered)
    if pa.types.is_struct(type_):
        parts = [values(field.type, rows, draw) for field in type_]
        return pa.StructArray.from_arrays(parts, fields=list(type_), mask=pa.array(missing))
    if pa.types.is_fixed_size_list(type_):  # A null in its place is refused: pyarrow writes it and can't read it.
        return pa.FixedSizeListArray.from_arrays(values(type_.value_type, 2 * rows, draw), type=type_)
    if pa.types.is_nested(type_):
        sizes = np.where(missing, 0, draw.integers(0, 3, rows))
        ends = np.concatenate([[0], np.cumsum(sizes)])
        count = int(ends[-1])
        if pa.types.is_map(type_):
            keys = pa.array([f"key {at}" for at in range(count)], pa.string())
            offsets = pa.array(ends, pa.int32(), mask=np.append(missing, False))
            return pa.MapArray.from_arrays(offsets, keys, values(type_.item_type, count, draw), type=type_)
        inner = values(type_.value_type, count, draw)
        if pa.types.is_list_view(type_):
            places = [pa.array(found, pa.int32()) for found in (ends[:-1], sizes)]
            return pa.ListViewArray.from_arrays(*places, inner, type=type_, mask=pa.array(missing))
        large = pa.types.is_large_list(type_)
        offsets = pa.array(ends, pa.int64() if large else pa.int32(), mask=np.append(missing, False))
        return (pa.LargeListArray if large else pa.ListArray).from_arrays(offsets, inner, type=type_)
    if pa.types.is_null(type_):
        return pa.nulls(rows)
    if pa.types.is_floating(type_):
        return pa.array(draw.normal(size=rows).astype(f"f{type_.bit_width // 8}"), type_, mask=missing)
    if pa.types.is_decimal(type_):
        items = [None if gone else decimal.Decimal(int(draw.integers(-999, 999))) / 10 for gone in missing]
        return pa.array(items, type_)
    if pa.types.is_date64(type_):
        return pa.array(draw.integers(-9999, 9999, rows), pa.int32(), mask=missing).cast(pa.date32()).cast(type_)
    if pa.types.is_temporal(type_):
        storage = pa.int32() if pa.types.is_date32(type_) or pa.types.is_time32(type_) else pa.int64()
        return pa.array(draw.integers(0, 80_000, rows), storage, mask=missing).cast(type_)
    if pa.types.is_boolean(type_) or pa.types.is_integer(type_):
        kind = "?" if pa.types.is_boolean(type_) else str(type_)
        whole = draw.integers(0, 256, (rows, 8), np.uint8).view(np.uint64)[:, 0]
        return pa.array(whole % 2 == 1 if kind == "?" else whole.astype(kind), type_, mask=missing)
    if pa.types.is_fixed_size_binary(type_):
        items = [draw.bytes(type_.byte_width) for _ in range(rows)]
    elif pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        items = [json.dumps("é" * int(draw.integers(0, 20))) for _ in range(rows)]
    else:
        items = [draw.bytes(int(draw.integers(0, 20))) for _ in range(rows)]
    return pa.array([None if gone else item for item, gone in zip(items, missing, strict=True)], type_)


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """A table with a column "text" of different texts, whatever its type, somewhere among others."""
    generator = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    rows = draw(st.integers(1, 12))
    types = draw(st.lists(TYPES, min_size=1, max_size=4))
    names = draw(st.lists(NAMES.filter(lambda n: n != "text"), min_size=len(types), max_size=len(types), unique=True))
    columns, fields = [], []
    for name, type_ in zip(names, types, strict=True):
        column = values(type_, rows, generator)
        nullable = draw(st.booleans()) or column.null_count > 0
        columns.append(column)
        fields.append(pa.field(name, type_, nullable, draw(METADATA)))
    text_type = draw(st.sampled_from([pa.string(), pa.large_string(), pa.string_view(), pa.binary()]))
    if draw(st.integers(0, 4)) == 0:
        text_type = pa.dictionary(pa.int32(), pa.string())
    place = draw(st.integers(0, len(columns)))
    texts = pa.array([f"{word} of {rows} texts, each another one" for word in range(rows)])
    columns.insert(place, texts.cast(text_type))
    fields.insert(place, pa.field("text", text_type, draw(st.booleans()), draw(METADATA)))
    return pa.Table.from_arrays(columns, schema=pa.schema(fields, draw(METADATA)))


def same(one: pa.Array, two: pa.Array) -> bool:
    """Whether values are equal, whatever the order in a dictionary."""
    if isinstance(one.type, pa.BaseExtensionType):
        return same(one.storage, two.storage)
    if pa.types.is_dictionary(one.type):
        return same(one.dictionary_decode(), two.dictionary_decode())
    if not pa.types.is_nested(one.type):
        return bool(one.equals(two))
    if not one.is_null().equals(two.is_null()):
        return False
    if pa.types.is_struct(one.type):
        return all(map(same, one.flatten(), two.flatten()))
    if pa.types.is_map(one.type):
        one, two = (part.view(pa.list_(pa.struct([part.type.key_field, part.type.item_field]))) for part in (one, two))
    sizes = [pc.list_value_length(part) for part in (one, two)]
    try:
        inner = [part.flatten() for part in (one, two)]
    except pa.ArrowNotImplementedError:  # views of lists of some extension types
        return str(one.to_pylist()) == str(two.to_pylist())
    return bool(sizes[0].equals(sizes[1])) and same(*inner)


def view_in_struct(type_: pa.DataType, inside: bool = False) -> bool:
    if pa.types.is_string_view(type_) or pa.types.is_binary_view(type_):
        return inside
    inside = inside or pa.types.is_struct(type_)
    return any(view_in_struct(type_.field(place).type, inside) for place in range(type_.num_fields))


def assert_same(after: pa.Table, before: pa.Table) -> None:
    assert after.schema.equals(before.schema, check_metadata=True), (after.schema, before.schema)
    assert after.num_rows == before.num_rows
    after.validate(full=True)
    for name, one, two in zip(before.schema.names, after.columns, before.columns, strict=True):
        assert same(one.combine_chunks(), two.combine_chunks()), (name, one, two)


@settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow])
@given(tables(), st.integers(1, 12), st.booleans())
def test_any_columns_through_every_stage(
    tmp_path_factory: pytest.TempPathFactory, table: pa.Table, group: int, dictionaries: bool
) -> None:
    folder = tmp_path_factory.mktemp("columns")
    file = folder / "in.parquet"
    try:
        pq.write_table(table, file, row_group_size=group, use_dictionary=dictionaries)
    except pa.ArrowNotImplementedError as error:  # views in structs
        assert "View" in str(error)
        reject()
    try:
        before = pq.read_table(file)
    except pa.ArrowInvalid as error:  # a null struct around a list of a fixed size: pyarrow can't read what it wrote
        assert "Expected all lists to be of size=2" in str(error)
        reject()
    rows = before.num_rows

    if any(view_in_struct(field.type) for field in before.schema):
        for refused in (normalize_documents, deduplicate):
            with pytest.raises(SmolfastError, match="parquet has no form for column .*view"):
                refused([file], folder / "one.parquet")
        reject()
    normalize_documents([file], folder / "one.parquet", threads=1)
    assert_same(pq.read_table(folder / "one.parquet"), before)
    normalize_documents([file], folder / "many", threads=1)
    assert_same(pq.read_table(folder / "many" / "in.parquet"), before)

    deduplicate([file], folder / "dedup", threads=1, tokens="char", ngram=3, verify="exact", threshold=0.99)
    kept = pq.read_table(folder / "dedup" / "kept.parquet")
    assert kept.schema.names[-2:] == ["cluster_id", "cluster_size"]
    assert_same(kept.drop_columns(["cluster_id", "cluster_size"]), before)

    if rows > 8:
        split_documents(file, folder / "split", held_out_fraction=0.5, seed=3)
        sides = [pq.read_table(folder / "split" / f"{side}.parquet") for side in ("train", "held_out")]
        for side in sides:
            assert side.schema.equals(before.schema, check_metadata=True)
            texts = set(side["text"].cast(pa.string()).to_pylist())
            chosen = [text in texts for text in before["text"].cast(pa.string()).to_pylist()]
            parts = [before.slice(at, 1) for at, there in enumerate(chosen) if there]
            assert_same(side, pa.concat_tables(parts))
        assert sum(side.num_rows for side in sides) == rows
