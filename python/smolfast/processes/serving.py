"""What every worker process does: it reads tasks on standard input, and gives what came of them on standard output."""

from __future__ import annotations

import json
import mmap
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, BinaryIO, NoReturn

from smolfast.processes.protocol import BEACON, FRAME, OUT_OF_MEMORY


class Serving:
    """One process's side."""

    def __init__(self, setup: dict[str, Any], source: BinaryIO, sink: BinaryIO) -> None:
        self.setup = setup
        self._source, self._sink = source, sink
        self._beacon = mmap.mmap(setup["beacon"], BEACON.size)
        self._met = 0
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)

    def ready(self) -> None:
        """Say that tasks can come."""
        self._send(b"R", b"")

    def next(self) -> tuple[dict[str, Any], bytes] | None:
        """The next task, as `Job.ask` gives it; None when there is none any more."""
        line = self._source.readline()
        if not line:
            return None
        asked = json.loads(line)
        content = self._source.read(asked["follows"])
        self._met = 0
        self._beacon[:] = BEACON.pack(-1, -1, 0)
        return asked, content

    def at(self, outer: int, inner: int) -> None:
        """Say which piece of the task is worked on from now, with the limits of one piece."""
        self._met += 1
        self._beacon[:] = BEACON.pack(outer, inner, self._met)
        # Work ends a piece, not the clock: the second is for functions that sleep.
        signal.setitimer(signal.ITIMER_PROF, self.setup["cpu_seconds"])
        signal.setitimer(signal.ITIMER_REAL, 10 * self.setup["cpu_seconds"])

    def give_up(self) -> NoReturn:
        """End this process, since it is out of memory: that counts against the piece of work at which it is."""
        os._exit(OUT_OF_MEMORY)

    def frame(self, content: Any) -> None:
        """Give some of what came of the task."""
        self._send(b"B", content)

    def done(self, said: dict[str, Any]) -> None:
        """Give the last of it."""
        for timer in (signal.ITIMER_PROF, signal.ITIMER_REAL):
            signal.setitimer(timer, 0)
        self._send(b"D", json.dumps(said).encode())

    def _send(self, kind: bytes, content: Any) -> None:
        _send(self._sink, kind, content)


def run(serve: Callable[[Serving], None]) -> None:
    """Serve until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when to end
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # what a library prints must not get among the messages
    line = source.readline()
    if not line.endswith(b"\n"):  # who asked was gone before it had said all
        return
    setup = json.loads(line)
    sys.path[:] = setup["path"]
    try:
        _limit_memory(setup["memory"])
        serve(Serving(setup, source, sink))
    except BrokenPipeError:  # who asked is gone
        os._exit(0)
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    except Exception as error:
        from smolfast.errors import SmolfastError

        said = str(error) if isinstance(error, SmolfastError) else f"{type(error).__name__}: {error}"
        _send(sink, b"E", json.dumps({"error": said, "ours": isinstance(error, SmolfastError)}).encode())


def _send(sink: BinaryIO, kind: bytes, content: Any) -> None:
    content = memoryview(content)
    sink.write(FRAME.pack(kind, content.nbytes))
    sink.write(content)
    sink.flush()


def _limit_memory(size: int) -> None:
    """A task that would take all of the machine's memory ends its worker instead."""
    import resource

    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (size if hard < 0 else min(size, hard), hard))
