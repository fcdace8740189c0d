"""Rules on what a stage tells of itself when it is done, such as the share of documents that it kept."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from smolfast.config import StageMonitorConfig
from smolfast.errors import SmolfastError, StopRunError, StopTrialError
from smolfast.files import finite, naming, write_text
from smolfast.monitors.outside import Outside
from smolfast.monitors.rule import Rule, contradiction
from smolfast.monitors.watch import Watch
from smolfast.pipeline.recipes.reading import nearest

EVENTS = "events.jsonl"
_SHARES = {"kept_share": ("documents_out", "documents_in"), "kept_bytes_share": ("bytes_out", "bytes_in")}
"""Metrics that are worked out of two numbers of a summary."""


def read_rules(given: Any, summary: Sequence[str] | None) -> tuple[Rule, ...]:
    """The rules of a stage's `monitors`.

    Args:
        summary: the numbers that the stage tells; None if that isn't known.

    Raises:
        SmolfastError: what is wrong with them.
    """
    if not isinstance(given, list) or not all(isinstance(one, Mapping) for one in given):
        raise SmolfastError("monitors is a list of tables, as in [[stages.NAME.monitors]]")
    rules = []
    for number, one in enumerate(given):
        try:
            rule = StageMonitorConfig.model_validate(one).rule()
        except ValidationError as error:
            raise SmolfastError(f"monitors.{number}{_explain(error)}") from None
        can = None if summary is None else [*(name for name, of in _SHARES.items() if {*of} <= {*summary}), *summary]
        if can is not None and rule.metric not in can:
            near = nearest(rule.metric, can, "it has")
            raise SmolfastError(f"monitors.{number}.metric: the stage tells no {rule.metric!r}{near}")
        rules.append(rule)
    if problem := contradiction(rules):
        raise SmolfastError(problem)
    return tuple(rules)


def _explain(error: ValidationError) -> str:
    problem = error.errors()[0]
    key = "".join(f".{part}" for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f": unknown key {key[1:]!r}{nearest(key[1:], StageMonitorConfig.model_fields, 'it has')}"
    said = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return f"{key}: {said}"
    near = ""
    if problem["type"] == "literal_error":
        near = nearest(str(problem["input"]), str(problem.get("ctx", {}).get("expected", "")).split("'")[1::2])
    return f"{key} = {str(problem['input'])[:100]!r}: {said}{near}"


class StageMonitors:
    """Looks at the stages of a run, and keeps the events: `events.jsonl` in its folder tells of this run alone."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._outside = folder, Outside()
        self._events: list[dict[str, Any]] = []
        with naming(folder / EVENTS, "check that folder"):
            (folder / EVENTS).unlink(missing_ok=True)

    def look(self, stage: str, rules: Sequence[Rule], summary: Mapping[str, Any], *, ran: bool) -> list[dict[str, Any]]:
        """The events of a stage that is done. Programs and URLs are told where it ran now, not if it was skipped."""
        found = []
        for rule in rules:
            value = _value(summary, rule.metric)
            if value is None:
                if rule.metric not in summary and not {*_SHARES.get(rule.metric, (rule.metric,))} <= {*summary}:
                    self._add([{"stage": stage, "event": "monitor failed", "error": f"it told no {rule.metric}"}])
                continue
            if Watch(rule).look(0, {"": value}) is None:
                continue
            said = {"rule": rule.words(), "metric": rule.metric, "value": value, "reaction": rule.reaction}
            found.append({"stage": stage, "event": "monitor", **said})
            if ran:
                self._outside.tell(rule, {"run": str(self._folder), **found[-1]})
        self._add(found)
        return found

    def close(self) -> None:
        """Keep what went wrong outside as events, too."""
        self._outside.close()
        self._add([{"event": "monitor failed", **failure} for failure in self._outside.failures()])

    def _add(self, events: Sequence[dict[str, Any]]) -> None:
        self._events += events
        if events:
            write_text(self._folder / EVENTS, "".join(json.dumps(finite(event)) + "\n" for event in self._events))


def stop_of(events: Sequence[Mapping[str, Any]]) -> StopTrialError | StopRunError | None:
    """The error that a stage's events make of it."""
    for kind, reaction in ((StopRunError, "stop run"), (StopTrialError, "stop trial")):
        for event in events:
            if event["reaction"] == reaction:
                what = "the run" if kind is StopRunError else "what needs it"
                return kind(
                    f"a monitor stopped {what}: {event['rule']} (it is {event['value']:.6g}); look at what the stage "
                    "made, and change it or its monitors"
                )
    return None


def _value(summary: Mapping[str, Any], metric: str) -> float | None:
    if metric in _SHARES and metric not in summary:
        above, below = (summary.get(name) for name in _SHARES[metric])
        return above / below if isinstance(above, int) and isinstance(below, int) and below else None
    found = summary.get(metric)
    return float(found) if isinstance(found, int | float) else None
