"""Trials of one recipe with other settings in one folder: a stage that several have in common is one stage."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import xxhash

from smolfast.pipeline.recipes import references
from smolfast.pipeline.recipes.graph import Graph, Node


def shared(graphs: Sequence[Graph]) -> tuple[Graph, list[dict[str, str]]]:
    """One graph of all stages of these, each once; and of each graph the name that its stages have there.

    A stage's name gets a hash of its settings and of the stages before it, and its table holds all of its settings. So
    equal stages are the same one in whichever graph they stand, and in whichever run.
    """
    nodes: dict[str, Node] = {}
    names = []
    for graph in graphs:
        found: dict[str, str] = {}
        for node in graph.nodes.values():
            one = _named(graph, node, found)
            found[node.name] = one.name
            nodes.setdefault(one.name, one)
        names.append(found)
    recipe = dataclasses.replace(graphs[0].recipe, sections={}, preset=None)
    return Graph(recipe, nodes, {}), names


def needed_for(graph: Graph, *stages: str) -> Graph:
    """The stages and all before them: what comes after an objective isn't run for it."""
    wanted = set(stages)
    for name in reversed(graph.nodes):
        if name in wanted:
            wanted.update(graph.nodes[name].needs)
    return Graph(graph.recipe, {name: node for name, node in graph.nodes.items() if name in wanted}, graph.preset)


def _named(graph: Graph, node: Node, names: Mapping[str, str]) -> Node:
    """The stage with all its settings in its table, and a name by them; `names` of those before it."""

    def renamed(reference: str) -> str:
        stage, dot, what = reference.rpartition(".")
        return "${" + (f"{names[stage]}.{what}" if dot else reference) + "}"

    table = _whole(graph, node)
    table = {key: references.replace(value, renamed) for key, value in table.items()}
    inputs = {what: {names[need]: port for need, port in served.items()} for what, served in node.inputs.items()}
    needs = tuple(names[need] for need in node.needs)
    seeded = {key: value for key, value in table.items() if key != "seed" or node.kind.seeded}
    said = json.dumps([node.kind_name, seeded, needs, inputs, dict(node.each)], sort_keys=True, default=str)
    mark = xxhash.xxh3_64_hexdigest(said.encode())[:8]
    output = PurePath(node.output)
    return dataclasses.replace(
        node,
        name=f"{node.name}-{mark}",
        needs=needs,
        inputs=inputs,
        table=table,
        output=f"{output.stem if output.suffix == '.html' else node.output}-{mark}"
        + (output.suffix if output.suffix == ".html" else ""),
    )


def _whole(graph: Graph, node: Node) -> dict[str, Any]:
    """All settings of a stage: what its graph says in other places too."""
    known = {key: value for key, value in node.table.items() if not any(references.names(value))}
    kind = node.kind
    config, _, _ = graph.settings(node, {**known, **_stand_ins(node, known)})
    found: dict[str, Any] = {} if kind.section is None else getattr(config, kind.section).model_dump(mode="json")
    found |= {name: getattr(config, name).model_dump(mode="json") for name in kind.sections}
    for key, value in node.table.items():  # with references, which are settled when the stage runs
        if key not in kind.sections and key not in known:
            found[key] = value
    return {**found, **{key: value for key, value in node.table.items() if key not in found}, "seed": config.seed}


def _stand_ins(node: Node, known: Mapping[str, Any]) -> dict[str, Any]:
    """Of settings that must be there and refer to other stages."""
    fields = node.kind.options.model_fields
    return {name: node.table[name] for name, field in fields.items() if field.is_required() and name not in known}
