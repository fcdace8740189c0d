"""batch_writer.py: whole or absent, the same bytes however the rows come."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smolfast.errors import SmolfastError
from smolfast.io.documents import BatchWriter
from smolfast.io.parquet import writer as batch_writer


def test_writer_round_trip(tmp_path: Path) -> None:
    file = tmp_path / "new" / "a.parquet"
    with BatchWriter(file) as writer:
        writer.write(pa.RecordBatch.from_pydict({"id": ["0"], "text": ["a"]}))
        writer.write(pa.RecordBatch.from_pydict({"text": pa.array(["b"], pa.large_string()), "id": ["1"]}))
        assert writer.rows == 2
        assert not file.exists()
    table = pq.read_table(file)
    assert table.to_pylist() == [{"id": "0", "text": "a"}, {"id": "1", "text": "b"}]
    meta = pq.ParquetFile(file).metadata.row_group(0).column(1)
    assert meta.compression == "ZSTD"
    assert list(file.parent.iterdir()) == [file]


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), min_size=1, max_size=60),
    st.lists(st.integers(1, 20), min_size=1, max_size=60),
)
def test_writer_bytes_do_not_depend_on_batches(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], cuts: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("batches")
    whole = pa.RecordBatch.from_pydict({"id": [str(i) for i in range(len(texts))], "text": texts})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_writer, "ROW_GROUP_BYTES", 100)
        patch.setattr(batch_writer, "ROW_GROUP_ROWS", 7)
        with BatchWriter(folder / "a.parquet") as writer:
            writer.write(whole)
        with BatchWriter(folder / "b.parquet") as writer:
            start = 0
            while start < len(texts):
                step = cuts[start % len(cuts)]
                writer.write(whole.slice(start, step))
                start += step
    assert (folder / "a.parquet").read_bytes() == (folder / "b.parquet").read_bytes()
    assert pq.read_table(folder / "a.parquet").to_batches()[0].schema == whole.schema
    file = pq.ParquetFile(folder / "a.parquet")
    assert file.read().to_pylist() == whole.to_pylist()
    row = 0
    for group in range(file.num_row_groups):  # ends exactly with the row that fills it
        count = file.metadata.row_group(group).num_rows
        sizes = [len(r["id"].encode()) + len(r["text"].encode()) for r in whole.slice(row, count).to_pylist()]
        assert sum(sizes[:-1]) < 100 and count <= 7
        row += count
        assert row == len(texts) or sum(sizes) >= 100 or count == 7


def test_writer_leaves_nothing_on_an_error(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    file.write_bytes(b"earlier")
    with pytest.raises(KeyError), BatchWriter(file) as writer:
        writer.write(pa.RecordBatch.from_pydict({"text": ["a"]}))
        raise KeyError
    assert file.read_bytes() == b"earlier"
    assert list(tmp_path.iterdir()) == [file]


def test_writer_without_documents(tmp_path: Path) -> None:
    with (
        pytest.raises(SmolfastError, match="holds no documents; give another input"),
        BatchWriter(tmp_path / "a.parquet"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
    with BatchWriter(tmp_path / "b.parquet", pa.schema([("text", pa.large_string())])):
        pass
    assert pq.read_table(tmp_path / "b.parquet").num_rows == 0


def test_writer_refuses_other_columns(tmp_path: Path) -> None:
    with (
        pytest.raises(SmolfastError, match=r"different columns \(text and then body\)"),
        BatchWriter(tmp_path / "a.parquet") as w,
    ):
        w.write(pa.RecordBatch.from_pydict({"text": ["a"]}))
        w.write(pa.RecordBatch.from_pydict({"body": ["a"]}))
    with pytest.raises(SmolfastError, match="different types"), BatchWriter(tmp_path / "a.parquet") as w:
        w.write(pa.RecordBatch.from_pydict({"n": [1]}))
        w.write(pa.RecordBatch.from_pydict({"n": ["one"]}))
    assert list(tmp_path.iterdir()) == []


def test_writer_keeps_metadata_and_what_may_not_be_null(tmp_path: Path) -> None:
    field = pa.field("text", pa.string(), nullable=False, metadata={"language": "de"})
    schema = pa.schema([field], {"made": "1"})
    with BatchWriter(tmp_path / "a") as writer:
        writer.write(pa.RecordBatch.from_pydict({"text": ["a"]}, schema))
        writer.write(pa.RecordBatch.from_pydict({"text": ["b"]}))
    assert pq.read_schema(tmp_path / "a").equals(schema, check_metadata=True)
    with pytest.raises(SmolfastError, match="'text' has nulls"), BatchWriter(tmp_path / "a", schema) as writer:
        writer.write(pa.RecordBatch.from_pydict({"text": ["a", None]}))


def test_writer_keeps_the_order_of_categories(tmp_path: Path) -> None:
    categories = pa.DictionaryArray.from_arrays(pa.array([1, None, 0], pa.int8()), pa.array(["z", "a", "unused"]))
    with BatchWriter(tmp_path / "a") as writer:
        writer.write(pa.RecordBatch.from_pydict({"c": categories, "text": ["a", "b", "c"]}))
    assert pq.read_table(tmp_path / "a")["c"].combine_chunks().equals(categories)


@pytest.mark.parametrize("long", [False, True])
def test_writer_with_more_categories_than_a_row_group_holds(tmp_path: Path, long: bool) -> None:
    """Each of the input's row groups may have a dictionary of its own."""
    parts = []
    for part in range(3):
        names = [f"{part} {at}" for at in range(100)]
        column = pa.DictionaryArray.from_arrays(pa.array(range(100), pa.int8()), pa.array(names))
        texts = ["x" * (70 << 20) if long and (part, at) == (2, 50) else "x" for at in range(100)]
        parts.append(pa.RecordBatch.from_pydict({"c": column, "text": texts}))
    with BatchWriter(tmp_path / "a") as writer:
        for batch in parts:
            writer.write(batch)
    table = pq.read_table(tmp_path / "a")
    assert table.schema == parts[0].schema
    assert table["c"].to_pylist() == [f"{part} {at}" for part in range(3) for at in range(100)]
    assert pq.ParquetFile(tmp_path / "a").num_row_groups > 1


def test_writer_refuses_what_parquet_has_no_form_for(tmp_path: Path) -> None:
    schema = pa.schema([("text", pa.string()), ("when", pa.month_day_nano_interval()), ("a", pa.struct([]))])
    with pytest.raises(SmolfastError, match=r"'when' \(month_day_nano_interval\), 'a' \(struct<>\); drop it or cast"):
        BatchWriter(tmp_path / "a", schema)
    lists = pa.array([[1, 2], None], pa.list_(pa.int8(), 2))
    for column in (lists, pa.StructArray.from_arrays([lists], ["l"]), pa.array([[None]], pa.list_(lists.type))):
        with (
            pytest.raises(SmolfastError, match=r"row 0: column 'l' .*fixed size"),
            BatchWriter(tmp_path / "a") as writer,
        ):
            writer.write(pa.RecordBatch.from_pydict({"l": column}))
    twice = pa.RecordBatch.from_arrays([pa.array([1]), pa.array([2])], ["n", "n"])
    with pytest.raises(SmolfastError, match="two columns named 'n'"), BatchWriter(tmp_path / "a") as writer:
        writer.write(twice)
    assert list(tmp_path.iterdir()) == []


def test_row_groups_reach_the_disk_while_others_are_encoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a disk that fails in one of these is an error, though it does what is asked of it later."""
    monkeypatch.setattr(batch_writer, "ROW_GROUP_ROWS", 10)
    file = tmp_path / "a.parquet"
    rows = pa.RecordBatch.from_pydict({"text": [str(i) for i in range(100)]})
    calls: list[int] = []
    fails = -1

    def sync(at: int) -> None:
        calls.append(os.fstat(at).st_size)
        if len(calls) - 1 == fails:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", sync)
    with BatchWriter(file, threads=2) as writer:
        writer.write(rows)
    before = file.read_bytes()
    early = [call for call, size in enumerate(calls) if 0 < size < len(before)]
    assert early[:5] == [0, 1, 2, 3, 4]
    for call in (0, 4):
        calls.clear()
        fails = call
        with pytest.raises(SmolfastError, match="can't write"), BatchWriter(file, threads=2) as writer:
            writer.write(rows)
        assert file.read_bytes() == before
        assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("limit", [0, 100, 200_000])
def test_writer_on_a_full_disk(tmp_path: Path, limit: int) -> None:
    """A limit on file sizes fails writes in the same place as a full disk, at any user's privileges."""
    file = tmp_path / "a.parquet"
    file.write_bytes(b"earlier")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(SmolfastError, match=r"can't write .*a\.parquet"), BatchWriter(file) as writer:
            for start in range(0, 200_000, 10_000):
                values = [str(i * 0x9E3779B97F4A7C15) for i in range(start, start + 10_000)]
                writer.write(pa.RecordBatch.from_pydict({"text": values}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert file.read_bytes() == b"earlier"
    assert list(tmp_path.iterdir()) == [file]


def test_writer_where_it_may_not(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SmolfastError, match="choose another path"), BatchWriter(tmp_path / "file" / "a.parquet"):
        pass


def test_writer_bytes_do_not_depend_on_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_writer, "ROW_GROUP_ROWS", 100)
    for threads in (1, 2, 5):
        with BatchWriter(tmp_path / f"{threads}", threads=threads) as writer:
            for start in range(0, 3000, 70):
                writer.write(pa.RecordBatch.from_pydict({"text": [f"text {i}" for i in range(start, start + 70)]}))
    assert pq.ParquetFile(tmp_path / "5").num_row_groups == 31
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes() == (tmp_path / "5").read_bytes()
