"""Trials over the settings of a recipe: asked of optuna, run as recipes, resumed as they were."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from smolfast.errors import DivergedError, SmolfastError, StopRunError, StopTrialError
from smolfast.files import read_json, write_json
from smolfast.io.locks import hold
from smolfast.pipeline.recipes import Graph, Outcome, load_recipe, run
from smolfast.pipeline.recipes.execute import StopStageError, said_by
from smolfast.pipeline.recipes.reading import nearest
from smolfast.pipeline.stages import differences
from smolfast.pipeline.sweeps import halving
from smolfast.pipeline.sweeps.asking import SAMPLERS, Asking
from smolfast.pipeline.sweeps.mirror import FILE as DATABASE
from smolfast.pipeline.sweeps.mirror import mirror
from smolfast.pipeline.sweeps.pruning import PRUNERS, Pruning
from smolfast.pipeline.sweeps.results import write_profile
from smolfast.pipeline.sweeps.sharing import needed_for, shared
from smolfast.pipeline.sweeps.space import Parameter
from smolfast.pipeline.sweeps.trials import ENDED, FOLDER, Training, Trial, read_trials, setting
from smolfast.progress import Console

FILE = "sweep.json"
RUN = "run"
"""The folder of the stages."""


@dataclass(frozen=True)
class Sweep:
    """What a sweep is. Two with equal fields may share a folder.

    Attributes:
        objective: STAGE.NUMBER that is to be small (or large, with `maximize`).
        settings, profile: of the recipe, for all trials.
        pruner: "halving", "asha", "median" or "none".
        startup: trials before the sampler learns; with the pruner "median" also those before it compares.
        at_once: trials that are asked for together; each learns from those of the batches before it.
    """

    recipe: str
    parameters: tuple[Parameter, ...]
    objective: str
    sampler: str = "tpe"
    pruner: str = "halving"
    maximize: bool = False
    seed: int = 0
    startup: int = 5
    at_once: int = 1
    profile: str | None = None
    settings: tuple[str, ...] = ()

    def graph(self, trial: Sequence[str] = ()) -> Graph:
        """The recipe with a trial's settings."""
        return load_recipe(self.recipe, profile=self.profile, settings=[*self.settings, *trial])

    def identity(self) -> dict[str, Any]:
        """As JSON."""
        names = ("objective", "sampler", "pruner", "maximize", "seed", "startup", "at_once", "profile")
        said = {name: getattr(self, name) for name in names}
        parameters = {one.name: one.as_dict() for one in self.parameters}
        return {"recipe": self.graph().recipe.name, "settings": list(self.settings), "parameters": parameters, **said}


def sweep(
    what: Sweep,
    folder: str | os.PathLike[str],
    *,
    trials: int = 20,
    jobs: int = 1,
    threads: int = 0,
    overwrite: bool = False,
    console: Console | None = None,
) -> dict[str, Any]:
    """Run trials until there are so many; write their records, `study.db`, `best.toml` and `sweep.html`.

    A stage that trials have in common runs once. A trial whose held-out losses are behind those of others ends early
    (`pruned`); with the pruner "halving" every trial pauses, and the best ones go on when all are there. One whose loss
    is no longer a number is a result (`diverged`), and so is one that a monitor ended (`stopped`). A sweep that was
    killed goes on with the same trials, and ends with the same best one. Stopped by Ctrl-C or a monitor, it says so in
    `sweep.json` and on the page until it goes on. More trials may be asked for later.

    Returns:
        trials, done, pruned, diverged, stopped, failed, training_steps, best_trial, best_value, best (its settings),
        importance.

    Raises:
        SmolfastError: a parameter or objective that the recipe doesn't have, a folder or `study.db` of another sweep,
            or no trial of the first ones that came to an end.
        StopRunError: a monitor ended the sweep; the same call goes on with the trials behind that one.
    """
    console = console or Console(quiet=True)
    page = Path(folder) / "sweep.html"
    folder = Path(folder).absolute()
    check(what)
    asking = Asking(
        what.parameters,
        sampler=what.sampler,
        seed=what.seed,
        maximize=what.maximize,
        startup=what.startup,
        mixed=what.pruner != "none",
    )
    if asking.grid:
        trials = min(trials, len(asking.grid))
    with hold(folder / ".sweep.lock", folder):
        _claim(what, folder, overwrite=overwrite)
        found = read_trials(folder)
        for record in (folder / FOLDER).glob("*.json"):
            if not record.stem.isdigit() or int(record.stem) >= len(found):  # behind one that is missing
                record.unlink()
        try:
            found = _go(what, asking, folder, found, console, trials=trials, jobs=jobs, threads=threads)
        except BaseException as error:
            with contextlib.suppress(OSError, SmolfastError):  # what stopped it is what is raised
                stopped = {"by": _said_of(error), "trials": trials}
                _finish(what, folder, asking, read_trials(folder), page, stopped=stopped)
            raise
        return _finish(what, folder, asking, found, page)


def _go(
    what: Sweep,
    asking: Asking,
    folder: Path,
    found: list[Trial],
    console: Console,
    *,
    trials: int,
    jobs: int,
    threads: int,
) -> list[Trial]:
    """Run trials until there are so many that have ended."""
    mirror(folder, asking, found)
    while len([trial for trial in found if trial.state != "running"]) < trials:
        first = next((n for n, trial in enumerate(found) if trial.state == "running"), len(found))
        begin = first - first % what.at_once
        numbers = range(begin, min(begin + what.at_once, trials))
        batch = _Batch(what, asking, folder, found[:begin], console)
        batch.run([found[n] if n < len(found) else n for n in numbers], jobs, threads)
        found = read_trials(folder)
        mirror(folder, asking, found)
        _give_up(found, min(what.startup, trials))
    while what.pruner == "halving":
        paused = halving.to_go_on([trial for trial in found if trial.state != "running"])
        if not paused:
            break
        _Batch(what, asking, folder, found, console).go_on(paused[: max(1, jobs)], jobs, threads)
        found = read_trials(folder)
        mirror(folder, asking, found)
    return found


def _said_of(error: BaseException) -> str:
    """What stopped a sweep, in words."""
    if isinstance(error, StopRunError):
        return "a monitor"
    if isinstance(error, Exception):
        return f"an error ({' '.join(str(error).split())[:300] or type(error).__name__})"
    return "Ctrl-C" if isinstance(error, KeyboardInterrupt) else "a signal"


def check(what: Sweep) -> None:
    """Refuse what can't come to a result, before anything runs.

    Raises:
        SmolfastError: a parameter that no stage has, values that the recipe refuses, an objective that no stage gives.
    """
    graph = what.graph()
    names = [one.name for one in what.parameters]
    if not names:
        raise SmolfastError("a sweep needs a parameter; give --param NAME=RANGE")
    if len(set(names)) < len(names):
        raise SmolfastError(f"--param {max(names, key=names.count)} is given twice")
    for one in what.parameters:
        for value in (one.first(), one.last()):
            try:
                what.graph([setting(one.name, value)])
            except SmolfastError as error:
                raise SmolfastError(f"--param {one.name}: {error}") from error
    check_objective(graph, what.objective)
    for kind, chosen, known in (("sampler", what.sampler, SAMPLERS), ("pruner", what.pruner, PRUNERS)):
        if chosen not in known:
            raise SmolfastError(f"there is no {kind} {chosen!r}{nearest(chosen, known, 'there are')}")


def check_objective(graph: Graph, objective: str, option: str = "--objective") -> None:
    """Refuse an objective that no stage gives.

    Raises:
        SmolfastError: with the nearest one.
    """
    stage, dot, number = objective.rpartition(".")
    if not dot or stage not in graph.nodes:
        near = nearest(stage or number, graph.nodes, "there are")
        raise SmolfastError(f"{option} {objective}: there is no stage {stage or number!r}{near}; give STAGE.NUMBER")
    gives = graph.nodes[stage].kind.summary
    if gives is not None and number not in gives:
        raise SmolfastError(f"{option} {objective}: {stage} tells no {number!r}{nearest(number, gives, 'it tells')}")


def _claim(what: Sweep, folder: Path, *, overwrite: bool) -> None:
    path, identity = folder / FILE, what.identity()
    if path.exists():
        before = read_json(path).get("identity", {})
        different = differences(before, json.loads(json.dumps(identity)))
        if different and not overwrite:
            raise SmolfastError(
                f"{folder} holds another sweep ({different[0]}); choose another output, or add --overwrite"
            )
        if different:
            for record in ((folder / DATABASE), *(folder / FOLDER).glob("*.json")):
                record.unlink(missing_ok=True)
    elif folder.is_dir() and any(name.name != ".sweep.lock" for name in folder.iterdir()):
        raise SmolfastError(f"{folder} is not empty and holds no sweep; choose another output")
    write_json(path, {"identity": identity})


class _Batch:
    """Trials that are asked for together, and run side by side."""

    def __init__(self, what: Sweep, asking: Asking, folder: Path, before: Sequence[Trial], console: Console) -> None:
        self._what, self._asking, self._folder, self._before = what, asking, folder, before
        self._console = console
        self._stage, _, self._number = what.objective.rpartition(".")
        self._prunings: dict[str, Pruning] = {}
        self._passed: dict[str, int] = {}
        self._totals: dict[str, int] = {}
        self._seen: dict[str, int] = {}
        self._read: dict[str, int] = {}
        self._declared: dict[str, str] = {}
        self._pruned: dict[str, tuple[int, float]] = {}

    def run(self, asked: Sequence[Trial | int], jobs: int, threads: int) -> None:
        """Begin trials, or those again that were begun and have no result."""
        trials: dict[int, Trial] = {}
        graphs: dict[int, Graph] = {}
        halved = self._what.pruner == "halving"
        before = [halving.as_learned(trial) if halved else trial for trial in self._before]
        for one in asked:
            if isinstance(one, Trial) and one.state != "running":
                continue
            question = self._asking.ask(one, before)
            number = one if isinstance(one, int) else one.number
            said = question.study.trials[-1]
            trial = Trial(number, dict(question.params), attributes=dict(said.system_attrs))
            try:
                graphs[number] = needed_for(self._what.graph(trial.settings), self._stage)
            except SmolfastError as error:  # values that are good one by one and don't fit together
                replace(trial, state="failed", error=str(error)).write(self._folder)
                continue
            trials[number] = trial
        if trials:
            self._train(trials, graphs, jobs, threads)

    def go_on(self, paused: Sequence[Trial], jobs: int, threads: int) -> None:
        """Train trials on that paused. Until they are at the next rung, or at the end, their records stay."""
        graphs = {one.number: needed_for(self._what.graph(one.settings), self._stage) for one in paused}
        self._train({one.number: one for one in paused}, graphs, jobs, threads)

    def _train(self, trials: dict[int, Trial], graphs: Mapping[int, Graph], jobs: int, threads: int) -> None:
        began = time.monotonic()
        union, names = shared([graphs[number] for number in trials])
        for (number, trial), known in zip(trials.items(), names, strict=True):
            trials[number] = replace(trial, stages=known)
            if trial.state == "running":
                trials[number].write(self._folder)
            trainings = [node.name for node in graphs[number].nodes.values() if node.kind_name == "train"]
            self._declared |= {known[name]: name for name in trainings}
            if trainings and self._what.pruner == "halving":
                last = known[trainings[-1]]
                self._passed[last] = max(len(halving.rungs(trial)), self._passed.get(last, 0))
        outcome = run(
            union,
            self._folder / RUN,
            Console(quiet=True),
            jobs=jobs,
            threads=threads,
            identity={"recipe": f"{union.recipe.name}-sweep"},
            watch=self._watch,
        )
        seconds = time.monotonic() - began
        stop: StopRunError | None = None
        for number, trial in trials.items():
            errors = [outcome.failed[one] for one in trial.stages.values() if one in outcome.failed]
            if trial.stages[self._stage] not in outcome.summaries and not errors:
                continue  # a monitor of another trial stopped the sweep before this one came to an end
            self._end(trial, union, outcome, seconds).write(self._folder)
            for why in errors:
                if isinstance(why, StopRunError):
                    stop = stop or StopRunError(f"{why}; or run the same command again, without trial {number}")
        if stop is not None:
            raise stop

    def _watch(self, name: str, done: float, total: float, note: str) -> None:
        """Compare a training with those before, as its held-out losses come; end it where it is behind."""
        if name not in self._declared or done <= 0:  # before it begins, the log may be that of a run that was cut off
            return
        self._totals[name] = round(total)  # with a time budget, what the training has settled on
        for step, loss in self._new_losses(name):
            if step >= total or step <= self._seen.get(name, 0):
                continue
            self._seen[name] = step
            if name not in self._pruned and self._ends(name, step, round(total), loss):
                self._pruned[name] = step, loss
        if name in self._pruned:
            raise StopStageError(f"ended at step {self._pruned[name][0]}, to be compared with other trials")

    def _ends(self, name: str, step: int, total: int, loss: float) -> bool:
        """Whether a training ends with this held-out loss, for good or to wait for the others."""
        if self._what.pruner == "halving":
            return name in self._passed and step >= halving.pause_at(self._passed[name], total)
        if name not in self._prunings:
            self._prunings[name] = self._pruning(self._declared[name], total)
        return self._prunings[name].behind(step, loss)

    def _pruning(self, stage: str, steps: int) -> Pruning:
        known = [one for one in self._before if stage in one.trainings and one.trainings[stage].curve]
        others = [(one.trainings[stage], one.state == "done") for one in known]
        return Pruning(self._what.pruner, others, steps=steps, startup=self._what.startup)

    def _new_losses(self, name: str) -> Iterator[tuple[int, float]]:
        path = self._folder / RUN / name / "metrics.jsonl"
        if not path.is_file():
            return
        with path.open("rb") as file:
            begin = self._read.get(name, 0)
            # Behind a rollback, or where a run goes on from a checkpoint, the log is shorter than it was.
            begin = 0 if begin > os.fstat(file.fileno()).st_size else begin
            file.seek(begin)
            for line in file:
                try:
                    said = json.loads(line)
                except ValueError:
                    begin = 0
                    break
                begin += len(line)
                if said.get("held_out_loss") is not None:
                    yield int(said["step"]), float(said["held_out_loss"])
            self._read[name] = begin

    def _end(self, trial: Trial, union: Graph, outcome: Outcome, seconds: float) -> Trial:
        stage, number = self._stage, self._number
        names = [name for name in trial.stages.values() if name in self._declared]
        trainings = {
            self._declared[name]: Training(self._totals.get(name, union.nodes[name].table["steps"]), self._curve(name))
            for name in names
        }
        steps = sum(last_step(self._folder / RUN / name) for name in names)
        events = [event for name in names for event in self._events(name)]
        curve = next((one.curve for one in reversed(trainings.values()) if one.curve), {})
        seconds = round(trial.seconds + seconds, 3)
        trial = replace(trial, curve=curve, trainings=trainings, steps=steps, seconds=seconds, events=events)
        summary = outcome.summaries.get(trial.stages[stage])
        if summary is not None:
            value = summary.get(number)
            if not isinstance(value, int | float):
                raise SmolfastError(
                    f"{stage} told {number} = {value!r}, which is no number; choose another --objective"
                )
            self._say(trial, f"{self._what.objective} {value:.6g}")
            return replace(trial, state="done", value=float(value))
        errors = {name: outcome.failed[name] for name in trial.stages.values() if name in outcome.failed}
        name, error = next(iter(errors.items()))
        if isinstance(error, StopStageError):
            at, loss = self._pruned[name]
            how = "paused" if self._what.pruner == "halving" else "behind, ended"
            self._say(trial, f"{how} at step {at} with a held-out loss of {loss:.6g}")
            return replace(trial, state="pruned")
        stopped = isinstance(error, StopTrialError | StopRunError)
        state = "stopped" if stopped else "diverged" if isinstance(error, DivergedError) else "failed"
        self._say(trial, f"{state}: {said_by(error)}")
        return replace(trial, state=state, error=f"{name}: {said_by(error)}"[:500])

    def _curve(self, name: str) -> dict[int, float]:
        """Held-out losses of a training; of one that was ended as far as it was looked at, for more is the clock's."""
        found = losses(self._folder / RUN / name)
        # A rollback at that very step has taken its loss out of the log.
        found |= [self._pruned[name]] if name in self._pruned else []
        return {step: loss for step, loss in sorted(found.items()) if self._looked_at(name, step)}

    def _events(self, name: str) -> list[dict[str, Any]]:
        return [event for event in _events(self._folder / RUN / name) if self._looked_at(name, event["step"])]

    def _looked_at(self, name: str, step: int) -> bool:
        return name not in self._pruned or step <= self._pruned[name][0]

    def _say(self, trial: Trial, what: str) -> None:
        values = ", ".join(f"{name} {value}" for name, value in trial.params.items())
        self._console.line(f"trial {trial.number:<5} {values}: {what}")


def _events(folder: Path, most: int = 100) -> list[dict[str, Any]]:
    """The step of each event of a training and what it was, the first of them."""
    found = []
    path = folder / "events.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines()[:most] if path.is_file() else ():
        try:
            said: Mapping[str, Any] = json.loads(line)
            words = [said["event"], *(str(said[key]) for key in ("metric", "measure", "reaction") if key in said)]
            found.append({"step": int(said["step"]), "what": ", ".join(words)})
        except (ValueError, KeyError, TypeError):  # torn by a kill
            continue
    return found


def losses(folder: Path) -> dict[int, float]:
    """Held-out losses of a training by step; the last one of a step that was taken twice."""
    found = {}
    path = folder / "metrics.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            said: Mapping[str, Any] = json.loads(line)
        except ValueError:  # torn by a kill
            continue
        if said.get("held_out_loss") is not None:
            found[int(said["step"])] = float(said["held_out_loss"])
    return found


def last_step(folder: Path) -> int:
    """Steps that a training took."""
    path = folder / "metrics.jsonl"
    return sum(1 for line in path.read_bytes().splitlines() if line.strip()) if path.is_file() else 0


def _give_up(found: Sequence[Trial], startup: int) -> None:
    """Where nothing works, going on doesn't help."""
    ended = [trial for trial in found if trial.state != "running"]
    if len(ended) >= max(1, startup) and all(trial.state == "failed" for trial in ended):
        raise SmolfastError(f"none of the first {len(ended)} trials came to an end; the last one: {ended[-1].error}")


def best_of(found: Sequence[Trial], *, maximize: bool) -> Trial | None:
    """The best trial; of equal ones the first."""
    done = [trial for trial in found if trial.state == "done" and trial.value is not None]
    sign = -1.0 if maximize else 1.0
    return min(done, key=lambda trial: (sign * (trial.value or 0.0), trial.number), default=None)


def _finish(
    what: Sweep,
    folder: Path,
    asking: Asking,
    found: Sequence[Trial],
    page: Path,
    *,
    stopped: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write what came out, so far if the sweep was stopped; the summary."""
    from smolfast.report.sweep.page import write_sweep_report

    best = best_of(found, maximize=what.maximize)
    if best is not None:
        title = f"# The best of a sweep: trial {best.number}, {what.objective} {best.value!r}."
        settings = [*what.settings, *best.settings]
        write_profile(folder / "best.toml", title, what.recipe, what.profile, settings, "best")
    halved = what.pruner == "halving"
    importance = asking.importance(
        [halving.as_ended(trial, maximize=what.maximize) if halved else trial for trial in found]
    )
    said = {"identity": what.identity(), "importance": importance, "best": None if best is None else best.number}
    write_json(folder / FILE, said | ({} if stopped is None else {"stopped": dict(stopped)}))
    write_sweep_report(folder, folder / "sweep.html")
    states = {state: sum(trial.state == state for trial in found) for state in ENDED}
    return {
        "trials": len(found),
        **states,
        "training_steps": sum(trial.steps for trial in found),
        "best_trial": None if best is None else best.number,
        "best_value": None if best is None else best.value,
        "best": [] if best is None else best.settings,
        "importance": [f"{name} {share:.0%}" for name, share in importance.items()],
        "page": str(page),
    }
