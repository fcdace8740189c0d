"""Which trainings are ended: by rungs of the schedule, or by the median, whatever their length."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from small_sweeps import falling
from smolfast.pipeline.sweeps.asking import Asking
from smolfast.pipeline.sweeps.pruning import Pruning
from smolfast.pipeline.sweeps.space import parse_parameter
from smolfast.pipeline.sweeps.trials import Training, Trial

pytest.importorskip("optuna")


def ended_at(pruner: str, own: Training, others: Sequence[tuple[Training, bool]], startup: int = 1) -> int | None:
    """The step at which a training is ended; None if it isn't."""
    pruning = Pruning(pruner, others, steps=own.steps, startup=startup)
    for step, loss in own.curve.items():
        if step < own.steps and pruning.behind(step, loss):
            return step
    return None


def test_asha_compares_at_its_rungs() -> None:
    best, behind = (falling(1.0), True), (falling(3.0), True)
    assert ended_at("asha", falling(2.0), []) is None  # nothing to compare with
    assert ended_at("asha", falling(2.0), [best]) == 10
    assert ended_at("asha", falling(2.0), [behind, behind]) is None
    slow = falling(2.0)
    late = Training(60, {step: 9.0 if step < 10 else loss for step, loss in slow.curve.items()})
    assert ended_at("asha", late, [behind]) is None  # what it was before the first rung is no matter
    turns = Training(60, {step: loss + 5 * (step >= 20) for step, loss in slow.curve.items()})
    assert ended_at("asha", turns, [behind]) == 30  # the first look behind a half
    assert ended_at("asha", Training(60, {40: 2.0}), [best]) == 40  # one look is behind all of them


def test_of_two_and_then_of_four_one_goes_on_and_those_that_were_ended_count() -> None:
    half = [(falling(floor, to=10), False) for floor in (1.0, 2.0, 4.0)]
    assert ended_at("asha", falling(1.5), half) is None  # the second of four at a sixth
    assert ended_at("asha", falling(3.0), half) == 10
    early = [(falling(floor, to=15), False) for floor in (1.0, 2.0, 4.0, 5.0, 6.0, 7.0)]
    assert ended_at("asha", falling(1.5), early) == 15  # the second of seven at a quarter
    assert ended_at("asha", falling(1.5), [*early, (falling(8.0, to=15), False)]) is None  # the second of eight


def test_the_median_is_of_trials_that_are_done() -> None:
    done = [(falling(floor), True) for floor in (1.0, 2.0, 3.0)]
    assert ended_at("median", falling(2.5), done) == 15  # not before a quarter
    assert ended_at("median", falling(1.5), done) is None
    assert ended_at("median", falling(2.5), done, startup=4) is None
    assert ended_at("median", falling(2.5), [(one, False) for one, _ in done]) is None
    assert ended_at("none", falling(9.0), done) is None


@pytest.mark.parametrize("pruner", ["asha", "median"])
def test_trainings_of_other_lengths_are_compared_at_the_same_share(pruner: str) -> None:
    long = falling(1.0, steps=240)
    assert ended_at(pruner, falling(0.9), [(long, True)]) is None
    at = ended_at(pruner, falling(1.1), [(long, True)])
    assert at == (10 if pruner == "asha" else 15)


@pytest.mark.parametrize("pruner", ["asha", "median"])
def test_losses_that_are_no_numbers(pruner: str) -> None:
    broken = Training(60, {10: math.nan, 20: math.inf, 30: math.nan})
    assert ended_at(pruner, falling(5.0), [(broken, True)]) is None
    assert ended_at("asha", Training(60, {10: math.nan}), [(falling(5.0), True)]) == 10


@pytest.mark.parametrize("maximize", [False, True])
def test_a_sampler_learns_from_ended_trials_by_their_loss(maximize: bool) -> None:
    """A low loss is good also where the objective is to be large."""
    asking = Asking((parse_parameter("a.x=0..1"),), sampler="tpe", seed=0, maximize=maximize, startup=1, mixed=False)
    found = [asking.frozen(Trial(0, {"a.x": 0.5}, "pruned", curve={10: loss})) for loss in (1.0, 2.0)]
    better, worse = (trial.value for trial in found)
    assert (better > worse) == maximize


def test_a_grid_is_mixed_by_the_seed_where_trials_are_compared() -> None:
    def order(seed: int, mixed: bool) -> list[float]:
        parameters = (parse_parameter("a.x=1..12:12"),)
        asking = Asking(parameters, sampler="grid", seed=seed, maximize=False, startup=1, mixed=mixed)
        return [one["a.x"] for one in asking.grid]

    assert order(0, False) == sorted(order(0, True)) != order(0, True) == order(0, True) != order(1, True)


def test_the_guide_says_what_the_study_gave() -> None:
    root = Path(__file__).parents[3]
    said = json.loads((root / "benchmarks" / "studies" / "sweeps" / "pruning.json").read_text())
    guide = (root / "docs" / "experiments.md").read_text()
    assert {(one["case"], one["sampler"]) for one in said["swept"]} == {
        (case, sampler) for case in ("perl", "nodejs", "changelogs") for sampler in ("tpe", "grid")
    }
    for reading in ("replayed", "asked"):
        groups: dict[tuple[str, str], list[dict[str, float]]] = {}
        for row in said[reading]:
            groups.setdefault((row["use"], row["pruner"]), []).append(row)
        for (use, pruner), rows in groups.items():
            both, steps = ([row[name] for row in rows] for name in ("both", "steps"))
            behind = max(row["most_behind"] for row in rows)
            numbers = f"{sum(both) / len(both):.0%} | {min(both):.0%} | {sum(steps) / len(steps):.0%} | {behind:.1%}"
            assert f"| {use} | {pruner} | {numbers} |" in guide
    for one in said["swept"]:
        numbers = f"{one['grid']:.3f} | {one['best']:.3f} | {one['behind']:+.2%} | {one['steps']:.0%}"
        assert f"| {one['case']} | {one['sampler']} | {numbers} |" in guide
        assert one["tokenized"] == 1 and one["trained"] == 12
