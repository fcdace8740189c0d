"""split.py: sides by hash of the text, the same whatever else is in the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from smolfast.errors import SmolfastError
from smolfast.pipeline.split import split_documents

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def write(path: Path, texts: list[str], **options: Any) -> Path:
    table = pa.table(
        {
            "id": [str(i) for i in range(len(texts))],
            "text": pa.array(texts, pa.large_string()),
            "cluster_id": pa.array(range(len(texts)), pa.int64()),
        }
    )
    pq.write_table(table, path, **options)
    return path


def sides(folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    return pq.read_table(folder / "train.parquet").to_pylist(), pq.read_table(folder / "held_out.parquet").to_pylist()


def test_split(tmp_path: Path) -> None:
    texts = [f"document {index} é" for index in range(2000)]
    summary = split_documents(write(tmp_path / "a.parquet", texts), tmp_path / "out", held_out_fraction=0.1, seed=3)
    train, held_out = sides(tmp_path / "out")
    chosen = {text for text in texts if xxhash.xxh3_64_intdigest(text.encode(), 3) < 0.1 * 2**64}
    assert [row["text"] for row in held_out] == [text for text in texts if text in chosen]
    assert [row["text"] for row in train] == [text for text in texts if text not in chosen]
    assert all(row["text"] == texts[row["cluster_id"]] and row["id"] == str(row["cluster_id"]) for row in held_out)
    assert 140 < len(held_out) < 260  # 200 expected, standard deviation 13
    size = sum(len(text.encode()) for text in texts)
    held_out_bytes = sum(len(row["text"].encode()) for row in held_out)
    assert summary == {
        "documents_in": 2000,
        "bytes_in": size,
        "documents_out": 2000,
        "bytes_out": size,
        "train_documents": len(train),
        "train_bytes": size - held_out_bytes,
        "held_out_documents": len(held_out),
        "held_out_bytes": held_out_bytes,
    }


@settings(max_examples=20)
@given(st.lists(WORDS, min_size=1, max_size=30), st.lists(WORDS, max_size=10), st.integers(0, 1 << 70))
def test_a_side_depends_on_text_and_seed_alone(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], others: list[str], seed: int
) -> None:
    folder = tmp_path_factory.mktemp("split")
    # Anchors, so that neither side is empty.
    anchors = [f"anchor {index}" for index in range(40)]
    one = write(folder / "a.parquet", texts + anchors, row_group_size=7)
    two = write(folder / "b.parquet", others + anchors + texts[::-1])
    split_documents(one, folder / "one", held_out_fraction=0.49, seed=seed)
    split_documents(two, folder / "two", held_out_fraction=0.49, seed=seed)
    one_train, one_held_out = ({row["text"] for row in side} for side in sides(folder / "one"))
    two_train, two_held_out = ({row["text"] for row in side} for side in sides(folder / "two"))
    assert not one_train & one_held_out
    assert one_train | one_held_out == {*texts, *anchors}
    assert one_train <= two_train and one_held_out <= two_held_out


def test_the_seed_matters_and_a_larger_fraction_only_adds(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", [str(index) for index in range(500)])
    held_out = {}
    for seed, fraction in ((0, 0.1), (0, 0.3), (1, 0.1)):
        split_documents(file, tmp_path / "out", held_out_fraction=fraction, seed=seed)
        held_out[seed, fraction] = {row["text"] for row in sides(tmp_path / "out")[1]}
    assert held_out[0, 0.1] < held_out[0, 0.3]
    assert held_out[0, 0.1] != held_out[1, 0.1]


@pytest.mark.parametrize(("fraction", "side", "remedy"), [(1e-9, "held_out", "raise"), (1.0, "train", "lower")])
def test_an_empty_side(tmp_path: Path, fraction: float, side: str, remedy: str) -> None:
    file = write(tmp_path / "a.parquet", ["a", "b"])
    with pytest.raises(SmolfastError, match=f"the {side} side is empty: 2 documents") as error:
        split_documents(file, tmp_path / "out", held_out_fraction=fraction, seed=0)
    assert f"give more documents or {remedy} split.held_out_fraction" in str(error.value)
    assert list((tmp_path / "out").iterdir()) == []


def test_no_documents_at_all(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", [])
    with pytest.raises(SmolfastError, match="the train side is empty: 0 documents"):
        split_documents(file, tmp_path / "out", held_out_fraction=0.1, seed=0)
