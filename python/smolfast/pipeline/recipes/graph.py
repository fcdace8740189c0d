"""The graph of a recipe: its stages after fan-out, what each needs, and in which order they can run."""

from __future__ import annotations

import functools
import itertools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from smolfast.config import Config, load_config, validate_config
from smolfast.errors import SmolfastError
from smolfast.files import is_plain_name
from smolfast.monitors.rule import Rule
from smolfast.pipeline.recipes import references
from smolfast.pipeline.recipes.kinds import KINDS, Kind
from smolfast.pipeline.recipes.kinds.kind import PORTS
from smolfast.pipeline.recipes.monitors import EVENTS, read_rules
from smolfast.pipeline.recipes.reading import SECTIONS, Recipe, nearest, read_recipe

OWN_FILES = ("run.json", "stages", "recipe.json", "recipe.html", EVENTS, ".lock")
"""What a run writes in its folder beside the outputs."""
_MONITORS = "monitors"
_RESERVED = ("kind", "needs", "each", "output")


@dataclass(frozen=True)
class Node:
    """A stage of the graph.

    Attributes:
        name: with the values of its lists, as in `split@de`; `declared` is the name in the file.
        needs: the stages before it, by name. inputs: of each input of its kind, the stages and ports that serve it.
        table: its settings, with references to other stages still in them.
        output: the name of its file or folder.
        monitors: rules on what it tells when it is done.
    """

    name: str
    declared: str
    kind_name: str
    each: Mapping[str, Any]
    needs: tuple[str, ...]
    inputs: Mapping[str, Mapping[str, str]]
    table: Mapping[str, Any]
    output: str
    monitors: tuple[Rule, ...] = ()

    @property
    def kind(self) -> Kind:
        """What it does."""
        return KINDS[self.kind_name]

    @property
    def label(self) -> str:
        """What it is called among others of its name: by the values of its lists, if it has any."""
        return "@".join(map(str, self.each.values())) or self.name


class Graph:
    """The stages of a recipe, in an order in which they can run."""

    def __init__(self, recipe: Recipe, nodes: Mapping[str, Node], preset: Mapping[str, Any]) -> None:
        self.recipe = recipe
        self.nodes = dict(nodes)
        self.preset = preset

    def settings(self, node: Node, table: Mapping[str, Any]) -> tuple[Config, Any, dict[str, Any]]:
        """The configuration, the options and what is left for a function of the user's own, all checked.

        Raises:
            SmolfastError: a bad value, with the place where it stands.
        """
        kind = node.kind
        tree: dict[str, Any] = {**self.preset, "seed": self.recipe.seed}
        own: dict[str, Any] = {}
        fields = set() if kind.section is None else set(type(getattr(Config(), kind.section)).model_fields)
        for name, section in self.recipe.sections.items():
            tree[name] = {**tree.get(name, {}), **section}
        options: dict[str, Any] = {}
        for key, value in table.items():
            if key == "seed":
                tree["seed"] = value
            elif key in kind.options.model_fields:
                options[key] = value
            elif key in fields:
                assert kind.section is not None
                tree[kind.section] = {**tree.get(kind.section, {}), key: value}
            elif key in kind.sections:
                if not isinstance(value, Mapping):
                    raise self._error(node, (key,), f"{key} is a table, as in [stages.{node.declared}.{key}]")
                tree[key] = {**tree.get(key, {}), **value}
            else:
                own[key] = value
        relevant = {"seed", *kind.sections, *([kind.section] if kind.section else [])}
        try:
            config = validate_config({name: value for name, value in tree.items() if name in relevant})
        except SmolfastError as error:
            raise self.blame(node, str(error)) from error
        try:
            return config, kind.options.model_validate(options), own
        except ValidationError as error:
            problem = error.errors()[0]
            where = tuple(str(part) for part in problem["loc"])
            said = str(problem["msg"]).removeprefix("Value error, ")
            raise self._error(node, where, f"{'.'.join(where)} = {str(problem['input'])[:100]!r}: {said}") from error

    def _error(self, node: Node, key: Sequence[str], message: str) -> SmolfastError:
        return self.recipe.error(("stages", node.declared, *key), message)

    def blame(self, node: Node | None, message: str) -> SmolfastError:
        """A message of the configuration's, with the place of the key that it begins with."""
        found = re.match(r"(?:unknown key ')?\[?([a-z_]+)(?:\.([a-z_0-9]+))?", message)
        section, key = (found[1], found[2]) if found else ("", None)
        inside = [key] if key else []
        places: list[tuple[str, ...]] = [(section, *inside)]  # from the nearest one on
        if node is not None:
            own = [] if section == node.kind.section else [section]
            places = [("stages", node.declared, *own, *inside), *places, ("stages", node.declared)]
        return self.recipe.error(next(filter(self.recipe.holds, places), places[-1]), message)


def load_recipe(
    path: str | os.PathLike[str], *, profile: str | None = None, settings: Sequence[str] = (), shown: str | None = None
) -> Graph:
    """Read a recipe, check all of it, and make its graph. Nothing runs, nothing is written.

    Args:
        path: a TOML file, or the name of a recipe that ships.
        profile: one of the file's `[profiles.NAME]`, applied over it.
        settings: as `train.steps=100`: of a stage by its name, else of a section of the configuration.

    Raises:
        SmolfastError: what is wrong with it, with the line of the file.
    """
    return build(read_recipe(path, profile=profile, settings=settings, shown=shown))


def build(recipe: Recipe) -> Graph:
    """The graph of what a recipe declares."""
    if not recipe.stages:
        raise recipe.error((), "it has no stages; add one, as in [stages.collect]")
    preset: dict[str, Any] = {}
    if recipe.preset is not None:
        try:
            preset = load_config(_preset_path(recipe)).model_dump(mode="json")
        except SmolfastError as error:
            raise recipe.error(("preset",), f"preset = {recipe.preset!r}: {error}") from error
    declared = {name: _Declared(recipe, name, table) for name, table in recipe.stages.items()}
    instances = {name: list(one.instances()) for name, one in declared.items()}
    every = {label: (name, values) for name, found in instances.items() for label, values in found}
    nodes: dict[str, Node] = {}
    for name, one in declared.items():
        for label, values in instances[name]:
            nodes[label] = one.node(label, values, declared, instances, every)
    graph = Graph(recipe, {name: nodes[name] for name in _ordered(recipe, nodes)}, preset)
    _check(graph)
    return graph


def _preset_path(recipe: Recipe) -> str:
    assert recipe.preset is not None
    beside = recipe.base / recipe.preset
    return str(beside) if beside.is_file() else recipe.preset


class _Declared:
    """A stage as the file declares it."""

    def __init__(self, recipe: Recipe, name: str, table: Mapping[str, Any]) -> None:
        self._recipe, self._name = recipe, name
        self._place = ("stages", name)
        own = [kind for kind in ("python", "command") if kind in table]
        kind = table.get("kind", own[0] if own else name)
        if len(own) > 1 or (own and kind != own[0]):
            raise recipe.error((*self._place, own[-1]), "a stage is of one kind: python, command, or one of smolfast's")
        if kind not in KINDS:
            raise recipe.error(
                (*self._place, *(["kind"] if "kind" in table else [])),
                f"there is no kind of stage {kind!r}{nearest(kind, KINDS, 'there are')}; give kind = …, python = … or "
                "command = …",
            )
        if kind in ("python", "command") and kind not in table:
            raise recipe.error(self._place, f"a stage of this kind has {kind} = …")
        self.kind_name, self.kind = kind, KINDS[kind]
        self._each = self._names("each")
        self._needs = self._names("needs")
        self._table = {key: value for key, value in table.items() if key not in _RESERVED}
        self._monitors: tuple[Rule, ...] = ()
        own_rules = _MONITORS in set(self.kind.setting_names())  # of a training: they look at its steps
        if _MONITORS in self._table and not own_rules:
            try:
                self._monitors = read_rules(self._table.pop(_MONITORS), self.kind.summary)
            except SmolfastError as error:
                raise recipe.error((*self._place, _MONITORS), str(error)) from error
        self._output = table.get("output", None)
        known = {*self.kind.setting_names(), "seed", _MONITORS}
        for key in self._table:
            if key not in known and self.kind_name != "python":
                near = nearest(key, sorted({*known, *_RESERVED}), "it has")
                raise recipe.error((*self._place, key), f"{kind} has no setting {key!r}{near}")

    def _names(self, key: str) -> list[str]:
        given = self._recipe.stages[self._name].get(key, [])
        given = [given] if isinstance(given, str) else given
        if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
            raise self._recipe.error((*self._place, key), f"{key} is a name, or a list of names")
        return given

    def instances(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Its stages after fan-out: name, and a value for each of its lists."""
        lists = []
        for name in self._each:
            if name not in self._recipe.each:
                near = nearest(name, self._recipe.each)
                raise self._recipe.error((*self._place, "each"), f"there is no list {name!r} in [each]{near}")
            lists.append([(name, value) for value in self._recipe.each[name]])
        for values in itertools.product(*lists):
            yield "@".join([self._name, *(str(value) for _, value in values)]), dict(values)

    def node(
        self,
        label: str,
        values: Mapping[str, Any],
        declared: Mapping[str, _Declared],
        instances: Mapping[str, Sequence[tuple[str, Mapping[str, Any]]]],
        every: Mapping[str, tuple[str, Mapping[str, Any]]],
    ) -> Node:
        """The stage of these values."""
        place = self._place

        def matching(name: str, key: str) -> list[str]:
            if name in instances:
                return [
                    one
                    for one, others in instances[name]
                    if all(values[shared] == others[shared] for shared in values.keys() & others.keys())
                ]
            if name in every:
                return [name]
            near = nearest(name, [*instances, *every])
            raise self._recipe.error((*place, key), f"there is no stage {name!r}{near}")

        def each(name: str) -> Any:
            first, dot, variable = name.partition(".")
            if first != "each":
                return "${" + name + "}"
            if not dot or variable not in values:
                lists = f"its lists are {', '.join(values)}" if values else 'it has no lists; add each = ["NAME"]'
                raise self._recipe.error(place, f"${{{name}}} refers to nothing; {lists}")
            return values[variable]

        named = [str(references.replace(name, each)) for name in self._needs]
        needs = list(dict.fromkeys(one for name in named for one in matching(name, "needs")))
        table = {key: references.replace(value, each) for key, value in self._table.items()}

        def of_stage(key: str, name: str) -> str:
            stage, dot, what = name.partition(".")
            if name == "output" and self.kind_name == "command":
                return "${output}"
            found = matching(stage, key) if dot else []
            if not dot or not what:
                raise self._recipe.error(
                    (*place, key), f"${{{name}}} refers to nothing; write ${{STAGE.output}} or ${{STAGE.NUMBER}}"
                )
            if len(found) != 1:
                raise self._recipe.error(
                    (*place, key), f"${{{name}}} stands for {len(found)} stages; name one: {', '.join(found)}"
                )
            other = declared[every[found[0]][0]]
            can = [*other.gives(), "output", *(other.kind.summary or ())]
            if what not in can and other.kind.summary is not None:
                near = nearest(what, can, f"{stage} has")
                raise self._recipe.error((*place, key), f"${{{name}}} refers to nothing{near}")
            needs.extend(one for one in found if one not in needs)
            return "${" + found[0] + "." + what + "}"

        direct = list(needs)
        for key in table:
            table[key] = references.replace(table[key], functools.partial(of_stage, key))
        output = self._file(label, each)
        if label in needs:
            raise self._recipe.error((*place, "needs"), f"{label} needs itself")
        serves = self._inputs(direct, declared, every)
        return Node(label, self._name, self.kind_name, values, tuple(needs), serves, table, output, self._monitors)

    def gives(self) -> Mapping[str, str]:
        """Its ports and where they lie in its output."""
        given = self._table.get("gives")
        return given if self.kind_name in ("python", "command") and isinstance(given, dict) else self.kind.gives

    def _file(self, label: str, each: Any) -> str:
        output = label if self._output is None else references.replace(self._output, each)
        if not is_plain_name(output) or output in OWN_FILES or "${" in output:
            raise self._recipe.error(
                (*self._place, "output"),
                f"output = {output!r}: give a name in the run's folder, not {', '.join(OWN_FILES)}",
            )
        return str(output)

    def _inputs(
        self, needs: Sequence[str], declared: Mapping[str, _Declared], every: Mapping[str, tuple[str, Any]]
    ) -> dict[str, dict[str, str]]:
        """Of each input, the stages that serve it and by which port."""
        found: dict[str, dict[str, str]] = {name: {} for name in self.kind.takes}
        for need in needs:
            gives = declared[every[need][0]].gives()
            used = False
            for name, take in self.kind.takes.items():
                port = next((port for port in take.ports if port in gives), None)
                if port is not None:
                    found[name][need] = port
                    used = True
            if not used and not self.kind.free:
                takes = ", ".join(dict.fromkeys(PORTS[take.ports[0]] for take in self.kind.takes.values())) or "nothing"
                what = ", ".join(PORTS[port] for port in gives)
                raise self._recipe.error(
                    (*self._place, "needs"),
                    f"{self._name} takes {takes}, and {need} gives {what}; leave it out of needs",
                )
        for name, take in self.kind.takes.items():
            count = len(found[name])
            what = PORTS[take.ports[0]]
            given = bool(take.setting and self._table.get(take.setting))
            if count and given:
                raise self._recipe.error(
                    (*self._place, take.setting), f"{self._name} has {what} of {', '.join(found[name])}; leave this out"
                )
            if count < take.least and not given:
                kinds = [kind for kind, one in KINDS.items() if any(port in one.gives for port in take.ports)]
                raise self._recipe.error(
                    (*self._place, "needs"),
                    f"{self._name} needs a stage that gives {what}, such as {', '.join(kinds[:3])}",
                )
            if count > take.most:
                raise self._recipe.error(
                    (*self._place, "needs"),
                    f"{self._name} takes {what} of one stage, and {', '.join(found[name])} give it",
                )
        return found


def _ordered(recipe: Recipe, nodes: Mapping[str, Node]) -> list[str]:
    """Names in an order in which each stands behind what it needs, else as in the file."""
    done: dict[str, None] = {}
    for first in nodes:
        path: dict[str, Iterator[str]] = {}
        if first not in done:
            path[first] = iter(nodes[first].needs)
        while path:
            name, needs = next(reversed(path.items()))
            need = next((need for need in needs if need not in done), None)
            if need is None:
                done[name] = None
                del path[name]
            elif need in path:
                circle = [*list(path)[list(path).index(need) :], need]
                raise recipe.error(("stages", nodes[name].declared, "needs"), f"a circle: {' needs '.join(circle)}")
            else:
                path[need] = iter(nodes[need].needs)
    return list(done)


def _check(graph: Graph) -> None:
    """Everything that can be known before anything runs."""
    recipe = graph.recipe
    whole = {name: {**graph.preset.get(name, {}), **section} for name, section in recipe.sections.items()}
    known = {name: one for name, one in whole.items() if not any(references.names(one))}
    try:
        # Whether they fit together is seen at each stage, which may set some of them anew.
        validate_config({**graph.preset, **known, "seed": recipe.seed}, together=False)
    except SmolfastError as error:
        raise graph.blame(None, str(error)) from error
    outputs: dict[str, Node] = {}
    for node in graph.nodes.values():
        place = ("stages", node.declared)
        other = outputs.setdefault(node.output, node)
        if other is not node:
            raise graph.recipe.error(
                (*place, "output"),
                f"{node.name} and {other.name} would both write {node.output}; give one another output",
            )
        # What other stages will give isn't there yet.
        table = {key: value for key, value in node.table.items() if not any(references.names(value))}
        left = set(node.table) - set(table)
        needed = {name for name, field in node.kind.options.model_fields.items() if field.is_required()} & left
        if not needed:
            _, options, _ = graph.settings(node, table)
            takes = node.kind.takes.get("documents")
            reads = takes is not None and takes.least == 0 and not node.kind.free and "input" not in left
            if reads and not options.input and not node.inputs["documents"]:
                raise graph.recipe.error(place, f"{node.name} has nothing to read; give it input = […] or needs = …")


def check_exports(graph: Graph) -> None:
    """Refuse a model that can't be exported before it is trained.

    Raises:
        SmolfastError: with the stage that exports.
    """
    for node in graph.nodes.values():
        for name in node.inputs.get("model", ()) if node.kind_name == "export" else ():
            trained = graph.nodes[name]
            if trained.kind_name != "train":
                continue
            known = {key: value for key, value in trained.table.items() if not any(references.names(value))}
            if reason := graph.settings(trained, known)[0].model.beyond_transformers():
                raise graph.recipe.error(
                    ("stages", node.declared),
                    f"{node.name} can't export what {name} trains: {reason}; change that, or leave the stage out",
                )


def paths_below(node: Node) -> dict[str, Path]:
    """Where each port of a stage lies, from the run's folder on."""
    given = node.table.get("gives")
    gives = given if node.kind_name in ("python", "command") and isinstance(given, dict) else node.kind.gives
    return {port: Path(node.output, inner) if inner else Path(node.output) for port, inner in gives.items()}


__all__ = ["OWN_FILES", "SECTIONS", "Graph", "Node", "build", "check_exports", "load_recipe", "paths_below"]
