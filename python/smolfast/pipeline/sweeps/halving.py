"""Successive halving that waits: all trials train to a rung, and the best of all of them go on from where they stopped.

So the order in which trials come is no matter, and neither is how many are trained at once (Jamieson and Talwalkar
2016, arXiv 1502.07943). What goes on is read from the trials' records alone: so it is the same behind a kill.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from smolfast.pipeline.sweeps.trials import Training, Trial

RUNGS = ((1 / 4, 2), (1 / 2, 4))
"""Where trainings pause: shares of the steps, and of how many trials of the sweep one goes on from there, at least one.
That is half of the steps of all trials: 1/4 of each, 1/4 of every second, 1/2 of every fourth. Before a quarter high
rates still look worse than they come out. `benchmarks/studies/sweeps` has what was tried."""


def pause_at(rung: int, steps: int) -> float:
    """The first step at which a training that has passed so many rungs pauses; infinite behind the last of them."""
    return RUNGS[rung][0] * steps if rung < len(RUNGS) else math.inf


def looks(training: Training) -> list[float]:
    """The held-out loss of each rung that a training has passed: the first one there, before the end."""
    found = []
    for share, _ in RUNGS:
        there = [step for step in training.curve if share * training.steps <= step < training.steps]
        if not there:
            break
        found.append(training.curve[min(there)])
    return found


def rungs(trial: Trial) -> list[float]:
    """The same of a trial: of its last training, which is the one that pauses."""
    return looks(list(trial.trainings.values())[-1]) if trial.trainings else []


def to_go_on(trials: Sequence[Trial]) -> list[Trial]:
    """Those that paused and are to train on next, all at one rung; none if the sweep is at its end.

    A trial that diverged or failed on its way makes room for the next one.

    Args:
        trials: all of the sweep, each trained to the first rung.
    """
    known = [(trial, rungs(trial)) for trial in trials if trial.state in ("done", "pruned")]
    for rung, (_, eta) in enumerate(RUNGS):
        there = [(trial, passed) for trial, passed in known if len(passed) > rung]
        there.sort(key=lambda one: (math.inf if math.isnan(one[1][rung]) else one[1][rung], one[0].number))
        chosen = there[: max(1, len(trials) // eta)]
        paused = [trial for trial, passed in chosen if trial.state == "pruned" and len(passed) == rung + 1]
        if paused:
            return paused
    return []


def as_learned(trial: Trial) -> Trial:
    """A trial as a sampler learns from it: by its loss at the first rung, which all of them have.

    So the choices don't depend on which trials have gone on by then: more trials later are the same as all at once.
    """
    passed = rungs(trial) if trial.state in ("done", "pruned") else []
    return replace(trial, state="pruned", curve={1: passed[0]}) if passed else trial


def as_ended(trial: Trial, *, maximize: bool) -> Trial:
    """A trial as if it had ended at the first rung, with its loss there for its value: what they are compared by."""
    passed = rungs(trial) if trial.state in ("done", "pruned") else []
    return replace(trial, state="done", value=-passed[0] if maximize else passed[0]) if passed else trial
