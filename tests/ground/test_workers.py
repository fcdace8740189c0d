"""Work is done in order, on single-threaded torch, and leaves the caller's settings as they were."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from smolfast.workers import Workers


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_results_keep_the_order_and_each_unit_has_one_torch_thread(threads: int) -> None:
    before = torch.get_num_threads()

    def unit(index: int) -> tuple[int, int, str]:
        time.sleep(0.01 * (3 - index % 4))
        return index, torch.get_num_threads(), threading.current_thread().name

    with Workers(threads) as workers:
        results = list(workers.map(unit, range(8)))
        assert [index for index, _, _ in results] == list(range(8))
        assert {count for _, count, _ in results} == {1}
        assert torch.get_num_threads() == 1
        assert (len({name for _, _, name in results}) > 1) == (threads > 1)
    assert torch.get_num_threads() == before


def test_errors_of_a_unit_are_raised_and_the_settings_come_back() -> None:
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), Workers(2) as workers:
        list(workers.map(lambda x: 1 // x, [1, 0]))
    assert torch.get_num_threads() == before


def test_zero_takes_every_cpu() -> None:
    assert Workers(0).threads >= 1
