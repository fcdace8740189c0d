"""A run's rules: what they look at in a line of metrics, and by what they have changed the rates and the clip.

While no rule holds nothing of the run is touched: the factors are 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from smolfast.config import TrainConfig
from smolfast.monitors.outside import Outside
from smolfast.monitors.watch import Watch

LOGITS = "attention.max_logit"
_OF_THE_SPEED = ("tokens_per_second", "mfu")
_OF_THE_BATCH = ("loss", "head_losses", "gradient_norm")
_PARTS = {LOGITS: ("layer", "head"), "head_losses": ("head",), "held_out_losses": ("source",)}
"""What the parts of a metric are called, from the outside in; layers and heads are counted from 0."""


class Monitors:
    """The rules of a run.

    Attributes:
        watches: one for each rule. outside: where commands and webhooks are started.
    """

    def __init__(self, config: TrainConfig, steps: int) -> None:
        self.watches = [Watch(monitor.rule()) for monitor in config.monitors]
        self._names: list[str] = []
        for watch in self.watches:
            name = f"{watch.rule.words()}: {watch.rule.reaction}"
            self._names.append(f"{name} ({sum(one.startswith(name) for one in self._names) + 1})")
        self.outside = Outside()
        self._warmup = round(config.warmup_fraction * steps)

    @property
    def rate(self) -> float:
        """The factor of the rates; 1 while nothing happened."""
        return self._factor("lower rate")

    @property
    def clip(self) -> float:
        """The factor of the largest gradient norm; 1 while nothing happened."""
        return self._factor("tighten clip")

    def _factor(self, reaction: str) -> float:
        return math.prod(watch.factor for watch in self.watches if watch.rule.reaction == reaction)

    def of_heads(self, reaction: str) -> dict[str, float]:
        """The factors of single heads by "LAYER.HEAD", where one isn't 1."""
        found: dict[str, float] = {}
        for watch in self.watches:
            if watch.rule.reaction == reaction:
                for part, factor in watch.factors.items():
                    found[part] = found.get(part, 1.0) * factor
        return found

    @property
    def roll_back(self) -> bool:
        """Whether a rule may ask for a checkpoint to return to."""
        return any(watch.rule.reaction == "roll back" for watch in self.watches)

    def look_at_logits(self, step: int) -> bool:
        """Whether a rule wants the largest attention logits of a step, counted from 1."""
        return any(watch.rule.metric == LOGITS and self._is_due(watch, step) for watch in self.watches)

    def values(self, step: int, line: Mapping[str, Any]) -> list[dict[str, float] | None]:
        """For each rule the numbers of a step's line of metrics by part; None where it isn't to look."""
        return [values_of(line, watch.rule.metric) if self._is_due(watch, step) else None for watch in self.watches]

    def _is_due(self, watch: Watch, step: int) -> bool:
        return step > (watch.rule.after or self._warmup) and step % watch.rule.every == 0

    def state(self) -> dict[str, Any]:
        """JSON values for `load`, by rule."""
        return {name: watch.state() for name, watch in zip(self._names, self.watches, strict=True)}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken. Rules that only tell may have come since, or gone."""
        for name, watch in zip(self._names, self.watches, strict=True):
            if name in state:
                watch.load(state[name])

    def go_back(self, memory: Mapping[str, Any], step: int) -> None:
        """Take what a checkpoint at a step remembers of the metrics; what was done about them since stays."""
        for name, watch in zip(self._names, self.watches, strict=True):
            factor, factors, following, acted = watch.factor, watch.factors, watch.following, watch.acted
            watch.load(memory[name])
            watch.factor, watch.factors, watch.following = factor, factors, following
            watch.acted = None if acted is None else min(acted, step)


def values_of(line: Mapping[str, Any], metric: str) -> dict[str, float] | None:
    """A metric's numbers in a line of metrics, by part; None where the line has none.

    Features and logits that aren't finite stay. A loss that is no number is one of no token, or the guard's matter.
    """
    if line.get("skipped") and metric in _OF_THE_BATCH:
        return None
    found: Any = line["speed"] if metric in _OF_THE_SPEED else line
    for key in metric.split("."):
        found = found.get(key)
        if found is None:
            return None
    if not metric.startswith(("features", "attention")):
        numbers = _flat(found)
        return {part: value for part, value in numbers.items() if value is not None and math.isfinite(value)}
    return _flat(found)


def place_of(metric: str, part: str) -> dict[str, int | str]:
    """Where a part is: `{"layer": 1, "head": 3}`; nothing for a metric of one number."""
    names = _PARTS.get(metric, ("layer",)) if part else ()
    where = part.split(".", len(names) - 1) if names else []
    return {name: one if name == "source" else int(one) for name, one in zip(names, where, strict=True)}


def _flat(found: Any, part: str = "") -> dict[str, Any]:
    if isinstance(found, Mapping):
        children = list(found.items())
    elif isinstance(found, list | tuple):
        children = [(str(index), one) for index, one in enumerate(found)]
    else:
        return {part: found}
    return {
        name: value for key, one in children for name, value in _flat(one, f"{part}.{key}" if part else key).items()
    }
