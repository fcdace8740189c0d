"""Sequences shared over ranks: gradients of one process, room, and what is refused.

The losses of 50 steps and checkpoints between different numbers of ranks are in test_resumed_ranks.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch.distributed as dist

gloo = pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="torch has no gloo here")
DISTRIBUTED = Path(__file__).parents[1] / "distributed"


@gloo
@pytest.mark.parametrize("world", [2, pytest.param(3, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.slow)])
def test_losses_and_gradients_are_one_process_s(world: int, run_ranks: Callable[..., None]) -> None:
    run_ranks(DISTRIBUTED / "context_ranks.py", world)
