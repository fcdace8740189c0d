"""What a run does where one of its rules holds.

Each rank looks at the first one's numbers, so all do the same. That holds for the tokens a second, too, which differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor

from smolfast.errors import StopRunError, StopTrialError
from smolfast.files import finite
from smolfast.monitors.watch import Finding, Watch
from smolfast.train.micro_batches import Unit
from smolfast.train.run.parts import Run
from smolfast.train.trouble.monitors import place_of
from smolfast.train.watch.attention_logits import LargestLogits


@dataclass(frozen=True)
class Answer:
    """What the loop has to do.

    Attributes:
        back: why to roll back, and the step at which that began. stop: what the last event says, to end with.
    """

    back: tuple[str, int] | None = None
    stop: Mapping[str, Any] | None = None


def react(run: Run, step: int, line: Mapping[str, Any]) -> Answer:
    """Let every rule look at the line of a step, counted from 1, and do what those that hold say. Writes events."""
    monitors = run.monitors
    if not monitors.watches:
        return Answer()
    note_failures(run, step)
    looks = monitors.values(step, line)
    if all(values is None for values in looks):
        return Answer()
    back: tuple[str, int] | None = None
    stop: Mapping[str, Any] | None = None
    for watch, values in zip(monitors.watches, run.ranks.tell(looks), strict=True):
        if not values:
            continue
        rule = watch.rule
        if rule.follow:
            _follow(run, watch, step, values)
            continue
        finding = watch.look(step, values)
        if finding is None:
            continue
        watch.act(step)
        if rule.reaction in ("lower rate", "tighten clip"):
            watch.factor *= rule.factor
        said = _said(run, watch, finding, rule.reaction)
        run.events.add(step, "monitor", **said)
        if rule.reaction == "roll back":
            back = back or (rule.words(), finding.since)
            if len(run.guard.rollbacks) >= run.guard.most:  # they didn't help
                stop = stop or {"step": step, **said}
        elif rule.reaction == "stop run" or (rule.reaction == "stop trial" and stop is None):
            stop = {"step": step, **said}
        elif run.ranks.first:
            message = {"run": str(run.output.absolute()), "step": step, "event": "monitor", **said}
            monitors.outside.tell(rule, message)
    run.apply_clip()
    return Answer(back, stop)


def _follow(run: Run, watch: Watch, step: int, values: Mapping[str, float]) -> None:
    """Set a factor by the metric; events say when that begins and ends."""
    finding = watch.follow(values)
    if (finding is not None) == watch.following:
        return
    watch.following = finding is not None
    if finding is not None:
        run.events.add(step, "monitor", **_said(run, watch, finding, f"{watch.rule.reaction}, following"))
    else:
        details = {"rule": watch.rule.words(), "metric": watch.rule.metric, "reaction": f"{watch.rule.reaction}, ended"}
        run.events.add(step, "monitor", **details)


def _said(run: Run, watch: Watch, finding: Finding, reaction: str) -> dict[str, Any]:
    rule, monitors = watch.rule, run.monitors
    said: dict[str, Any] = {"rule": rule.words(), "metric": rule.metric, "value": finding.value}
    said |= place_of(rule.metric, finding.part)
    said |= {"parts": finding.parts} if finding.parts > 1 else {}
    said["reaction"] = reaction
    if rule.scope == "head":
        return said | {"factor": watch.factors[finding.part]}
    if rule.reaction == "lower rate":
        said["rate"] = monitors.rate
    elif rule.reaction == "tighten clip":
        said["gradient_clip"] = run.config.gradient_clip * monitors.clip
    return said


def note_failures(run: Run, step: int) -> None:
    """An event for each command and webhook that has failed by now."""
    for failure in run.monitors.outside.failures():
        run.events.add(step, "monitor failed", **failure)


def end(run: Run, said: Mapping[str, Any]) -> NoReturn:
    """End as a rule wants it: for good, so run.json says it."""
    run.monitors.outside.close()
    note_failures(run, said["step"])
    if run.ranks.first:
        run.record.write({"stopped": finite(dict(said))})
    run.ranks.wait()
    raise stopped(said)


def stopped(said: Mapping[str, Any]) -> StopTrialError | StopRunError:
    """The error of a training that a rule has ended, from what run.json keeps of it."""
    kind = StopRunError if said["reaction"] == "stop run" else StopTrialError
    value = said["value"]
    return kind(
        f"a monitor ended the training at step {said['step']}: {said['rule']} "
        f"(it is {'not finite' if value is None else f'{value:.6g}'}); change settings or train.monitors, and choose "
        "another output"
    )


def largest_logits(run: Run, units: Sequence[Unit]) -> dict[str, Tensor]:
    """Each head's largest logit over micro-batches, by a forward pass of its own: compiled layers call no hooks."""
    with torch.no_grad(), run.objective.compiled.eager(), LargestLogits(run.model) as watch:
        for unit in units:
            run.objective.run(unit)
    return watch.by_module
