"""Which trainings a sweep may end early: pruners on grids that were trained to the end, and sweeps by the one chosen.

    python benchmarks/studies/sweeps/pruning.py FOLDER     # writes pruning.json beside it; an hour of one core

Grids of 12 (six rates, two optimisers) are trained whole for six cases and two seeds. Three cases are for choosing,
three for checking. A pruner then meets the curves of a grid in 100 orders: a sweep's `--seed` sets the order. What
counts is the best trial that it leaves, and the steps that it takes, as a share of the grid's. Then sweeps of twelve
trials run as a user has them: `--sampler tpe`, everything else as it comes.
"""

from __future__ import annotations

import random
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cases import CASES, OBJECTIVE, OPTIMIZERS, RATES, SEEDS, Case, write_text

from smolfast.files import write_json
from smolfast.pipeline.sweeps import pruning
from smolfast.pipeline.sweeps.space import parse_parameter
from smolfast.pipeline.sweeps.sweep import Sweep, sweep
from smolfast.pipeline.sweeps.trials import Training, Trial, read_trials

ORDERS = 100
WITHIN, STEPS = 0.01, 0.5
"""What is asked for: the best within 1 % of the grid's, in half of its steps."""
A, B, C, D, E = 1 / 12, 1 / 6, 1 / 4, 1 / 3, 1 / 2
TRIED: dict[str, dict[str, Any]] = {
    "median of 5, from the start": {"pruner": "median", "startup": 5, "WARMUP": 0.0},
    "median of 3, from the start": {"pruner": "median", "startup": 3, "WARMUP": 0.0},
    "median of 1, from 1/4 on": {"pruner": "median", "startup": 1, "WARMUP": C},
    "1 of 4 at 1/12 and 1/3": {"pruner": "halving", "RUNGS": ((A, 4), (D, 4))},
    "1 of 4 at 1/6, 1/4, 1/2": {"pruner": "halving", "RUNGS": ((B, 4), (C, 4), (E, 4))},
    "1 of 4 at 1/4, 1/2": {"pruner": "halving", "RUNGS": ((C, 4), (E, 4))},
    "1 of 2 at 1/6, 1/4, 1/2": {"pruner": "halving", "RUNGS": ((B, 2), (C, 2), (E, 2))},
    "1 of 2 at 1/6, of 4 at 1/4, 1/2": {"pruner": "halving", "RUNGS": ((B, 2), (C, 4), (E, 4))},
}
CHOSEN = "1 of 2 at 1/6, of 4 at 1/4, 1/2"
BEFORE = "median of 5, from the start"


def grid(folder: Path, case: Case, seed: int) -> list[Trial]:
    """Every trial of a grid, trained to the end."""
    parameters = tuple(map(parse_parameter, (f"{RATES}:6", OPTIMIZERS)))
    what = Sweep(
        "ablation", parameters, OBJECTIVE, sampler="grid", pruner="none", settings=case.settings(folder / "texts", seed)
    )
    sweep(what, folder / "grids" / f"{case.name}-{seed}", threads=1)
    return read_trials(folder / "grids" / f"{case.name}-{seed}")


def replayed(trials: Sequence[Trial], seed: int, *, pruner: str, startup: int = 5) -> tuple[float, int]:
    """The best value and the steps of a sweep over the grid with a pruner, by the curves that the trials had."""
    order = list(trials)
    random.Random(seed).shuffle(order)  # as a sweep of this seed does
    before: list[tuple[Training, bool]] = []
    values, steps = [], 0
    for trial in order:
        judge = pruning.Pruning(pruner, before, steps=trial.steps, startup=startup)
        looked = {}
        for step, loss in trial.curve.items():
            looked[step] = loss
            if step < trial.steps and judge.behind(step, loss):
                before.append((Training(trial.steps, looked), False))
                steps += step
                break
        else:
            before.append((Training(trial.steps, dict(trial.curve)), True))
            steps += trial.steps
            values.append(float("inf") if trial.value is None else trial.value)
    return min(values), steps


def judged(trials: Sequence[Trial], settings: dict[str, Any]) -> dict[str, float]:
    """How a pruner does over all orders."""
    best, whole = least(trials), sum(trial.steps for trial in trials)
    names = ("RUNGS", "WARMUP")
    before = {name: getattr(pruning, name) for name in names}
    try:
        for name in names:
            setattr(pruning, name, settings.get(name, before[name]))
        options = {key: value for key, value in settings.items() if key not in names}
        found = [replayed(trials, seed, **options) for seed in range(ORDERS)]
    finally:
        for name in names:
            setattr(pruning, name, before[name])
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
        "pruned": found["pruned"], "tokenized": len(list(what_ran(folder, case, seed, "tokens-*"))),
        "trained": len(list(what_ran(folder, case, seed, "train-*"))),
    }  # fmt: skip


def what_ran(folder: Path, case: Case, seed: int, pattern: str) -> list[Path]:
    """Stages of a sweep."""
    return sorted((folder / "swept" / f"{case.name}-{seed}" / "run").glob(pattern))


def main() -> None:
    folder = Path(sys.argv[1])
    grids: dict[tuple[str, int], list[Trial]] = {}
    rows: list[dict[str, Any]] = []
    for case in CASES:
        write_text(case.name, folder / "texts")
        for seed in SEEDS:
            grids[case.name, seed] = trials = grid(folder, case, seed)
            for name, settings in TRIED.items():
                if case.use == "choose" or name in (CHOSEN, BEFORE):
                    row = {"case": case.name, "use": case.use, "seed": seed, "pruner": name}
                    rows.append(row | judged(trials, settings))
                    print(rows[-1], flush=True)
    sweeps = [swept(folder, case, seed, grids[case.name, seed]) for case in CASES for seed in SEEDS]
    said = {
        f"{name} {seed}": [
            {"settings": trial.settings, "value": trial.value, "curve": dict(trial.curve)} for trial in trials
        ]
        for (name, seed), trials in grids.items()
    }
    write_json(Path(__file__).with_suffix(".json"), {"replayed": rows, "swept": sweeps, "grids": said})


if __name__ == "__main__":
    main()
