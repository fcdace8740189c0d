"""`smolfast convert`: every format that is read becomes every one that is written, and back."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from smolfast.commands.main import main

ROWS = [{"id": "a", "text": "Ein  Text\u00a0mit e\u0301", "n": 1}, {"id": "b", "text": "", "n": None}]
WRITTEN = [".parquet", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".jsonl.bz2", ".jsonl.xz", ".ndjson"]


def write(folder: Path, suffix: str) -> Path:
    path = folder / f"in{suffix}"
    table = pa.Table.from_pylist(ROWS)
    if suffix == ".parquet":
        pq.write_table(table, path)
    elif suffix == ".arrow":
        pyarrow.feather.write_feather(table, str(path), compression="uncompressed")
    elif suffix == ".json":
        path.write_text(json.dumps(ROWS))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


@pytest.mark.parametrize(
    ("read", "written"),
    [*itertools.product([".jsonl"], WRITTEN), *itertools.product([".parquet", ".arrow", ".json"], WRITTEN[:2])],
)
def test_documents_come_out_as_they_went_in(read: str, written: str, tmp_path: Path) -> None:
    source = write(tmp_path, read)
    assert main(["convert", str(source), "-o", str(tmp_path / f"out{written}")]) == 0
    assert main(["convert", str(tmp_path / f"out{written}"), "-o", str(tmp_path / "back.parquet")]) == 0
    back = pq.read_table(tmp_path / "back.parquet").to_pylist()
    assert [{name: row[name] for name in ROWS[0]} for row in back] == ROWS


def test_csv_and_text_become_rows(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('id,text\n1,"one, two"\n')
    assert main(["convert", str(tmp_path / "a.csv"), "-o", str(tmp_path / "a.jsonl")]) == 0
    assert json.loads((tmp_path / "a.jsonl").read_text()) == {"id": "1", "text": "one, two"}
    (tmp_path / "b.txt").write_text("a text")
    assert main(["convert", str(tmp_path / "b.txt"), "-o", str(tmp_path / "b.parquet")]) == 0
    assert pq.read_table(tmp_path / "b.parquet")["text"].to_pylist() == ["a text"]


@pytest.mark.parametrize("name", ["out", "out.csv", "out.arrow", "out.warc"])
def test_names_of_what_is_not_written_are_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path, ".jsonl")
    assert main(["convert", str(source), "-o", str(tmp_path / name)]) == 2
    assert ".parquet" in capsys.readouterr().err


def test_a_crawl_is_told_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.warc.gz").write_bytes(b"")
    assert main(["convert", str(tmp_path / "a.warc.gz"), "-o", str(tmp_path / "a.parquet")]) == 2
    assert "smolfast curate" in capsys.readouterr().err
