"""Documents made to hurt deduplication: a million equal ones, a million empty ones, a chain, one of 1 GiB.

python hostile_documents.py KIND REAL-TEXT.parquet TARGET.parquet
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from smolfast.files import atomic_path

MILLION = 1_000_000


def equal(text: Path) -> pa.Table:
    return pa.table({"text": pa.array(["The same text of some words, again and again, for everyone."] * MILLION)})


def empty(text: Path) -> pa.Table:
    return pa.table({"text": pa.array([""] * MILLION)})


def chain(text: Path) -> pa.Table:
    """200,000 windows of 60 words, each one word on from the one before: all are joined through their neighbours."""
    words = [f"w{i}" for i in range(200_060)]
    return pa.table({"text": pa.array([" ".join(words[i : i + 60]) for i in range(200_000)])})


def giant(text: Path) -> pa.Table:
    """A document of 1 GiB of real text, and one of two words."""
    data = "\n".join(pq.read_table(text)["text"].to_pylist()).encode()
    data = (data * ((1 << 30) // len(data) + 1))[: 1 << 30].decode(errors="ignore").encode()
    offsets = pa.py_buffer(np.array([0, len(data), len(data) + 9], np.int64))
    array = pa.Array.from_buffers(pa.large_string(), 2, [None, offsets, pa.py_buffer(data + b"small one")])
    return pa.table({"text": array})


HOSTILE: dict[str, Callable[[Path], pa.Table]] = {"equal": equal, "empty": empty, "chain": chain, "giant": giant}


def build(kind: str, text: Path, cache: Path) -> Path:
    """In a process of its own: the peak of those that this one starts later begins at its own."""
    target = cache / f"hostile-{kind}.parquet"
    if not target.exists():
        subprocess.run([sys.executable, __file__, kind, str(text), str(target)], check=True)
    return target


if __name__ == "__main__":
    with atomic_path(Path(sys.argv[3])) as partial:
        pq.write_table(HOSTILE[sys.argv[1]](Path(sys.argv[2])), partial, compression="zstd", use_dictionary=False)
