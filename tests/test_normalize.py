"""`normalize_documents` and `smolfast normalize`: formats, rules, and runs that are killed."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smolfast import SmolfastError, text
from smolfast.cli import main
from smolfast.normalize import normalize_documents

TEXTS = [
    "e\u0301tude \r\n\r\n\r\n\r\nUn\u00adtitled, 12.5",
    "déjà vu",
    "한글 \u1112\u1161\u11ab",
    "plain",
    "Ｆｕｌｌ ﬁ",
]


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    """Files of every kind in folders below `in`, with columns beside the text."""
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    table = pa.table({"id": [str(i) for i in range(5)], "text": TEXTS, "score": [0.5, 1.0, None, 2.0, 3.0]})
    pq.write_table(table, folder / "a.parquet")
    lines = "".join(json.dumps({"text": t, "n": i, "ok": True}) + "\n" for i, t in enumerate(TEXTS))
    (folder / "deep" / "b.jsonl").write_text(lines)
    (folder / "deep" / "c.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (folder / "d.txt").write_text(TEXTS[0], newline="")
    (folder / "empty.jsonl").write_text("")
    return folder


def read(path: Path) -> list[dict[str, object]]:
    if path.suffix == ".parquet":
        rows: list[dict[str, object]] = pq.read_table(path).to_pylist()
        return rows
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in data.decode().splitlines()]


def test_a_folder_becomes_a_folder_of_the_same_files(documents: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = normalize_documents([documents], out, form="NFKC")
    found = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert found == ["a.parquet", "d.txt.parquet", "deep/b.jsonl", "deep/c.jsonl.gz", "empty.jsonl"]
    expected = text.normalize(TEXTS, "NFKC").to_pylist()
    assert [row["text"] for row in read(out / "a.parquet")] == expected
    assert [row["score"] for row in read(out / "a.parquet")] == [0.5, 1.0, None, 2.0, 3.0]
    assert read(out / "deep" / "b.jsonl") == [{"text": t, "n": i, "ok": True} for i, t in enumerate(expected)]
    assert read(out / "deep" / "c.jsonl.gz") == read(out / "deep" / "b.jsonl")
    assert (out / "empty.jsonl").read_bytes() == b""
    assert summary["documents_in"] == summary["documents_out"] == 16
    assert summary["documents_changed"] == 3 * 3 + 1
    assert summary["bytes_out"] == 3 * sum(len(t.encode()) for t in expected) + len(expected[0].encode())


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".jsonl.gz", ".jsonl.zst"])
def test_one_file_by_the_command_line(
    documents: Path, tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / f"out{suffix}"
    source = documents / "a.parquet"
    assert (
        main(["normalize", str(source), str(out), "--clean", "--simplify", "--form", "NFKC", "--json", "--quiet"]) == 0
    )
    summary = json.loads(capsys.readouterr().out)
    cleaned = text.clean(TEXTS, form="NFKC")
    assert {k: v for k, v in summary.items() if k.startswith("cleaned_")} == {
        f"cleaned_{rule}": n for rule, n in cleaned.counts.items()
    }
    assert summary["cleaned_line_endings"] == 4
    if suffix != ".jsonl.zst":
        assert [row["text"] for row in read(out)] == text.simplify(cleaned.strings).to_pylist()
    again = tmp_path / f"again{suffix}"
    options = ["--clean", "--simplify", "--form", "NFKC", "--quiet", "--threads", "1"]
    assert main(["normalize", str(source), "-o", str(again), *options]) == 0
    assert again.read_bytes() == out.read_bytes()


def test_what_cannot_be_done(documents: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["normalize", str(documents), "--quiet"]) == 2
    assert "no output given; name it last" in capsys.readouterr().err
    (documents / "a.parquet").rename(documents / "d.txt.parquet")
    with pytest.raises(SmolfastError, match=r"two inputs would both become d\.txt\.parquet"):
        normalize_documents([documents], tmp_path / "out")
    stamps = tmp_path / "stamps.parquet"
    pq.write_table(pa.table({"text": ["a"], "when": pa.array([0], pa.timestamp("s"))}), stamps)
    with pytest.raises(SmolfastError, match=r"JSON has no form for column 'when' .* or write parquet"):
        normalize_documents([stamps], tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
@pytest.mark.parametrize("output", ["out", "out.parquet"])
def test_killed_runs_go_on_to_the_same_bytes(tmp_path: Path, output: str) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for number in range(12):
        rows = [f"{TEXTS[i % 5]} {number} {i}" * 20 for i in range(4000)]
        if number % 2:
            pq.write_table(pa.table({"text": rows}), source / f"{number:02}.parquet")
        else:
            (source / f"{number:02}.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in rows))
    command = [sys.executable, "-m", "smolfast", "normalize", str(source)]
    if output == "out.parquet":
        command[4:5] = [str(source / f"{number:02}.parquet") for number in range(1, 12, 2)]
    started = time.monotonic()
    rules = ["--clean", "--quiet"]
    subprocess.run([*command, str(tmp_path / "whole" / output), *rules], check=True, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - started
    expected = tree(tmp_path / "whole")
    expected = {name: data for name, data in expected.items() if not name.startswith(".smolfast")}
    moments = random.Random(int(os.environ.get("SMOLFAST_KILL_SEED", "0")))
    folder = tmp_path / "killed"
    kills = 0
    while kills < 3:
        process = subprocess.Popen([*command, str(folder / output), *rules], stdout=subprocess.DEVNULL)
        try:
            process.wait(moments.uniform(0.2, 1.0) * seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        kills += 1
    subprocess.run([*command, str(folder / output), *rules], check=True, stdout=subprocess.DEVNULL)
    left = {name: data for name, data in tree(folder).items() if not name.startswith(".smolfast")}
    assert left.keys() == expected.keys()
    assert left == expected
