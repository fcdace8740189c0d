"""Native functions called by many threads at once, and a great many times: one result, and no memory kept.

SMOLFAST_HOSTILE_CALLS sets how often each is called (3,000 by default; 1,000,000 takes about ten minutes).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("try_calls.py")
CALLS = int(os.environ.get("SMOLFAST_HOSTILE_CALLS", "3000"))
CHEAP = (
    *("normalize", "is_normalized", "lower", "words", "fix_mojibake", "hash_texts", "hash_lines", "drop_lines"),
    *("MinHasher.sign", "MinHasher.shingles", "MinHasher", "band_keys", "digest", "DocumentSets", "StoredSignatures"),
    *("StoredHashes, refused", "normalize, refused", "import_strings", "is_valid_utf8"),
)
RACED = (
    *(f"text.{name}" for name in ("normalize", "is_normalized", "lower", "casefold", "simplify", "clean", "redact")),
    *("text.fix_mojibake", "text.words", "MinHasher.shingles", "MinHasher.signatures (fast)"),
    *("MinHasher.signatures (datatrove)", "_native.hash_texts", "_native.hash_lines", "_native.drop_lines"),
)


def run(kind: str, calls: int, *names: str) -> dict[str, dict[str, Any]]:
    result = subprocess.run([sys.executable, SCRIPT, kind, str(calls), *names], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-500:] + result.stderr
    return {line["entry_point"]: line for line in map(json.loads, result.stdout.splitlines())}


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from Linux's /proc")
def test_memory_stays_flat(tried: Any) -> None:
    """2 MiB is what the allocator's own bookkeeping moves by; 3 bytes a call would pass it at a million calls."""
    names = [f"_native.{name}" for name in CHEAP]
    found = run("repeat", CALLS, *names)
    assert found.keys() == set(names)
    assert {name: line["growth"] for name, line in found.items() if line["growth"] > 2 << 20} == {}
    assert {name: line["different"] for name, line in found.items() if line["different"]} == {}
    for name, line in found.items():
        tried(f"{name} (calls)", "refused" if name.endswith("refused") else "exact", line["calls"])


def test_many_threads_at_once(tried: Any) -> None:
    found = run("race", max(4, CALLS // 1000), *RACED)
    assert found.keys() == set(RACED)
    assert {name: line["different"] for name, line in found.items() if line["different"]} == {}
    for name, line in found.items():
        tried(f"{name} (8 threads)", "exact", line["calls"])
