"""A recipe's graph bound to a folder: each of its stages as the stage engine takes it, and what stands there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from smolfast.files import read_json
from smolfast.pipeline.recipes import references
from smolfast.pipeline.recipes.graph import Graph, Node, paths_below
from smolfast.pipeline.recipes.kinds import Binding
from smolfast.pipeline.recipes.reading import Recipe
from smolfast.pipeline.run_folder import STAGES
from smolfast.pipeline.stages import Stage


class NotYetError(Exception):
    """A setting refers to a number that a stage hasn't told yet."""


class Flow:
    """The stages of a graph in a folder.

    Args:
        folder: where the outputs are; absolute, so that it stands wherever the process does.
        threads: CPUs for each stage; 0 for all.
        minutes: for the whole run; `budget` says what of it is left for training.
    """

    def __init__(
        self,
        graph: Graph,
        folder: Path,
        *,
        threads: int = 0,
        minutes: float | None = None,
        budget: Callable[[], float | None] = lambda: None,
    ) -> None:
        self.graph = graph
        self.folder = folder
        self._threads, self._minutes, self._budget = threads, minutes, budget

    @property
    def manifests(self) -> Path:
        """The folder of the stages' records."""
        return self.folder / STAGES

    def log(self, node: Node) -> Path:
        """What a stage printed."""
        return self.manifests / f"{node.name}.log"

    def as_setup(self) -> dict[str, Any]:
        """All of it as JSON, for another process; but for the monitors, which look where the run is led."""
        recipe = self.graph.recipe
        said = {name: getattr(recipe, name) for name in ("name", "path", "seed", "sections")}
        said["base"] = str(recipe.base.resolve())
        nodes = [dataclasses.asdict(dataclasses.replace(node, monitors=())) for node in self.graph.nodes.values()]
        flow = {"folder": str(self.folder), "threads": self._threads, "minutes": self._minutes}
        return {"recipe": said, "preset": self.graph.preset, "nodes": nodes, **flow}

    @classmethod
    def of_setup(cls, setup: Mapping[str, Any]) -> Flow:
        """As `as_setup` gave it."""
        said = setup["recipe"]
        recipe = Recipe(**{**said, "base": Path(said["base"])})
        nodes = [Node(**{**node, "needs": tuple(node["needs"]), "monitors": ()}) for node in setup["nodes"]]
        graph = Graph(recipe, {node.name: node for node in nodes}, setup["preset"])
        return cls(graph, Path(setup["folder"]), threads=setup["threads"], minutes=setup["minutes"])

    def stage(self, node: Node, summaries: Mapping[str, Mapping[str, Any]] | None = None) -> Stage:
        """The stage of a node.

        Args:
            summaries: of the stages before it; read from their records where they aren't given.

        Raises:
            NotYetError: it refers to what a stage hasn't told yet.
            SmolfastError: settings that turn out to be bad.
        """
        nodes = self.graph.nodes

        def resolve(name: str) -> Any:
            if name == "output":  # of a command: its own, known when it begins
                return "${output}"
            stage, _, what = name.rpartition(".")
            other = nodes[stage]
            ports = paths_below(other)
            if what == "output":
                return str(self.folder / other.output)
            if what in ports:
                return str(self.folder / ports[what])
            summary = self._summary(other) if summaries is None else summaries.get(stage)
            if summary is None:
                raise NotYetError(f"{stage} hasn't told its {what} yet")
            if what not in summary:
                there = ", ".join(summary) or "nothing"
                raise self.graph.recipe.error(("stages", node.declared), f"${{{name}}}: {stage} told {there}")
            return summary[what]

        table = {key: references.replace(value, resolve) for key, value in node.table.items()}
        config, options, own = self.graph.settings(node, table)
        binding = Binding(
            name=node.name,
            folder=self.folder,
            output=self.folder / node.output,
            config=config,
            options=options,
            inputs={
                what: {need: self.folder / paths_below(nodes[need])[port] for need, port in served.items()}
                for what, served in node.inputs.items()
            },
            needed={need: self.folder / nodes[need].output for need in node.needs},
            trained={need: self.folder / nodes[need].output for need in node.needs if nodes[need].kind_name == "train"},
            labels={need: nodes[need].label for need in node.needs},
            settings=own,
            threads=self._threads,
            minutes=self._minutes,
            budget=self._budget,
            log=self.log(node),
        )
        return node.kind.make(binding)

    def left_over(self) -> dict[str, str]:
        """Outputs of stages that the recipe no longer has, by the stages' names."""
        found = {}
        for path in sorted(self.manifests.glob("*.json")):
            name = path.name.removesuffix(".json").removesuffix(".started")
            if name not in self.graph.nodes:
                output = read_json(path)["output"]
                found[name] = str(output if isinstance(output, str) else output["path"])
        return found

    def _summary(self, node: Node) -> Mapping[str, Any] | None:
        path = self.manifests / f"{node.name}.json"
        found: Mapping[str, Any] | None = read_json(path)["summary"] if path.is_file() else None
        return found
