"""Which values come next: optuna's samplers, fed with the trials that the sweep's folder holds.

The study is made anew for each question, and its sampler is seeded by the trial's number. So the answer depends on the
finished trials alone, and a sweep that was killed goes on as if it had not been.
"""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Sequence
from typing import Any, Literal

from smolfast.errors import SmolfastError
from smolfast.machine import install_command
from smolfast.pipeline.sweeps.space import Parameter, grid
from smolfast.pipeline.sweeps.trials import LIKE_THE_WORST, Trial

SAMPLERS = ("tpe", "random", "grid", "cmaes")
WORST = 1e30
"""What stands for an infinite objective or loss, where optuna reckons with it."""


class Asking:
    """Questions to optuna.

    Args:
        startup: trials before the sampler learns from them.
        mixed: a grid's values come in an order by chance: from bad ones to good ones none could be ended early.

    Raises:
        SmolfastError: optuna isn't installed, or a grid of ranges that say not how many values.
    """

    def __init__(
        self, parameters: Sequence[Parameter], *, sampler: str, seed: int, maximize: bool, startup: int, mixed: bool
    ) -> None:
        try:
            import optuna
        except ImportError:
            raise SmolfastError(f"sweeps need optuna; {install_command('sweep')}") from None
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        self._optuna = optuna
        self.parameters = parameters
        self._distributions = {one.name: one.distribution() for one in parameters}
        self._sampler, self._seed, self._startup = sampler, seed, startup
        self._direction: Literal["maximize", "minimize"] = "maximize" if maximize else "minimize"
        self.grid = list(grid(parameters)) if sampler == "grid" else []
        if mixed:
            random.Random(seed).shuffle(self.grid)

    def ask(self, trial: Trial | int, before: Sequence[Trial]) -> Any:
        """The next trial, by its number; or one that was begun, with the values that it had.

        Args:
            before: the finished trials that it may learn from.
        """
        number = trial if isinstance(trial, int) else trial.number
        study = self.study(before, seed=self._seed * 1_000_003 + number)
        if not isinstance(trial, int):
            study.enqueue_trial(dict(trial.params))
        elif self.grid:
            study.enqueue_trial(self.grid[number])
        return study.ask(self._distributions)

    def study(self, trials: Sequence[Trial], *, seed: int = 0, **options: Any) -> Any:
        """A study of these trials."""
        study = self._optuna.create_study(
            direction=self._direction,
            sampler=self._make_sampler(seed),
            pruner=self._optuna.pruners.NopPruner(),  # `pruning` asks one
            **options,
        )
        study.add_trials([self.frozen(trial) for trial in trials])
        return study

    def frozen(self, trial: Trial) -> Any:
        """A finished trial as optuna has them."""
        state = self._optuna.trial.TrialState
        complete = dict.fromkeys(("done", *LIKE_THE_WORST), state.COMPLETE)
        kind = {**complete, "pruned": state.PRUNED}.get(trial.state, state.FAIL)
        value = trial.value
        if kind == state.COMPLETE and (value is None or not math.isfinite(value)):
            value = WORST if self._direction == "minimize" else -WORST
        sign = 1.0 if self._direction == "minimize" else -1.0  # a loss is small where it is good
        curve = {step: sign * loss for step, loss in trial.curve.items()}
        if kind == state.PRUNED:
            value = curve[max(curve)] if curve else None
        return self._optuna.trial.create_trial(
            state=kind,
            params=dict(trial.params),
            distributions=self._distributions,
            value=None if kind == state.FAIL else value,
            intermediate_values=curve,
            system_attrs=dict(trial.attributes),
        )

    def importance(self, trials: Sequence[Trial]) -> dict[str, float]:
        """Share of each parameter in how good the best trials are (PED-ANOVA); nothing where that can't be said."""
        complete = [trial for trial in trials if trial.state in ("done", *LIKE_THE_WORST)]
        if len(complete) < 4 or len(self.parameters) < 2:
            return {}
        evaluator = self._optuna.importance.PedAnovaImportanceEvaluator()
        try:
            found = self._optuna.importance.get_param_importances(self.study(complete), evaluator=evaluator)
        except (ValueError, RuntimeError, ZeroDivisionError):  # all alike
            return {}
        return {name: round(float(share), 4) for name, share in found.items()}

    def _make_sampler(self, seed: int) -> Any:
        samplers = self._optuna.samplers
        seed %= 1 << 32
        if self._sampler == "tpe":
            return samplers.TPESampler(seed=seed, n_startup_trials=self._startup, multivariate=True)
        if self._sampler == "cmaes":
            return samplers.CmaEsSampler(seed=seed, n_startup_trials=self._startup, consider_pruned_trials=True)
        return samplers.RandomSampler(seed=seed)
