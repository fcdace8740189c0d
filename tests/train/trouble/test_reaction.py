"""What each policy does about trouble, and when it gives up."""

from __future__ import annotations

import json
import math
from typing import Any, Literal

import pytest

from smolfast.train.trouble.reaction import Guard


def calm_guard(policy: Literal["warn", "skip", "rollback"], most: int = 3) -> Guard:
    guard = Guard(policy, sigma=6.0, window=128, most=most, lower=0.5)
    for index in range(60):
        assert guard.look(2.0 + 0.05 * (-1) ** index, 1.0 + 0.1 * (-1) ** index) is None
    return guard


def look(guard: Guard, loss: float, norm: float) -> tuple[str, str, bool]:
    trouble = guard.look(loss, norm)
    assert trouble is not None
    return trouble.what, trouble.reaction, trouble.new


def test_what_is_seen() -> None:
    guard = calm_guard("warn")
    assert look(guard, 9.0, 1.0) == ("loss spike", "warn", True)
    assert look(guard, 2.0, 50.0) == ("gradient spike", "warn", False)
    assert guard.look(2.0, 1.0) is None
    assert look(guard, 9.0, 50.0) == ("loss spike", "warn", True)
    assert look(guard, math.nan, 1.0) == ("not finite", "stop", False)
    assert look(guard, 2.0, math.inf) == ("not finite", "stop", False)


def test_a_rising_rate_is_no_trouble_and_is_not_remembered() -> None:
    guard = calm_guard("rollback")
    before = guard.state()
    assert guard.look(9.0, 50.0, settled=False) is None
    assert guard.state() == before
    trouble = guard.look(math.nan, 50.0, settled=False)
    assert trouble is not None and trouble.what == "not finite"


def test_skipping_gives_up_when_it_does_not_help() -> None:
    guard = calm_guard("skip")
    assert [look(guard, math.nan, math.nan)[1] for _ in range(4)] == ["skip", "skip", "skip", "stop"]
    guard.look(2.0, 1.0)
    assert look(guard, math.nan, math.nan) == ("not finite", "skip", True)


def test_rollbacks_go_further_back_lower_the_rate_and_end() -> None:
    guard = calm_guard("rollback")
    memory = json.loads(json.dumps(guard.state()))
    for count in range(3):
        assert look(guard, 9.0, 1.0)[1] == "rollback"
        assert guard.checkpoints_to_pass_over(100) == count
        guard.roll_back(memory, step=100, back_to=90, further=5)
        assert (guard.skipped, guard.rate) == (15 * (count + 1), 0.5 ** (count + 1))
    assert guard.checkpoints_to_pass_over(1_000) == 0
    assert look(guard, 9.0, 1.0)[1] == "stop"


@pytest.mark.parametrize("policy", ["warn", "skip", "rollback"])
def test_the_memory_comes_back_through_json(policy: Any) -> None:
    first, second = calm_guard(policy), Guard(policy, sigma=6.0, window=128, most=3, lower=0.5)
    first.look(9.0, 1.0)
    second.load(json.loads(json.dumps(first.state())))
    for values in ((9.0, 1.0), (2.0, 1.0), (2.3, 1.0), (2.0, 9.0)):
        assert first.look(*values) == second.look(*values)
