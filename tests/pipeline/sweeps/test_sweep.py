"""Sweeps on small recipes: shared stages, pruning, divergence, interruption, and what is refused."""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from small_sweeps import SMALL
from smolfast.commands.main import main
from smolfast.errors import SmolfastError
from smolfast.files import write_json
from smolfast.pipeline.recipes import load_recipe, run
from smolfast.pipeline.sweeps.space import parse_parameter
from smolfast.pipeline.sweeps.sweep import Sweep, last_step, sweep
from smolfast.pipeline.sweeps.trials import Training, Trial, read_trials
from smolfast.report.sweep.page import write_sweep_report

pytest.importorskip("optuna")
BOWL = """
name = "bowl"
[stages.shared]
python = "bowl:shared"

[stages.bowl]
needs = "shared"
python = "bowl:bowl"
x = 0.0
kind_of = "round"

[stages.after]
needs = "bowl"
python = "bowl:never"
"""
CODE = """
from pathlib import Path

def shared(inputs, output):
    with open("calls.txt", "a") as file:
        file.write("shared ")
    return {}

def bowl(inputs, output, x, kind_of):
    if x > 9:
        raise ValueError("over the edge")
    return {"height": (x - 2.0) ** 2 + (kind_of == "flat"), "x": x}

def never(inputs, output):
    raise AssertionError("what comes after the objective isn't run for it")
"""


@pytest.fixture
def bowl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import sys

    monkeypatch.setattr(sys, "path", list(sys.path))
    sys.modules.pop("bowl", None)
    (tmp_path / "bowl.py").write_text(CODE)
    (tmp_path / "bowl.toml").write_text(BOWL)
    return tmp_path


def made(folder: Path, *parameters: str, **options: Any) -> Sweep:
    recipe = str(folder / "bowl.toml")
    chosen = tuple(map(parse_parameter, parameters or ("bowl.x=-5..5", "bowl.kind_of=round,flat")))
    return Sweep(recipe, chosen, **{"objective": "bowl.height", **options})


@pytest.mark.parametrize("sampler", ["tpe", "random", "cmaes"])
def test_a_bowl_is_found_with_shared_stages_run_once(bowl: Path, sampler: str) -> None:
    pytest.importorskip("cmaes")
    found = sweep(made(bowl, sampler=sampler), bowl / "out", trials=25)
    assert found["done"] == 25 and found["best_value"] < (2.0 if sampler == "random" else 0.4)
    assert (bowl / "calls.txt").read_text() == "shared "
    assert len(list((bowl / "out" / "run").glob("shared-*"))) == 1
    best = load_recipe(bowl / "out" / "best.toml", profile="best")
    assert best.nodes["bowl"].table["x"] == read_trials(bowl / "out")[found["best_trial"]].params["bowl.x"]
    outcome = run(best, bowl / "again")
    assert outcome.summaries["bowl"]["height"] == found["best_value"]
    assert "best_trial" not in found["importance"] and any("bowl.x" in one for one in found["importance"])


def test_a_grid_is_whole(bowl: Path) -> None:
    found = sweep(made(bowl, "bowl.x=-4..4:5", "bowl.kind_of=round,flat", sampler="grid"), bowl / "out", trials=99)
    assert found["trials"] == 10 and found["best_value"] == 0.0
    assert found["best"] == ["bowl.x=2.0", 'bowl.kind_of="round"']


def test_larger_may_be_better(bowl: Path) -> None:
    found = sweep(made(bowl, "bowl.x=-4..4:5", sampler="grid", maximize=True), bowl / "out")
    assert found["best_value"] == 36.0


def test_more_trials_later_and_trials_that_were_cut_off(bowl: Path) -> None:
    whole = sweep(made(bowl), bowl / "whole", trials=9)
    cut = bowl / "cut"
    sweep(made(bowl), cut, trials=4)
    # As a kill leaves it: the fifth has begun; one behind it, from a machine with another order, counts for nothing.
    record = json.loads((bowl / "whole" / "trials" / "0004.json").read_text())
    (cut / "trials" / "0004.json").write_text(json.dumps({**record, "state": "running", "value": None}))
    (cut / "trials" / "0007.json").write_text(json.dumps({**record, "number": 7}))
    (cut / "study.db").write_bytes(b"torn")
    assert sweep(made(bowl), cut, trials=9) | {"page": ""} == whole | {"page": ""}
    assert [one.params for one in read_trials(cut)] == [one.params for one in read_trials(bowl / "whole")]
    import optuna

    study = optuna.load_study(study_name="sweep", storage=f"sqlite:///{cut / 'study.db'}")
    assert [one.value for one in study.trials] == [one.value for one in read_trials(cut)]
    assert all(one.state.is_finished() for one in study.trials)


def test_side_by_side_gives_the_same_as_alone(bowl: Path) -> None:
    alone = sweep(made(bowl, at_once=3), bowl / "alone", trials=7, jobs=1)
    beside = sweep(made(bowl, at_once=3), bowl / "beside", trials=7, jobs=2)
    assert alone | {"page": ""} == beside | {"page": ""}


def test_failures_are_results_unless_nothing_works(bowl: Path) -> None:
    found = sweep(made(bowl, "bowl.x=1..20:4", sampler="grid", pruner="none"), bowl / "out")
    assert (found["done"], found["failed"]) == (2, 2)
    assert "ValueError: over the edge" in read_trials(bowl / "out")[3].error
    for trials, startup in ((20, 2), (2, 5)):
        with pytest.raises(SmolfastError, match=r"none of the first 2 trials came to an end; .*over the edge"):
            sweep(made(bowl, "bowl.x=10..20:4", sampler="grid", startup=startup), bowl / f"none{trials}", trials=trials)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"objective": "bowl"}, "there is no stage 'bowl'; did you mean 'bowl'?|give STAGE.NUMBER"),
        ({"objective": "bwl.height"}, "there is no stage 'bwl'; did you mean 'bowl'"),
        ({"parameters": ()}, "a sweep needs a parameter"),
        ({"pruner": "halvin"}, "there is no pruner 'halvin'; did you mean 'halving'"),
        ({"sampler": "tp"}, "there is no sampler 'tp'; did you mean 'tpe'"),
        ({"parameters": (parse_parameter("bwol.x=1..2"),)}, "--param bwol.x: --set bwol.x=1.0: 'bwol' is no stage"),
        ({"parameters": (parse_parameter("bowl.x=1..2"),) * 2}, "--param bowl.x is given twice"),
    ],
)
def test_refused_before_anything_runs(bowl: Path, options: dict[str, Any], says: str) -> None:
    with pytest.raises(SmolfastError, match=says):
        sweep(Sweep(**{**vars(made(bowl)), **options}), bowl / "out")
    assert not (bowl / "out").exists()


def test_folders_of_others(bowl: Path) -> None:
    sweep(made(bowl), bowl / "out", trials=2)
    with pytest.raises(SmolfastError, match=r"holds another sweep \(parameters.bowl.x.high 5.0 → 6.0\)"):
        sweep(made(bowl, "bowl.x=-5..6", "bowl.kind_of=round,flat"), bowl / "out", trials=2)
    assert sweep(made(bowl, "bowl.x=-5..6"), bowl / "out", trials=1, overwrite=True)["trials"] == 1
    sweep(made(bowl, "bowl.kind_of=round,flat"), bowl / "other", trials=1)
    (bowl / "other" / "study.db").write_bytes((bowl / "out" / "study.db").read_bytes())
    with pytest.raises(SmolfastError, match=r"study.db is of another sweep: its trials have bowl.x; move"):
        sweep(made(bowl, "bowl.kind_of=round,flat"), bowl / "other", trials=1)
    (bowl / "other" / "study.db").unlink()
    with contextlib.closing(sqlite3.connect(bowl / "other" / "study.db")) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    with pytest.raises(SmolfastError, match=r"study.db is a database of something else \(recipes\); move it away"):
        sweep(made(bowl, "bowl.kind_of=round,flat"), bowl / "other", trials=1)
    (bowl / "mine").mkdir()
    (bowl / "mine" / "thesis.txt").touch()
    with pytest.raises(SmolfastError, match="is not empty and holds no sweep"):
        sweep(made(bowl), bowl / "mine")


def test_an_objective_that_turns_out_to_be_none(bowl: Path) -> None:
    with pytest.raises(SmolfastError, match=r"bowl told breadth = None, which is no number"):
        sweep(made(bowl, objective="bowl.breadth"), bowl / "out", trials=1)


@pytest.mark.parametrize("pruner", ["halving", "asha", "median"])
def test_trainings_that_fall_behind_end_early_and_diverged_ones_are_results(tmp_path: Path, pruner: str) -> None:
    parameters = (parse_parameter("train.adamw_learning_rate=0.03,0.01,0.0001,1e-5,1e25"),)
    what = Sweep(
        "quickstart", parameters, "evaluate.bits_per_byte", sampler="grid", pruner=pruner, settings=SMALL, startup=2
    )
    found = sweep(what, tmp_path / "out", trials=9)
    trials = read_trials(tmp_path / "out")
    states = {trial.params["train.adamw_learning_rate"]: trial.state for trial in trials}
    assert states[1e25] == "diverged" and "done" in (states[0.03], states[0.01])
    ended = [trial for trial in trials if trial.state == "pruned"]
    assert ended and {trial.params["train.adamw_learning_rate"] for trial in ended} <= {1e-5, 0.0001, 0.01}
    assert all(one.steps < 24 and max(one.curve) < 24 and one.trainings["train"].steps == 24 for one in ended)
    assert all(one.steps == 24 for one in trials if one.state == "done")
    assert found["training_steps"] == sum(one.steps for one in trials) < 24 * 4
    assert len(list((tmp_path / "out" / "run").glob("tokens-*"))) == 1
    assert not list((tmp_path / "out" / "run").glob("export-*"))
    assert last_step(tmp_path / "nothing") == 0


def test_the_command_and_its_page(
    bowl: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bowl)
    words = ["sweep", "bowl.toml", "-o", "out", "--param", "bowl.x=-5..5", "--param", "bowl.kind_of=round,flat"]
    words += ["--objective", "bowl.height", "--trials", "6"]
    assert main([*words, "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["trials"] == 6 and "best.toml --profile best" in said.err
    page = (bowl / "out" / "sweep.html").read_text()
    assert 'class="scroll sortable"' in page and "bowl.height" in page and "All together" in page
    assert main([*words, "--param", "bowl.x=1"]) == 2
    assert "two different values or more" in capsys.readouterr().err


def test_the_page_compares_ended_trials_where_all_of_them_were(tmp_path: Path) -> None:
    parameters = (parse_parameter("train.adamw_learning_rate=log:0.001..0.1"), parse_parameter("train.optimizer=b,c"))
    what = Sweep("quickstart", parameters, "evaluate.bits_per_byte")
    write_json(tmp_path / "sweep.json", {"identity": {**vars(what), "parameters": {
        one.name: one.as_dict() for one in parameters}}, "best": 1})  # fmt: skip
    for number, (rate, optimizer, value, to) in enumerate(
        [(0.001, "b", None, 10), (0.05, "c", 2.5, 60), (0.1, "b", None, 15), (0.02, "c", 2.75, 60)]
    ):
        curve = {step: 7.0 + number - step / 60 for step in range(5, to + 1, 5)}
        params = {"train.adamw_learning_rate": rate, "train.optimizer": optimizer}
        Trial(number, params, "done" if value else "pruned", value, curve).write(tmp_path)
    write_sweep_report(tmp_path, tmp_path / "sweep.html")
    page = (tmp_path / "sweep.html").read_text()
    assert "held-out loss at step 10, the last that all of them reached" in page
    assert "ended early, behind others" in page and "done, the best" in page and "pruned" not in page
    assert ">0.001<" in page and ">0.01<" in page and ">0.1<" in page  # round numbers on a logarithmic axis
    assert page.count('class="dot s1"') >= 4 and ">b</text>" in page and ">c</text>" in page


def test_a_trial_whose_values_do_not_fit_together(tmp_path: Path) -> None:
    parameters = (parse_parameter("model.num_attention_heads=3,4"), parse_parameter("model.num_key_value_heads=1,2"))
    what = Sweep("quickstart", parameters, "evaluate.bits_per_byte", sampler="grid", settings=SMALL, pruner="none")
    found = sweep(what, tmp_path / "out")
    assert (found["done"], found["failed"]) == (3, 1)
    assert "must be a multiple of num_key_value_heads" in read_trials(tmp_path / "out")[1].error


def test_records(tmp_path: Path) -> None:
    trainings = {"train": Training(8, {4: 2.0})}
    trial = Trial(0, {"a": 1.5, "b": "x"}, "done", 0.25, {4: 2.0}, trainings, stages={"a": "a-1"})
    trial.write(tmp_path)
    assert read_trials(tmp_path) == [trial] and trial.settings == ["a=1.5", 'b="x"']
    (tmp_path / "trials" / "0001.json").write_text('{"number": 1}')
    with pytest.raises(SmolfastError, match=r"0001.json is damaged .*; delete it and run again"):
        read_trials(tmp_path)
    assert math.isclose(trial.value or 0, 0.25)
