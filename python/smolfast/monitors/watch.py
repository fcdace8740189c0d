"""One rule at work: what it remembers of its metric, and the looks at which it is time to act."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from smolfast.monitors.rule import Rule


@dataclass(frozen=True)
class Finding:
    """A look at which a rule's condition has held for long enough.

    Attributes:
        value: of the metric; of several parts, the worst one's. part: that one's name ("" where there is one number).
        parts: how many parts meet the condition.
        since: the step of the first of these looks.
    """

    value: float
    part: str
    parts: int
    since: int


@dataclass
class _Series:
    """One number over time: a head's, a layer's, or the metric itself."""

    values: deque[float]
    best: float | None = None
    in_a_row: int = 0
    since: int = 0

    def state(self) -> dict[str, Any]:
        return {"values": list(self.values), "best": self.best, "in_a_row": self.in_a_row, "since": self.since}


class Watch:
    """A rule's memory.

    A metric of many parts (layers, heads, sources) is watched part by part. A number that isn't finite meets every
    condition, and isn't remembered.

    Attributes:
        factor: what the run's rate or clip is multiplied by, for reactions that do that.
        factors: the same of single parts, for a rule of that scope; those of 1 are left out.
        following: whether the factor follows the metric now.
        acted: the step of the last reaction.
    """

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.factor = 1.0
        self.factors: dict[str, float] = {}
        self.following = False
        self.acted: int | None = None
        self._series: dict[str, _Series] = {}

    def look(self, step: int, values: Mapping[str, float]) -> Finding | None:
        """Take the metric's numbers at a step, by part; what is found if it is time to act."""
        rule = self.rule
        resting = self.acted is not None and step < self.acted + rule.rest
        met: list[tuple[float, float, str, int]] = []
        for part, value in values.items():
            series = self._series.setdefault(part, _Series(self._room()))
            beyond = self._beyond(series, value)
            if beyond <= 0 or resting:
                series.in_a_row = 0
                continue
            series.in_a_row += 1
            series.since = step if series.in_a_row == 1 else series.since
            if series.in_a_row >= rule.looks:
                met.append((beyond, value, part, series.since))
        if not met:
            return None
        worst = max(met, key=lambda one: one[0])
        return Finding(worst[1], worst[2], len(met), min(since for *_, since in met))

    def follow(self, values: Mapping[str, float]) -> Finding | None:
        """Let the factor follow the metric's numbers: limit / value of the worst part above the limit, 1 if none is.

        With the scope of a part, each has its own factor by its own number.

        Returns:
            the worst part where one passes the limit. Where its number isn't finite, the factor stays.
        """
        above, limit = self.rule.condition == "above", self.rule.limit
        passing = {part: value for part, value in values.items() if not (value <= limit if above else value >= limit)}
        parts = self.rule.scope == "head"
        if parts:
            before = self.factors
            self.factors = {
                part: limit / value if math.isfinite(value) else before.get(part, 1.0)
                for part, value in passing.items()
            }
        if not passing:
            self.factor = 1.0
            return None
        part = max(passing, key=lambda one: _beyond(passing[one], limit, above))
        value = passing[part]
        if math.isfinite(value) and not parts:
            self.factor = limit / value if above else max(value, 0.0) / limit
        return Finding(value, part, len(passing), 0)

    def act(self, step: int) -> None:
        """Remember that the rule's reaction was carried out: it keeps still for a while."""
        self.acted = step
        for series in self._series.values():
            series.in_a_row = 0

    def state(self) -> dict[str, Any]:
        """JSON values for `load`."""
        return {
            "factor": self.factor,
            "factors": self.factors,
            "following": self.following,
            "acted": self.acted,
            "series": {part: series.state() for part, series in self._series.items()},
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.factor, self.following, self.acted = state["factor"], state["following"], state["acted"]
        self.factors = dict(state.get("factors", {}))
        self._series = {
            part: _Series(self._room(one["values"]), one["best"], one["in_a_row"], one["since"])
            for part, one in state["series"].items()
        }

    def _room(self, values: list[float] | None = None) -> deque[float]:
        return deque(values or (), maxlen=self.rule.window + self.rule.condition.startswith("change"))

    def _beyond(self, series: _Series, value: float) -> float:
        """By how much a part passes the limit; 0 or less if it doesn't, or if too little is known."""
        rule = self.rule
        if not math.isfinite(value):
            return math.inf
        series.values.append(value)
        if len(series.values) < (series.values.maxlen or 0):
            return 0.0
        upward = rule.condition in ("above", "above_minimum", "change_above")
        side = 1.0 if upward else -1.0
        if rule.condition.startswith("change"):
            return side * (value - series.values[0] - rule.limit)
        mean = value if rule.window == 1 else math.fsum(series.values) / rule.window
        if rule.condition in ("above", "below"):
            return side * (mean - rule.limit)
        best = series.best
        series.best = mean if best is None else min(best, mean) if upward else max(best, mean)
        return side * (mean - series.best) - rule.limit


def _beyond(value: float, limit: float, above: bool) -> float:
    return (value - limit if above else limit - value) if math.isfinite(value) else math.inf
