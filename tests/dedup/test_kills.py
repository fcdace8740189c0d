"""A run killed at any moment: the same command ends in the same bytes, and another one knows what may be replaced."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smolfast import SmolfastError
from smolfast.dedup import deduplicate, job
from smolfast.dedup.store import COMMITS, Column, DocumentStore, Position

SMALL: dict[str, Any] = {"num_perm": 2, "bands": 2, "rows": 1, "memory": 1, "threads": 1}
CALLS = ("unlink", "rmdir", "rename", "replace")


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(job, "MIN_MEMORY", 1)
    monkeypatch.setattr(os, "fsync", lambda _: None)  # no disk is lost here
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps({"text": f"text {i % 7}"}) + "\n" for i in range(12)))
    return path


def content(output: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in output.iterdir()}


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
            deduplicate([source], output, **SMALL, **options)
        except KeyboardInterrupt:
            return True
    return False


def test_killed_before_any_rename_or_removal(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = {}
    for seed in (1, 2, 3):
        deduplicate([source], tmp_path / f"whole{seed}", **SMALL, seed=seed)
        whole[seed] = content(tmp_path / f"whole{seed}")
    for stop in range(100):
        output = tmp_path / f"out{stop}"
        shutil.copytree(tmp_path / "whole1", output)
        stopped = killed(monkeypatch, stop, source, output, seed=2, overwrite=True)
        other = shutil.copytree(output, tmp_path / f"other{stop}")
        deduplicate([source], output, **SMALL, seed=2, overwrite=True)
        assert content(output) == whole[2]
        # Other settings: what stands there is replaced only when asked, and then whatever kills come between.
        with pytest.raises(SmolfastError, match=r"result of other input or settings; .* or add --overwrite"):
            deduplicate([source], other, **SMALL, seed=3)
        killed(monkeypatch, stop // 2, source, other, seed=3, overwrite=True)
        deduplicate([source], other, **SMALL, seed=3, overwrite=True)
        assert content(other) == whole[3]
        if not stopped:
            break
    assert 15 < stop < 99


def test_a_signal_while_columns_change_hands_commits_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = {"a": Column(np.dtype(np.int64))}
    store = DocumentStore(layout, tmp_path, 1)
    store.append({"a": np.arange(2)}, 2, Position(0, 2), {})
    store._held = store.memory = 1 << 30  # nothing is written until told
    store.append({"a": np.arange(3)}, 3, Position(0, 5), {})
    assert store._writer is not None
    submit = store._writer.submit

    def interrupted(*arguments: Any) -> Any:
        submit(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(store._writer, "submit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store._spill()
    store.save()
    found = DocumentStore(layout, tmp_path, 1)
    assert found.load("a").tolist() == [0, 1, 0, 1, 2] and found.documents == 5


def test_a_commit_of_other_sizes_is_refused(tmp_path: Path) -> None:
    layout = {"a": Column(np.dtype(np.int64)), "b": Column(np.dtype(np.int8), 0)}
    store = DocumentStore(layout, tmp_path, 1)
    store.append({"a": np.arange(2), "b": np.zeros(5, np.int8)}, 2, Position(0, 2), {})
    store.finish()
    assert DocumentStore(layout, tmp_path, 1).documents == 2
    commit = json.loads((tmp_path / COMMITS).read_text())
    (tmp_path / COMMITS).write_text(json.dumps({**commit, "documents": 1}) + "\n")
    with pytest.raises(SmolfastError, match=r"not the sizes of 1 documents.*; delete"):
        DocumentStore(layout, tmp_path, 1)
