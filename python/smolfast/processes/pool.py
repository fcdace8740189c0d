"""The processes that work on tasks, from the side of who asks: a dead one is replaced, and what ended it left out."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import selectors
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from smolfast.errors import SmolfastError
from smolfast.files import describe_os_error
from smolfast.processes.protocol import BEACON, FRAME, OUT_OF_MEMORY

Task = TypeVar("Task")
Asked = TypeVar("Asked", contravariant=True)
Result = TypeVar("Result", covariant=True)
_HOW: dict[int, str] = {
    -signal.SIGPROF: "work limit",
    -signal.SIGALRM: "time limit",
    OUT_OF_MEMORY: "out of memory",
}
_OF_THE_TASK = ("work limit", "time limit")
"""Ends that no task before can have caused."""


class Job(Protocol[Task, Result]):
    """What workers do: how tasks go to them, and what comes back."""

    @property
    def module(self) -> str:
        """Which each process runs; it calls `serving.serve`."""

    def setup(self) -> Mapping[str, Any]:
        """What a process is told when it begins, with `cpu_seconds` and `memory` (bytes) as its limits."""

    def ask(self, task: Task) -> tuple[Mapping[str, Any], bytes]:
        """What a process is told of a task: JSON, and bytes that follow."""

    def result(self, said: Mapping[str, Any], frames: list[bytes]) -> Result:
        """What came of a task."""

    def path(self, task: Task) -> str:
        """The file, for messages."""

    def without(self, task: Task, place: tuple[int, int] | None, how: str, status: int) -> Task:
        """The task again, without the place at which its process ended; None: it ended before it began.

        Raises:
            SmolfastError: nothing is to blame there.
        """


class Tasks(Protocol[Asked, Result]):
    """Who does tasks: a `Pool`, or workers on other machines. A block ends them."""

    deaths: int
    """Processes that ended before their task did."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def submit(self, number: int, task: Asked, *, first: bool = False) -> None:
        """Have a task done; `first` before those that wait."""

    def next(self) -> tuple[int, Result]:
        """Wait for any task to be done; its number and what came of it."""


class Pool(Generic[Task, Result]):
    """Some workers. Tasks are begun in the order in which they are submitted."""

    def __init__(self, count: int, job: Job[Task, Result]) -> None:
        self._job = job
        self._waiting: deque[tuple[int, Task]] = deque()
        self._selector = selectors.DefaultSelector()
        self._workers: list[_Worker[Task, Result]] = []
        self._count = count
        self.deaths = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.end()
        self._selector.close()

    def submit(self, number: int, task: Task, *, first: bool = False) -> None:
        """Have a task done; `first` before those that wait."""
        (self._waiting.appendleft if first else self._waiting.append)((number, task))
        self._give()

    def _give(self) -> None:
        while self._waiting:
            idle = next((worker for worker in self._workers if worker.task is None), None)
            if idle is None:
                if len(self._workers) >= self._count:
                    return
                idle = self._start()
            idle.give(*self._waiting.popleft())

    def _start(self) -> _Worker[Task, Result]:
        worker = _Worker(self._job)
        self._workers.append(worker)
        self._selector.register(worker.output, selectors.EVENT_READ, worker)
        return worker

    def next(self) -> tuple[int, Result]:
        """Wait for any task to be done; its number and what came of it.

        Raises:
            SmolfastError: a worker can't begin, or a file can't be read.
        """
        while True:
            for key, _ in self._selector.select():
                worker: _Worker[Task, Result] = key.data
                done = worker.receive()
                if done is not None:
                    self._give()
                    return done
                if worker.dead:
                    self._replace(worker)

    def _replace(self, worker: _Worker[Task, Result]) -> None:
        self.deaths += 1
        self._selector.unregister(worker.output)
        self._workers.remove(worker)
        task = worker.task
        worker.end()
        if task is not None:
            number, asked = task
            if worker.may_have_been_spoilt:
                self._start().give(number, asked)
                return
            self._waiting.appendleft((number, worker.without_what_ended_it(asked)))
        self._give()


class _Worker(Generic[Task, Result]):
    """One process."""

    def __init__(self, job: Job[Task, Result]) -> None:
        self._job = job
        self.task: tuple[int, Task] | None = None
        self.dead = False
        self._began = False
        self._done = 0
        self._frames: list[bytes] = []
        with tempfile.TemporaryFile() as file:
            file.truncate(BEACON.size)
            self._beacon = mmap.mmap(file.fileno(), BEACON.size)
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", job.module],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    bufsize=0,  # what a buffer has taken in, a selector doesn't see
                    pass_fds=[file.fileno()],
                    # Without seeds of its own a process orders sets as any other does.
                    env={**os.environ, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "PYTHONPATH": _python_path()},
                )
            except OSError as error:
                raise SmolfastError(f"can't start a worker: {describe_os_error(error)}") from error
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._input, self.output = self._process.stdin, self._process.stdout
            said = {**job.setup(), "beacon": file.fileno(), "path": sys.path}
            self._write(json.dumps(said).encode() + b"\n")

    def _write(self, line: bytes) -> None:
        with contextlib.suppress(OSError):  # it is dead: reading will tell
            left = memoryview(line)
            while left:
                left = left[self._input.write(left) :]

    def give(self, number: int, task: Task) -> None:
        self.task = (number, task)
        self._frames = []
        self._beacon[:] = BEACON.pack(-1, -1, 0)  # it may end before it reads of this task
        asked, content = self._job.ask(task)
        self._write(json.dumps({**asked, "follows": len(content)}).encode() + b"\n")
        self._write(content)

    def receive(self) -> tuple[int, Result] | None:
        """Take a message; what came of its task if that is the last one of it."""
        head = self._read(FRAME.size)
        kind, size = FRAME.unpack(head) if len(head) == FRAME.size else (b"", 0)
        content = self._read(size)
        if not kind or len(content) < size:
            self.dead = True
        elif kind == b"R":
            self._began = True
        elif kind == b"B":
            self._frames.append(content)
        elif kind == b"E":
            raise self._failed(json.loads(content))
        else:
            assert self.task is not None
            number, self.task = self.task[0], None
            self._done += 1
            return number, self._job.result(json.loads(content), self._frames)
        return None

    def _read(self, size: int) -> bytes:
        """So many bytes, or fewer where the process ends."""
        found = bytearray()
        while len(found) < size and (block := self.output.read(size - len(found))):
            found += block
        return bytes(found)

    def _failed(self, said: Mapping[str, Any]) -> SmolfastError:
        if said["ours"]:
            return SmolfastError(str(said["error"]))
        where = f"can't read {self._job.path(self.task[1])}" if self.task and self._began else "a worker can't begin"
        return SmolfastError(f"{where}: {' '.join(str(said['error']).split())}; try again with --threads 1")

    @property
    def _how(self) -> str:
        return _HOW.get(self._process.returncode, "killed")

    @property
    def may_have_been_spoilt(self) -> bool:
        """Whether earlier tasks may have ended it: memory that a library lost, or wrote over."""
        return self._done > 0 and self._how not in _OF_THE_TASK

    def without_what_ended_it(self, task: Task) -> Task:
        """The task again, without what this process ended at; raises SmolfastError where nothing is to blame."""
        outer, inner, _ = BEACON.unpack(self._beacon[:])
        return self._job.without(task, (outer, inner) if self._began else None, self._how, self._process.returncode)

    def end(self) -> None:
        """Kill it, whatever it does."""
        self._process.kill()
        self._process.wait()
        for stream in (self._input, self.output):
            with contextlib.suppress(OSError):
                stream.close()


def _python_path() -> str:
    """So that a worker finds this very package."""
    return os.pathsep.join(path for path in sys.path if path)
