"""Malformed Arrow columns, for every native entry point that takes text: an exact result or one clear line.

Offsets, views, counts, formats and pointers that lie, structs already released, producers that don't keep to the
protocol, and IPC streams damaged on their way. Each struct taken is released once.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("try_arrow.py")
NAMES = (
    *(f"text.{name}" for name in ("normalize", "is_normalized", "lower", "casefold", "simplify", "clean", "redact")),
    *("text.fix_mojibake", "text.words", "text.words (spacy)", "text.count_sentences", "MinHasher.shingles"),
    "curate.judge",
    *(f"MinHasher.signatures ({scheme})" for scheme in ("fast", "classic", "datasketch", "datatrove")),
    *(f"_native.{name}" for name in ("is_normalized", "is_valid_utf8", "hash_texts", "hash_lines", "drop_lines")),
)


@pytest.fixture(scope="module")
def outcomes() -> dict[str, dict[str, str]]:
    """Entry point → attempt → how it ended. A crash ends an entry point's attempts, not those of the next."""
    found: dict[str, dict[str, str]] = {}
    remaining = list(NAMES)
    while remaining:
        result = subprocess.run([sys.executable, SCRIPT, *remaining], capture_output=True, text=True, timeout=300)
        for line in map(json.loads, result.stdout.splitlines()):
            attempts = found.setdefault(line["entry_point"], {})
            if "trying" in line:
                attempts[line["trying"]] = f"crashed (exit code {result.returncode}): {result.stderr[-500:]}"
            else:
                attempts[line["tried"]] = line["outcome"]
        if not found:
            pytest.fail(result.stderr)
        last = max(map(remaining.index, (name for name in remaining if name in found)), default=0)
        remaining = remaining[last + 1 :]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_column_is_read_or_refused(name: str, outcomes: dict[str, dict[str, str]], tried) -> None:  # type: ignore[no-untyped-def]
    wrong = {label: outcome for label, outcome in outcomes[name].items() if outcome not in ("exact", "refused")}
    assert not wrong
    counts = Counter(outcomes[name].values())
    assert counts["refused"] > 300 and counts["exact"] > 50
    for outcome, count in counts.items():
        tried(name, outcome, count)


def test_no_entry_point_is_left_out() -> None:
    from smolfast import _native, text

    taking_text = {f"_native.{name}" for name, value in vars(_native).items() if "strings" in (value.__doc__ or "")}
    wrapped = {f"_native.{name}" for name in text.__all__} - {"_native.unicode_version"}
    assert taking_text - wrapped - {
        "_native.import_strings",
        "_native.MinHasher",
        "_native.Judges",
        "_native.ArrowStrings",
    } <= set(NAMES)
    without_text = {"text.Cleaned", "text.release_memory", "text.spacy_languages", "text.unicode_version"}
    assert {f"text.{name}" for name in text.__all__} - without_text <= set(NAMES)
