"""row_groups.py: footers survive decoding and encoding; joined files read like those that pyarrow writes at once."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smolfast.io.parquet.row_groups import RowGroupFile, decode, encode

TABLE = pa.table(
    {
        "text": ["a", None, "ccc", "é" * 300],
        "number": [1, -2, 1 << 40, None],
        "truth": [True, False, None, True],
        "real": [0.5, -1e300, None, 0.0],
        "list": [[1], [], None, [2, 3]],
        **{f"column{i}": [i] * 4 for i in range(20)},
    }
)


def written(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def footer(file: bytes) -> bytes:
    return file[-8 - int.from_bytes(file[-8:-4], "little") : -8]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"row_group_size": 1, "write_page_index": True},
        {"sorting_columns": [pq.SortingColumn(1, descending=True)], "use_dictionary": False},
        {"write_page_checksum": True, "compression": "zstd"},
    ],
)
def test_a_footer_survives(options: dict[str, Any]) -> None:
    data = footer(written(TABLE, **options))
    assert encode(decode(data)) == data


@pytest.mark.parametrize("dictionary", [False, True])
def test_joined_groups_read_as_one_file(dictionary: bool) -> None:
    stream = io.BytesIO()
    file = RowGroupFile(stream)
    for start in (0, 1, 3):
        part = TABLE.slice(start, 2 if start == 1 else 1)
        file.add(written(part, use_dictionary=dictionary, write_page_checksum=True))
    file.finish()
    read = pq.ParquetFile(stream, page_checksum_verification=True)
    assert read.read().equals(TABLE)
    assert [read.metadata.row_group(i).num_rows for i in range(3)] == [1, 2, 1]
    for group, start in enumerate((0, 1, 3)):
        assert read.read_row_group(group)["text"].to_pylist() == TABLE["text"].to_pylist()[start:][: 1 + (group == 1)]
        assert read.metadata.row_group(group).column(1).statistics.num_values == [1, 2, 0][group]


def test_what_is_no_parquet_file_is_refused() -> None:
    with pytest.raises(ValueError, match="not a parquet file"):
        RowGroupFile(io.BytesIO()).add(b"PAR1 and something else")
