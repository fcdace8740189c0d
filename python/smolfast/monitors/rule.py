"""A rule on a metric, in words and as values; which rules can't stand beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Condition = Literal["above", "below", "above_minimum", "below_maximum", "change_above", "change_below"]
CONDITIONS: tuple[Condition, ...] = (
    "above",
    "below",
    "above_minimum",
    "below_maximum",
    "change_above",
    "change_below",
)
ENDS = ("roll back", "stop trial", "stop run")
"""Reactions after which the next step isn't taken as it would have been."""
FACTORS = ("lower rate", "tighten clip")
"""Reactions that multiply a setting of the run."""


@dataclass(frozen=True)
class Rule:
    """When something is to be done, and what.

    Attributes:
        metric: its name. limit: the number that the condition compares with.
        window: looks whose mean is compared; of a change, how many looks it goes back.
        looks: how many in a row the condition has to hold.
        every, after, rest: steps between looks, before the first one, and of stillness after a reaction.
        factor: of the rate or the clip; with `follow` it is limit / value instead while the condition holds.
        scope: "run", or "head" for a factor of each part by its own value.
        command: words of a program. webhook: a URL. seconds: the time that either has.
    """

    metric: str
    condition: Condition
    limit: float
    reaction: str
    window: int = 1
    looks: int = 1
    every: int = 1
    after: int = 0
    rest: int = 0
    factor: float = 0.5
    follow: bool = False
    scope: str = "run"
    command: tuple[str, ...] = ()
    webhook: str = ""
    seconds: float = 10.0

    def words(self) -> str:
        """The condition, as an event and an error name the rule."""
        limit = f"{self.limit:g}"
        said = {
            "above": f"above {limit}",
            "below": f"below {limit}",
            "above_minimum": f"more than {limit} above its minimum",
            "below_maximum": f"more than {limit} below its maximum",
            "change_above": f"changed by more than {limit} in {self.window} looks",
            "change_below": f"changed by less than {limit} in {self.window} looks",
        }[self.condition]
        mean = f", mean of {self.window} looks" if self.window > 1 and not self.condition.startswith("change") else ""
        row = f", {self.looks} looks in a row" if self.looks > 1 else ""
        return f"{self.metric} {said}{mean}{row}"


def contradiction(rules: Sequence[Rule]) -> str | None:
    """Why these rules can't all stand; None if they can.

    Two say the same, or want the run to go on in two ways from one moment, or leave no value that would be healthy.
    """
    for later, rule in enumerate(rules):
        for earlier, other in enumerate(rules[:later]):
            pair = f"monitors {earlier} and {later}"
            if rule == other:
                return f"{pair} are the same; leave one out"
            if rule.metric != other.metric:
                continue
            reactions = f"{other.reaction!r} and {rule.reaction!r}"
            ends = [one for one in (other, rule) if one.reaction in ENDS]
            at_once = (rule.condition, rule.limit, rule.window, rule.looks) == (
                other.condition,
                other.limit,
                other.window,
                other.looks,
            )
            acting = all(one.reaction in (*ENDS, *FACTORS) for one in (other, rule))
            if at_once and ends and acting:
                return f"{pair} want {reactions} at the same moment ({rule.words()}); choose one"
            bounds = {one.condition: one.limit for one in (other, rule) if one.window == 1}
            if "above" in bounds and "below" in bounds and bounds["above"] < bounds["below"]:
                return (
                    f"{pair} leave no healthy {rule.metric}: every value is above {bounds['above']:g} or below "
                    f"{bounds['below']:g}"
                )
    return None
