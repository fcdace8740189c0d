"""A run killed at any moment: the same command ends in the same bytes, and another one knows what may be replaced."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from smolfast import SmolfastError
from smolfast.curate import curate_files
from smolfast.curate.files import parts
from smolfast.curate.files.verdicts import judge_batch

sys.path.insert(0, str(Path(__file__).parent))
from pages import rows

CALLS = ("unlink", "rmdir", "rename", "replace", "truncate")


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(parts, "PART_ROWS", 5)
    monkeypatch.setattr(os, "fsync", lambda _: None)  # no disk is lost here
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(17)))
    return path


def content(output: Path) -> dict[str, bytes]:
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in output.rglob("*") if path.is_file()}


def killed(monkeypatch: pytest.MonkeyPatch, stop: int, source: Path, output: Path, **options: Any) -> bool:
    """Run, stopping before removal or rename number `stop`; whether it came that far."""
    calls = 0

    def counted(name: str) -> Any:
        do = getattr(os, name)

        def call(*arguments: Any, **others: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > stop:
                raise KeyboardInterrupt
            return do(*arguments, **others)

        return call

    with monkeypatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, counted(name))
        try:
            curate_files([source], output, threads=1, **options)
        except KeyboardInterrupt:
            return True
    return False


def test_killed_before_any_rename_or_removal(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: list[dict[str, Any]] = [{}, {"signals": True}, {"prefix": "x_"}]
    whole = []
    for number, options in enumerate(settings):
        if number == 1:
            monkeypatch.setattr(parts, "PART_ROWS", 4)
        curate_files([source], tmp_path / f"whole{number}", **options)
        whole.append(content(tmp_path / f"whole{number}"))
    for stop in range(200):
        output = tmp_path / f"out{stop}"
        shutil.copytree(tmp_path / "whole0", output)
        stopped = killed(monkeypatch, stop, source, output, **settings[1], overwrite=True)
        other = shutil.copytree(output, tmp_path / f"other{stop}")
        curate_files([source], output, **settings[1], overwrite=True)
        assert content(output) == whole[1]
        # Other settings: what stands there is replaced only when asked, and then whatever kills come between.
        with pytest.raises(SmolfastError, match=r"result of other input or settings; .* or add --overwrite"):
            curate_files([source], other, **settings[2])
        killed(monkeypatch, stop // 2, source, other, **settings[2], overwrite=True)
        curate_files([source], other, **settings[2], overwrite=True)
        assert content(other) == whole[2]
        if not stopped:
            break
        shutil.rmtree(output)
        shutil.rmtree(other)
    assert 15 < stop < 199


@pytest.mark.parametrize("harm", ["torn", "cut", "shorter", "gone", "garbage"])
def test_a_run_goes_on_after_any_part(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str) -> None:
    """Stops after every part, with the end of the journal torn or a file of the last part harmed."""
    curate_files([source], tmp_path / "whole")
    output = tmp_path / "out"
    work = output / ".work"
    judged = 0

    def stop_at_next(*arguments: Any) -> Any:
        nonlocal judged
        judged += 1
        if judged > 1:
            raise KeyboardInterrupt
        return judge_batch(*arguments)

    stops = 0
    for _ in range(20):
        judged = 0
        with monkeypatch.context() as patch:
            patch.setattr("smolfast.curate.files.job.judge_batch", stop_at_next)
            try:
                curate_files([source], output)
                break
            except KeyboardInterrupt:
                stops += 1
        journal = work / "journal.jsonl"
        lines = journal.read_bytes().splitlines(keepends=True)
        if stops == 2 and harm == "cut":
            journal.write_bytes(journal.read_bytes()[:-20])
        elif stops == 2 and harm == "garbage":
            journal.write_bytes(b"".join(lines[:-1]) + b'{"number": 1}\n')
        elif harm == "torn":
            journal.write_bytes(b"".join(lines) + b'{"number": 9')
        elif stops == 2 and harm == "shorter":
            os.truncate(work / "kept" / "part-00001.parquet", 100)
        elif stops == 2 and harm == "gone":
            (work / "removed" / "part-00000.parquet").unlink()
    assert stops >= 3
    assert content(output) == content(tmp_path / "whole")


def test_rows_left_out_are_counted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the sources before and after the one in which a run stopped."""
    monkeypatch.setattr(parts, "PART_ROWS", 5)
    inputs = []
    for number in range(3):
        path = tmp_path / f"{number}.jsonl"
        lines = [json.dumps(row).encode() for row in rows(7, seed=number)]
        path.write_bytes(b"\n".join([b'{"text": "\xff"}', *lines[:4], b'{"text": null}', *lines[4:], b""]))
        inputs.append(path)
    whole = curate_files(inputs, tmp_path / "whole", errors="skip")
    assert (whole.skipped, whole.documents_in) == (6, 21)
    for stop in range(1, 8):
        calls = 0

        def stopping(*arguments: Any, stop: int = stop) -> Any:
            nonlocal calls
            calls += 1
            if calls == stop:
                raise KeyboardInterrupt
            return judge_batch(*arguments)

        output = tmp_path / f"out{stop}"
        with monkeypatch.context() as patch:
            patch.setattr("smolfast.curate.files.job.judge_batch", stopping)
            with pytest.raises(KeyboardInterrupt):
                curate_files(inputs, output, errors="skip")
        assert curate_files(inputs, output, errors="skip") == whole
        assert content(output) == content(tmp_path / "whole")


def test_killed_at_random_moments(tmp_path: Path) -> None:
    """The short form of tests/kill_curate.py."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(rows(2000)), tmp_path / "in.parquet", row_group_size=100)
    script = Path(__file__).parents[1] / "kill_curate.py"
    found = subprocess.run(
        [sys.executable, script, tmp_path / "in.parquet", "--kills", "6", "--rows", "100"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert found.stdout.startswith("6 kills; ") and found.stdout.endswith("all to the same bytes; 20 parts\n")
