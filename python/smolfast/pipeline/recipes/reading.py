"""A recipe's file, with a profile and `--set` applied: what it declares, and where each of it stands."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smolfast.config import Config, parse_toml, parse_value
from smolfast.errors import SmolfastError
from smolfast.files import describe_os_error
from smolfast.io.sources import one_line
from smolfast.pipeline.recipes.toml_lines import Lines
from smolfast.recipes import find_recipe, recipe_names

SECTIONS = tuple(name for name in Config.model_fields if name != "seed")
_TOP = ("name", "base", "preset", "seed", "each", "stages", "profiles")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,60}")
_LABEL = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,60}")
_MOST_BYTES = 1 << 20
Key = tuple[str, ...]


@dataclass
class Recipe:
    """What a recipe's file says.

    Attributes:
        name: what runs of it are called; two recipes don't share a folder.
        base: the folder that paths in it start from: that of the file, or as `base = …` says from there.
        preset: a preset's name or a configuration file.
        sections: settings for all stages, as a configuration file has them.
        each: lists, for each value of which there is a stage of its own.
        stages: what each stage's table holds, in the order of the file.
    """

    name: str
    path: str
    base: Path
    preset: str | None = None
    seed: int = 0
    sections: dict[str, dict[str, Any]] = field(default_factory=dict)
    each: dict[str, list[Any]] = field(default_factory=dict)
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    lines: Lines = field(default_factory=lambda: Lines(""))
    _changed: dict[Key, str] = field(default_factory=dict)

    def error(self, key: Sequence[str], message: str) -> SmolfastError:
        """An error in what stands at a key: with the file and line, or the option that changed it."""
        return SmolfastError(f"{self.where(key)}: {message}")

    def where(self, key: Sequence[str]) -> str:
        """`recipe.toml:12`, or `--set train.steps=0`, or `profile smoke (recipe.toml:40)`."""
        key = tuple(key)
        below = next((said for changed, said in self._changed.items() if changed[: len(key)] == key), None)
        if below is not None and len(key) > 1:
            return below
        for end in range(len(key), 0, -1):
            if (changed := self._changed.get(tuple(key[:end]))) is not None:
                return changed
        return f"{self.path}:{self.lines.of(key)}"

    def holds(self, key: Sequence[str]) -> bool:
        """Whether something stands there."""
        tree: Any = {"stages": self.stages, "preset": self.preset, **self.sections}
        for part in key:
            if not isinstance(tree, dict) or part not in tree:
                return False
            tree = tree[part]
        return tree is not None

    def change(self, key: Key, value: Any, said: str) -> None:
        """Set what stands at a key of a stage, of a section, or of the recipe."""
        first, *rest = key
        if first in self.stages and rest:
            target, key = self.stages[first], ("stages", *key)
        elif first in SECTIONS and rest:
            target = self.sections.setdefault(first, {})
        elif first == "each" and len(rest) == 1:
            self.each[rest[0]] = value
            self._changed[key] = said
            _check_top(self)
            return
        elif first in ("preset", "seed") and not rest:
            setattr(self, first, value)
            self._changed[key] = said
            _check_top(self)
            return
        else:
            near = nearest(first, [*self.stages, *SECTIONS, "preset", "seed"])
            raise SmolfastError(f"{said}: {first!r} is no stage or section of this recipe{near}")
        *parents, last = rest
        for parent in parents:
            target = target.setdefault(parent, {})
            if not isinstance(target, dict):
                raise SmolfastError(f"{said}: {parent} is a value, not a table")
        target[last] = value
        self._changed[key] = said


def nearest(word: str, names: Iterable[str], all_of: str = "") -> str:
    """`; did you mean NAME?` for the name that is most like a word, else `; ALL_OF A, B`, or nothing."""
    names = list(names)
    found = difflib.get_close_matches(str(word), names, 1)
    return f"; did you mean {found[0]!r}?" if found else f"; {all_of} {', '.join(names)}" if all_of and names else ""


def read_recipe(
    path: str | os.PathLike[str], *, profile: str | None = None, settings: Sequence[str] = (), shown: str | None = None
) -> Recipe:
    """Read a recipe's file, or a shipped one by its name; apply a profile, then settings such as `train.steps=100`.

    Raises:
        SmolfastError: a file that isn't there or isn't TOML, a key that a recipe doesn't have, an unknown profile.
    """
    file, base = recipe_file(path)
    try:
        text = file.read_bytes()[: _MOST_BYTES + 1].decode("utf-8")
        tree = parse_toml(text, most=_MOST_BYTES)
    except OSError as error:
        raise SmolfastError(
            f"can't read the recipe {path}: {describe_os_error(error)}; give a file, or one of "
            f"{', '.join(recipe_names())}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise SmolfastError(f"{path} is not valid TOML: {one_line(error)}; correct it") from error
    recipe = _taken(tree, text, file.stem, shown or os.fspath(path), base)
    profiles = tree.get("profiles", {})
    if profile is not None:
        if profile not in profiles:
            near = nearest(profile, profiles, "it has") or "; it has none"
            raise SmolfastError(f"{path}: there is no profile {profile!r}{near}")
        said = f"profile {profile} ({recipe.path}:{{}})"
        for key, value in _leaves(profiles[profile], recipe, profile):
            recipe.change(key, value, said.format(recipe.lines.of(("profiles", profile, *key))))
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not name.strip():
            raise SmolfastError(f"--set {setting}: expected KEY=VALUE, for example --set train.steps=100")
        recipe.change(tuple(name.strip().split(".")), parse_value(value.strip()), f"--set {setting}")
    return recipe


def recipe_file(path: str | os.PathLike[str]) -> tuple[Path, Path]:
    """The file of a recipe that is given by path or, if it ships, by name; and where its paths start from."""
    shipped = None if Path(path).exists() else find_recipe(str(path))
    return (Path(path), Path(path).parent) if shipped is None else (shipped, Path())


def profile_settings(path: str | os.PathLike[str], profile: str) -> list[tuple[Key, Any]]:
    """The settings of one of a recipe's profiles, by key."""
    recipe = read_recipe(path)
    tree = parse_toml(recipe_file(path)[0].read_text(encoding="utf-8"), most=_MOST_BYTES)
    return list(_leaves(tree["profiles"][profile], recipe, profile))


def changes_of(text: str, path: str, recipe: str) -> list[tuple[Key, Any]]:
    """The settings of a file that holds what a profile of the recipe does.

    Raises:
        SmolfastError: it isn't TOML.
    """
    try:
        tree = parse_toml(text, most=_MOST_BYTES)
    except (ValueError, RecursionError) as error:
        raise SmolfastError(f"{path} is not valid TOML: {one_line(error)}; correct it") from error
    return list(_leaves(tree, read_recipe(recipe), path))


def recipe_of(text: str, name: str) -> Recipe:
    """What a recipe's text declares.

    Raises:
        SmolfastError: as `read_recipe`. ValueError: it isn't TOML.
    """
    return _taken(parse_toml(text, most=_MOST_BYTES), text, "recipe", name, Path())


def _taken(tree: Mapping[str, Any], text: str, name: str, path: str, base: Path) -> Recipe:
    # A file may have any name; that of a run goes into its records and pages.
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:60] or "recipe"
    recipe = Recipe(name=plain, path=path, base=base, lines=Lines(text))
    _take(recipe, tree)
    return recipe


def _take(recipe: Recipe, tree: Mapping[str, Any]) -> None:
    try:
        json.dumps(tree)
    except TypeError:
        raise recipe.error((), "a date or a time stands in it; write it as text, in quotes") from None
    for key, value in tree.items():
        if key not in (*_TOP, *SECTIONS):
            raise recipe.error([key], f"unknown key {key!r}{nearest(key, (*_TOP, *SECTIONS))}")
        if key in (*SECTIONS, "each", "stages", "profiles") and not isinstance(value, dict):
            raise recipe.error([key], f"{key} is a table, as in [{key}]")
    recipe.name = tree.get("name", recipe.name)
    if not isinstance(tree.get("base", ""), str):
        raise recipe.error(["base"], "base is the path of a folder")
    recipe.base = recipe.base / tree.get("base", "")
    recipe.each = dict(tree.get("each", {}))
    recipe.preset, recipe.seed = tree.get("preset"), tree.get("seed", 0)
    recipe.sections = {name: dict(tree[name]) for name in SECTIONS if name in tree}
    for name, table in tree.get("stages", {}).items():
        if not _NAME.fullmatch(name):
            raise recipe.error(["stages", name], f"{name!r} is no name for a stage; use letters, digits, _ and -")
        if not isinstance(table, dict):
            raise recipe.error(["stages", name], f"a stage is a table, as in [stages.{name}]")
        recipe.stages[name] = dict(table)
    for name, table in tree.get("profiles", {}).items():
        if not isinstance(table, dict):
            raise recipe.error(["profiles", name], f"a profile is a table, as in [profiles.{name}]")
    _check_top(recipe)


def _check_top(recipe: Recipe) -> None:
    if not isinstance(recipe.name, str) or not _NAME.fullmatch(recipe.name):
        raise recipe.error(["name"], f"name = {recipe.name!r}: use letters, digits, _ and -")
    if recipe.preset is not None and not isinstance(recipe.preset, str):
        raise recipe.error(["preset"], "preset is a preset's name or the path of a configuration file")
    if not isinstance(recipe.seed, int) or isinstance(recipe.seed, bool) or not 0 <= recipe.seed < 1 << 63:
        raise recipe.error(["seed"], f"seed = {recipe.seed!r}: give a whole number from 0 on")
    for name, values in recipe.each.items():
        if not isinstance(values, list) or not values:
            raise recipe.error(["each", name], f"{name} is a list of one value or more")
        labels = [str(value) for value in values]
        for value in values:
            plain = (
                isinstance(value, str | int | float) and not isinstance(value, bool) and _LABEL.fullmatch(str(value))
            )
            if not plain or str(value).endswith(".started"):  # which ends the records of what is under way
                raise recipe.error(
                    ["each", name], f"{value!r} names a stage and its folder; use letters, digits, ., _ and -"
                )
        if len(set(labels)) < len(labels):
            raise recipe.error(["each", name], f"{name} holds a value twice")


def _leaves(table: Mapping[str, Any], recipe: Recipe, profile: str, key: Key = ()) -> Iterable[tuple[Key, Any]]:
    """The settings of a profile. A table below a setting of a section or stage is that setting's value."""
    for name, value in table.items():
        deeper = isinstance(value, dict) and (
            not key or (len(key) == 1 and name in SECTIONS and key[0] in recipe.stages)
        )
        if deeper:
            yield from _leaves(value, recipe, profile, (*key, name))
        else:
            yield (*key, name), value
