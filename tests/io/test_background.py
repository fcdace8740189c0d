"""Work beside the caller's own: in order, one at a time, and no error is lost."""

from __future__ import annotations

import threading

import pytest

from smolfast.io.background import Background


def test_work_runs_beside_the_caller_and_in_order() -> None:
    go, seen = threading.Event(), []

    def work(number: int) -> None:
        assert go.wait(10)
        seen.append(number)

    with Background() as background:
        background.submit(lambda: work(1))
        assert seen == []  # not waited for
        go.set()
        background.submit(lambda: work(2))
        assert 1 in seen  # waited for before the next began
    assert seen == [1, 2]


@pytest.mark.parametrize("when", ["at the next", "when waiting", "at the end"])
def test_an_error_reaches_the_caller(when: str) -> None:
    def fail() -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"), Background() as background:
        background.submit(fail)
        if when == "at the next":
            background.submit(lambda: None)
        elif when == "when waiting":
            background.wait()


def test_an_error_of_the_caller_comes_first_and_the_work_is_finished() -> None:
    seen = []

    def fail() -> None:
        seen.append(1)
        raise OSError

    with pytest.raises(KeyError), Background() as background:
        background.submit(fail)
        raise KeyError
    assert seen == [1]
