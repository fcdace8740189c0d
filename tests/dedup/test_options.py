"""Simplified text and repeated lines: what counts as the same besides equal and similar texts."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smolfast import SmolfastError, _native
from smolfast.commands.main import main
from smolfast.dedup import MinHasher, deduplicate
from smolfast.text import simplify


def write(path: Path, texts: list[str]) -> Path:
    pq.write_table(pa.table({"id": [f"d{i}" for i in range(len(texts))], "text": texts}), path, row_group_size=7)
    return path


def kept(output: Path) -> dict[str, str]:
    return {row["id"]: row["text"] for row in pq.read_table(output / "kept.parquet").to_pylist()}


@pytest.mark.parametrize("scheme", ["fast", "classic", "datasketch", "datatrove"])
def test_simplified_signatures_are_those_of_the_simplified_text(scheme: str) -> None:
    generator = random.Random(4)
    words = ["Größe,", "1.500", "(naïve)", "東京。", "The", "END!", "x_1", "İstanbul"]
    texts = [" ".join(generator.choices(words, k=generator.randrange(40))) for _ in range(100)]
    for tokens in ("unicode", "whitespace"):
        plain = MinHasher(32, 3, tokens, scheme)  # type: ignore[arg-type]
        ours = MinHasher(32, 3, tokens, scheme, simplify=True)  # type: ignore[arg-type]
        expected = simplify(texts)
        assert np.array_equal(ours.signatures(texts), plain.signatures(expected))
        assert np.array_equal(ours.shingles(texts)[1], plain.shingles(expected)[1])
    assert not np.array_equal(ours.signatures(texts), plain.signatures(texts))


def test_exact_duplicates_after_simplifying(tmp_path: Path) -> None:
    path = write(tmp_path / "d.parquet", ["One, two: three!", "one two three", "ONE  TWO THREE", "one two four"])
    deduplicate([path], tmp_path / "text")
    assert list(kept(tmp_path / "text")) == ["d0", "d1", "d2", "d3"]
    summary = deduplicate([path], tmp_path / "simplified", exact="simplified")
    assert summary.exact_duplicates == 2
    assert kept(tmp_path / "simplified") == {"d0": "One, two: three!", "d3": "one two four"}
    # As near-duplicates they are of the same shingles.
    assert deduplicate([path], tmp_path / "near", simplify=True).near_duplicates == 2


def without_repeated_lines(texts: list[str], least: int) -> tuple[list[str], int]:
    seen: set[str] = set()
    out, count = [], 0
    for text in texts:
        left = []
        for whole in text.split("\n"):
            line = whole.strip(" \t\r")
            again = len(line.encode()) >= least and line in seen
            seen.add(line)
            count += again
            left.append(None if again else whole)
        # A line goes with the line feed behind it.
        ends = ["\n"] * (len(left) - 1) + [""]
        out.append("".join(line + end for line, end in zip(left, ends, strict=True) if line is not None))
    return out, count


LINES = st.lists(st.lists(st.sampled_from(["a", "bb", " bb\r", "\tccc", "ddé", "", " "]), max_size=6), max_size=12)


@given(LINES, st.integers(1, 3))
def test_flagged_lines_go(documents: list[list[str]], least: int) -> None:
    texts = ["\n".join(lines) for lines in documents]
    ends, hashes = _native.hash_lines(texts, least, 2)
    seen: set[int] = set()
    flags = [value in seen or bool(seen.add(value)) for value in hashes.tolist()]
    expected, count = without_repeated_lines(texts, least)
    assert sum(flags) == count
    assert ends.tolist()[-1:] == ([len(hashes)] if texts else [])
    assert pa.array(_native.drop_lines(texts, least, np.array(flags, np.uint8))).to_pylist() == expected


def test_repeated_lines_of_kept_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = random.Random(8)
    own = [f"line {generator.getrandbits(60)}" for _ in range(400)]
    boilerplate = ["Subscribe to our newsletter", "All rights reserved", "}"]
    texts = ["\n".join([*own[4 * i : 4 * i + 4], generator.choice(boilerplate)]) for i in range(100)]
    texts.insert(50, texts[49])  # a whole duplicate: removed, and its lines don't count
    path = write(tmp_path / "d.parquet", texts)
    expected, count = without_repeated_lines(texts[:50] + texts[51:], 5)
    summary = deduplicate([path], tmp_path / "out", lines=5)
    assert list(kept(tmp_path / "out").values()) == expected
    assert (summary.lines_removed, summary.exact_duplicates) == (count, 1)
    assert summary.bytes_out == sum(len(text.encode()) for text in expected)
    # On disk, in several passes, the same.
    monkeypatch.setattr("smolfast.dedup.job.MIN_MEMORY", 1)
    for memory in (1, 4000):
        deduplicate([path], tmp_path / f"{memory}", lines=5, memory=memory, threads=1)
        assert (tmp_path / f"{memory}" / "kept.parquet").read_bytes() == (
            tmp_path / "out" / "kept.parquet"
        ).read_bytes()
    # What is compared against stays whole and takes lines away.
    against = write(tmp_path / "a.parquet", ["All rights reserved\nand something", "All rights reserved\nor other"])
    summary = deduplicate([path], tmp_path / "against", lines=5, against=[against])
    assert "All rights reserved" not in "".join(kept(tmp_path / "against").values())
    assert summary.lines_removed == count + 1


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(
        tmp_path / "d.parquet",
        ["One, two!\nA line that repeats", "one two\na line that REPEATS", "A line that repeats"],
    )
    command = ["dedup", str(path), "-o", str(tmp_path / "out"), "--json", "--quiet", "--simplify"]
    assert main([*command, "--exact", "simplified", "--lines", "10"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["exact_duplicates"], summary["lines_removed"]) == (1, 1)
    assert kept(tmp_path / "out") == {"d0": "One, two!\nA line that repeats", "d2": ""}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"exact": "words"}, "choose one of text, simplified"),
        ({"lines": 0}, "expected bytes of a line, at least 1"),
        ({"lines": 5, "index": "index"}, "keeps no lines"),
    ],
)
def test_bad_options(tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(SmolfastError, match=message):
        deduplicate([write(tmp_path / "d.parquet", ["a"])], tmp_path / "out", **options)  # type: ignore[arg-type]
