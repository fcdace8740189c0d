"""Run a recipe: each stage when those it needs are done, some side by side; what fails stops only what needs it."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smolfast.errors import SmolfastError, StopRunError, StopTrialError
from smolfast.machine import commit, versions
from smolfast.pipeline.recipes.execute import Done, Executor, Here, Processes, Watch, said_by
from smolfast.pipeline.recipes.flow import Flow
from smolfast.pipeline.recipes.graph import Graph, Node, check_exports
from smolfast.pipeline.recipes.monitors import StageMonitors, stop_of
from smolfast.pipeline.recipes.planning import standing_in
from smolfast.pipeline.recipes.state import State
from smolfast.pipeline.run_folder import open_run
from smolfast.pipeline.stages import Runner, remove_made
from smolfast.progress import Console, describe_end


@dataclass
class Outcome:
    """What became of a run.

    Attributes:
        summaries: of the stages that are done, by name. skipped: those of them that had nothing to do.
        failed: the errors of the stages that failed. said: the same in a line each, with remedies that a recipe takes.
        blocked: the stages that need one of those.
    """

    summaries: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, Exception] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)
    blocked: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def check(self, manifests: Path) -> None:
        """Raise SmolfastError if a stage failed: which, why, and the last lines that it said.

        It is StopRunError where a monitor stopped the run, StopTrialError where monitors alone are why stages failed.
        """
        if not self.failed:
            return
        parts = []
        for name, said in self.said.items():
            log = manifests / f"{name}.log"
            tail = _last_lines(log)
            parts.append(f"{name} failed: {said}" + (f" [{log}: {' / '.join(tail)}]" if tail else ""))
        errors = self.failed.values()
        whole = any(isinstance(error, StopRunError) for error in errors)
        why = "not run" if whole else "not run, for they need it"
        after = f"; {why}: {', '.join(self.blocked)}" if self.blocked else ""
        if whole or all(isinstance(error, StopTrialError) for error in errors):
            raise (StopRunError if whole else StopTrialError)(f"{'; '.join(parts)}{after}")
        raise SmolfastError(f"{'; '.join(parts)}{after}; run the same command again to go on from here")


def run(
    graph: Graph,
    folder: str | os.PathLike[str],
    console: Console | None = None,
    *,
    jobs: int = 1,
    memory: int | None = None,
    threads: int = 0,
    minutes: float | None = None,
    budget: Callable[[], float | None] = lambda: None,
    overwrite: bool = False,
    identity: Mapping[str, Any] | None = None,
    notes: Mapping[str, Any] | None = None,
    argv: Sequence[str] | None = None,
    watch: Watch | None = None,
) -> Outcome:
    """Run every stage that isn't finished and unchanged.

    The outputs, their records (`stages/NAME.json`), what runs now (`recipe.json`) and `run.json` lie in the folder. A
    stage that fails stops those that need it; others go on. None of these options changes what comes out.

    Args:
        jobs: stages at once, each in a process of its own from 2 on, with a share of the CPUs.
        memory: bytes that stages at once may take, by what each took last time; most of what is free when None.
        threads: CPUs for each stage; 0 for all, or a share of them.
        minutes, budget: of the whole run, and what of it is left for training.
        overwrite: replace what another recipe made in the folder.
        identity: what a folder's runs share; the recipe's name when None.
        watch: is told of each stage's progress, and may raise StopStageError to end it.

    Raises:
        SmolfastError: a stage exports what can't be; the folder is in use, holds another run or other files, or can't
            be written.
    """
    check_exports(graph)
    console = console or Console(quiet=True)
    began = time.monotonic()
    folder = Path(folder).absolute()
    flow = Flow(graph, folder, threads=_threads(threads, jobs), minutes=minutes, budget=budget)
    said: dict[str, Any] = {
        "recipe": graph.recipe.name,
        "argv": list(sys.argv if argv is None else argv),
        "host": platform.node(),
    }
    said |= {"commit": commit(), "versions": versions()}
    outcome = Outcome()
    with (
        open_run(folder, identity or {"recipe": graph.recipe.name}, notes or {}, overwrite=overwrite),
        standing_in(graph.recipe.base),
        State(graph, folder) as state,
    ):
        taken = {node.output for node in graph.nodes.values()}
        # Another stage has the place of one that the recipe no longer has.
        remove_made(flow.manifests, folder, [name for name, output in flow.left_over().items() if output in taken])
        runner = Runner(flow.manifests, console, own_folder=True, notes={"by": said})

        def progress(name: str, done: float, total: float, note: str) -> None:
            state.progress(name, done, total, note)
            if watch is not None:
                watch(name, done, total, note)

        executor: Executor = Here(flow, runner, progress) if jobs <= 1 else Processes(flow, runner, progress, said)
        monitors = StageMonitors(folder)
        with contextlib.closing(monitors), executor:
            _Schedule(flow, runner, console, state, executor, monitors, outcome, jobs, memory).go()
        outcome.seconds = time.monotonic() - began
    return outcome


class _Schedule:
    """Which stage runs when."""

    def __init__(
        self,
        flow: Flow,
        runner: Runner,
        console: Console,
        state: State,
        executor: Executor,
        monitors: StageMonitors,
        outcome: Outcome,
        jobs: int,
        memory: int | None,
    ) -> None:
        self._flow, self._runner, self._console, self._state = flow, runner, console, state
        self._executor, self._monitors, self._outcome, self._jobs = executor, monitors, outcome, max(1, jobs)
        self._memory = _free_memory() if memory is None else memory
        self._running: dict[str, int] = {}
        self._ready: dict[str, int] = {}
        self._stopped = False

    def go(self) -> None:
        waiting = dict(self._flow.graph.nodes)
        while waiting or self._ready or self._running:
            self._look(waiting)
            self._begin()
            if self._running:
                self._take(self._executor.next())
        # In the recipe's order, whichever ended first.
        order = list(self._flow.graph.nodes)
        self._outcome.summaries = {
            name: self._outcome.summaries[name] for name in order if name in self._outcome.summaries
        }

    def _look(self, waiting: dict[str, Node]) -> None:
        """Skip or queue the stages whose needs are done; leave those that need what failed, or all if told to stop."""
        outcome = self._outcome
        if self._stopped:
            for name in (*self._ready, *waiting):
                outcome.blocked.append(name)
                self._state.set(name, "blocked")
            self._ready.clear()
            waiting.clear()
        for name, node in list(waiting.items()):
            if any(need in outcome.failed or need in outcome.blocked for need in node.needs):
                outcome.blocked.append(name)
                self._state.set(name, "blocked")
            elif all(need in outcome.summaries for need in node.needs):
                if self._jobs == 1 and (self._ready or self._running):
                    return  # one after another, in the recipe's order
                self._look_at(node)
            else:
                continue
            del waiting[name]

    def _look_at(self, node: Node) -> None:
        try:
            outlook = self._runner.look(self._flow.stage(node, self._outcome.summaries))
        except SmolfastError as error:
            self._fail(node.name, error)
            return
        if outlook.action == "skip":
            assert outlook.summary is not None
            if self._is_stopped(node, outlook.summary, ran=False):
                return
            self._console.line(f"{node.name:<11} unchanged, skipped")
            self._outcome.summaries[node.name] = outlook.summary
            self._outcome.skipped.append(node.name)
            self._state.set(node.name, "skipped")
        else:
            share = self._memory // self._jobs
            self._ready[node.name] = share if outlook.peak_rss_bytes is None else outlook.peak_rss_bytes

    def _begin(self) -> None:
        for name, size in list(self._ready.items()):
            if len(self._running) >= self._jobs:
                return
            if self._running and sum(self._running.values()) + size > self._memory:
                continue  # a smaller one may fit
            del self._ready[name]
            self._running[name] = size
            self._state.set(name, "running")
            if self._jobs > 1:
                self._console.line(f"{name:<11} begins")
            self._executor.start(self._flow.graph.nodes[name], self._outcome.summaries)

    def _take(self, done: Done) -> None:
        del self._running[done.name]
        if done.error is not None:
            self._fail(done.name, done.error)
            return
        assert done.summary is not None
        if self._is_stopped(self._flow.graph.nodes[done.name], done.summary, ran=True):
            return
        self._outcome.summaries[done.name] = done.summary
        self._state.set(done.name, "done", seconds=done.seconds)
        if self._jobs > 1:
            self._console.line(f"{done.name:<11} {describe_end(done.summary, done.seconds)}")

    def _is_stopped(self, node: Node, summary: Mapping[str, Any], *, ran: bool) -> bool:
        """Let the stage's monitors look at what it told; whether they stop it."""
        events = self._monitors.look(node.name, node.monitors, summary, ran=ran)
        for event in events:
            self._console.line(f"{node.name:<11} monitor: {event['rule']} (it is {event['value']:.6g})")
        if events:
            self._state.note(node.name, events)
        stop = stop_of(events)
        if stop is not None:
            self._fail(node.name, stop)
        return stop is not None

    def _fail(self, name: str, error: Exception) -> None:
        self._stopped = self._stopped or isinstance(error, StopRunError)
        self._outcome.failed[name] = error
        self._outcome.said[name] = _for_recipes(said_by(error), self._flow.graph.nodes[name])
        self._state.set(name, "failed", note=self._outcome.said[name][:300])
        self._console.line(f"{name:<11} failed")


def _for_recipes(text: str, node: Node) -> str:
    """What a stage says of options of its command, as settings of its table: those a run of a recipe takes."""

    def setting(found: re.Match[str]) -> str:
        key = found[1].replace("-", "_")
        return f"--set {node.declared}.{key}=…" if key in node.kind.setting_names() else found[0]

    return re.sub(r"--([a-z][a-z-]*[a-z])", setting, text.removeprefix(f"{node.name}: "))


def _threads(threads: int, jobs: int) -> int:
    if threads or jobs <= 1:
        return threads
    from smolfast import _native

    return max(1, _native.available_threads() // jobs)


def _free_memory() -> int:
    """Nine tenths of what the system says is free; a huge number where it says nothing."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024 * 9 // 10
    except OSError:
        pass
    return 1 << 60


def _last_lines(log: Path, count: int = 3) -> list[str]:
    try:
        lines = log.read_bytes()[-4096:].decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    return [line.strip()[:200] for line in lines if line.strip()][-count:]
