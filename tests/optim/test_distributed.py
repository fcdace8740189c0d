"""Optimiser steps on 2 and 4 gloo processes equal one process's; distributed/optim_ranks.py is what a process runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch.distributed as dist

SCRIPT = Path(__file__).parents[1] / "distributed" / "optim_ranks.py"

pytestmark = pytest.mark.skipif(
    not dist.is_available() or not dist.is_gloo_available(), reason="torch has no gloo here"
)


@pytest.mark.parametrize(
    ("world", "cases"), [(2, ["fsdp", "ddp", "columns", "clip"]), (4, ["fsdp", "hsdp", "ddp"])], ids=["2", "4"]
)
def test_ranks_equal_one_process(world: int, cases: list[str], run_ranks: Callable[..., None]) -> None:
    run_ranks(SCRIPT, world, *cases)


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="only Linux has this scheduling class")
def test_ranks_end_while_gloo_holds_tensors(run_ranks: Callable[..., None]) -> None:
    """Without `leave_process_groups` this aborts nearly always, and on a busy machine any run might."""
    run_ranks(SCRIPT, 2, "starved", "clip")
