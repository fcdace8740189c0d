"""Different documents stay different: no step cuts more bits off than its width says. And memory stays as asked."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smolfast import _native
from smolfast.dedup import MinHasher, deduplicate

COUNT = 200_000


def distinct_texts(words: int, count: int = COUNT) -> pa.Array:
    """Texts that share no word."""
    return pa.array([" ".join(f"w{i * words + j}" for j in range(words)) for i in range(count)])


def lost(signatures: np.ndarray[Any, Any], bands: int, rows: int) -> int:
    """Documents that would go if all that share a band were joined."""
    sets = _native.DocumentSets(len(signatures))
    sets.unite([[keys] for keys in _native.band_keys(signatures, bands, rows, 1)], None, 1, 1, None, 0.0)
    return len(signatures) - len(np.unique(sets.roots()))


@pytest.mark.parametrize("scheme", ["fast", "classic", "datasketch", "datatrove"])
@pytest.mark.parametrize("tokens", ["unicode", "whitespace", "char"])
def test_documents_of_one_shingle_stay_apart(scheme: str, tokens: str) -> None:
    count = COUNT // 4
    hasher = MinHasher(16, 1 if tokens != "char" else 64, tokens, scheme)  # type: ignore[arg-type]
    if scheme == "datatrove" and tokens == "char":
        hasher = MinHasher(16, 6, tokens, scheme)  # type: ignore[arg-type]
    texts = pa.array([f"{i:06}" for i in range(count)])
    # 32 bits explain 0.3 pairs of 50,000.
    assert lost(hasher.signatures(texts, threads=1), 2, 8) <= 4


@pytest.mark.parametrize(("words", "ngram"), [(1, 5), (2, 5), (2, 1), (5, 2), (8, 5), (20, 1)])
def test_short_documents_stay_apart(words: int, ngram: int) -> None:
    count = COUNT // words
    signatures = MinHasher(112, ngram).signatures(distinct_texts(words, count), threads=1)
    # Bands of two values or more hang on 64 bits, single values on 32: of 200,000 that explains 5 pairs.
    assert lost(signatures, 14, 8) == 0
    assert lost(signatures, 56, 2) == 0
    for value in (0, 1, 110, 111):
        assert count - len(np.unique(signatures[:, value])) <= 25


def test_numbered_items_are_kept(tmp_path: Path) -> None:
    source = tmp_path / "items.parquet"
    pq.write_table(pa.table({"text": [f"Item {i}" for i in range(100_000)]}), source)
    assert deduplicate([source], tmp_path / "out").documents_out == 100_000
    assert deduplicate([source], tmp_path / "verified", threshold=0.7).documents_out == 100_000


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["fast", "classic"])
def test_a_million_documents_of_one_word_stay_apart(scheme: str) -> None:
    signatures = MinHasher(scheme=scheme).signatures(distinct_texts(1, 1_000_000))  # type: ignore[arg-type]
    # 116 pairs expected of 10⁶ values of 32 bits.
    assert lost(signatures, 14, 8) <= (0 if scheme == "fast" else 200)


@pytest.mark.parametrize("ngram", [1, 2, 4, 5, 8, 9, 16, 31, 32, 33, 48, 63, 64])
def test_ngrams_of_repeated_words_stay_apart(ngram: int) -> None:
    hasher = MinHasher(8, ngram, "whitespace")
    texts = {" ".join([f"w{i}"] * ngram) for i in range(20_000)}
    texts |= {" ".join([f"w{i}", f"v{i % 7}"] * 32).rsplit(" ", 64 - ngram)[0] for i in range(20_000)}
    order = [f"w{i}" for i in range(ngram)]
    for i in range(ngram):
        for j in range(i):
            swapped = list(order)
            swapped[i], swapped[j] = swapped[j], swapped[i]
            texts.add(" ".join(swapped))
    offsets, values = hasher.shingles(sorted(texts), threads=1)
    assert (np.diff(offsets) == 1).all()
    assert len(np.unique(values)) == len(texts)


@pytest.mark.parametrize("size", [1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 65, 1000])
def test_words_texts_and_lines_that_differ_little_stay_apart(size: int) -> None:
    count = min(10**size, 20_000)
    numbers = [str(i).zfill(size) for i in range(count)]
    texts = sorted({*numbers, *(number[::-1] for number in numbers), *("x" * i for i in range(1, 3000))})
    _, values = MinHasher(8, 1, "whitespace").shingles(texts, threads=1)
    assert len(np.unique(values)) == len(texts)
    for half in _native.hash_texts(pa.array(texts), False, 1)[0]:
        assert len(np.unique(half)) == len(texts)
    _, lines = _native.hash_lines(pa.array(texts), 1, 1)
    assert len(np.unique(lines)) == len(texts)


MEASURE = """
import sys
from smolfast.dedup import deduplicate

def peak():
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmHWM"))

before = peak()
deduplicate([sys.argv[1]], sys.argv[2], memory=128 << 20, threads=2)
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak from /proc")
def test_memory_stays_near_what_was_asked(tmp_path: Path) -> None:
    generator = random.Random(1)
    parts = ["".join(generator.choices("abcdefgh     ", k=400)) for _ in range(4000)]
    source = tmp_path / "documents.parquet"
    with pq.ParquetWriter(source, pa.schema([("text", pa.string())])) as writer:
        for number in range(16):
            texts = ["".join(generator.sample(parts, 3)) + f" {number}" for _ in range(8000)]
            writer.write_table(pa.table({"text": texts}))
    run = subprocess.run(
        [sys.executable, "-c", MEASURE, str(source), str(tmp_path / "out")], capture_output=True, text=True, check=True
    )
    # Above what the interpreter and its modules take. What pyarrow's allocator keeps for later comes on top.
    assert int(run.stdout) < 190 << 20
