"""Trainings of a second, and curves as they leave them, for tests of sweeps."""

from __future__ import annotations

import sysconfig
from pathlib import Path

from smolfast.pipeline.sweeps.trials import Training

SMALL = (
    f"collect.input={Path(sysconfig.get_path('stdlib')) / 'json'}",
    "collect.max_bytes=60_000",
    "tokenizer.vocab_size=300",
    "split.held_out_fraction=0.3",
    "model.hidden_size=32",
    "model.intermediate_size=64",
    "model.head_dim=8",
    "model.num_hidden_layers=2",
    "train.steps=24",
    "train.batch_size=4",
    "train.micro_batch_size=4",
    "train.evaluate_every=4",
    "evaluate.max_bytes=4000",
)


def falling(floor: float, steps: int = 60, to: int | None = None) -> Training:
    """Losses of twelve evaluations that fall to a floor, as far as `to`."""
    every = steps // 12
    curve = {step: floor + 1 - step / steps for step in range(every, steps + 1, every)}
    return Training(steps, {step: loss for step, loss in curve.items() if to is None or step <= to})
