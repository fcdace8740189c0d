"""What the functions on strings take: columns of any library and layout, and what holds str or bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from smolfast import text
from smolfast.dedup import MinHasher
from smolfast.errors import SmolfastError

ROWS = ["e\u0301 one", None, "two", "two", "a longer one, beyond what a view holds: e\u0301"]
NORMAL = ["é one", None, "two", "two", "a longer one, beyond what a view holds: é"]
BYTES = [None if row is None else row.encode() for row in ROWS]
HASHER = MinHasher(16, 2)


class Column(Sequence[Any]):
    """Like `datasets.Column`: a sequence that is no list."""

    @overload
    def __getitem__(self, at: int) -> Any: ...
    @overload
    def __getitem__(self, at: slice) -> Any: ...
    def __getitem__(self, at: Any) -> Any:
        return ROWS[at]

    def __len__(self) -> int:
        return len(ROWS)

    def __iter__(self) -> Iterator[Any]:
        return iter(ROWS)


def dictionaries() -> Iterator[pa.Array]:
    for index in (pa.int8(), pa.uint8(), pa.int16(), pa.uint16(), pa.int32(), pa.uint32(), pa.int64(), pa.uint64()):
        for value in (pa.string(), pa.large_string(), pa.binary(), pa.large_binary()):
            plain = pa.array(ROWS).dictionary_encode()
            yield pa.DictionaryArray.from_arrays(plain.indices.cast(index), plain.dictionary.cast(value))


COLUMNS: dict[str, Any] = {
    **{str(array.type): array for array in dictionaries()},
    "a null value": pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, 2, 3]), pa.array([ROWS[0], None, *ROWS[3:]])),
    "a slice": pa.array(["x", *ROWS, "y"]).dictionary_encode().slice(1, 5),
    "chunks": pa.chunked_array([pa.array(part).dictionary_encode() for part in (ROWS[:2], ROWS[2:])]),
    "binary": pa.array(BYTES),
    "large_binary": pa.array(BYTES, pa.large_binary()),
    "binary_view": pa.array(BYTES, pa.binary_view()),
    "chunks of binary": pa.chunked_array([pa.array(BYTES[:2]), pa.array(BYTES[2:])]),
    "json": pa.ExtensionArray.from_storage(pa.json_(), pa.array(ROWS)),
    "polars Categorical": pl.Series(ROWS, dtype=pl.Categorical),
    "polars Enum": pl.Series(ROWS, dtype=pl.Enum(sorted({row for row in ROWS if row is not None}))),
    "polars Binary": pl.Series(BYTES, dtype=pl.Binary),
    "numpy objects": np.array(ROWS, object),
    "numpy objects with NaN": np.array([float("nan") if row is None else row for row in ROWS], object),
    "numpy bytes as objects": np.array(BYTES, object),
    "datasets.Column": Column(),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_of_strings_in_other_forms(name: str) -> None:
    column = COLUMNS[name]
    assert text.normalize(column).to_pylist() == NORMAL
    assert text.lower(column).to_pylist() == ROWS
    assert text.clean(column).strings.to_pylist() == NORMAL
    assert text.is_normalized(column).to_pylist() == [False, None, True, True, False]
    assert text.words(column).to_pylist() == text.words(ROWS).to_pylist()
    assert np.array_equal(HASHER.signatures(column), HASHER.signatures(ROWS))
    assert all(map(np.array_equal, HASHER.shingles(column), HASHER.shingles(ROWS)))
    text.redact(column), text.simplify(column), text.casefold(column), text.fix_mojibake(column)


def test_other_numpy_arrays() -> None:
    strings = ["e\u0301", "two"]
    assert text.normalize(np.array(strings)).to_pylist() == ["é", "two"]
    assert text.normalize(np.array(strings, np.dtypes.StringDType())).to_pylist() == ["é", "two"]
    assert text.normalize(np.array([s.encode() for s in strings])).to_pylist() == ["é", "two"]
    assert text.normalize(pa.array([b"ab", None], pa.binary(2))).to_pylist() == ["ab", None]
    assert text.normalize(pa.nulls(2)).to_pylist() == [None, None]
    assert text.normalize(np.array([], object)).to_pylist() == []


def test_bytes_that_are_not_utf8() -> None:
    column = pa.array([b"a", b"\xff"]).dictionary_encode()
    for bad in (column, column.dictionary_decode()):
        with pytest.raises(SmolfastError, match="1"):
            text.normalize(bad)
        assert text.normalize(bad, errors="replace").to_pylist() == ["a", "\ufffd"]
    with pytest.raises(SmolfastError, match=r"strings\[1\] is not UTF-8 at byte 0; pass a pyarrow array of binary"):
        text.normalize(np.array([b"a", b"\xff"], object))


@pytest.mark.parametrize(
    "bad", [pa.array([1]).dictionary_encode(), pa.array([1]), pa.array([["a"]]), "text", b"text", np.array([["a"]]), 7]
)
def test_what_is_no_column_of_strings(bad: Any) -> None:
    for function in (text.normalize, text.words, HASHER.signatures):
        with pytest.raises(SmolfastError, match="expected"):
            function(bad)


def test_a_table_is_no_column() -> None:
    table = pa.table({"id": ["a"], "text": ["b"]})
    for several in (table, table.to_batches()[0], pl.DataFrame({"id": ["a"], "text": ["b"]})):
        with pytest.raises(SmolfastError, match=r"of 2; pass one of them, for example table\['text'\]"):
            text.normalize(several)
    assert text.normalize(table["text"]).to_pylist() == ["b"]


def test_an_index_beyond_its_dictionary() -> None:
    for index in (5, -1):
        indices = pa.array([0, index], pa.int32())
        wrong = pa.DictionaryArray.from_arrays(indices, pa.array(["a"]), safe=False)
        with pytest.raises(SmolfastError, match="dictionary index out of range at row 1; the Arrow column is corrupt"):
            text.normalize(wrong)
