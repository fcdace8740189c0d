"""Pieces of a job as Ray's tasks. Retries, spilling, and where a piece is done are Ray's business."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import ray

from smolfast.cluster.ray_pool import RayPool
from smolfast.errors import SmolfastError
from smolfast.processes.pool import Job, Tasks

Item = TypeVar("Item")
Result = TypeVar("Result")
Task = TypeVar("Task")
Done = TypeVar("Done")

AHEAD = 2
"""Pieces for each CPU that are under way, or done and not yet wanted: what bounds what Ray holds."""
RETRIES = 10
"""Of a piece whose process or machine was lost. A piece that ends its own process each time costs as many tries."""


class LostError(SmolfastError):
    """A piece ended its process each time."""


class RayEngine:
    """The cluster that this process is connected to."""

    spread = True

    @staticmethod
    def connected(address: str | None = None) -> RayEngine:
        """Connect, unless this process is connected already.

        Args:
            address: HOST:PORT of a cluster, "auto" for that of this machine, or None: RAY_ADDRESS, or a cluster of this
                machine alone that ends with this process.

        Raises:
            SmolfastError: no cluster answers there.
        """
        if not ray.is_initialized():
            address = address or os.environ.get("RAY_ADDRESS")
            _check_answers(address)
            try:
                ray.init(
                    address=address,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    include_dashboard=None if address else False,
                )
            except Exception as error:
                where = f"at {address}" if address else "on this machine"
                raise SmolfastError(
                    f"no Ray cluster {where} ({type(error).__name__}: {_one_line(error)}); start one with ray start "
                    "--head, or leave out --address"
                ) from error
        return RayEngine()

    @property
    def places(self) -> int:
        """CPUs of the cluster now."""
        return max(1, int(ray.cluster_resources().get("CPU", 1)))

    def stream(
        self,
        work: Callable[[Item], Iterable[Result]],
        items: Iterable[Item],
        *,
        lost: Callable[[Item, str], Result] | None = None,
    ) -> Iterator[Result]:
        """As `Engine` says."""

        def instead(arguments: tuple[Any, ...], error: LostError) -> list[Result]:
            if lost is None:
                raise error
            return [lost(arguments[1], str(error))]

        all_of: Callable[..., list[Result]] = _all_of
        for found in self._ordered(all_of, ((work, item) for item in items), instead):
            yield from found

    def ordered(self, work: Callable[..., Result], items: Iterable[tuple[Any, ...]]) -> Iterator[Result]:
        """As `Engine` says."""
        return self._ordered(work, items, None)

    def _ordered(
        self,
        work: Callable[..., Result],
        items: Iterable[tuple[Any, ...]],
        instead: Callable[[tuple[Any, ...], LostError], Result] | None,
    ) -> Iterator[Result]:
        waiting: deque[tuple[Any, tuple[Any, ...]]] = deque()
        todo = iter(items)
        more = True
        try:
            while more or waiting:
                room = AHEAD * self.places
                while more and len(waiting) < room:
                    arguments = next(todo, None)
                    if arguments is None:
                        more = False
                    else:
                        waiting.append((self.submit(work, *arguments), arguments))
                if waiting:
                    piece, of = waiting.popleft()
                    try:
                        found = self.get(piece)
                    except LostError as error:
                        if instead is None:
                            raise
                        found = instead(of, error)
                    yield found
        finally:
            for piece, _ in waiting:
                with contextlib.suppress(Exception):
                    ray.cancel(piece)

    def submit(self, work: Callable[..., Any], *arguments: Any, parts: int | None = None) -> Any:
        """As `Engine` says."""
        found = _piece.options(num_returns=parts or 1, name=_name(work)).remote(work, parts, *arguments)
        return [found] if parts == 1 else found

    def put(self, value: Any) -> Any:
        """As `Engine` says."""
        return ray.put(value)

    def get(self, result: Any) -> Any:
        """As `Engine` says."""
        try:
            return ray.get(result)
        except ray.exceptions.RayTaskError as error:
            cause = error.cause
            if type(cause).__module__.startswith("smolfast."):
                raise cause from None
            raise SmolfastError(f"a piece of work failed on Ray: {type(cause).__name__}: {_one_line(cause)}") from error
        except ray.exceptions.WorkerCrashedError as error:  # also where the system ended it for its memory
            raise LostError(
                f"a worker's process ended {RETRIES + 1} times at one piece of the input; leave out files until it is "
                "found, or give each worker more memory"
            ) from error
        except (ray.exceptions.OutOfMemoryError, ray.exceptions.ObjectStoreFullError) as error:
            raise SmolfastError(
                f"the cluster has too little memory for a piece of work ({_one_line(error)[:200]}); give it more, or "
                "fewer CPUs to a machine"
            ) from error
        except ray.exceptions.RayError as error:
            raise SmolfastError(
                f"Ray lost a piece of work ({type(error).__name__}: {_one_line(error)[:200]}); run the same command "
                "again to go on"
            ) from error

    def pool(self, count: int, job: Job[Task, Done]) -> Tasks[Task, Done]:
        """As `Engine` says; one worker for each CPU of the cluster."""
        return RayPool(self.places, job)


def _check_answers(address: str | None) -> None:
    """Refuse HOST:PORT where nobody listens: Ray itself asks there for minutes."""
    host, colon, port = (address or "").rpartition(":")
    if not (colon and host and port.isdigit()) or "://" in host:
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise SmolfastError(
            f"nobody answers at {address} ({_one_line(error)}); start a cluster with ray start --head, or correct "
            "--address"
        ) from error


def _run(work: Callable[..., Any], parts: int | None, *arguments: Any) -> Any:
    found = work(*arguments)
    if parts is None:
        return found
    return found[0] if parts == 1 else tuple(found)


_piece = ray.remote(max_retries=RETRIES, num_cpus=1)(_run)


def _all_of(work: Callable[[Item], Iterable[Result]], item: Item) -> list[Result]:
    return list(work(item))


def _name(work: Any) -> str:
    return str(getattr(work, "__name__", None) or type(getattr(work, "func", work)).__name__)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
