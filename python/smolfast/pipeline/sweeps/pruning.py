"""Whether a training is behind those of other trials: optuna's pruners, fed with held-out losses by share of the steps.

Trials are compared at the same points of the schedule, so those of other lengths compare as well. What decides are the
records of trials that have ended. So a sweep that was killed ends the same trials at the same steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from smolfast.pipeline.sweeps.asking import WORST
from smolfast.pipeline.sweeps.trials import Training

PRUNERS = ("halving", "median", "none")
RUNGS = (1 / 6, 1 / 4, 1 / 2)
"""Shares of the steps at which halving compares. Before a sixth high rates look worse than they come out:
`benchmarks/studies/sweeps` has what was tried."""
REDUCTION = 4
"""Of so many trials that come to a rung, one goes on: η of Li et al. 2018 (arXiv 1810.05934). Of fewer, the best."""
WARMUP = 1 / 4
"""The share of the steps before the median is taken."""


class Pruning:
    """One training and those that it is compared with.

    Args:
        pruner: one of `PRUNERS`.
        others: the same training of trials that have ended, and whether the trial is done.
        steps: that this training is to take.
        startup: trials that are done before the median is taken.
    """

    def __init__(self, pruner: str, others: Sequence[tuple[Training, bool]], *, steps: int, startup: int) -> None:
        import optuna

        pruners, state = optuna.pruners, optuna.trial.TrialState
        self._halving, self._steps = pruner == "halving", steps
        chosen: Any = pruners.NopPruner()
        if pruner == "median":
            chosen = pruners.MedianPruner(n_startup_trials=startup, n_warmup_steps=math.ceil(steps * WARMUP) - 1)
        elif self._halving:
            chosen = pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=REDUCTION)
        study = optuna.create_study(pruner=chosen)
        for training, done in others:
            scale = steps / training.steps
            curve = {
                round(step * scale): loss if math.isfinite(loss) else WORST
                for step, loss in sorted(training.curve.items())
                if step < training.steps
            }
            study.add_trial(
                optuna.trial.create_trial(
                    state=state.COMPLETE if done else state.PRUNED,
                    value=0.0,  # pruners look at what came before it
                    intermediate_values=curve,
                    system_attrs=self._reached(curve),
                )
            )
        self._trial = study.ask()
        self._rungs = 0

    def behind(self, step: int, loss: float) -> bool:
        """Take the next held-out loss; whether the training is to end."""
        if self._halving:
            # optuna's rungs grow by η. Ours don't, so it is told of the k-th one at "step" η^k.
            rungs = sum(step >= rung * self._steps for rung in RUNGS)
            if rungs == self._rungs:
                return False
            self._rungs = rungs
            step = REDUCTION ** (rungs - 1)
        self._trial.report(loss, step)
        return bool(self._trial.should_prune())

    def _reached(self, curve: Mapping[int, float]) -> dict[str, float]:
        """What optuna would have noted of a trial at each rung: its first loss there."""
        found: dict[str, float] = {}
        for number, rung in enumerate(RUNGS):
            there = [loss for step, loss in curve.items() if step >= rung * self._steps]
            if there:
                found[f"completed_rung_{number}"] = there[0]
        return found
