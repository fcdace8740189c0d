"""How a run begins: whose folder it is, how many steps it takes, and whether it is finished already."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

from smolfast.train.run.parts import Run
from smolfast.train.run.record import RunRecord
from smolfast.train.run.saving import facts
from smolfast.train.trouble.answer import RollBack
from smolfast.train.trouble.monitored import stopped

_TIMED_STEPS = 3
_MIN_STEPS = 20


def open_run(
    run: Run,
    time_budget_seconds: float | None,
    take_step: Callable[[Run, int], object],
    held_out_losses: Callable[[Run], object],
) -> dict[str, Any] | None:
    """Fix the number of steps and build the run; the summary if it is finished already.

    Args:
        take_step, held_out_losses: what is timed where a time budget decides on the number of steps.

    Raises:
        StopTrialError, StopRunError: a monitor has ended this run before.
    """
    run.record = RunRecord(run.output, run.identity, run.defaults)
    summary, ended = run.record.summary, run.record.values.get("stopped")
    here = {"record": bool(run.record.values), "finished": summary is not None, "stopped": ended}
    run.ranks.agree("run", {**run.identity, **here})
    if ended is not None:
        raise stopped(ended)
    if summary is not None:
        return summary
    if run.record.values:
        run.build(run.record.steps)
        return None
    run.build(run.config.steps)
    if time_budget_seconds is not None:
        each = _seconds_a_step(run, take_step, held_out_losses)
        run.build(run.ranks.tell(max(_MIN_STEPS, int(time_budget_seconds / each))))
    if run.ranks.first:
        run.record.write({**run.identity, "steps": run.steps, **facts(run)})
    return None


def _seconds_a_step(
    run: Run, take_step: Callable[[Run, int], object], held_out_losses: Callable[[Run], object]
) -> float:
    """Time a few steps and the quick evaluation; leaves the run in need of a new start."""

    def timed(step: int) -> None:
        with contextlib.suppress(RollBack):  # the run will answer it
            take_step(run, step)

    timed(0)
    started = time.perf_counter()
    for step in range(_TIMED_STEPS):
        timed(step)
    each = (time.perf_counter() - started) / _TIMED_STEPS
    if run.config.evaluate_every:
        started = time.perf_counter()
        held_out_losses(run)
        each += (time.perf_counter() - started) / run.config.evaluate_every
    return each
