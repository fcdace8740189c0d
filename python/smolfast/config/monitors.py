"""Rules on metrics, as the configuration has them."""

from __future__ import annotations

import urllib.parse
from typing import Any, Literal, Self

from pydantic import Field, model_serializer, model_validator

from smolfast.config.section import Section
from smolfast.monitors.rule import CONDITIONS, FACTORS, Condition, Rule


class _Monitor(Section):
    """What rules on numbers of a training and of a stage share."""

    above: float | None = Field(None, description="act where the metric is above this")
    below: float | None = Field(None, description="act where it is below this")
    command: tuple[str, ...] = Field((), description='words of the program of the reaction "command"')
    webhook: str = Field("", description='where the reaction "webhook" sends its JSON, an http or https URL')
    seconds: float = Field(10.0, gt=0, le=60, description="time that a command or a webhook has")

    @model_serializer(mode="wrap")
    def _what_is_set(self, handler: Any) -> dict[str, Any]:
        """Without what is as it is by default: TOML has no value for nothing."""
        fields = type(self).model_fields
        return {name: value for name, value in handler(self).items() if getattr(self, name) != fields[name].default}

    @property
    def _given(self) -> list[tuple[Condition, float]]:
        return [(name, value) for name in CONDITIONS if (value := getattr(self, name, None)) is not None]

    @model_validator(mode="after")
    def _one_condition_and_what_it_needs(self) -> Self:
        possible = [name for name in CONDITIONS if name in type(self).model_fields]
        if len(self._given) != 1:
            both = " and ".join(name for name, _ in self._given) or "none"
            raise ValueError(f"a monitor has one condition of {', '.join(possible)}; this one has {both}")
        reaction = str(getattr(self, "reaction"))  # noqa: B009
        for name in ("command", "webhook"):
            given = bool(getattr(self, name))
            if given != (reaction == name):
                raise ValueError(
                    f"{name} goes with reaction = {name!r}, and this one's is {reaction!r}"
                    if given
                    else f"reaction = {name!r} needs {name} = …"
                )
        if self.command and not self.command[0].strip():
            raise ValueError("command names no program")
        if self.webhook and not _is_url(self.webhook):
            raise ValueError(f"webhook = {self.webhook[:100]!r} is no http or https URL, as in https://host/path")
        return self


class MonitorConfig(_Monitor):
    """A rule on a metric of the training, and what is done where it holds."""

    metric: Literal[
        "loss", "head_losses", "gradient_norm", "held_out_loss", "held_out_losses", "attention.max_logit",
        "features.representation_change", "features.effective_rank", "features.dead_units",
        "features.attention_entropy", "features.least_attention_entropy", "tokens_per_second", "mfu",
    ] = Field(..., description="a number of metrics.jsonl; of layers, heads and sources each by itself")  # fmt: skip
    above_minimum: float | None = Field(None, ge=0, description="act where it is this far above its own minimum")
    below_maximum: float | None = Field(None, ge=0, description="act where it is this far below its own maximum")
    change_above: float | None = Field(None, description="act where it has risen by more than this over the window")
    change_below: float | None = Field(None, description="act where its change over the window is below this")
    window: int = Field(1, ge=1, le=100_000, description="looks whose mean counts; of a change, how far back it goes")
    looks: int = Field(1, ge=1, description="looks in a row at which the condition has to hold")
    every: int = Field(1, ge=1, description="steps between looks, where a metric has a number at each step")
    after: int = Field(0, ge=0, description="steps before the first look; 0 for the warm-up")
    rest: int = Field(100, ge=0, description="steps without a further reaction after one")
    reaction: Literal[
        "note", "lower rate", "tighten clip", "roll back", "stop trial", "stop run", "command", "webhook"
    ] = Field("note", description="what is done; each reaction is an event")
    factor: float = Field(0.5, gt=0, lt=1, description="of the rates or of gradient_clip, from then on")
    follow: bool = Field(False, description="limit / metric as the factor while the condition holds, and 1 after")
    scope: Literal["run", "head"] = Field(
        "run", description="whose rate or clip follows: the run's; or each head's by its own logit, of queries and keys"
    )

    @model_validator(mode="after")
    def _settings_fit(self) -> Self:
        if self.follow and (self.reaction not in FACTORS or not ((self.above or 0) > 0 or (self.below or 0) > 0)):
            raise ValueError(
                "follow needs a positive above or below, and a reaction that is lower rate or tighten clip"
            )
        if self.follow and (self.window, self.looks) != (1, 1):
            raise ValueError("follow takes each look as it is; leave out window and looks")
        if self.scope == "head" and not (self.follow and self.metric == "attention.max_logit" and self.above):
            raise ValueError('scope = "head" goes with metric = "attention.max_logit", above and follow = true')
        if "factor" in self.model_fields_set and (self.follow or self.reaction not in FACTORS):
            raise ValueError("factor goes with lower rate and tighten clip, without follow; leave it out")
        if self.every > 1 and self.metric.startswith(("held_out", "features")):
            setting = "evaluate_every" if self.metric.startswith("held_out") else "monitor_every"
            raise ValueError(f"{self.metric} has a number every train.{setting} steps; leave out every")
        return self

    def rule(self) -> Rule:
        """The rule as the training takes it."""
        (condition, limit), *_ = self._given
        names = ("metric", "reaction", "window", "looks", "every", "after", "rest", "factor", "follow", "scope")
        own = {name: getattr(self, name) for name in names}
        return Rule(
            condition=condition, limit=limit, **own, command=self.command, webhook=self.webhook, seconds=self.seconds
        )


class StageMonitorConfig(_Monitor):
    """A rule on a number that a stage of a recipe tells, and what is done where it holds."""

    metric: str = Field(..., description="a number of the stage's summary, or kept_share")
    reaction: Literal["note", "stop trial", "stop run", "command", "webhook"] = Field(
        "note", description="what is done; each reaction is an event"
    )

    def rule(self) -> Rule:
        """The rule as a run takes it."""
        (condition, limit), *_ = self._given
        return Rule(self.metric, condition, limit, self.reaction, command=self.command, webhook=self.webhook,
                    seconds=self.seconds)  # fmt: skip


def _is_url(text: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(text)
        _ = parts.port  # raises for one that is no number
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and text.isprintable() and " " not in text
