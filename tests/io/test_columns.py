"""Columns beside the text, of any Arrow type, through every stage that keeps them: they come back as they were."""

from __future__ import annotations

import decimal
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from smolfast.commands.main import main
from smolfast.dedup import deduplicate
from smolfast.dedup.explain import explain
from smolfast.errors import SmolfastError
from smolfast.io.documents import find_sources, read_batches
from smolfast.io.schemas.columns import find_column
from smolfast.io.schemas.unite import check_storable
from smolfast.pipeline.normalize import normalize_documents
from smolfast.pipeline.split import split_documents

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


@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
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
            with pytest.raises(SmolfastError, match=r"parquet has no form for column .*view"):
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


# Files of several kinds in one job


def write(path: Path, columns: dict[str, Any], metadata: Any = None) -> Path:
    table = pa.table(columns)
    pq.write_table(table.replace_schema_metadata(metadata) if metadata else table, path)
    return path


def stages(files: list[Path], folder: Path) -> Iterator[pa.Table]:
    """What the stages make of the files together."""
    normalize_documents(files, folder / "one.parquet")
    yield pq.read_table(folder / "one.parquet")
    deduplicate(files, folder / "dedup")
    yield pq.read_table(folder / "dedup" / "kept.parquet").drop_columns(["cluster_id", "cluster_size"])


JOINED = [
    (pa.nulls(2), pa.array(["a", None]), pa.string()),
    (pa.array([1, 2], pa.int32()), pa.array([1 << 40, None]), pa.int64()),
    (pa.array([1, 2], pa.uint32()), pa.array([-1, None], pa.int32()), pa.int64()),
    (pa.array([1, 1 << 53]), pa.array([0.5, None]), pa.float64()),
    (pa.array(["a", "b"]), pa.array(["c", None], pa.large_string()), pa.large_string()),
    (pa.array(["a", "b"], pa.string_view()), pa.array(["c", None]), pa.string()),
    (pa.array(["a", "b"]).dictionary_encode(), pa.array(["c", None]), pa.string()),
    (pa.array([[1], []]), pa.array([[0.5], None]), pa.list_(pa.float64())),
    (pa.array([{"a": 1}, None]), pa.array([{"b": "x"}, {"b": None}]), pa.struct({"a": pa.int64(), "b": pa.string()})),
    (pa.array([1, 2], pa.timestamp("us")), pa.array([1000, None], pa.timestamp("ns")), pa.timestamp("ns")),
]


@pytest.mark.parametrize(("one", "two", "joined"), JOINED)
@pytest.mark.parametrize("swapped", [False, True])
def test_types_that_have_a_common_one(tmp_path: Path, one: Any, two: Any, joined: Any, swapped: bool) -> None:
    parts = [(one, ["first", "second"]), (two, ["third", "fourth"])]
    files = [
        write(tmp_path / f"{at}.parquet", {"x": column, "text": texts})
        for at, (column, texts) in enumerate(parts[::-1] if swapped else parts)
    ]
    for table in stages(files, tmp_path):
        assert table.schema.names == ["x", "text"]
        assert table.schema.field("x").type == joined or pa.types.is_struct(joined)
        rows = {row["text"]: row["x"] for row in table.to_pylist()}
        for column, texts in parts:
            for text, value in zip(texts, column.to_pylist(), strict=True):
                assert rows[text] == ({"a": None, "b": None} | value if isinstance(value, dict) else value)


REFUSED = [
    (pa.array([1, 2]), pa.array(["a", "b"])),
    (pa.array([1, (1 << 53) + 1]), pa.array([0.5, 1.5])),
    (pa.array([1, 2], pa.int64()), pa.array([1, 2**64 - 1], pa.uint64())),
    (pa.array([1, 2], pa.timestamp("us", "UTC")), pa.array([1, 2], pa.timestamp("us"))),
    (pa.array([1 << 62, 2], pa.timestamp("us")), pa.array([1, 2], pa.timestamp("ns"))),
    (pa.array([b"a" * 16] * 2, pa.binary(16)).cast(pa.uuid()), pa.array([b"a" * 16] * 2, pa.binary(16))),
    (pa.array([True, False]), pa.array([1, 2])),
]


@pytest.mark.parametrize(("one", "two"), REFUSED)
def test_types_that_have_none(tmp_path: Path, one: Any, two: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [write(tmp_path / f"{at}.parquet", {"x": x, "text": ["a", "b"]}) for at, x in enumerate((one, two))]
    monkeypatch.setattr("smolfast.dedup.job._run", None)  # before work begins
    for order in (files, files[::-1]):
        for stage in (normalize_documents, deduplicate):
            with pytest.raises(SmolfastError, match=r"column 'x' is .*\.parquet.* cast it to one type") as error:
                stage(order, tmp_path / "out.parquet")
            assert "\n" not in str(error.value)
            assert any(str(file) in str(error.value) for file in files)
            assert not (tmp_path / "out.parquet").exists()


def test_a_column_that_a_file_lacks_is_null_there(tmp_path: Path) -> None:
    one = pa.table({"text": ["a"], "n": [1]}, pa.schema([("text", pa.string()), pa.field("n", pa.int64(), False)]))
    pq.write_table(one, tmp_path / "0.parquet")
    write(tmp_path / "1.parquet", {"m": [2.5], "text": ["b"]})
    (tmp_path / "2.jsonl").write_text('{"text": "c", "n": 3, "k": true}\n')
    (tmp_path / "3.txt").write_text("d")
    files = sorted(tmp_path.iterdir())
    for table in stages(files, tmp_path / "out"):
        assert table.drop_columns("id").to_pylist() == [
            {"text": "a", "n": 1, "m": None, "k": None},
            {"text": "b", "n": None, "m": 2.5, "k": None},
            {"text": "c", "n": 3, "m": None, "k": True},
            {"text": "d", "n": None, "m": None, "k": None},
        ]


def test_an_empty_file_keeps_its_schema(tmp_path: Path) -> None:
    schema = pa.schema([pa.field("id", pa.uuid(), metadata={"a": "b"}), ("text", pa.string())], {"made": "1"})
    pq.write_table(schema.empty_table(), tmp_path / "0.parquet")
    normalize_documents([tmp_path / "0.parquet"], tmp_path / "many")
    assert pq.read_schema(tmp_path / "many" / "0.parquet").equals(schema, check_metadata=True)
    normalize_documents([tmp_path / "0.parquet"], tmp_path / "one.parquet")
    assert pq.read_schema(tmp_path / "one.parquet").equals(schema, check_metadata=True)
    with pytest.raises(SmolfastError, match="no documents in"):
        deduplicate([tmp_path / "0.parquet"], tmp_path / "dedup")
    write(tmp_path / "1.parquet", {"text": ["a"]})
    write(tmp_path / "2.parquet", {"text": pa.nulls(0)})  # pandas: an empty frame
    for table in stages([tmp_path / f"{at}.parquet" for at in range(3)], tmp_path / "out"):
        assert table.schema.equals(schema, check_metadata=True)
        assert table.to_pylist() == [{"id": None, "text": "a"}]


def test_more_categories_than_the_indices_of_one_file_count(tmp_path: Path) -> None:
    names = [[f"{file} {at}" for at in range(100)] for file in range(2)]
    files = []
    for at, values_ in enumerate(names):
        column = pa.DictionaryArray.from_arrays(pa.array(range(100), pa.int8()), pa.array(values_))
        files.append(write(tmp_path / f"{at}.parquet", {"c": column, "text": values_}))
    for table in stages(files, tmp_path):
        assert table["c"].to_pylist() == names[0] + names[1]
        assert table.schema.field("c").type == pa.dictionary(pa.int32(), pa.string())


def hugging_face(names: list[str]) -> dict[str, str]:
    features = {"text": {"dtype": "string", "_type": "Value"}, "label": {"names": names, "_type": "ClassLabel"}}
    return {"huggingface": json.dumps({"info": {"features": features}})}


def test_what_datasets_says_of_columns(tmp_path: Path) -> None:
    files = [
        write(tmp_path / f"{at}.parquet", {"text": [f"{at}"], "label": [0]}, hugging_face(names))
        for at, names in enumerate([["no", "yes"], ["no", "yes"], ["yes", "no"]])
    ]
    for table in stages(files[:2], tmp_path):
        assert {key.decode(): value.decode() for key, value in table.schema.metadata.items()} == hugging_face(
            ["no", "yes"]
        )
    with pytest.raises(
        SmolfastError, match=r"'label' is the feature .*ClassLabel.* in .*0\.parquet but .* in .*2\.parquet"
    ):
        deduplicate(files, tmp_path / "out")


def pandas(index: list[Any]) -> dict[str, str]:
    columns = [
        {"field_name": name, "pandas_type": kind, "numpy_type": numpy, "metadata": None}
        for name, kind, numpy in (("text", "unicode", "object"), ("n", "int64", "Int64"))
    ]
    return {"pandas": json.dumps({"index_columns": index, "columns": columns, "creator": {"library": "pyarrow"}})}


def counted(rows: int, start: int = 0) -> dict[str, Any]:
    return {"kind": "range", "name": None, "start": start, "stop": start + rows, "step": 1}


def test_what_pandas_says_of_columns(tmp_path: Path) -> None:
    def index_of(*descriptions: Any, n: Any = (1, 2)) -> tuple[list[Any], list[str]]:
        files = [
            write(tmp_path / f"{at}.parquet", {"text": [f"{at}"], "n": [n[at]], "key": [f"k{at}"]}, pandas(found))
            for at, found in enumerate(descriptions)
        ]
        (*_, table) = stages(files, tmp_path / f"out{len(list(tmp_path.iterdir()))}")
        found = json.loads(table.schema.metadata[b"pandas"])
        return found["index_columns"], [column["field_name"] for column in found["columns"]]

    assert index_of(["key"]) == (["key"], ["text", "n"])
    assert index_of([counted(1, 7)]) == ([counted(1, 7)], ["text", "n"])
    assert index_of(["key"], ["key"]) == (["key"], ["text", "n"])
    assert index_of([counted(1)], [counted(2)])[0] == [counted(1)]
    assert index_of(["key"], [counted(1)])[0] == []
    assert index_of([counted(1, 7)], [counted(1, 8)])[0] == []
    assert index_of(["key"], ["key"], n=(1, 0.5)) == (["key"], ["text"])  # no more pandas' Int64


# Names that the output gives, and ids


def test_columns_of_the_names_that_the_output_gives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = ["one text", "one text", "another"]
    file = write(tmp_path / "in.parquet", {"text": texts, "cluster_id": ["a", "b", "c"], "cluster_size": [7, 8, 9]})
    other = write(tmp_path / "other.parquet", {"text": ["a fourth"]})
    lines = tmp_path / "in.jsonl"
    lines.write_text('{"text": "a", "cluster_size": 1}\n')
    for taken in ([file], [other, file], [lines]):
        with pytest.raises(SmolfastError, match=r"in\.\w+ has a column 'cluster_.* of its own.* --prefix smolfast_"):
            deduplicate(taken, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert main(["dedup", str(file), "-o", str(tmp_path / "out")]) == 2
    assert "for example --prefix smolfast_" in capsys.readouterr().err
    assert main(["dedup", str(file), "-o", str(tmp_path / "out"), "--prefix", "smolfast_"]) == 0
    kept = pq.read_table(tmp_path / "out" / "kept.parquet")
    assert kept.to_pylist() == [
        {
            "text": "one text",
            "cluster_id": "a",
            "cluster_size": 7,
            "smolfast_cluster_id": 0,
            "smolfast_cluster_size": 2,
        },
        {"text": "another", "cluster_id": "c", "cluster_size": 9, "smolfast_cluster_id": 2, "smolfast_cluster_size": 1},
    ]
    assert [find_column(kept.schema, name) for name in ("cluster_id", "cluster_size")] == kept.schema.names[-2:]
    # What dedup wrote, once more: ours have the names that the first run gave.
    with pytest.raises(SmolfastError, match="'smolfast_cluster_id' of its own"):
        deduplicate([tmp_path / "out" / "kept.parquet"], tmp_path / "again", prefix="smolfast_")
    deduplicate([tmp_path / "out" / "kept.parquet"], tmp_path / "again", prefix="again_")
    schema = pq.read_schema(tmp_path / "again" / "kept.parquet")
    assert schema.names == [*kept.schema.names, "again_cluster_id", "again_cluster_size"]
    assert find_column(schema, "cluster_id") == "again_cluster_id"
    assert find_column(pa.schema([("text", pa.string())]), "cluster_id") is None
    assert find_column(pa.schema([("cluster_id", pa.int64())]), "cluster_id") == "cluster_id"


IDS = [
    (pa.array([1, 2, 3]), ["1", "2", "3"]),
    (pa.array([b"\xff" * 16, b"b" * 16, b"c" * 16], pa.binary(16)), ["ff" * 16, "62" * 16, "63" * 16]),
    (pa.array([b"\xff", b"b", b"c"]), ["ff", "b", "c"]),
    (pa.array([b"\xff", b"b", b"c"], pa.binary_view()), ["ff", "b", "c"]),
    (pa.array([bytes(16), b"b" * 16, b"c" * 16], pa.binary(16)).cast(pa.uuid()), [str(uuid.UUID(int=0)), None, None]),
    (pa.array(["a", "b", "c"], pa.string_view()), ["a", "b", "c"]),
    (pa.array(["a", "b", "c"]).dictionary_encode(), ["a", "b", "c"]),
    (pa.array([{"a": 1, "b": "é"}] * 3), ['{"a": 1, "b": "é"}'] * 3),
    (pa.array([[1, 2]] * 3), ["[1, 2]"] * 3),
    (pa.array([0, 1, 2], pa.timestamp("ns", "UTC")), ["1970-01-01 00:00:00.000000000Z", None, None]),
    (pa.array([None, "b", None]), ["in.parquet:0", "b", "in.parquet:2"]),
]


@pytest.mark.parametrize(("ids", "names"), IDS, ids=[str(ids.type) for ids, _ in IDS])
def test_ids_of_any_type(tmp_path: Path, ids: Any, names: list[str | None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("in.parquet"), {"id": ids, "text": ["other", "same", "same"]})
    deduplicate(["in.parquet"], "out")
    removed = pq.read_table("out/removed.parquet")
    assert removed.schema.field("id").type == pa.string()
    (row,) = removed.to_pylist()
    assert row["id"] == (names[2] or row["id"]) and row["kept_id"] == (names[1] or row["kept_id"])
    assert pq.read_table("out/kept.parquet")["id"].combine_chunks().equals(ids.slice(0, 2))
    found = explain("out", row["id"])
    assert (found.row, found.text, found.kept_row) == (2, "same", 1)
    write(Path("in.parquet"), {"id": ids, "text": ["same", "x", "same"]})
    deduplicate(["in.parquet"], "out", overwrite=True)
    (row,) = pq.read_table("out/removed.parquet").to_pylist()
    assert row["kept_id"] == names[0]


def test_rows_beside_a_view_go_and_stay(tmp_path: Path) -> None:
    """What `pa.table(polars_frame)` holds."""
    frame = pl.DataFrame({"text": ["one", "one", "two"], "a": ["x", "y" * 20, None], "b": [b"x", b"y" * 20, None]})
    table = pa.table(frame)
    assert [str(type_) for type_ in table.schema.types] == ["string_view", "string_view", "binary_view"]
    pq.write_table(table, tmp_path / "in.parquet")
    deduplicate([tmp_path / "in.parquet"], tmp_path / "out", id_column="a")
    kept = pq.read_table(tmp_path / "out" / "kept.parquet").select(["text", "a", "b"])
    assert kept.schema == table.schema
    assert kept.to_pylist() == [table.to_pylist()[0], table.to_pylist()[2]]
    texts = [f"text {at}" for at in range(40)]
    pq.write_table(pa.table(pl.DataFrame({"text": texts, "a": texts})), tmp_path / "in.parquet")
    split_documents(tmp_path / "in.parquet", tmp_path / "sides", held_out_fraction=0.5, seed=1)
    for side in ("train", "held_out"):
        table = pq.read_table(tmp_path / "sides" / f"{side}.parquet")
        assert [str(type_) for type_ in table.schema.types] == ["string_view", "string_view"]
        assert table["a"].to_pylist() == table["text"].to_pylist()


def test_columns_that_no_file_holds_are_refused_by_name() -> None:
    for type_ in UNSTORED:
        schema = pa.schema([("text", pa.string()), ("good", pa.int64()), ("bad", type_)])
        with pytest.raises(SmolfastError, match=r"parquet has no form for column 'bad' \(.*\); drop it or cast it"):
            check_storable(schema, "a.arrow")


def test_pyarrows_faults_name_the_file_and_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "in.parquet", {"text": ["a", "b"]})

    def fail(*arguments: Any, **options: Any) -> None:
        raise pa.ArrowNotImplementedError("no kernel\nfor this")

    for place, message in (
        ("smolfast.dedup.signing.sign_batch", f"{file}, rows 0 to 1: no kernel for this; correct these rows"),
        ("smolfast.dedup.output.as_names", "rows 0 to 1: no kernel for this"),
        ("smolfast.text.normalize", f"{file}, rows 0 to 1: no kernel for this"),
        ("smolfast.pipeline.split.select", f"{file}, rows 0 to 1: no kernel for this"),
        ("smolfast.io.documents._as_large_string", f"can't read {file}: .*no kernel for this"),
        ("smolfast.io.parquet.writer._encode", "can't write .*: no kernel for this; cast the column"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(place, fail)
            with pytest.raises(SmolfastError, match=message) as error:
                write(file, {"text": ["a", "a"], "id": [1, 2]})
                deduplicate([file], tmp_path / "out", overwrite=True)
                normalize_documents([file], tmp_path / "out.parquet")
                split_documents(file, tmp_path / "sides", held_out_fraction=0.5, seed=1)
            assert "\n" not in str(error.value)


def test_values_without_a_form_in_json_are_refused_by_name(tmp_path: Path) -> None:
    for column in (
        pa.array([1], pa.timestamp("ns")),
        pa.array([b"a"]),
        pa.array([{"a": [decimal.Decimal(1)]}]),
        pa.array([bytes(16)], pa.binary(16)).cast(pa.uuid()),
    ):
        file = write(tmp_path / "in.parquet", {"text": pa.array(["a"]).dictionary_encode(), "x": column})
        with pytest.raises(SmolfastError, match=r"in\.parquet: JSON has no form for column 'x' .* or write parquet"):
            normalize_documents([file], tmp_path / "out.jsonl")
    write(file, {"text": pa.array([b"a"]), "x": pa.array([{"a": [1.5], "b": "c"}])})
    normalize_documents([file], tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_text() == '{"text": "a", "x": {"a": [1.5], "b": "c"}}\n'


def test_times_of_96_bits(tmp_path: Path) -> None:
    """pyarrow reads the year 9999 as 1816."""
    near, far = 1_700_000_000_000_000, 253_402_214_400_000_000
    file = tmp_path / "in.parquet"
    for column in (pa.array([near, None], pa.timestamp("us")), pa.array([[near], []], pa.list_(pa.timestamp("us")))):
        table = pa.table({"text": ["a", "b"], "when": column})
        pq.write_table(table, file, use_deprecated_int96_timestamps=True)
        normalize_documents([file], tmp_path / "out.parquet")
        assert_same(pq.read_table(tmp_path / "out.parquet"), pq.read_table(file))
    for column in (pa.array([near, far], pa.timestamp("us")), pa.array([[far], []], pa.list_(pa.timestamp("us")))):
        table = pa.table({"text": ["a", "b"], "when": column})
        pq.write_table(table, file, use_deprecated_int96_timestamps=True)
        with pytest.raises(
            SmolfastError, match=r"in\.parquet, rows 0 to 1: column 'when' \(INT96\) has a time outside"
        ):
            normalize_documents([file], tmp_path / "out.parquet")


@pytest.mark.skipif(os.name == "nt", reason="names there are text")
def test_a_file_whose_name_is_not_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pa.OSFile(b"caf\xe9.parquet", "wb") as file:
        pq.write_table(pa.table({"text": ["a", "a"]}), file)
    summary = deduplicate([os.fsdecode(b"caf\xe9.parquet")], "out")
    assert summary.exact_duplicates == 1
    assert pq.read_table("out/removed.parquet")["id"].to_pylist() == ["caf\ufffd.parquet:1"]
    assert deduplicate([os.fsdecode(b"caf\xe9.parquet")], "out") == summary


def test_names_that_begin_alike(tmp_path: Path) -> None:
    columns = {"text": ["a"], "text.a": [1], "": ["x"], "a.b": [1], "a": [{"text": "inner"}]}
    file = write(tmp_path / "in.parquet", columns)
    (batch,) = read_batches(find_sources([file])[0], columns=["a"])
    assert batch.schema.names == ["text", "a"]
    for table in stages([file], tmp_path / "out"):
        assert table.equals(pa.table(columns))
