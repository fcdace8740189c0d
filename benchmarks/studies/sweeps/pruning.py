"""Which trainings a sweep may end early: pruners on grids that were trained to the end, and sweeps by the one chosen.

    python benchmarks/studies/sweeps/pruning.py FOLDER [NAME-SEED …]     # writes pruning.json beside it

All cases take an hour of one core.

Grids of 12 (six rates, two optimisers) are trained whole for six cases and two seeds. Three cases are for choosing,
three for checking. What counts is the best trial that a pruner leaves, and the steps that it takes, as a share of the
grid's. There are three readings of a sweep of twelve trials:

- `replayed`: the trials are those of the grid. A pruner meets their curves in 100 orders: a sweep's `--seed` sets it.
- `asked`: optuna's TPE chooses the trials, over the whole range of rates. Their curves lie between those of the grid.
- `swept`: sweeps as a user has them, trained: by TPE, and over the grid.
"""

from __future__ import annotations

import bisect
import math
import random
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cases import CASES, OBJECTIVE, OPTIMIZERS, RATES, SEEDS, Case, write_text

from smolfast.files import write_json
from smolfast.pipeline.sweeps.asking import Asking
from smolfast.pipeline.sweeps.halving import RUNGS, as_learned, to_go_on
from smolfast.pipeline.sweeps.pruning import Pruning
from smolfast.pipeline.sweeps.space import parse_parameter
from smolfast.pipeline.sweeps.sweep import Sweep, sweep
from smolfast.pipeline.sweeps.trials import Training, Trial, read_trials

ORDERS, ASKED = 100, 100
"""Orders in which a pruner meets a grid; sweeps by TPE on its curves."""
WITHIN, STEPS = 0.01, 0.5
"""What is asked for: the best within 1 % of the grid's, in half of its steps."""
RATE, OPTIMIZER = (one.partition("=")[0] for one in (RATES, OPTIMIZERS))
Judge = Callable[[Training, Sequence[tuple[Training, bool]]], int | None]
"""At which step a training ends, beside those before it and whether each was done; None if it doesn't."""
Rule = Callable[[Sequence[Training]], list[int | None]]
"""The same of trainings in the order in which they come."""


def grid(folder: Path, case: Case, seed: int) -> list[Trial]:
    """Every trial of a grid, trained to the end."""
    parameters = tuple(map(parse_parameter, (f"{RATES}:6", OPTIMIZERS)))
    settings = case.settings(folder / "texts", seed)
    what = Sweep("ablation", parameters, OBJECTIVE, sampler="grid", pruner="none", settings=settings)
    sweep(what, folder / "grids" / f"{case.name}-{seed}", threads=1)
    return read_trials(folder / "grids" / f"{case.name}-{seed}")


def waiting(*rungs: tuple[float, int]) -> Rule:
    """All come to a rung, the best of all go on: of how many one."""

    def ends(trainings: Sequence[Training]) -> list[int | None]:
        at: list[int | None] = [None] * len(trainings)
        alive = list(range(len(trainings)))
        for share, eta in rungs:
            looks = {n: _first(trainings[n], share) for n in alive}
            alive.sort(key=lambda n: looks[n][1])
            for n in alive[max(1, len(trainings) // eta) :]:
                at[n] = looks[n][0]
            alive = [n for n in alive if at[n] is None]
        return at

    return ends


def one_by_one(judge: Judge) -> Rule:
    """Each is compared with those before it."""

    def ends(trainings: Sequence[Training]) -> list[int | None]:
        before: list[tuple[Training, bool]] = []
        found = []
        for training in trainings:
            at = judge(training, before)
            before.append((_cut(training, at), at is None))
            found.append(at)
        return found

    return ends


def asha(*rungs: tuple[float, int]) -> Judge:
    """Halving beside those before, by plain arithmetic, with any rungs."""

    def judge(training: Training, before: Sequence[tuple[Training, bool]]) -> int | None:
        for share, eta in rungs:
            step, loss = _first(training, share)
            others = [_first(known, share)[1] for known, _ in before if max(known.curve) >= share * known.steps]
            losses = sorted([*others, loss])
            if loss > losses[max(1, len(losses) // eta) - 1]:
                return step
        return None

    return judge


def median(startup: int, share: float) -> Judge:
    """Optuna's median by plain arithmetic: the best loss so far against the others' at this step."""

    def judge(training: Training, before: Sequence[tuple[Training, bool]]) -> int | None:
        done = [known.curve for known, ended in before if ended]
        best = float("inf")
        for step, loss in training.curve.items():
            best = min(best, loss)
            if len(done) < startup or not share * training.steps <= step < training.steps:
                continue
            if best > statistics.median(curve[step] for curve in done):
                return step
        return None

    return judge


def _first(training: Training, share: float) -> tuple[int, float]:
    """The first look behind a share of the steps."""
    return next((step, loss) for step, loss in training.curve.items() if step >= share * training.steps)


def _cut(training: Training, at: int | None) -> Training:
    return Training(training.steps, {s: loss for s, loss in training.curve.items() if at is None or s <= at})


def as_asha_does(training: Training, before: Sequence[tuple[Training, bool]]) -> int | None:
    """The step at which a sweep with the pruner "asha" ends this training."""
    judge = Pruning("asha", before, steps=training.steps, startup=5)
    looks = ((step, loss) for step, loss in training.curve.items() if step < training.steps)
    return next((step for step, loss in looks if judge.behind(step, loss)), None)


def as_halving_does(trainings: Sequence[Training]) -> list[int | None]:
    """The steps at which a sweep with the pruner "halving" ends these."""
    at: list[int | None] = [_first(training, RUNGS[0][0])[0] for training in trainings]

    def trial(number: int) -> Trial:
        state = "done" if at[number] is None else "pruned"
        return Trial(number, {}, state, trainings={"train": _cut(trainings[number], at[number])})

    while paused := to_go_on([trial(number) for number in range(len(at))]):
        for one in paused:
            further = _first(trainings[one.number], RUNGS[1][0])[0]
            at[one.number] = None if at[one.number] == further else further
    return at


TRIED = {
    "median of 5, from the start": one_by_one(median(5, 0.0)),
    "median of 3, from the start": one_by_one(median(3, 0.0)),
    "median of 1, from 1/4 on": one_by_one(median(1, 1 / 4)),
    "asha: 1 of 4 at 1/12 and 1/3": one_by_one(asha((1 / 12, 4), (1 / 3, 4))),
    "asha: 1 of 4 at 1/6, 1/4, 1/2": one_by_one(asha((1 / 6, 4), (1 / 4, 4), (1 / 2, 4))),
    "asha: 1 of 4 at 1/4, 1/2": one_by_one(asha((1 / 4, 4), (1 / 2, 4))),
    "asha: 1 of 2 at 1/6, 1/4, 1/2": one_by_one(asha((1 / 6, 2), (1 / 4, 2), (1 / 2, 2))),
    "asha: 1 of 2 at 1/6, of 4 at 1/4, 1/2": one_by_one(asha((1 / 6, 2), (1 / 4, 4), (1 / 2, 4))),
    "halving: 1 of 2 at 1/12, of 4 at 1/4, of 12 at 1/2": waiting((1 / 12, 2), (1 / 4, 4), (1 / 2, 12)),
    "halving: 1 of 2 at 1/6, of 4 at 1/4": waiting((1 / 6, 2), (1 / 4, 4)),
    "halving: 1 of 4 at 1/4": waiting((1 / 4, 4)),
    "halving: 1 of 2 at 1/4, of 4 at 1/2": waiting((1 / 4, 2), (1 / 2, 4)),
}
CHOSEN = "halving: 1 of 2 at 1/4, of 4 at 1/2"
ASHA = "asha: 1 of 2 at 1/6, of 4 at 1/4, 1/2"
CHECKED = ("median of 5, from the start", ASHA, CHOSEN)


def replayed(trials: Sequence[Trial], seed: int, rule: Rule) -> tuple[float, int]:
    """The best value and the steps of a sweep over the grid with a pruner, by the curves that the trials had."""
    order = list(trials)
    random.Random(seed).shuffle(order)  # as a sweep of this seed does
    return _left(order, rule([Training(trial.steps, trial.curve) for trial in order]))


def _left(trials: Sequence[Trial], ends: Sequence[int | None]) -> tuple[float, int]:
    pairs = list(zip(trials, ends, strict=True))
    values = [trial.value for trial, at in pairs if at is None and trial.value is not None]
    return min(values, default=math.inf), sum(at or trial.steps for trial, at in pairs)


def asked(trials: Sequence[Trial], seed: int, pruner: str) -> tuple[float, int]:
    """The same of a sweep by TPE, whose trials have curves between those of the grid."""
    parameters = tuple(map(parse_parameter, (RATES, OPTIMIZERS)))
    asking = Asking(parameters, sampler="tpe", seed=seed, maximize=False, startup=5, mixed=True)
    found: list[Trial] = []
    ends: list[int | None] = []
    for number in range(len(trials)):
        said = found if pruner == ASHA else [as_learned(trial) for trial in found]
        trial = between(trials, number, asking.ask(number, said).params)
        training = Training(trial.steps, trial.curve)
        if pruner == ASHA:
            at = as_asha_does(training, [(one.trainings["train"], one.state == "done") for one in found])
        else:
            at = _first(training, RUNGS[0][0])[0]
        seen = _cut(training, at)
        state, value = ("done", trial.value) if at is None else ("pruned", None)
        found.append(replace(trial, state=state, value=value, curve=seen.curve, trainings={"train": seen}))
        ends.append(at)
    chosen = [between(trials, trial.number, trial.params) for trial in found]
    if pruner != ASHA:
        ends = as_halving_does([Training(trial.steps, trial.curve) for trial in chosen])
    return _left(chosen, ends)


def between(trials: Sequence[Trial], number: int, params: Mapping[str, Any]) -> Trial:
    """A trial with the value and the curve of the two beside it in the grid, by its place between their rates' logs."""
    same = (one for one in trials if one.params[OPTIMIZER] == params[OPTIMIZER])
    row = sorted(same, key=lambda one: float(one.params[RATE]))
    places = [math.log(one.params[RATE]) for one in row]
    place = min(max(math.log(params[RATE]), places[0]), places[-1])
    high = max(1, bisect.bisect_left(places, place))
    share = (place - places[high - 1]) / (places[high] - places[high - 1])
    below, above = row[high - 1], row[high]
    assert below.value is not None and above.value is not None
    curve = {step: (1 - share) * loss + share * above.curve[step] for step, loss in below.curve.items()}
    value = (1 - share) * below.value + share * above.value
    return Trial(number, dict(params), "done", value, curve, steps=below.steps)


def judged(trials: Sequence[Trial], found: Sequence[tuple[float, int]]) -> dict[str, float]:
    """How a pruner does over many sweeps: their best values and steps beside the grid's."""
    best, whole = least(trials), sum(trial.steps for trial in trials)
    behind = [value / best - 1 for value, _ in found]
    shares = [steps / whole for _, steps in found]
    return {
        "both": sum(b <= WITHIN and s <= STEPS for b, s in zip(behind, shares, strict=True)) / len(found),
        "within": sum(b <= WITHIN for b in behind) / len(found),
        "most_behind": round(max(behind), 5),
        "steps": round(statistics.fmean(shares), 4),
        "most_steps": round(max(shares), 4),
    }


def least(trials: Sequence[Trial]) -> float:
    """The best value of a grid."""
    return min(trial.value for trial in trials if trial.value is not None)


def swept(folder: Path, case: Case, seed: int, trials: Sequence[Trial], sampler: str) -> dict[str, Any]:
    """A sweep as a user has it, against the grid."""
    parameters = tuple(map(parse_parameter, (f"{RATES}:6" if sampler == "grid" else RATES, OPTIMIZERS)))
    settings = case.settings(folder / "texts", seed)
    what = Sweep("ablation", parameters, OBJECTIVE, sampler=sampler, seed=seed, settings=settings)
    out = folder / "swept" / f"{case.name}-{seed}-{sampler}"
    found = sweep(what, out, trials=12, threads=1)
    best, whole = least(trials), sum(trial.steps for trial in trials)
    return {
        "case": case.name, "use": case.use, "seed": seed, "sampler": sampler, "grid": best, "best": found["best_value"],
        "behind": round(found["best_value"] / best - 1, 5), "steps": round(found["training_steps"] / whole, 4),
        "pruned": found["pruned"], "tokenized": len(list((out / "run").glob("tokenize-*"))),
        "trained": len(list((out / "run").glob("train-*"))),
    }  # fmt: skip


def main() -> None:
    folder = Path(sys.argv[1])
    grids: dict[tuple[str, int], list[Trial]] = {}
    rows: dict[str, list[dict[str, Any]]] = {"replayed": [], "asked": [], "swept": []}
    wanted = [(case, seed) for seed in SEEDS for case in CASES if not sys.argv[2:] or f"{case.name}-{seed}" in sys.argv]
    for case, seed in wanted:
        write_text(case.name, folder / "texts")
        grids[case.name, seed] = trials = grid(folder, case, seed)
        for name, rule in TRIED.items():
            row = {"case": case.name, "use": case.use, "seed": seed, "pruner": name}
            if case.use == "choose" or name in CHECKED:
                found = [replayed(trials, order, rule) for order in range(ORDERS)]
                rows["replayed"].append(row | judged(trials, found))
            if name in (ASHA, CHOSEN):
                found = [asked(trials, order, name) for order in range(ASKED)]
                rows["asked"].append(row | judged(trials, found))
                print(rows["asked"][-1], flush=True)
        for order in range(3):
            for name, known in ((ASHA, one_by_one(as_asha_does)), (CHOSEN, as_halving_does)):
                if replayed(trials, order, TRIED[name]) != replayed(trials, order, known):
                    raise SystemExit(f"{case.name} {seed}: the arithmetic of {name} isn't what a sweep does")
        if case.use == "check":
            for sampler in ("tpe", "grid"):
                rows["swept"].append(swept(folder, case, seed, trials, sampler))
                print(rows["swept"][-1], flush=True)
    said = {
        f"{name} {seed}": [
            {
                "settings": trial.settings,
                "value": trial.value,
                "curve": {step: round(loss, 4) for step, loss in trial.curve.items()},
            }
            for trial in trials
        ]
        for (name, seed), trials in grids.items()
    }
    write_json(Path(__file__).with_suffix(".json"), {**rows, "grids": said})


if __name__ == "__main__":
    main()
