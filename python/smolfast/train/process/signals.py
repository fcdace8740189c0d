"""SIGTERM and Ctrl-C, held back until a good moment."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any


class DeferredSignals:
    """Holds SIGTERM and Ctrl-C back until asked, so that a step ends and a checkpoint is whole.

    Outside the main thread, where Python takes no signals, it does nothing; ignored signals stay ignored.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> DeferredSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def raise_again(self) -> None:
        """Hand the signal to its earlier handler."""
        self._restore()
        assert self.received is not None
        signal.raise_signal(self.received)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:  # asked twice: don't wait for the step
            self.raise_again()
        self.received = number

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()
