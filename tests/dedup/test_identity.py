"""One result everywhere: whatever the Python version, CPU, chunks, container or threads, the bits are those here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash

from smolfast import _native
from smolfast.dedup import MinHasher, deduplicate, signing

WORDS = (
    "the of and Straße naïve 東京 данные код x1 snake_case 12345 مرحبا internationalization it's 3.14 кириллица Ǆ "
    "e\u0301"
)
GOLDEN = {
    "fast": "a42ee8a28d82c8ee",
    "classic": "1216b3bb99065931",
    "datasketch": "d5819f789ff8f630",
    "datatrove": "950f75b409ff87d9",
}


def texts() -> list[str]:
    """600 documents, a third of them near-duplicates, by a generator of our own (random's sampling has changed)."""
    state = 1

    def draw(below: int) -> int:
        nonlocal state
        state = (state * 6364136223846793005 + 1442695040888963407) & ((1 << 64) - 1)
        return (state >> 33) % below

    vocabulary = WORDS.split() + [f"w{i}" for i in range(300)]
    out: list[str] = []
    for number in range(600):
        if number % 3 == 2:
            words = out[draw(number)].split(" ")
            words[draw(len(words))] = f"edit{number}"
        else:
            words = [vocabulary[draw(len(vocabulary))] for _ in range(1 + draw(150))]
        out.append(" ".join(words))
    return out


def digest(signatures: np.ndarray[Any, Any]) -> str:
    return xxhash.xxh3_64_hexdigest(np.ascontiguousarray(signatures).tobytes())


@pytest.mark.parametrize("scheme", list(GOLDEN))
def test_signatures_are_these(scheme: str) -> None:
    before = _native.implementation()
    for name in _native.implementations():
        _native.force_implementation(name)
        found = [
            digest(MinHasher(96, 3, tokens, scheme, simplify=simplify).signatures(texts()))  # type: ignore[arg-type]
            for tokens in ("unicode", "whitespace", "char")
            for simplify in (False, True)
        ]
        assert xxhash.xxh3_64_hexdigest(" ".join(found).encode()) == GOLDEN[scheme]
    _native.force_implementation(before)


def test_containers_agree() -> None:
    duckdb = pytest.importorskip("duckdb")
    polars = pytest.importorskip("polars")
    column = pa.array(texts())
    expected = MinHasher().signatures(texts())
    relation = duckdb.from_arrow(pa.table({"text": column}))
    for container in (
        column,
        column.cast(pa.large_string()),
        column.cast(pa.string_view()),
        pa.chunked_array([column[:1], column[1:500], column[500:]]),
        polars.Series(texts()),
        polars.DataFrame({"text": texts()})["text"].slice(0, 600),
        pa.table(relation)["text"],
    ):
        assert np.array_equal(MinHasher().signatures(container), expected)


def test_output_does_not_depend_on_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"id": f"d{i}", "text": text} for i, text in enumerate(texts())]
    source = tmp_path / "documents.parquet"
    results = set()
    read_batches = signing.read_batches
    for rows_per_group, batch_bytes in ((600, 1 << 23), (7, 1 << 23), (600, 1000), (64, 1)):
        pq.write_table(pa.Table.from_pylist(rows), source, row_group_size=rows_per_group)
        monkeypatch.setattr(
            signing, "read_batches", lambda *a, n=batch_bytes, **k: read_batches(*a, **k | {"batch_bytes": n})
        )
        for threads in (1, 2, 5):
            output = tmp_path / f"{rows_per_group}-{batch_bytes}-{threads}"
            deduplicate([source], output, threads=threads)
            results.add(tuple((output / name).read_bytes() for name in ("kept.parquet", "removed.parquet")))
    assert len(results) == 1


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, "3e659454c99e2019"), ({"verify": "none", "chains": True}, "688927200f889f6b")],
)
def test_the_kept_documents_are_these(tmp_path: Path, options: dict[str, Any], expected: str) -> None:
    source = tmp_path / "documents.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts()))
    deduplicate([source], tmp_path / "out", **options)
    kept = pq.read_table(tmp_path / "out" / "kept.parquet", columns=["text", "cluster_id", "cluster_size"])
    removed = pq.read_table(tmp_path / "out" / "removed.parquet", columns=["row", "kept_row", "kind", "cluster_id"])
    found = json.dumps([kept.to_pylist(), removed.to_pylist()], ensure_ascii=False)
    assert xxhash.xxh3_64_hexdigest(found.encode()) == expected
