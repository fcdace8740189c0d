"""Call native entry points very often, from one thread and from many; print what came of it.

    python tests/hostile/try_calls.py repeat|race CALLS ENTRY_POINT…

A line of JSON for each: calls, growth of resident memory in bytes over them, and results that weren't as the first.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from arrow_structs import ROWS
from entry_points import ENTRY_POINTS

from smolfast import _native
from smolfast.errors import SmolfastError

THREADS = 8


def resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def cheap(name: str) -> Callable[[], Any]:
    """A call of the native function alone, with little text, that makes and frees an output or an error each time."""
    rows = ["e\u0301 \ufb01 A line.\nmail me@example.org", None]
    signatures = np.arange(32, dtype=np.uint32).reshape(4, 8)
    keys = np.array([1, 1, 2, 3], np.uint64)

    def unite() -> Any:
        sets = _native.DocumentSets(4)
        counts = sets.unite([[keys]], None, 1, 1, None, 0.0)
        return counts, sets.roots().tolist()

    def stored() -> Any:
        some = np.array([0, 1, 3], np.uint32)
        return _native.StoredSignatures([signatures], 8, 4).jaccard(some, some, 1).tolist()

    def stored_wrong() -> Any:
        return _native.StoredHashes(keys).jaccard(np.array([9], np.uint32), np.array([0], np.uint32), 1)

    hasher = _native.MinHasher(16, 2, "unicode", "", "fast", "sha1", True, 1, [], [])
    flags = np.zeros(9, np.uint8)
    calls: dict[str, Callable[[], Any]] = {
        "_native.normalize": lambda: [pa.array(part) for part in _native.normalize(rows, "NFC", False, 1, "fail")],
        "_native.is_normalized": lambda: _native.is_normalized(rows, "NFC", 1),
        "_native.is_valid_utf8": lambda: _native.is_valid_utf8(rows),
        "_native.lower": lambda: len(_native.lower(rows, 1, "fail")),
        "_native.words": lambda: [part.tolist() for pair in _native.words(rows, None, 1) for part in pair],
        "_native.fix_mojibake": lambda: len(_native.fix_mojibake(rows, 1, "fail")),
        "_native.hash_texts": lambda: [part.tolist() for part in _native.hash_texts(rows, True, 1)],
        "_native.hash_lines": lambda: [part.tolist() for part in _native.hash_lines(rows, 1, 1)],
        "_native.drop_lines": lambda: pa.array(_native.drop_lines(rows, 1, flags)),
        "_native.MinHasher.sign": lambda: hasher.sign(rows, 1).tolist(),
        "_native.MinHasher.shingles": lambda: [part.tolist() for part in hasher.shingles(rows, 1)],
        "_native.MinHasher": lambda: str(
            type(_native.MinHasher(4, 2, "char", "", "classic", "sha1", False, 1, [], []))
        ),
        "_native.band_keys": lambda: _native.band_keys(signatures, 2, 4, 1).tolist(),
        "_native.digest": lambda: _native.digest("sha1", b"text"),
        "_native.DocumentSets": unite,
        "_native.StoredSignatures": stored,
        "_native.StoredHashes, refused": stored_wrong,
        "_native.normalize, refused": lambda: _native.normalize(["\ud800"], "NFC", False, 1, "fail"),
        "_native.import_strings": lambda: len(_native.import_strings(pa.array(rows, pa.string()))),
    }
    return calls[name]


def result(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except SmolfastError as error:
        return str(error)


def repeat(name: str, calls: int) -> dict[str, Any]:
    call = cheap(name)
    expected = result(call)
    for _ in range(min(calls, 2000)):
        result(call)
    before = resident()
    different = sum(result(call) != expected for _ in range(calls))
    return {"entry_point": name, "calls": calls, "growth": resident() - before, "different": different}


def race(name: str, calls: int) -> dict[str, Any]:
    """Many callers at once, each call on several threads of its own."""
    function = ENTRY_POINTS[name]
    columns = [pa.chunked_array([ROWS * 30, ROWS]), pa.array(ROWS * 40, pa.string_view()), ROWS * 20]
    expected = [function(column) for column in columns]

    def work(worker: int) -> int:
        return sum(
            function(columns[at % len(columns)]) != expected[at % len(columns)] for at in range(worker, worker + calls)
        )

    with ThreadPoolExecutor(THREADS) as pool:
        different = sum(pool.map(work, range(THREADS)))
    return {"entry_point": name, "calls": calls * THREADS, "growth": 0, "different": different}


def main() -> None:
    kind, calls, *names = sys.argv[1:]
    for name in names:
        print(json.dumps({"repeat": repeat, "race": race}[kind](name, int(calls))), flush=True)


if __name__ == "__main__":
    main()
