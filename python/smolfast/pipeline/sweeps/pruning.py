"""Whether a training is behind those before it: optuna's pruners, fed with held-out losses by share of the steps.

`halving` is the pruner that waits for all trials instead. Trials are compared at the same points of the schedule, so
those of other lengths compare as well. What decides are the records of trials that have ended. So a sweep that was
killed ends the same trials at the same steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from smolfast.pipeline.sweeps.asking import WORST
from smolfast.pipeline.sweeps.trials import Training

PRUNERS = ("halving", "asha", "median", "none")
RUNGS = ((1 / 6, 2), (1 / 4, 4), (1 / 2, 4))
"""Where "asha" compares: shares of the steps, and of how many trials that came there one goes on (η of Li et al. 2018,
arXiv 1810.05934); of fewer than that, the best. At a sixth high rates still look worse than they come out, so half of
the trials go on; from a quarter on the order hardly changes. `benchmarks/studies/sweeps` has what was tried."""
WARMUP = 1 / 4
"""The share of the steps before the median is taken."""


class Pruning:
    """One training and those that it is compared with.

    Args:
        pruner: "asha", "median" or "none".
        others: the same training of trials that have ended, and whether the trial is done.
        steps: that this training is to take.
        startup: trials that are done before the median is taken.
    """

    def __init__(self, pruner: str, others: Sequence[tuple[Training, bool]], *, steps: int, startup: int) -> None:
        import optuna

        self._steps, self._told = steps, 0
        pruners = optuna.pruners
        if pruner == "asha":
            # Optuna's rungs have one η and grow by it. Ours don't, so each is a pruner of its own with a single rung.
            known = [(self._scaled(training), False) for training, _ in others]
            self._rungs = [
                self._asked(pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=eta), known, share)
                for share, eta in RUNGS
            ]
        else:
            chosen: Any = pruners.NopPruner()
            if pruner == "median":
                chosen = pruners.MedianPruner(n_startup_trials=startup, n_warmup_steps=math.ceil(steps * WARMUP) - 1)
            self._rungs = []
            self._trial = self._asked(chosen, [(self._scaled(training), done) for training, done in others])

    def behind(self, step: int, loss: float) -> bool:
        """Take the next held-out loss; whether the training is to end."""
        if not self._rungs:
            self._trial.report(loss, step)
            return bool(self._trial.should_prune())
        passed = sum(step >= share * self._steps for share, _ in RUNGS)
        trials, self._told = self._rungs[self._told : passed], max(passed, self._told)
        for trial in trials:
            trial.report(loss, 1)
        return any(trial.should_prune() for trial in trials)

    def _scaled(self, training: Training) -> dict[int, float]:
        """Losses of another training at the steps of this one, without its last."""
        scale = self._steps / training.steps
        return {
            round(step * scale): loss if math.isfinite(loss) else WORST
            for step, loss in sorted(training.curve.items())
            if step < training.steps
        }

    def _asked(self, pruner: Any, known: Sequence[tuple[Mapping[int, float], bool]], share: float | None = None) -> Any:
        """A trial of optuna's beside those that are known; with a rung at a share of the steps beside those there."""
        from optuna import create_study
        from optuna.trial import TrialState, create_trial

        study = create_study(pruner=pruner)
        for curve, done in known:
            there = [] if share is None else [loss for step, loss in curve.items() if step >= share * self._steps]
            study.add_trial(
                create_trial(
                    state=TrialState.COMPLETE if done else TrialState.PRUNED,
                    value=0.0,  # pruners look at what came before it
                    intermediate_values=dict(curve),
                    system_attrs={"completed_rung_0": there[0]} if there else {},
                )
            )
        return study.ask()
