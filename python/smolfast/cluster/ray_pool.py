"""Tasks that may crash or hang, done on other machines: each worker of Ray's has a process of its own for them."""

from __future__ import annotations

from collections import deque
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import ray

from smolfast.errors import SmolfastError
from smolfast.processes.pool import Job, Pool

Task = TypeVar("Task")
Done = TypeVar("Done")


class _Worker:
    """A pool of one process; what ends that process is left out as on one machine."""

    def __init__(self, job: Any) -> None:
        self._pool: Pool[Any, Any] = Pool(1, job)

    def do(self, task: Any) -> tuple[Any, int]:
        """What came of a task, and how many processes have ended here before their time."""
        self._pool.submit(0, task)
        return self._pool.next()[1], self._pool.deaths


_Actor = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=-1)(_Worker)


class RayPool(Generic[Task, Done]):
    """Workers on all machines. One that is lost, with its machine or alone, is replaced, and its task done again."""

    def __init__(self, count: int, job: Job[Task, Done]) -> None:
        self.deaths = 0
        self._actors = [_Actor.remote(job) for _ in range(count)]
        self._deaths = [0] * count
        self._idle = deque(range(count))
        self._waiting: deque[tuple[int, Task]] = deque()
        self._under_way: dict[Any, tuple[int, int]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for actor in self._actors:
            ray.kill(actor)

    def submit(self, number: int, task: Task, *, first: bool = False) -> None:
        """Have a task done; `first` before those that wait."""
        (self._waiting.appendleft if first else self._waiting.append)((number, task))
        self._give()

    def next(self) -> tuple[int, Done]:
        """Wait for any task to be done; its number and what came of it.

        Raises:
            SmolfastError: a worker can't begin, or a file can't be read.
        """
        (done,), _ = ray.wait(list(self._under_way), num_returns=1)
        number, worker = self._under_way.pop(done)
        self._idle.append(worker)
        self._give()
        try:
            result, deaths = ray.get(done)
        except ray.exceptions.RayTaskError as error:
            raise SmolfastError(" ".join(str(error.cause).split())) from error
        except ray.exceptions.RayError as error:
            raise SmolfastError(
                f"Ray lost a worker ({type(error).__name__}); run the same command again to go on"
            ) from error
        self._deaths[worker] = max(self._deaths[worker], deaths)
        self.deaths = sum(self._deaths)
        return number, result

    def _give(self) -> None:
        while self._idle and self._waiting:
            worker, (number, task) = self._idle.popleft(), self._waiting.popleft()
            self._under_way[self._actors[worker].do.remote(task)] = (number, worker)
