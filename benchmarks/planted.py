"""Documents in any number with planted near-duplicates of known Jaccard similarity.

    python benchmarks/planted.py TEXT.parquet DOCUMENTS OUT.parquet

A document is 60 words of real text (ASCII, so that a word is a token), every fifth made unique, so that no two share a
5-gram by chance. One document in ten is a copy of an earlier one, used once, with one or two words changed. Its id
names what it copies and how: `near1-COPY-OF` has Jaccard similarity 51/61, `near2-COPY-OF` 46/66.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

WORDS = 60
SIMILARITY = {"near1": 51 / 61, "near2": 46 / 66}
BLOCK = 50_000
SCHEMA = pa.schema([("id", pa.string()), ("text", pa.large_string())])


def make(text: Path, documents: int, out: Path, seed: int = 0) -> None:
    generator = np.random.default_rng(seed)
    words: list[str] = []
    for document in pq.read_table(text, columns=["text"])["text"].slice(0, 1500).to_pylist():
        words += [word for word in document.split() if word.isascii() and word.isalpha()]
    pool: list[tuple[int, list[str]]] = []
    with pq.ParquetWriter(out, SCHEMA, compression="zstd", use_dictionary=False) as writer:
        for first in range(0, documents, BLOCK):
            count = min(BLOCK, documents - first)
            starts = generator.integers(0, len(words) - WORDS, count).tolist()
            kinds = generator.integers(0, 20, count).tolist()
            chosen = generator.integers(0, 1 << 30, count).tolist()
            ids, texts = [], []
            for i in range(count):
                number = first + i
                if kinds[i] < 2 and pool:
                    at = chosen[i] % len(pool)
                    pool[at], pool[-1] = pool[-1], pool[at]
                    origin, base = pool.pop()
                    base = [*base[:20], f"x{number}", *base[21:]]
                    if kinds[i]:
                        base[40] = f"y{number}"
                    ids.append(f"near{kinds[i] + 1}-{origin}")
                else:
                    base = words[starts[i] : starts[i] + WORDS]
                    base[::5] = [f"{word}{number}" for word in base[::5]]
                    ids.append(f"own-{number}")
                    if number % 4 == 0:
                        pool.append((number, base))
                        if len(pool) > 20_000:
                            pool.pop(chosen[i] % len(pool))
                texts.append(" ".join(base))
            writer.write_table(pa.table({"id": ids, "text": pa.array(texts, pa.large_string())}, schema=SCHEMA))


if __name__ == "__main__":
    make(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
