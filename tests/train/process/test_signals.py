"""Signals wait for their moment, and reach whoever handled them before."""

from __future__ import annotations

import signal
import threading
from typing import Any

import pytest

from smolfast.train.process.signals import DeferredSignals


class Received(BaseException):
    pass


@pytest.fixture(autouse=True)
def handler() -> Any:
    def handle(number: int, frame: Any) -> None:
        raise Received(number)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    yield handle
    for number, old in before.items():
        signal.signal(number, old)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_held_back_until_raised_again(number: int, handler: Any) -> None:
    with DeferredSignals() as signals:
        assert signals.received is None
        signal.raise_signal(number)
        assert signals.received == number
        with pytest.raises(Received):
            signals.raise_again()
    assert signal.getsignal(number) is handler


def test_the_second_is_not_held_back() -> None:
    with DeferredSignals(), pytest.raises(Received):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)


def test_ignored_signals_stay_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with DeferredSignals() as signals:
        signal.raise_signal(signal.SIGINT)
        assert signals.received is None


def test_other_threads_leave_the_handlers_alone(handler: Any) -> None:
    seen = []

    def work() -> None:
        with DeferredSignals():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [handler]


def test_what_a_watcher_raises_waits_as_well() -> None:
    def watch(step: int) -> None:
        if step == 2:
            raise ValueError(f"enough at {step}")

    with DeferredSignals() as signals:
        signals.tell(watch, 1)
        assert not signals.asked
        signals.tell(watch, 2)
        assert signals.asked and signals.received is None
        with pytest.raises(ValueError, match="enough at 2"):
            signals.raise_again()
