"""The law fitted to runs, with what is not known of it: intervals of parameters and of predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import NormalDist
from typing import Any, Literal

import numpy as np

from smolfast.errors import SmolfastError
from smolfast.scaling.check import LEAST_RUNS, Bad, Checked, check_runs, different
from smolfast.scaling.law import NAMES, Array, Law
from smolfast.scaling.solve import DELTA, Problem, search, solve

Resample = Literal["runs", "residuals"]
BOOTSTRAPS = 1000
LEAST_FOR_INTERVALS = 8
_MOST_TRIES = 200
_BLOCK = 250


@dataclass(frozen=True)
class Interval:
    """A value, and the ends of its interval at `level`."""

    value: float
    low: float
    high: float
    level: float

    def as_dict(self) -> dict[str, float]:
        return {"value": self.value, "low": self.low, "high": self.high, "level": self.level}


@dataclass(frozen=True)
class Fit:
    """A law and the runs that it was fitted to.

    Attributes:
        law: the parameters. objective: the Huber sum of log losses at them.
        params, tokens, losses: of the runs, [n]. names: of the runs.
        groups: which runs are drawn together in the bootstrap, [n]: points of one training run belong together.
        dropped: rows that were left out, by reason.
        resample: what the bootstrap draws: runs, or the runs' residuals.
    """

    law: Law
    objective: float
    params: Array
    tokens: Array
    losses: Array
    names: tuple[str, ...]
    groups: Any
    dropped: dict[str, list[int]] = field(default_factory=dict)
    delta: float = DELTA
    bootstraps: int = BOOTSTRAPS
    seed: int = 0
    resample: Resample = "runs"

    E = property(lambda self: self.law.E)
    A = property(lambda self: self.law.A)
    B = property(lambda self: self.law.B)
    alpha = property(lambda self: self.law.alpha)
    beta = property(lambda self: self.law.beta)
    exponent = property(lambda self: self.law.exponent)

    @property
    def residuals(self) -> Array:
        """Log of what came over what the law says, [n]."""
        return np.asarray(np.log(self.losses) - np.log(self.law.loss(self.params, self.tokens)))

    @cached_property
    def draws(self) -> list[Law]:
        """The law of each bootstrap sample, fitted anew: of runs drawn with replacement; or of all runs, their
        losses those of the law and residuals drawn with replacement and either sign.

        Raises:
            SmolfastError: too few runs.
        """
        if self.independent < LEAST_FOR_INTERVALS:
            raise SmolfastError(
                f"{self.independent} runs give no interval: with {len(NAMES)} parameters it takes "
                f"{LEAST_FOR_INTERVALS}; train more runs"
            )
        problem = Problem.of(self.params, self.tokens, self.losses)
        here = problem.centred(np.array([[getattr(self.law, name) for name in NAMES]]))
        if self.resample == "runs":
            weights, logs = self._samples(), np.broadcast_to(problem.y, (self.bootstraps, len(problem.y)))
        else:
            weights, logs = np.ones((self.bootstraps, len(problem.y))), self._drawn_logs(problem.y)
        found = []
        for start in range(0, self.bootstraps, _BLOCK):
            block = slice(start, start + _BLOCK)
            starts = np.repeat(here, len(weights[block]), 0)
            theta, _ = solve(problem, weights[block], starts, self.delta, logs=logs[block], near=True)
            found.append(problem.natural(theta))
        return [Law(*map(float, row)) for row in np.concatenate(found)]

    @property
    def independent(self) -> int:
        return len(np.unique(self.groups))

    def _drawn_logs(self, logs: Array) -> Array:
        """The law's log losses with residuals of a group together, drawn anew, [samples, n]."""
        draw = np.random.default_rng(self.seed)
        which = np.unique(self.groups, return_inverse=True)[1]
        signs = draw.choice([-1.0, 1.0], (self.bootstraps, which.max() + 1))[:, which]
        return np.asarray(logs - self.residuals + signs * draw.choice(self.residuals, signs.shape))

    def _samples(self) -> Array:
        """How often each sample has each run, [samples, n]; samples that can't be fitted are drawn again."""
        draw = np.random.default_rng(self.seed)
        which = np.unique(self.groups, return_inverse=True)[1]
        groups, samples = which.max() + 1, []
        for _ in range(_MOST_TRIES * self.bootstraps):
            weights = draw.multinomial(groups, np.full(groups, 1 / groups))[which]
            there = weights > 0
            if there.sum() >= LEAST_RUNS and different(self.params[there]) >= 3 and different(self.tokens[there]) >= 3:
                samples.append(weights.astype(np.float64))
                if len(samples) == self.bootstraps:
                    return np.stack(samples)
        raise SmolfastError(
            "hardly a sample of the runs can be fitted, so there is no interval: too few sizes or lengths; train more"
        )

    def interval(self, name: str, level: float = 0.95) -> Interval:
        """A parameter's bootstrap interval; also of "exponent", a in N_opt ∝ C^a.

        Percentiles of the samples, as far again from the value as n / (n − 5) asks: five parameters take up that much
        of the noise. All but E and the exponent are widened in the log.

        Raises:
            SmolfastError: another name or level; too few runs.
        """
        if name not in (*NAMES, "exponent"):
            raise SmolfastError(f"there is no parameter {name!r}; choose one of {', '.join(NAMES)}, exponent")
        values = np.array([getattr(law, name) for law in self.draws])
        return self.around(float(getattr(self.law, name)), values, level, log=name not in ("E", "exponent"))

    def around(self, value: float, values: Array, level: float, *, log: bool) -> Interval:
        """An interval of samples' values around the value, widened as `interval` says."""
        _check_level(level)
        left = max(1, self.independent - len(NAMES))
        wider = np.sqrt(self.independent / left)
        if self.resample == "residuals":  # Student's quantiles over the normal ones
            wider *= 1 + (NormalDist().inv_cdf((1 + level) / 2) ** 2 + 1) / (4 * left)
        tails = [(1 - level) / 2, (1 + level) / 2]
        if log:
            low, high = np.exp(np.log(value) + wider * (np.quantile(np.log(values), tails) - np.log(value)))
        else:
            low, high = value + wider * (np.quantile(values, tails) - value)
        return Interval(value, float(low), float(high), level)

    def predict(self, params: float, tokens: float, level: float = 0.9, *, noise: bool = True) -> Interval:
        """The loss that a run of this size and length will have, in nats a token.

        Args:
            noise: whether the interval is to hold one run's loss, which varies as these runs do around the law; else
                it is to hold the law.

        Raises:
            SmolfastError: a count that isn't above 0; another level; too few runs.
        """
        check_count("params", params)
        check_count("tokens", tokens)
        values = np.array([float(law.loss(params, tokens)) for law in self.draws])
        if noise:
            degrees = max(1.0, len(self.losses) - len(NAMES))
            spread = np.random.default_rng(self.seed).choice(self.residuals, len(values))
            values = values * np.exp(spread * np.sqrt(len(self.losses) / degrees))
        return self.around(float(self.law.loss(params, tokens)), values, level, log=True)

    def tokens_for(self, params: float, loss: float, level: float = 0.9) -> Interval:
        """How many tokens a model of this size needs to reach a loss; infinite where it never does.

        Raises:
            SmolfastError: the law says that this size never reaches it.
        """
        check_count("params", params)
        check_count("loss", loss)

        def needed(law: Law) -> float:
            left = loss - law.E - law.A * params**-law.alpha
            return float((law.B / left) ** (1 / law.beta)) if left > 0 else np.inf

        value = needed(self.law)
        if not np.isfinite(value):
            least = self.law.E + self.law.A * params**-self.law.alpha
            raise SmolfastError(
                f"a model of {params:.4g} parameters comes to no less than {least:.4g} nats on endless text; ask for "
                "more loss, or take a larger model"
            )
        tails = np.quantile([needed(law) for law in self.draws], [(1 - level) / 2, (1 + level) / 2], method="nearest")
        return Interval(value, float(tails[0]), float(tails[1]), level)


def fit(
    params: Any,
    tokens: Any,
    losses: Any,
    *,
    names: Sequence[str] | None = None,
    groups: Any = None,
    bad: Bad = "fail",
    plausible: bool = True,
    delta: float = DELTA,
    bootstraps: int = BOOTSTRAPS,
    seed: int = 0,
    resample: Resample = "runs",
) -> Fit:
    """Fit L(N, D) = E + A / N^α + B / D^β by the least Huber sum of log losses (approach 3 of arXiv 2203.15556).

    Args:
        params, tokens, losses: parameters, training tokens and final loss in nats of each run, [n]. Lists, arrays or
            columns.
        names: of the runs, for messages and tables.
        groups: for each run, what it belongs to, where several points come of one training run; None for all apart.
        bad: what becomes of rows that are unfit: "fail", "drop" or "keep", as in `check_runs`.
        plausible: whether a look at tokens a parameter may refuse the units.
        delta: residuals beyond it count by their size, not its square.
        bootstraps, seed: samples of the intervals, which are drawn when an interval is first asked for.
        resample: "runs" takes the runs as drawn from many like them, and is wide where a few decide. "residuals" takes
            sizes and lengths as chosen, as those of a plan are, and noise as alike in all.

    Raises:
        SmolfastError: runs that can't be fitted, named with what is missing.
    """
    if not delta > 0:
        raise SmolfastError(f"delta = {delta}: give a number above 0, such as {DELTA}")
    if resample not in ("runs", "residuals"):
        raise SmolfastError(f"resample = {resample!r}: choose runs or residuals")
    if bootstraps < 100:
        raise SmolfastError(f"bootstraps = {bootstraps}: percentiles take at least 100")
    checked = check_runs(params, tokens, losses, names=names, bad=bad, plausible=plausible)
    law, value = fit_law(checked, delta)
    every = [f"row {row}" for row in range(len(params))] if names is None else list(names)
    given = np.arange(len(params)) if groups is None else np.asarray(groups)
    if len(given) != len(params):
        raise SmolfastError(f"groups has {len(given)} entries for {len(params)} runs; give one for each")
    return Fit(
        law, value, checked.params, checked.tokens, checked.losses, tuple(every[row] for row in checked.kept),
        given[checked.kept], checked.dropped, delta, bootstraps, seed, resample,
    )  # fmt: skip


def fit_law(runs: Checked, delta: float = DELTA) -> tuple[Law, float]:
    """The law and its Huber sum."""
    problem = Problem.of(runs.params, runs.tokens, runs.losses)
    starts = search(problem, np.ones(len(runs.params)), delta)
    found, sums = solve(problem, np.ones((len(starts), len(runs.params))), starts, delta)
    best = int(sums.argmin())
    return Law(*map(float, problem.natural(found[best : best + 1])[0])), float(sums[best])


def without_each(fitted: Fit) -> list[Law]:
    """The law of all runs but one, for each run."""
    problem = Problem.of(fitted.params, fitted.tokens, fitted.losses)
    here = problem.centred(np.array([[getattr(fitted.law, name) for name in NAMES]]))
    count = len(fitted.params)
    found, _ = solve(problem, 1.0 - np.eye(count), np.repeat(here, count, 0), fitted.delta, near=True)
    return [Law(*map(float, row)) for row in problem.natural(found)]


def check_count(name: str, value: float) -> None:
    """Raise SmolfastError for what is no finite number above 0."""
    if not np.isfinite(value) or value <= 0:
        raise SmolfastError(f"{name} = {value}: give a finite number above 0")


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise SmolfastError(f"level = {level}: give a share between 0 and 1, such as 0.9")
