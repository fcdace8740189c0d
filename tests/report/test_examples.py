"""Which near-duplicates are shown."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from smolfast.report.examples import near_duplicate_examples


def _examples(fake: SimpleNamespace, folder: Path, entries: list[tuple[str, str, float, int, str]]) -> list[float]:
    """Entries are (removed text, kept text, Jaccard, cluster, kind); the Jaccards chosen come back."""
    names = ("file", "row", "id", "kept_file", "kept_row", "kept_id", "jaccard", "cluster_id", "kind")
    record: dict[str, list[Any]] = {name: [] for name in names}
    documents: dict[str, list[str]] = {"id": [], "text": []}
    for index, (left, right, jaccard, cluster, kind) in enumerate(entries):
        values = ("f", 2 * index, f"r{index}", "f", 2 * index + 1, f"k{index}", jaccard, cluster, kind)
        for name, value in zip(names, values, strict=True):
            record[name].append(value)
        documents["id"] += [f"r{index}", f"k{index}"]
        documents["text"] += [left, right]
    fake.write_table(folder / "dedup" / "removed.parquet", record)
    fake.write_table(folder / "normalize" / "documents.parquet", documents)
    examples, removed = near_duplicate_examples(folder)
    assert removed == sum(kind == "near" for *_, kind in entries)
    return [example.jaccard for example in examples]


def test_examples_spread_over_the_range(tmp_path: Path, fake: SimpleNamespace) -> None:
    entries = [(f"a {i}", f"b {i}", 0.7 + 0.29 * i / 99, i, "near") for i in range(100)]
    chosen = _examples(fake, tmp_path, entries)
    assert [math.floor(j * 20) / 20 for j in chosen] == [0.95, 0.9, 0.85, 0.8]


def test_examples_leave_out_exact_equal_and_perfect_pairs(tmp_path: Path, fake: SimpleNamespace) -> None:
    entries = [
        ("a", "b", 1.0, 0, "near"),
        ("a", "b", 0.99, 1, "exact"),
        ("same", "same", 0.9, 2, "near"),
        ("a", "c", 0.85, 3, "near"),
        ("a", "d", 0.84, 3, "near"),  # the same cluster again
    ]
    assert _examples(fake, tmp_path, entries) == [0.85]


def test_examples_at_one_when_there_is_nothing_below(tmp_path: Path, fake: SimpleNamespace) -> None:
    assert _examples(fake, tmp_path, [("a  b", "a b", 1.0, 0, "near")]) == [1.0]


def test_examples_prefer_few_changed_words(tmp_path: Path, fake: SimpleNamespace) -> None:
    base = "\n".join(f"some words of line {i}" for i in range(40))
    entries = [
        (base.replace("words", "other words"), base, 0.86, 0, "near"),
        (base.replace("line 7", "the seventh line"), base, 0.87, 1, "near"),
        (base.replace("line", "row"), base, 0.88, 2, "near"),
    ]
    ranked = _examples(
        fake,
        tmp_path,
        [*entries, *((base + f"\n{i}", base, j, 3 + i, "near") for i, j in enumerate((0.96, 0.91, 0.81)))],
    )
    assert ranked == [0.96, 0.91, 0.87, 0.81]


def test_documents_of_one_id_are_told_apart_by_row(tmp_path: Path, fake: SimpleNamespace) -> None:
    record = {"row": [2], "id": ["same"], "kept_row": [0], "kept_id": ["same"]}
    record |= {"jaccard": [0.9], "cluster_id": [0], "kind": ["near"]}
    fake.write_table(tmp_path / "dedup" / "removed.parquet", record)
    documents = {"id": ["same", "other", "same"], "text": ["first", "second", "third"]}
    fake.write_table(tmp_path / "normalize" / "documents.parquet", documents)
    examples, _ = near_duplicate_examples(tmp_path)
    assert [(e.removed_text, e.kept_text) for e in examples] == [("third", "first")]


def test_rows_of_another_table_are_not_shown(tmp_path: Path, fake: SimpleNamespace) -> None:
    entries = [(f"a {i}", f"b {i}", 0.9, i, "near") for i in range(3)]
    assert _examples(fake, tmp_path, entries) == [0.9] * 3
    fake.write_table(tmp_path / "normalize" / "documents.parquet", {"id": list("abcdef"), "text": list("uvwxyz")})
    assert near_duplicate_examples(tmp_path) == ([], 3)
