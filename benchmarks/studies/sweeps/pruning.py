"""Which trainings a sweep may end early: pruners on grids that were trained to the end, and sweeps by the one chosen.

    python benchmarks/studies/sweeps/pruning.py FOLDER [NAME-SEED …]     # writes pruning.json beside it

All cases take half an hour of one core.

Grids of 12 (six rates, two optimisers) are trained whole for six cases and two seeds. Three cases are for choosing,
three for checking. A pruner then meets the curves of a grid in 100 orders: a sweep's `--seed` sets the order. What
counts is the best trial that it leaves, and the steps that it takes, as a share of the grid's. Then sweeps of twelve
trials run as a user has them: `--sampler tpe`, everything else as it comes.
"""

from __future__ import annotations

import random
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cases import CASES, OBJECTIVE, OPTIMIZERS, RATES, SEEDS, Case, write_text

from smolfast.files import write_json
from smolfast.pipeline.sweeps.pruning import Pruning
from smolfast.pipeline.sweeps.space import parse_parameter
from smolfast.pipeline.sweeps.sweep import Sweep, sweep
from smolfast.pipeline.sweeps.trials import Training, Trial, read_trials

ORDERS = 100
WITHIN, STEPS = 0.01, 0.5
"""What is asked for: the best within 1 % of the grid's, in half of its steps."""
Judge = Callable[[Trial, Sequence[tuple[Training, bool]]], int | None]


def grid(folder: Path, case: Case, seed: int) -> list[Trial]:
    """Every trial of a grid, trained to the end."""
    parameters = tuple(map(parse_parameter, (f"{RATES}:6", OPTIMIZERS)))
    what = Sweep(
        "ablation", parameters, OBJECTIVE, sampler="grid", pruner="none", settings=case.settings(folder / "texts", seed)
    )
    sweep(what, folder / "grids" / f"{case.name}-{seed}", threads=1)
    return read_trials(folder / "grids" / f"{case.name}-{seed}")


def replayed(trials: Sequence[Trial], seed: int, judge: Judge) -> tuple[float, int]:
    """The best value and the steps of a sweep over the grid with a pruner, by the curves that the trials had."""
    order = list(trials)
    random.Random(seed).shuffle(order)  # as a sweep of this seed does
    before: list[tuple[Training, bool]] = []
    values, steps = [], 0
    for trial in order:
        at = judge(trial, before)
        looked = {step: loss for step, loss in trial.curve.items() if at is None or step <= at}
        before.append((Training(trial.steps, looked), at is None))
        steps += at or trial.steps
        if at is None:
            values.append(float("inf") if trial.value is None else trial.value)
    return min(values), steps


def as_sweeps_do(trial: Trial, before: Sequence[tuple[Training, bool]]) -> int | None:
    """The step at which a sweep ends this trial; None if it doesn't."""
    judge = Pruning("halving", before, steps=trial.steps, startup=5)
    looks = ((step, loss) for step, loss in trial.curve.items() if step < trial.steps)
    return next((step for step, loss in looks if judge.behind(step, loss)), None)


def halving(*rungs: tuple[float, int]) -> Judge:
    """The same by plain arithmetic, with any rungs."""

    def judge(trial: Trial, before: Sequence[tuple[Training, bool]]) -> int | None:
        for share, eta in rungs:
            there = [
                next((loss for step, loss in known.curve.items() if share * trial.steps <= step < trial.steps), None)
                for known in (*(training for training, _ in before), Training(trial.steps, trial.curve))
            ]
            losses = sorted(loss for loss in there if loss is not None)
            if there[-1] is not None and there[-1] > losses[max(1, len(losses) // eta) - 1]:
                return next(step for step in trial.curve if step >= share * trial.steps)
        return None

    return judge


def median(startup: int, share: float) -> Judge:
    """Optuna's median by plain arithmetic: the best loss so far against the others' at this step."""

    def judge(trial: Trial, before: Sequence[tuple[Training, bool]]) -> int | None:
        done = [training.curve for training, ended in before if ended]
        best = float("inf")
        for step, loss in trial.curve.items():
            best = min(best, loss)
            if len(done) < startup or not share * trial.steps <= step < trial.steps:
                continue
            if best > statistics.median(curve[step] for curve in done):
                return step
        return None

    return judge


TRIED = {
    "median of 5, from the start": median(5, 0.0),
    "median of 3, from the start": median(3, 0.0),
    "median of 1, from 1/4 on": median(1, 1 / 4),
    "1 of 4 at 1/12 and 1/3": halving((1 / 12, 4), (1 / 3, 4)),
    "1 of 4 at 1/6, 1/4, 1/2": halving((1 / 6, 4), (1 / 4, 4), (1 / 2, 4)),
    "1 of 4 at 1/4, 1/2": halving((1 / 4, 4), (1 / 2, 4)),
    "1 of 2 at 1/6, 1/4, 1/2": halving((1 / 6, 2), (1 / 4, 2), (1 / 2, 2)),
    "1 of 2 at 1/6, of 4 at 1/4, 1/2": halving((1 / 6, 2), (1 / 4, 4), (1 / 2, 4)),
}
CHOSEN = "1 of 2 at 1/6, of 4 at 1/4, 1/2"
BEFORE = "median of 5, from the start"


def judged(trials: Sequence[Trial], judge: Judge) -> dict[str, float]:
    """How a pruner does over all orders."""
    best, whole = least(trials), sum(trial.steps for trial in trials)
    found = [replayed(trials, seed, judge) for seed in range(ORDERS)]
    behind = [value / best - 1 for value, _ in found]
    shares = [steps / whole for _, steps in found]
    return {
        "both": sum(b <= WITHIN and s <= STEPS for b, s in zip(behind, shares, strict=True)) / ORDERS,
        "within": sum(b <= WITHIN for b in behind) / ORDERS,
        "most_behind": round(max(behind), 5),
        "steps": round(statistics.fmean(shares), 4),
        "most_steps": round(max(shares), 4),
    }


def least(trials: Sequence[Trial]) -> float:
    """The best value of a grid."""
    return min(trial.value for trial in trials if trial.value is not None)


def swept(folder: Path, case: Case, seed: int, trials: Sequence[Trial]) -> dict[str, Any]:
    """A sweep as a user has it, against the grid."""
    parameters = tuple(map(parse_parameter, (RATES, OPTIMIZERS)))
    settings = case.settings(folder / "texts", seed)
    what = Sweep("ablation", parameters, OBJECTIVE, seed=seed, settings=settings)
    found = sweep(what, folder / "swept" / f"{case.name}-{seed}", trials=12, threads=1)
    best, whole = least(trials), sum(trial.steps for trial in trials)
    return {
        "case": case.name, "use": case.use, "seed": seed, "grid": best, "best": found["best_value"],
        "behind": round(found["best_value"] / best - 1, 5), "steps": round(found["training_steps"] / whole, 4),
        "pruned": found["pruned"], "tokenized": len(list(what_ran(folder, case, seed, "tokenize-*"))),
        "trained": len(list(what_ran(folder, case, seed, "train-*"))),
    }  # fmt: skip


def what_ran(folder: Path, case: Case, seed: int, pattern: str) -> list[Path]:
    """Stages of a sweep."""
    return sorted((folder / "swept" / f"{case.name}-{seed}" / "run").glob(pattern))


def main() -> None:
    folder = Path(sys.argv[1])
    grids: dict[tuple[str, int], list[Trial]] = {}
    rows: list[dict[str, Any]] = []
    sweeps = []
    wanted = [(case, seed) for seed in SEEDS for case in CASES if not sys.argv[2:] or f"{case.name}-{seed}" in sys.argv]
    for case, seed in wanted:
        write_text(case.name, folder / "texts")
        grids[case.name, seed] = trials = grid(folder, case, seed)
        for name, judge in TRIED.items():
            if case.use == "choose" or name in (CHOSEN, BEFORE):
                row = {"case": case.name, "use": case.use, "seed": seed, "pruner": name}
                rows.append(row | judged(trials, judge))
                print(rows[-1], flush=True)
        for order in range(3):
            if replayed(trials, order, TRIED[CHOSEN]) != replayed(trials, order, as_sweeps_do):
                raise SystemExit(f"{case.name} {seed}: the arithmetic isn't what a sweep does")
        if case.use == "check":
            sweeps.append(swept(folder, case, seed, trials))
            print(sweeps[-1], flush=True)
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
    write_json(Path(__file__).with_suffix(".json"), {"replayed": rows, "swept": sweeps, "grids": said})


if __name__ == "__main__":
    main()
