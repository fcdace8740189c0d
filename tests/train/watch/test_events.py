"""Lines of events, and of metrics: cut back, and never a number that JSON can't hold."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from smolfast.errors import SmolfastError
from smolfast.train.watch.events import EventLog
from smolfast.train.watch.metrics_log import MetricsLog


def test_events_are_appended_and_cut(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    for step in range(4):
        log.add(step, "spike", loss=math.nan, norms=[1.0, math.inf])
    log.cut(2)
    log.add(9, "alarm", layer=1)
    assert log.count == 3
    lines = [json.loads(line, parse_constant=pytest.fail) for line in log.path.read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1, 9]
    assert lines[0] == {"step": 0, "event": "spike", "loss": None, "norms": [1.0, None]}


def test_a_rank_that_writes_nothing_still_counts(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl", writes=False)
    log.add(1, "spike")
    assert log.count == 1 and not log.path.exists()


def test_metrics_are_appended_and_cut(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path, 0) as log:
        for step in range(1, 5):
            log.add({"step": step, "loss": 1.0 / step})
        log.cut(2)
        assert log.last == {"step": 2, "loss": 0.5}
        log.add({"step": 3, "loss": math.nan})
        log.sync()
    assert [json.loads(line) for line in path.read_text().splitlines()][1:] == [
        {"step": 2, "loss": 0.5},
        {"step": 3, "loss": None},
    ]
    with pytest.raises(SmolfastError, match="has 3 lines and the checkpoint 7 steps"):
        MetricsLog(path, 7)


def test_tensorboard_gets_every_number(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with MetricsLog(tmp_path / "metrics.jsonl", 0, tensorboard=True) as log:
        for step in (1, 2, 3):
            log.add(
                {"step": step, "loss": 2.0 * step, "head_losses": [1.0, 2.5], "speed": {"mfu": 0.25}, "skipped": True}
            )
    found = EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    assert [(event.step, event.value) for event in found.Scalars("loss")] == [(1, 2.0), (2, 4.0), (3, 6.0)]
    assert set(found.Tags()["scalars"]) == {"loss", "head_losses/0", "head_losses/1", "speed/mfu"}


def test_without_tensorboard_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(SmolfastError, match=r"set train\.tensorboard=false, or install it with: .*\[watch\]"):
        MetricsLog(tmp_path / "metrics.jsonl", 0, tensorboard=True)


def test_trackio_gets_every_number(tmp_path: Path) -> None:
    """In a process of its own: trackio's folder is chosen when it is imported."""
    pytest.importorskip("trackio")
    program = """
import sys, warnings
from pathlib import Path
from smolfast.train.watch.metrics_log import MetricsLog
for step in (1, 2):  # the second time it goes on
    with MetricsLog(Path(sys.argv[1]) / "my-run" / "metrics.jsonl", step - 1, trackio=True) as log:
        log.add({"step": step, "loss": 2.0 * step, "head_losses": [1.0, 2.5], "skipped": True})
from trackio.sqlite_storage import SQLiteStorage
for row in SQLiteStorage.get_logs("smolfast", "my-run"):
    print(row["step"], sorted((k, v) for k, v in row.items() if k not in ("step", "timestamp")))
"""
    (tmp_path / "my-run").mkdir()
    environment = {**os.environ, "TRACKIO_DIR": str(tmp_path / "trackio")}
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path], env=environment, capture_output=True, text=True, check=True
    )
    numbers = "('head_losses/0', 1.0), ('head_losses/1', 2.5)"
    assert done.stdout.splitlines() == [f"1 [{numbers}, ('loss', 2.0)]", f"2 [{numbers}, ('loss', 4.0)]"]


def test_without_trackio_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trackio", None)
    with pytest.raises(SmolfastError, match=r"set train\.trackio=false, or install it with: .*\[watch\]"):
        MetricsLog(tmp_path / "metrics.jsonl", 0, trackio=True)
