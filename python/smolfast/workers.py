"""Units of work side by side on a CPU, each on one torch thread.

A unit's result then depends on nothing but its input: not on how many units run at once, nor on how many CPUs there
are. Small models gain speed by it too, since their matrices are too small to split. torch releases the GIL in its
operations and in the backward pass, so Python threads suffice.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")


class Workers:
    """A pool of `threads` single-threaded workers; 0 takes every CPU this process may use.

    While it is open, torch in the calling thread is single-threaded too. With `threads=1`, or on an accelerator,
    which needs no help, `map` runs in the calling thread.
    """

    def __init__(self, threads: int = 0, device: torch.device | str = "cpu") -> None:
        self.threads = threads or _available_cpus()
        self._pool: ThreadPoolExecutor | None = None
        self._before = torch.get_num_threads()
        self._on_cpu = torch.device(device).type == "cpu"

    def __enter__(self) -> Self:
        if self._on_cpu:
            torch.set_num_threads(1)
            if self.threads > 1:
                # The setting is per thread as soon as a thread has touched OpenMP: set it where the work runs.
                self._pool = ThreadPoolExecutor(
                    self.threads, "smolfast", initializer=torch.set_num_threads, initargs=(1,)
                )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        if self._on_cpu:
            torch.set_num_threads(self._before)

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Results in the order of the items; an error of a unit is raised here."""
        return map(function, items) if self._pool is None else self._pool.map(function, items)


def _available_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
