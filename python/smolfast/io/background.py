"""One piece of work at a time beside the caller's own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self


class Background:
    """Runs calls one after another in a thread; an error is raised in the caller at the next call, or at the end.

    Leaving the block waits for what is under way.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "smolfast-background")
        self._pending: Future[object] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True)
        if error is None:
            self.wait()

    def submit(self, work: Callable[[], object]) -> None:
        """Wait for the call before, then start this one."""
        self.wait()
        self._pending = self._pool.submit(work)

    def wait(self) -> None:
        """Wait until nothing is under way."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()
