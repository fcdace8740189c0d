"""What a run of a recipe would do, and why; nothing is written."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from smolfast.errors import SmolfastError
from smolfast.pipeline.recipes.flow import Flow, NotYetError
from smolfast.pipeline.recipes.graph import Graph, Node, check_exports
from smolfast.pipeline.stages import Outlook, Runner
from smolfast.progress import Console, format_seconds


@dataclass(frozen=True)
class Planned:
    """What would become of a stage.

    Attributes:
        certain: it runs whatever comes of the stages before it; else it is skipped if what they make is the same again.
    """

    node: Node
    outlook: Outlook
    certain: bool = True

    def line(self, width: int = 11) -> str:
        """`train       run: train.muon_learning_rate 0.02 → 0.011 (4:12 last time)`."""
        if self.outlook.action == "skip":
            return f"{self.node.name:<{width}} skip: unchanged"
        seconds = self.outlook.seconds
        last = f" ({format_seconds(seconds)} last time)" if seconds is not None else ""
        reasons = list(self.outlook.reasons)
        more = f" and {len(reasons) - 4} more" if len(reasons) > 4 else ""
        return f"{self.node.name:<{width}} {self.outlook.action}: {'; '.join(reasons[:4])}{more}{last}"


def plan(graph: Graph, folder: str | os.PathLike[str]) -> list[Planned]:
    """What `run` would do with each stage, in its order.

    Raises:
        SmolfastError: a model that can't be exported, input that isn't there, a record that can't be read.
    """
    check_exports(graph)
    flow = Flow(graph, Path(folder).absolute())
    with standing_in(graph.recipe.base):
        runner = Runner(flow.manifests, Console(quiet=True), own_folder=True)
        found: dict[str, Planned] = {}
        for node in graph.nodes.values():
            found[node.name] = _planned(flow, runner, node, found)
    return list(found.values())


def _planned(flow: Flow, runner: Runner, node: Node, before: dict[str, Planned]) -> Planned:
    anew = [need for need in node.needs if before[need].outlook.action != "skip"]
    try:
        stage = flow.stage(node)
        if not anew:
            return Planned(node, runner.look(stage))
        # Its inputs are about to change, or aren't there: what it says of its own settings counts all the same.
        outlook = runner.look(stage, inputs=False)
    except NotYetError as error:
        return Planned(node, Outlook("run", [str(error)]))
    if outlook.action != "skip":
        return Planned(node, outlook)
    names = f"{', '.join(anew[:3])}{' …' if len(anew) > 3 else ''}"
    verb = "runs" if len(anew) == 1 else "run"
    reason = f"{names} {verb} first (skipped if the same comes out)"
    return Planned(
        node, Outlook("run", [reason], outlook.summary, outlook.seconds, outlook.peak_rss_bytes), certain=False
    )


def left_over(graph: Graph, folder: str | os.PathLike[str]) -> list[str]:
    """A line for each output of a stage that the recipe no longer has: it stays, or makes room for another stage's."""
    taken = {node.output: node.name for node in graph.nodes.values()}
    found = Flow(graph, Path(folder).absolute()).left_over()
    becomes = {output: f"makes room for {taken[output]}" if output in taken else "stays" for output in found.values()}
    return [f"{name}: no longer in the recipe; its {output} {becomes[output]}" for name, output in found.items()]


def described(planned: list[Planned]) -> list[str]:
    """The lines of a plan, and what it would take by the last times."""
    width = max(11, *(len(one.node.name) for one in planned)) if planned else 11
    runs = [one for one in planned if one.outlook.action != "skip"]
    lines = [one.line(width) for one in planned]
    known = [one.outlook.seconds for one in runs if one.outlook.seconds is not None]
    unknown = len(runs) - len(known)
    if runs:
        took = f"about {format_seconds(sum(known))} by the last run" if known else "no times yet"
        more = f"; {unknown} never ran" if unknown and known else ""
        lines.append(f"{len(runs)} of {len(planned)} stages run: {took}{more}")
    else:
        lines.append(f"nothing to do: all {len(planned)} stages are unchanged")
    return lines


@contextlib.contextmanager
def standing_in(folder: Path) -> Iterator[None]:
    """Work in the folder that a recipe's paths start from.

    Raises:
        SmolfastError: it can't be entered.
    """
    try:
        inside = contextlib.chdir(folder)
        inside.__enter__()
    except OSError as error:
        raise SmolfastError(f"can't enter {folder}: {error.strerror}") from error
    try:
        yield
    finally:
        inside.__exit__(None, None, None)
