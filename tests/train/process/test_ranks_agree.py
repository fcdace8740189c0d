"""Ranks that differ say so on every rank, rather than wait for ever or drift apart; distributed/drift_ranks.py runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch.distributed as dist

SCRIPT = Path(__file__).parents[2] / "distributed" / "drift_ranks.py"


@pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="torch has no gloo here")
def test_ranks_that_differ_say_so(run_ranks: Callable[..., None]) -> None:
    run_ranks(SCRIPT, 2)
