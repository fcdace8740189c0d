"""What a run does about a step that went wrong: note it, leave it out, go back to a checkpoint, or end."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor

from smolfast.errors import DivergedError, SmolfastError
from smolfast.train.micro_batches import Unit
from smolfast.train.run.parts import Run
from smolfast.train.run.saving import restore
from smolfast.train.trouble.monitors import Monitors
from smolfast.train.trouble.nonfinite import first_nonfinite
from smolfast.train.trouble.reaction import Guard, Trouble


class RollBack(Exception):
    """Ends a step that is to be undone."""

    def __init__(self, trouble: Trouble) -> None:
        self.trouble = trouble


def is_taken(run: Run, step: int, loss: float, norm: float, line: dict[str, Any]) -> bool:
    """Judge a step by its loss and gradient norm: whether it is to be taken. Writes events.

    Raises:
        RollBack: the step and those before it, back to a checkpoint, are to be undone.
        DivergedError: there is nothing left to try.
    """
    settled = step >= round(run.config.warmup_fraction * run.steps)
    trouble = run.guard.look(loss, norm, settled=settled)
    if trouble is None:
        return True
    where = _first_nonfinite(run, step) if trouble.what == "not finite" else None
    if trouble.reaction == "stop":
        raise DivergedError(
            f"training diverged at step {step + 1}: loss {loss}, gradient norm {norm}"
            f"{f', first in {where}' if where else ''}; lower "
            f"train.muon_learning_rate ({run.config.muon_learning_rate}) and "
            f"train.adamw_learning_rate ({run.config.adamw_learning_rate})"
        )
    if trouble.new or trouble.reaction != "warn":
        details: dict[str, Any] = {"deviations": round(trouble.deviations, 2), "loss": loss, "gradient_norm": norm}
        if where is not None:
            details["where"] = where
        run.events.add(step + 1, trouble.what, reaction=trouble.reaction, **details)
    if trouble.reaction == "rollback":
        raise RollBack(trouble)
    if trouble.reaction == "skip":
        line["skipped"] = True
        return False
    return True


def roll_back(run: Run, step: int, cause: str, *, began: int | None = None) -> int:
    """Return to a checkpoint, and to its step, with other batches and a lower rate ahead.

    Args:
        step: the next one to take, counted from 0, if nothing had happened; or the one that went wrong.
        began: the step, counted from 1, after which the weights were bad for the first time, if that is known.
    """
    guard, monitors = run.guard, run.monitors
    run.monitors = Monitors(run.config, run.steps)
    run.guard = Guard(
        guard.policy,
        sigma=run.config.spike_sigma,
        window=run.config.spike_window,
        most=guard.most,
        lower=guard.lower,
    )
    seconds = run.seconds
    back_to = restore(run, guard.checkpoints_to_pass_over(step), began)
    if back_to is None:
        raise SmolfastError(f"{run.output / 'checkpoints'} has no sound checkpoint to roll back to; start over")
    guard.roll_back(run.guard.state(), step=step, back_to=back_to, further=run.config.rollback_skip)
    monitors.go_back(run.monitors.state(), back_to)
    run.guard, run.monitors, run.seconds = guard, monitors, seconds
    run.apply_clip()
    at = step + 1 if began is None else step
    run.events.add(at, "rollback", cause=cause, back_to=back_to, batches_skipped=guard.skipped, rate=guard.rate)
    return back_to


def _first_nonfinite(run: Run, step: int) -> str | None:
    """The module in which a step's numbers broke, on the first rank that finds one."""
    if run.ranks.sharded or run.ranks.context > 1:
        return None  # needs whole parameters, and passes that other ranks have no part in
    found = (first_nonfinite(run.objective.trained, partial(_first, unit)) for unit in run.units(step)[0])
    with run.objective.compiled.eager():
        mine = next((name for name in found if name is not None), None)
    return run.ranks.first_of(mine)


def _first(unit: Unit) -> Tensor:
    return unit()[0]
