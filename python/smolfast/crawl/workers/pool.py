"""The processes that read stretches, from the side of who asks: a dead one is replaced, and its page named."""

from __future__ import annotations

import contextlib
import dataclasses
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
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from smolfast.crawl.reading.faults import Place
from smolfast.crawl.stretch import Stretch
from smolfast.crawl.workers.protocol import BEACON, FRAME
from smolfast.errors import SmolfastError
from smolfast.files import describe_os_error

UNREADABLE = "!"
"""Before the reason of a record that ends workers even when it isn't extracted: it isn't looked at any more."""
_HOW: dict[int, str] = {signal.SIGPROF: "work limit", signal.SIGALRM: "time limit"}


@dataclass(frozen=True)
class Setup:
    """What all workers work by."""

    extract: str
    """As `extractor_name` gives it."""
    urls: Mapping[str, str | None]
    """Files of the URL filter, as `read_url_filter` takes them."""
    cpu_seconds: float = 60.0
    """Of one page, after which its worker ends. Pages within the other limits take seconds at most."""
    memory: int = 4 << 30
    """Bytes of a worker."""

    def as_json(self, beacon: int) -> bytes:
        said = {**dataclasses.asdict(self), "wall_seconds": 10 * self.cpu_seconds, "beacon": beacon, "path": sys.path}
        return json.dumps(said).encode() + b"\n"


@dataclass
class Result:
    """What came of a stretch."""

    start: Place | None
    end: Place | None
    records: int
    html_bytes: int
    not_pages: dict[str, int]
    seconds: dict[str, float]
    pages: list[bytes] = field(default_factory=list)
    """Arrow streams, each of one batch."""

    def batches(self) -> list[pa.RecordBatch]:
        """The rows of `ROW_SCHEMA`."""
        return [batch for stream in self.pages for batch in pa.ipc.open_stream(stream)]


class Pool:
    """Some workers. Stretches are begun in the order in which they are submitted."""

    def __init__(self, count: int, setup: Setup) -> None:
        self._setup = setup
        self._waiting: deque[tuple[int, Stretch]] = deque()
        self._selector = selectors.DefaultSelector()
        self._workers: list[_Worker] = []
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

    def submit(self, number: int, stretch: Stretch, *, first: bool = False) -> None:
        """Have a stretch read; `first` before those that wait."""
        (self._waiting.appendleft if first else self._waiting.append)((number, stretch))
        self._give()

    def _give(self) -> None:
        while self._waiting:
            idle = next((worker for worker in self._workers if worker.task is None), None)
            if idle is None:
                if len(self._workers) >= self._count:
                    return
                idle = self._start()
            idle.give(*self._waiting.popleft())

    def _start(self) -> _Worker:
        worker = _Worker(self._setup)
        self._workers.append(worker)
        self._selector.register(worker.output, selectors.EVENT_READ, worker)
        return worker

    def next(self) -> tuple[int, Result]:
        """Wait for any stretch to be done; its number and what came of it.

        Raises:
            SmolfastError: a worker can't begin, or a file can't be read.
        """
        while True:
            for key, _ in self._selector.select():
                worker: _Worker = key.data
                done = worker.receive()
                if done is not None:
                    self._give()
                    return done
                if worker.dead:
                    self._replace(worker)

    def _replace(self, worker: _Worker) -> None:
        self.deaths += 1
        self._selector.unregister(worker.output)
        self._workers.remove(worker)
        task = worker.task
        worker.end()
        if task is not None:
            number, stretch = task
            self._waiting.appendleft((number, worker.without_what_ended_it(stretch)))
        self._give()


class _Worker:
    """One process."""

    def __init__(self, setup: Setup) -> None:
        self.task: tuple[int, Stretch] | None = None
        self.dead = False
        self._began = False
        self._pages: list[bytes] = []
        with tempfile.TemporaryFile() as file:
            file.truncate(BEACON.size)
            self._beacon = mmap.mmap(file.fileno(), BEACON.size)
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "smolfast.crawl.workers.worker"],
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
            self._write(setup.as_json(file.fileno()))

    def _write(self, line: bytes) -> None:
        with contextlib.suppress(OSError):  # it is dead: reading will tell
            left = memoryview(line)
            while left:
                left = left[self._input.write(left) :]

    def give(self, number: int, stretch: Stretch) -> None:
        self.task = (number, stretch)
        self._pages = []
        asked = {
            "path": os.fsencode(stretch.path).hex(),
            "name": stretch.name,
            "search": stretch.search,
            "stop": stretch.stop,
            "start": stretch.start,
            "lost": list(stretch.lost.items()),
        }
        self._write(json.dumps(asked).encode() + b"\n")

    def receive(self) -> tuple[int, Result] | None:
        """Take a message; what came of its stretch if that is the last one of it."""
        head = self._read(FRAME.size)
        kind, size = FRAME.unpack(head) if len(head) == FRAME.size else (b"", 0)
        content = self._read(size)
        if not kind or len(content) < size:
            self.dead = True
        elif kind == b"R":
            self._began = True
        elif kind == b"B":
            self._pages.append(content)
        elif kind == b"E":
            raise self._failed(json.loads(content))
        else:
            assert self.task is not None
            number, self.task = self.task[0], None
            return number, _result(json.loads(content), self._pages)
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
        where = f"can't read {self.task[1].path}" if self.task and self._began else "a worker can't begin"
        return SmolfastError(f"{where}: {' '.join(str(said['error']).split())}; try again with --threads 1")

    def without_what_ended_it(self, stretch: Stretch) -> Stretch:
        """The stretch again, without the record at which this process ended.

        Raises:
            SmolfastError: it ended where no record is to blame.
        """
        code = self._process.returncode
        member, inner, _ = BEACON.unpack(self._beacon[:])
        place = Place(member, inner)
        how = _HOW.get(-code, "killed")
        known = stretch.lost.get(place, "")
        if not self._began or member < 0 or known.startswith(UNREADABLE):
            where = f"{stretch.path} near offset {stretch.search if member < 0 else place}"
            raise SmolfastError(
                f"the process that read {where} ended (status {code}); free memory, or leave that file out"
            )
        return dataclasses.replace(stretch, lost={**stretch.lost, place: (UNREADABLE if known else "") + how})

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


def _result(said: Mapping[str, Any], pages: list[bytes]) -> Result:
    start, end = (None if said[name] is None else Place(*said[name]) for name in ("start", "end"))
    return Result(start, end, said["records"], said["html_bytes"], said["not_pages"], said["seconds"], pages)
