"""Monitors in a sweep: a trial that one stops is a result, a run that one stops is the end of the sweep."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from smolfast.commands.main import main
from smolfast.errors import StopRunError
from smolfast.pipeline.sweeps.space import parse_parameter
from smolfast.pipeline.sweeps.sweep import Sweep, sweep
from smolfast.pipeline.sweeps.trials import read_trials

pytest.importorskip("optuna")
RECIPE = """
[stages.filter]
python = "sieve:keep"
x = 0

[[stages.filter.monitors]]
metric = "kept_share"
below = 0.05
reaction = "REACTION"

[stages.score]
needs = "filter"
python = "sieve:score"
kept = "${filter.documents_out}"
"""
CODE = """
def keep(inputs, output, x):
    return {"documents_in": 100, "documents_out": x}

def score(inputs, output, kept):
    return {"value": kept}
"""


PRESSED = """
def keep(inputs, output, x):
    if x == 1:
        raise KeyboardInterrupt
    return {"documents_in": 100, "documents_out": x}
"""


@pytest.fixture
def sieve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", list(sys.path))
    sys.modules.pop("sieve", None)
    (tmp_path / "sieve.py").write_text(CODE)
    return tmp_path


def what(folder: Path, reaction: str) -> Sweep:
    (folder / "sieve.toml").write_text(RECIPE.replace("REACTION", reaction))
    values = (parse_parameter("filter.x=50,1,40"),)
    return Sweep(str(folder / "sieve.toml"), values, objective="score.value", sampler="grid", pruner="none")


def test_a_trial_that_is_stopped_is_a_result(sieve: Path) -> None:
    found = sweep(what(sieve, "stop trial"), sieve / "out", trials=3)
    assert (found["done"], found["stopped"], found["failed"], found["best_value"]) == (2, 1, 0, 40.0)
    (stopped,) = (trial for trial in read_trials(sieve / "out") if trial.state == "stopped")
    assert stopped.params == {"filter.x": 1} and "kept_share below 0.05 (it is 0.01)" in stopped.error
    page = (sieve / "out" / "sweep.html").read_text()
    assert "2 done, 1 stopped by a monitor" in page and "The same command goes on" not in page


@pytest.mark.parametrize("at_once", [1, 3])
def test_a_run_that_is_stopped_ends_the_sweep_until_it_is_told_to_go_on(sieve: Path, at_once: int) -> None:
    chosen = replace(what(sieve, "stop run"), at_once=at_once)
    with pytest.raises(StopRunError, match=r"kept_share below 0\.05.*run the same command again, without trial 1"):
        sweep(chosen, sieve / "out", trials=3)
    states = [trial.state for trial in read_trials(sieve / "out")]
    assert states == (["done", "stopped"] if at_once == 1 else ["done", "stopped", "running"])
    page = (sieve / "out" / "sweep.html").read_text()
    assert "Stopped by a monitor when 2 of 3 trials had ended." in page and "The same command goes on." in page
    assert json.loads((sieve / "out" / "sweep.json").read_text())["stopped"] == {"by": "a monitor", "trials": 3}
    found = sweep(chosen, sieve / "out", trials=3)
    assert (found["done"], found["stopped"], found["best_value"]) == (2, 1, 40.0)
    assert "Stopped by" not in (sieve / "out" / "sweep.html").read_text()
    assert "stopped" not in json.loads((sieve / "out" / "sweep.json").read_text())


def test_ctrl_c_is_said_and_the_sweep_goes_on_as_if_nothing_had_been(
    sieve: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(sieve)
    what(sieve, "note")
    words = [
        "sweep",
        "sieve.toml",
        "--param",
        "filter.x=50,1,40",
        "--sampler",
        "grid",
        "--pruner",
        "none",
        "--objective",
        "score.value",
    ]
    (sieve / "sieve.py").write_text(CODE + PRESSED)
    assert main([*words, "-o", "out"]) == 130
    assert "interrupted" in capsys.readouterr().err
    assert [trial.state for trial in read_trials(sieve / "out")] == ["done", "running"]
    page = (sieve / "out" / "sweep.html").read_text()
    assert "Stopped by Ctrl-C when 1 of 3 trials had ended." in page and "1 done, 1 not ended" in page
    (sieve / "sieve.py").write_text(CODE)
    sys.modules.pop("sieve", None)
    assert main([*words, "-o", "out"]) == 0
    assert main([*words, "-o", "whole"]) == 0
    assert [one.value for one in read_trials(sieve / "out")] == [one.value for one in read_trials(sieve / "whole")]
    assert "Stopped" not in (sieve / "out" / "sweep.html").read_text()
