"""The loss over slices of the vocabulary on gloo processes; distributed/loss_ranks.py is what a process runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch.distributed as dist

SCRIPT = Path(__file__).parents[1] / "distributed" / "loss_ranks.py"

pytestmark = pytest.mark.skipif(
    not dist.is_available() or not dist.is_gloo_available(), reason="torch has no gloo here"
)


@pytest.mark.parametrize("world", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_slices_equal_the_whole_vocabulary(world: int, run_ranks: Callable[..., None]) -> None:
    run_ranks(SCRIPT, world)
