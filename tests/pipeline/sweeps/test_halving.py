"""Halving that waits: which trials go on from where they paused, and that a pause changes no number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from small_sweeps import SMALL, falling
from smolfast.pipeline.recipes import load_recipe, run
from smolfast.pipeline.sweeps.halving import RUNGS, as_ended, as_learned, looks, pause_at, rungs, to_go_on
from smolfast.pipeline.sweeps.space import parse_parameter
from smolfast.pipeline.sweeps.sweep import Sweep, sweep
from smolfast.pipeline.sweeps.trials import Training, Trial, read_trials
from smolfast.progress import Console

pytest.importorskip("optuna")


def paused(number: int, floor: float, to: int = 15, state: str = "pruned") -> Trial:
    """A trial with twelve evaluations in 60 steps, as far as `to`."""
    return Trial(number, {"a.x": floor}, state, trainings={"train": falling(floor, to=to)})


def numbers(trials: Sequence[Trial]) -> list[int]:
    return [trial.number for trial in trials]


def test_the_best_half_and_then_the_best_fourth_go_on() -> None:
    floors = [5.0, 12.0, 1.0, 9.0, 3.0, 11.0, 2.0, 8.0, 4.0, 10.0, 6.0, 7.0]
    trials = [paused(number, floor) for number, floor in enumerate(floors)]
    assert numbers(to_go_on(trials)) == [2, 6, 4, 8, 0, 10]
    assert numbers(to_go_on(trials[::-1])) == [2, 6, 4, 8, 0, 10]
    # One of them is at the next rung: the others come first.
    trials[6] = paused(6, 2.0, to=30)
    assert numbers(to_go_on(trials)) == [2, 4, 8, 0, 10]
    for number in (2, 4, 8, 0, 10):
        trials[number] = paused(number, floors[number], to=30)
    assert numbers(to_go_on(trials)) == [2, 6, 4]
    for number in (2, 6, 4):
        trials[number] = paused(number, floors[number], to=60, state="done")
    assert to_go_on(trials) == []
    steps = [max(trial.trainings["train"].curve) for trial in trials]
    assert sum(steps) == 12 * 60 / 2


def test_a_trial_that_diverges_on_its_way_makes_room() -> None:
    trials = [paused(number, float(number + 1), to=30) for number in range(8)]
    assert numbers(to_go_on(trials)) == [0, 1]
    trials[0] = replace(trials[0], state="diverged")
    assert numbers(to_go_on(trials)) == [1, 2]
    trials[1] = paused(1, 2.0, to=60, state="done")
    assert numbers(to_go_on(trials)) == [2]


def test_few_trials_and_equal_ones_and_losses_that_are_no_numbers() -> None:
    assert to_go_on([]) == []
    assert numbers(to_go_on([paused(0, 3.0)])) == [0]
    assert numbers(to_go_on([paused(2, 3.0), paused(0, 3.0), paused(1, 3.0)])) == [0]
    broken = replace(paused(0, 1.0), trainings={"train": Training(60, {15: float("nan")})})
    assert numbers(to_go_on([broken, paused(1, 9.0)])) == [1]
    assert to_go_on([Trial(0, {"a.x": 1.0}, "done", 2.0), Trial(1, {"a.x": 1.0}, "failed")]) == []


def test_rungs_are_the_first_looks_behind_shares_of_the_steps() -> None:
    assert [pause_at(rung, 60) for rung in range(len(RUNGS) + 1)] == [15, 30, float("inf")]
    curve = {10: 6.0, 20: 5.0, 40: 4.0, 60: 3.0}
    assert looks(Training(60, curve)) == [5.0, 4.0]
    assert looks(Training(240, curve)) == [3.0]
    assert looks(Training(60, {40: 4.0, 60: 3.0})) == [4.0, 4.0]
    assert looks(Training(60, {60: 3.0})) == []
    # The training nearest to the objective is the one that pauses.
    assert rungs(Trial(0, {}, trainings={"first": Training(60, curve), "second": Training(60, {})})) == []


@pytest.mark.parametrize("maximize", [False, True])
def test_a_sampler_learns_from_the_loss_at_the_first_rung_alone(maximize: bool) -> None:
    waiting, done = paused(0, 2.0), replace(paused(0, 2.0, to=60, state="done"), value=1.5)
    assert as_learned(waiting).curve == as_learned(done).curve == {1: 2.75}
    assert as_learned(done).state == "pruned"
    assert as_ended(done, maximize=maximize).value == (-2.75 if maximize else 2.75)
    early = replace(waiting, trainings={"train": Training(60, {10: 2.0})}, curve={10: 2.0})
    for other in (replace(done, trainings={}), replace(waiting, state="diverged"), early):
        assert as_learned(other) == other == as_ended(other, maximize=maximize)


RATES = "train.adamw_learning_rate=log:0.0001..0.1"


def made(**options: Any) -> Sweep:
    parameters = (parse_parameter(RATES), parse_parameter("train.optimizer=muon,adamw"))
    settings = (*SMALL, "train.evaluate_every=2")
    return Sweep("quickstart", parameters, "evaluate.bits_per_byte", settings=settings, **options)


class Interrupting(Console):
    """Ctrl-C at the first line with these words: before the record that it tells of is written."""

    def __init__(self, words: str) -> None:
        super().__init__(quiet=True)
        self.words = words

    def line(self, text: str) -> None:
        if self.words in text:
            raise KeyboardInterrupt


def known(folder: Path) -> list[Trial]:
    return [replace(trial, seconds=0.0) for trial in read_trials(folder)]


def test_half_of_the_steps_and_a_model_as_if_it_had_never_paused(tmp_path: Path) -> None:
    found = sweep(made(), tmp_path / "out", trials=8, threads=1)
    assert (found["done"], found["pruned"], found["training_steps"]) == (2, 6, 8 * 24 / 2)
    assert len(found["importance"]) == 2
    trials = read_trials(tmp_path / "out")
    assert sorted(trial.steps for trial in trials) == [6, 6, 6, 6, 12, 12, 24, 24]
    run(load_recipe(tmp_path / "out" / "best.toml", profile="best"), tmp_path / "best")
    stage = trials[found["best_trial"]].stages["train"]
    model = tmp_path / "out" / "run" / stage / "model" / "model.safetensors"
    assert model.read_bytes() == (tmp_path / "best" / "train" / "model" / "model.safetensors").read_bytes()
    page = (tmp_path / "out" / "sweep.html").read_text()
    assert "By their held-out losses where all of them paused." in page
    # Stopped where trials pause first, where they pause again, and at the end of one.
    for words in ("paused at step 12", f"trial {found['best_trial']:<5}", "evaluate.bits_per_byte"):
        with pytest.raises(KeyboardInterrupt):
            sweep(made(), tmp_path / "cut", trials=8, threads=1, console=Interrupting(words))
    assert "Stopped by Ctrl-C while the best trials trained on." in (tmp_path / "cut" / "sweep.html").read_text()
    again = sweep(made(), tmp_path / "cut", trials=8, threads=1)
    assert again["best_value"] == found["best_value"]
    assert [replace(one, steps=0) for one in known(tmp_path / "cut")] == [
        replace(one, steps=0) for one in known(tmp_path / "out")
    ]


def test_more_trials_later_are_the_same_as_all_at_once(tmp_path: Path) -> None:
    whole = sweep(made(), tmp_path / "whole", trials=7, threads=1)
    sweep(made(), tmp_path / "later", trials=4, threads=1)
    later = sweep(made(), tmp_path / "later", trials=7, threads=1)
    assert [one.params for one in known(tmp_path / "whole")] == [one.params for one in known(tmp_path / "later")]
    assert later["best_value"] <= whole["best_value"]


@pytest.mark.slow
def test_trials_that_pause_side_by_side_are_the_same(tmp_path: Path) -> None:
    """Those in processes of their own go on for a moment when they are told to pause, which must not count."""
    alone = sweep(made(at_once=2), tmp_path / "alone", trials=8, threads=1)
    beside = sweep(made(at_once=2), tmp_path / "beside", trials=8, threads=1, jobs=2)
    assert beside["best_value"] == alone["best_value"]
    assert [replace(one, steps=0) for one in known(tmp_path / "beside")] == [
        replace(one, steps=0) for one in known(tmp_path / "alone")
    ]
