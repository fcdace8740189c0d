"""Where a stage's work is done: in this process, or side by side in processes of their own."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from smolfast.errors import DivergedError, SmolfastError, StopRunError, StopTrialError
from smolfast.files import describe_os_error
from smolfast.pipeline.recipes.flow import Flow
from smolfast.pipeline.recipes.graph import Node
from smolfast.pipeline.stages import Runner

Watch = Callable[[str, float, float, str], None]
"""Is told of a stage's progress: its name, work done, work in all, a note."""
_KINDS = {kind.__name__: kind for kind in (DivergedError, StopTrialError, StopRunError)}
"""Errors that are told apart by those who ran the stages."""
_PATIENCE = 20.0
"""Seconds that a process has to end by itself: training saves a checkpoint at the end of a step."""


class StopStageError(Exception):
    """Whoever watches a stage's progress raises it to end the stage; it counts as failed."""


def said_by(error: Exception) -> str:
    """An error in a line; with its kind if it is none that users are meant to read."""
    text = " ".join(str(error).split())
    return text if isinstance(error, SmolfastError | StopStageError) else f"{type(error).__name__}: {text}"


@dataclass(frozen=True)
class Done:
    """What came of a stage: a summary, or an error."""

    name: str
    seconds: float
    summary: Mapping[str, Any] | None = None
    error: Exception | None = None


class Executor(Protocol):
    """Does the work of stages."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def start(self, node: Node, summaries: Mapping[str, Mapping[str, Any]]) -> None:
        """Begin a stage."""

    def next(self) -> Done:
        """Wait until some stage has ended."""


class Here:
    """One stage after another, in this process."""

    def __init__(self, flow: Flow, runner: Runner, watch: Watch) -> None:
        self._flow, self._runner, self._watch = flow, runner, watch
        self._begun: tuple[Node, Mapping[str, Mapping[str, Any]]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def start(self, node: Node, summaries: Mapping[str, Mapping[str, Any]]) -> None:
        """Note it; `next` does it."""
        self._begun = node, summaries

    def next(self) -> Done:
        """Do it."""
        assert self._begun is not None
        (node, summaries), began = self._begun, time.monotonic()
        try:
            with logged(self._flow.log(node), redirect=node.kind_name == "python"):
                stage = self._flow.stage(node, summaries)
                summary = self._runner.run(stage, lambda done, total, note: self._watch(node.name, done, total, note))
        except Exception as error:
            return Done(node.name, time.monotonic() - began, error=error)
        return Done(node.name, time.monotonic() - began, summary)


@contextlib.contextmanager
def logged(log: Path, *, redirect: bool) -> Iterator[None]:
    """Keep what a function prints, and where it failed, in a file; no file if that is nothing."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8", errors="backslashreplace") as file, contextlib.ExitStack() as stack:
        if redirect:
            stack.enter_context(contextlib.redirect_stdout(file))
            stack.enter_context(contextlib.redirect_stderr(file))
        try:
            yield
        except SmolfastError:
            raise
        except Exception:
            file.write(traceback.format_exc())
            raise
    if log.stat().st_size == 0:
        log.unlink()


class Processes:
    """Several stages at once, each in a process, which does further ones when it is free."""

    def __init__(self, flow: Flow, runner: Runner, watch: Watch, said: Mapping[str, Any]) -> None:
        self._flow, self._runner, self._watch = flow, runner, watch
        self._setup = {**flow.as_setup(), "said": said, "path": sys.path}
        self._idle: list[_Process] = []
        self._all: list[_Process] = []
        self._ended: queue.Queue[tuple[_Process, Done]] = queue.Queue()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._all:
            process.ask_to_end()
        deadline = time.monotonic() + _PATIENCE
        for process in self._all:
            process.end(max(0.0, deadline - time.monotonic()))

    def start(self, node: Node, summaries: Mapping[str, Mapping[str, Any]]) -> None:
        """Give it to a free process, or to a new one."""
        if self._idle:
            process = self._idle.pop()
        else:
            process = _Process(self._setup, self._flow.manifests)
            self._all.append(process)
        known = {str(path): found for path, found in self._runner.known.items()}
        task = {"stage": node.name, "log": str(self._flow.log(node)), "known": known}
        threading.Thread(target=self._work, args=(process, node, task), daemon=True).start()

    def _work(self, process: _Process, node: Node, task: Mapping[str, Any]) -> None:
        began = time.monotonic()
        try:
            summary = process.do(task, lambda *said: self._watch(node.name, *said))
        except Exception as error:
            self._ended.put((process, Done(node.name, time.monotonic() - began, error=error)))
        else:
            self._ended.put((process, Done(node.name, time.monotonic() - began, summary)))

    def next(self) -> Done:
        """Wait for one."""
        process, done = self._ended.get()
        if process.alive:
            self._idle.append(process)
        else:
            process.end(0.0)
            self._all.remove(process)
        self._runner.forget(self._flow.folder / self._flow.graph.nodes[done.name].output)
        return done


class _Process:
    def __init__(self, setup: Mapping[str, Any], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.alive = True
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "smolfast.pipeline.recipes.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C goes to this process, which tells the others
                text=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            )
        except OSError as error:
            raise SmolfastError(f"can't start a process: {describe_os_error(error)}") from error
        self._tell(setup)

    def _tell(self, said: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it is dead: reading will tell
            self._process.stdin.write(json.dumps(said) + "\n")
            self._process.stdin.flush()

    def do(self, task: Mapping[str, Any], progress: Any) -> Mapping[str, Any]:
        """Have a stage done; its summary.

        Raises:
            SmolfastError: it failed, or its process ended.
        """
        self._tell(task)
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            if "progress" in said:
                try:
                    progress(*said["progress"])
                except BaseException:
                    self.alive = False
                    self.ask_to_end()
                    self.end(_PATIENCE)
                    raise
            elif "summary" in said:
                summary: Mapping[str, Any] = said["summary"]
                return summary
            else:
                raise _KINDS.get(said["kind"], SmolfastError)(said["error"])
        self.alive = False
        code = self._process.wait()
        how = f"was ended by signal {-code} ({_name(-code)})" if code < 0 else f"ended with exit code {code}"
        raise SmolfastError(f"its process {how}; if that was for want of memory, let fewer stages run at once")

    def ask_to_end(self) -> None:
        with contextlib.suppress(OSError):
            self._process.terminate()

    def end(self, seconds: float) -> None:
        """End it, and all that it started."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
