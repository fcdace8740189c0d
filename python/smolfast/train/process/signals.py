"""SIGTERM, Ctrl-C, and what whoever watches raises, held back until a good moment."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any


class DeferredSignals:
    """Holds SIGTERM and Ctrl-C back until asked, so that a step ends and a checkpoint is whole.

    Outside the main thread, where Python takes no signals, it does nothing; ignored signals stay ignored.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.told: Exception | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> DeferredSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    @property
    def asked(self) -> bool:
        """Whether someone wants an end."""
        return self.received is not None or self.told is not None

    def tell(self, watch: Callable[..., None], *said: object) -> None:
        """Call whoever watches; hold back an exception of theirs as well."""
        try:
            watch(*said)
        except Exception as error:
            self.told = error

    def raise_again(self) -> None:
        """Hand the signal to its earlier handler; raise what the watcher raised."""
        self._restore()
        if self.received is not None:
            signal.raise_signal(self.received)
        assert self.told is not None
        raise self.told

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:  # asked twice: don't wait for the step
            self.raise_again()
        self.received = number

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()
