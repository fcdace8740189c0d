"""long_values.py: pages made here read like pyarrow's own, and stay in bounded memory."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from smolfast.io.documents import BatchWriter
from smolfast.io.parquet import long_values
from smolfast.io.parquet import writer as batch_writer
from smolfast.io.parquet.long_values import encode_long_column
from smolfast.io.parquet.row_groups import RowGroupFile

VALUES = ["a", None, "", "é" * 3000, None, None, "long " * 2000, "b", *["x"] * 300, None]


@pytest.mark.parametrize(
    "type_", [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary()], ids=str
)
@pytest.mark.parametrize("nullable", [True, False])
def test_pages_read_like_pyarrows(monkeypatch: pytest.MonkeyPatch, type_: pa.DataType, nullable: bool) -> None:
    monkeypatch.setattr(long_values, "PAGE_BYTES", 500)
    monkeypatch.setattr(long_values, "STEP_BYTES", 100)
    values = [value if nullable else value or "" for value in VALUES]
    text = pa.array(values, pa.string()).cast(pa.binary()).cast(type_) if "binary" in str(type_) else pa.array(values)
    column = text.cast(type_)
    schema = pa.schema([pa.field("n", pa.int64()), pa.field("text", type_, nullable), pa.field("last", pa.string())])
    n = pa.array(range(len(values)))
    table = pa.Table.from_arrays([n, column, pa.array(["z"] * len(values))], schema=schema)
    cut = pa.chunked_array([column.slice(0, 3), column.slice(3, 0), column.slice(3)])

    sink = io.BytesIO()
    stand_in = table.set_column(1, schema.field(1), pa.array([""] * len(values)).cast(type_))
    options: dict[str, Any] = {"use_dictionary": False, "compression": "zstd"}
    pq.write_table(stand_in, sink, **options)
    whole = io.BytesIO()
    pq.write_table(table, whole, write_page_checksum=True, **options)
    made = io.BytesIO()
    file = RowGroupFile(made)
    file.add(whole.getvalue())
    file.add_with(sink.getvalue(), {"text": encode_long_column(cut, nullable=nullable)})
    file.finish()

    read = pq.ParquetFile(made, page_checksum_verification=True)
    assert read.read_row_group(1).to_pylist() == read.read_row_group(0).to_pylist() == table.to_pylist()
    assert read.schema_arrow == pq.ParquetFile(whole).schema_arrow
    ours, theirs = (read.metadata.row_group(i) for i in (1, 0))
    assert ours.column(1).num_values == theirs.column(1).num_values == len(values)
    assert ours.total_byte_size == sum(ours.column(i).total_uncompressed_size for i in range(3))
    assert not ours.column(1).is_stats_set and ours.column(0).is_stats_set
    assert read.metadata.num_rows == 2 * len(values)


def test_the_writer_chooses_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_writer, "ROW_GROUP_BYTES", 1000)
    texts = ["a" * 900, "b" * 5000, "c", None, "d" * 4500, "e"]
    batch = pa.RecordBatch.from_pydict({"id": [str(i) for i in range(6)], "text": texts})
    encoded: list[int] = []

    def count(column: pa.ChunkedArray, *, nullable: bool) -> long_values.LongColumn:
        encoded.append(int(pc.max(pc.binary_length(column)).as_py()))
        return encode_long_column(column, nullable=nullable)

    monkeypatch.setattr(batch_writer, "encode_long_column", count)
    for name, step in (("a", 6), ("b", 1), ("c", 4)):
        with BatchWriter(tmp_path / name) as writer:
            for start in range(0, 6, step):
                writer.write(batch.slice(start, step))
    assert encoded == [5000, 4500] * 3
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()
    assert pq.ParquetFile(tmp_path / "a", page_checksum_verification=True).read().to_pylist() == batch.to_pylist()


def test_beside_a_dictionary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_writer, "ROW_GROUP_BYTES", 1000)
    kinds = pa.array(["x", None, "y", "x"]).dictionary_encode()
    texts = ["a", "b" * 5000, "c" * 5000, None]
    batch = pa.RecordBatch.from_pydict({"one": kinds, "text": texts, "two": kinds})
    with BatchWriter(tmp_path / "a") as writer:
        writer.write(batch)
    file = pq.ParquetFile(tmp_path / "a", page_checksum_verification=True)
    assert file.read().to_pylist() == batch.to_pylist()
    assert file.schema_arrow == batch.schema
    assert file.metadata.row_group(0).column(2).has_dictionary_page


def test_other_readers(tmp_path: Path) -> None:
    polars = pytest.importorskip("polars")
    text = "some words of a long text " * (3 << 20)  # 75 MiB, beyond four row groups
    with BatchWriter(tmp_path / "a.parquet") as writer:
        writer.write(pa.RecordBatch.from_pydict({"text": [text, "short"]}))
    assert polars.read_parquet(tmp_path / "a.parquet")["text"].to_list() == [text, "short"]


def test_a_value_beyond_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_values, "MOST_PAGE_BYTES", 10)
    with pytest.raises(ValueError, match="11 bytes fits into no page"):
        encode_long_column(pa.chunked_array([["a" * 11]]), nullable=True)
