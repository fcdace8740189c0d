"""What jobs ask of an engine, and the engine that is this process."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, Protocol, TypeVar

from smolfast.errors import SmolfastError
from smolfast.machine import install_command
from smolfast.processes.pool import Job, Pool, Tasks

Item = TypeVar("Item")
Result = TypeVar("Result")
Task = TypeVar("Task")
Done = TypeVar("Done")

EngineName = Literal["local", "ray"]
ENGINES: tuple[EngineName, ...] = ("local", "ray")


class Engine(Protocol):
    """Does pieces of a job. What comes out depends neither on the engine nor on how many machines it has."""

    @property
    def spread(self) -> bool:
        """Whether pieces are done in other processes, one CPU each."""

    @property
    def places(self) -> int:
        """How many pieces are done at once."""

    def stream(
        self,
        work: Callable[[Item], Iterable[Result]],
        items: Iterable[Item],
        *,
        lost: Callable[[Item, str], Result] | None = None,
    ) -> Iterator[Result]:
        """All that `work` gives for each item, in the order of the items; some are worked on ahead.

        `work` must be a module's function, a `functools.partial` of one, or an object with `__call__`.

        Args:
            lost: gives what stands for an item at which processes ended again and again, from the item and what
                happened; without it that is an error.

        Raises:
            SmolfastError: `work` did, or its process ended at that item again and again.
        """

    def ordered(self, work: Callable[..., Result], items: Iterable[tuple[Any, ...]]) -> Iterator[Result]:
        """What `work` gives for each tuple of arguments, in their order; some are worked on ahead.

        What stands for a result may be an argument.

        Raises:
            SmolfastError: as for `stream`.
        """

    def submit(self, work: Callable[..., Any], *arguments: Any, parts: int | None = None) -> Any:
        """Begin a piece: what stands for its result, or with `parts` a list of what stands for as many results.

        What stands for a result may be an argument of another piece. It stays where it was made until it is wanted.
        """

    def put(self, value: Any) -> Any:
        """What stands for a value that many pieces need."""

    def get(self, result: Any) -> Any:
        """What a piece gave; of a list, all of it.

        Raises:
            SmolfastError: as for `stream`.
        """

    def pool(self, count: int, job: Job[Task, Done]) -> Tasks[Task, Done]:
        """Workers for a job whose tasks may crash or hang: `count` here, or one for each CPU of a cluster."""


class Here:
    """This process: pieces are done when they are asked for, by as many threads as each takes for itself."""

    spread = False
    places = 1

    def stream(
        self,
        work: Callable[[Item], Iterable[Result]],
        items: Iterable[Item],
        *,
        lost: Callable[[Item, str], Result] | None = None,
    ) -> Iterator[Result]:
        """As `Engine` says; nothing is worked on ahead."""
        for item in items:
            yield from work(item)

    def ordered(self, work: Callable[..., Result], items: Iterable[tuple[Any, ...]]) -> Iterator[Result]:
        """As `Engine` says; nothing is worked on ahead."""
        for arguments in items:
            yield work(*arguments)

    def submit(self, work: Callable[..., Any], *arguments: Any, parts: int | None = None) -> Any:
        """As `Engine` says; a result stands for itself."""
        found = work(*arguments)
        return found if parts is None else list(found)

    def put(self, value: Any) -> Any:
        """As `Engine` says."""
        return value

    def get(self, result: Any) -> Any:
        """As `Engine` says."""
        return result

    def pool(self, count: int, job: Job[Task, Done]) -> Tasks[Task, Done]:
        """As `Engine` says."""
        return Pool(count, job)


def open_engine(engine: str | Engine, address: str | None = None) -> Engine:
    """The engine of a name: "local" or "ray". An engine stays itself.

    Ray's is the cluster of `address`, or the one that this process is connected to, or the one that RAY_ADDRESS names,
    or one on this machine.

    Raises:
        SmolfastError: an unknown name; Ray isn't installed, or no cluster answers.
    """
    if not isinstance(engine, str):
        return engine
    if engine == "local":
        return Here()
    if engine != "ray":
        raise SmolfastError(f"engine = {engine!r}: choose one of {', '.join(ENGINES)}")
    if importlib.util.find_spec("ray") is None:
        raise SmolfastError(f"the engine ray needs Ray; install it with: {install_command('ray')}")
    from smolfast.cluster.ray_engine import RayEngine

    return RayEngine.connected(address)
