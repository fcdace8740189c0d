"""One change at a time from a baseline, with several seeds each: what a change is worth, and how sure that is."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smolfast.errors import SmolfastError
from smolfast.files import describe_os_error, read_json, write_json
from smolfast.io.locks import hold
from smolfast.pipeline.recipes import Graph, Outcome, load_recipe, run
from smolfast.pipeline.recipes.execute import said_by
from smolfast.pipeline.recipes.reading import changes_of
from smolfast.pipeline.stages import differences
from smolfast.pipeline.sweeps.results import write_profile
from smolfast.pipeline.sweeps.sharing import needed_for, shared
from smolfast.pipeline.sweeps.statistics import Difference, paired
from smolfast.pipeline.sweeps.sweep import RUN, check_objective
from smolfast.pipeline.sweeps.trials import setting
from smolfast.progress import Console
from smolfast.recipes import change_sets, find_changes

FILE = "ablation.json"
WINNERS = "winners.toml"
BASE = "baseline"


@dataclass(frozen=True)
class Ablation:
    """What an ablation is.

    Attributes:
        changes: of each change its settings, by its name.
        also: further numbers of stages, as STAGE.NUMBER, that are compared and decide nothing.
        seeds: how many; each training gets 0, 1, … as its seed in turn, whatever else has one stays as it is.
    """

    recipe: str
    changes: Mapping[str, Sequence[str]]
    objective: str
    seeds: int = 3
    maximize: bool = False
    profile: str | None = None
    settings: tuple[str, ...] = ()
    also: tuple[str, ...] = ()

    def graph(self, change: Sequence[str] = (), seed: int | None = None) -> Graph:
        """The recipe with a change and a seed of its trainings."""
        trainings = load_recipe(self.recipe, profile=self.profile, settings=self.settings).nodes.values()
        names = sorted({node.declared for node in trainings if node.kind_name == "train"})
        if self.seeds > 1 and not names:
            raise SmolfastError(
                f"{self.recipe} has no stage of the kind train, whose seed could differ; give --seeds 1"
            )
        seeds = [] if seed is None else [f"{name}.seed={seed}" for name in names]
        graph = load_recipe(self.recipe, profile=self.profile, settings=[*self.settings, *change, *seeds])
        stages = {number.rpartition(".")[0] for number in (self.objective, *self.also)}
        return needed_for(graph, *stages) if stages <= graph.nodes.keys() else graph

    def identity(self) -> dict[str, Any]:
        """As JSON. More changes and more seeds may come later."""
        said = {name: getattr(self, name) for name in ("objective", "maximize", "profile")}
        return {"recipe": self.graph().recipe.name, "settings": list(self.settings), **said}


def read_changes(paths: Sequence[str | os.PathLike[str]], recipe: str) -> dict[str, list[str]]:
    """The settings of each file of changes, which holds what a profile does; its name without suffix is the change's.

    Args:
        paths: files; or names of sets that ship, in place of their files.

    Raises:
        SmolfastError: a file that can't be read, two of one name, a file without a setting.
    """
    found: dict[str, list[str]] = {}
    for path in (file for given in paths for file in ([Path(given)] if Path(given).exists() else _shipped(given))):
        if path.stem in found or path.stem == BASE:
            raise SmolfastError(f"{path}: there is another change {path.stem!r}; give the file another name")
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = describe_os_error(error) if isinstance(error, OSError) else "it isn't UTF-8"
            sets = f"; the sets that ship are {', '.join(change_sets())}" if isinstance(error, OSError) else ""
            raise SmolfastError(f"can't read the change {path}: {why}{sets}") from error
        settings = [setting(".".join(key), value) for key, value in changes_of(text, str(path), recipe)]
        if not settings:
            raise SmolfastError(f"{path} changes nothing; write settings as in a profile, such as train.steps = 100")
        found[path.stem] = settings
    if not found:
        raise SmolfastError("an ablation needs a change: a TOML file with settings as in a profile")
    return found


def _shipped(name: str | os.PathLike[str]) -> list[Path]:
    return find_changes(str(name)) or [Path(name)]


def ablate(
    what: Ablation,
    folder: str | os.PathLike[str],
    *,
    jobs: int = 1,
    threads: int = 0,
    overwrite: bool = False,
    console: Console | None = None,
) -> dict[str, Any]:
    """Run the baseline and each change with each seed; compare them pair by pair; write the page and `winners.toml`.

    Stages that runs have in common run once. An interrupted ablation goes on.

    Returns:
        runs, failed, and `changes`: of each its mean difference from the baseline, the ends of its 95 % interval, and
        the verdict.

    Raises:
        SmolfastError: settings that the recipe refuses, an objective that no stage gives, a folder of something else,
            or a baseline that failed.
    """
    console = console or Console(quiet=True)
    page = Path(folder) / "ablation.html"
    folder = Path(folder).absolute()
    check_objective(what.graph(), what.objective)
    for number in what.also:
        check_objective(what.graph(), number, option="--also")
    variants = {BASE: (), **what.changes}
    graphs: dict[tuple[str, int], Graph] = {}
    for name, change in variants.items():
        try:
            graphs |= {(name, seed): what.graph(change, seed) for seed in range(what.seeds)}
        except SmolfastError as error:
            raise SmolfastError(f"the change {name}: {error}") from error
    with hold(folder / ".ablation.lock", folder):
        _claim(what, folder, overwrite=overwrite)
        union, names = shared(list(graphs.values()))
        outcome = run(
            union,
            folder / RUN,
            console,
            jobs=jobs,
            threads=threads,
            identity={"recipe": f"{union.recipe.name}-ablation"},
        )
        stages = dict(zip(graphs, names, strict=True))
        return _compare(what, folder, variants, stages, outcome, console, page)


def _claim(what: Ablation, folder: Path, *, overwrite: bool) -> None:
    path, identity = folder / FILE, json.loads(json.dumps(what.identity()))
    if path.exists():
        different = differences(read_json(path).get("identity", {}), identity)
        if different and not overwrite:
            raise SmolfastError(
                f"{folder} holds another ablation ({different[0]}); choose another output, or add --overwrite"
            )
    elif folder.is_dir() and any(name.name != ".ablation.lock" for name in folder.iterdir()):
        raise SmolfastError(f"{folder} is not empty and holds no ablation; choose another output")
    write_json(path, {"identity": identity})


def _compare(
    what: Ablation,
    folder: Path,
    variants: Mapping[str, Sequence[str]],
    stages: Mapping[tuple[str, int], Mapping[str, str]],
    outcome: Outcome,
    console: Console,
    page: Path,
) -> dict[str, Any]:
    values, *others = (
        {name: [_told(one, stages[name, seed], outcome) for seed in range(what.seeds)] for name in variants}
        for one in (what.objective, *what.also)
    )
    also = dict(zip(what.also, others, strict=True))
    tokens: dict[str, list[int]] = {}
    for name in variants:
        tokens[name] = []
        for seed in range(what.seeds):
            known = stages[name, seed]
            trained = [outcome.summaries[one] for one in known.values() if one in outcome.summaries]
            tokens[name].append(sum(one["tokens"] for one in trained if {"steps", "tokens"} <= one.keys()))
    if all(value is None for value in values[BASE]):
        outcome.check(folder / RUN / "stages")
    rows, better = [], []
    for name in what.changes:
        row: dict[str, Any] = {"change": name, "settings": list(what.changes[name])}
        found = _difference(values[BASE], values[name])
        if found is None:
            row["verdict"] = "failed"
        else:
            row |= _as_json(found) | {"verdict": found.verdict(maximize=what.maximize)}
            if row["verdict"] == "better":
                better.append(name)
        compared = {one: _difference(told[BASE], told[name]) for one, told in also.items()}
        if also:
            row["also"] = {one: None if other is None else _as_json(other) for one, other in compared.items()}
        if tokens[name] != tokens[BASE] and found is not None:
            row["note"] = f"trained on {max(tokens[name]):,} tokens, the baseline on {max(tokens[BASE]):,}"
        rows.append(row)
        interval = f"{row['mean']:+.5g} ({_shown(row['low'])} to {_shown(row['high'])})" if found is not None else ""
        console.line(f"{name:<24} {interval}: {row['verdict']}" + (f" ({row['note']})" if "note" in row else ""))
    failed = {name: said_by(error)[:300] for name, error in outcome.failed.items()}
    said = {"identity": what.identity(), "seeds": what.seeds, "values": values, "tokens": tokens, "changes": rows}
    said |= {"also": also} if also else {}
    said |= {
        "failed": failed,
        "winners": better,
        "stages": {f"{n} {s}": dict(known) for (n, s), known in stages.items()},
    }
    write_json(folder / FILE, said)
    winners = [setting for name in better for setting in what.changes[name]]
    title = f"# The baseline with the changes that were shown to help: {', '.join(better) or 'none'}."
    write_profile(folder / WINNERS, title, what.recipe, what.profile, [*what.settings, *winners], "winners")
    from smolfast.report.sweep.ablation_page import write_ablation_report

    write_ablation_report(folder, folder / "ablation.html")
    return {
        "runs": len(stages),
        "failed": sum(value is None for found in values.values() for value in found),
        "changes": [
            f"{row['change']}: {row['verdict']}"
            + (f", {row['mean']:+.5g} ({_shown(row['low'])} to {_shown(row['high'])})" if "mean" in row else "")
            for row in rows
        ],
        "page": str(page),
    }


def _told(number: str, stages: Mapping[str, str], outcome: Outcome) -> float | None:
    """STAGE.NUMBER of a run; None where the stage failed, or has no such number this time."""
    stage, _, name = number.rpartition(".")
    summary = outcome.summaries.get(stages[stage])
    value = None if summary is None else summary[name]
    return None if value is None else float(value)


def _difference(before: Sequence[float | None], after: Sequence[float | None]) -> Difference | None:
    """Over the pairs of which both came to an end; None without one."""
    pairs = [(a, b) for a, b in zip(before, after, strict=True) if a is not None and b is not None]
    return paired([a for a, _ in pairs], [b for _, b in pairs]) if pairs else None


def _as_json(found: Difference) -> dict[str, Any]:
    return {"mean": found.mean, "low": _finite(found.low), "high": _finite(found.high), "pairs": found.pairs}


def _finite(value: float) -> float | None:
    return value if abs(value) != float("inf") else None


def _shown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:+.5g}"
