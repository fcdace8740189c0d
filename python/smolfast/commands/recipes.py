"""`smolfast recipes` and `recipes show NAME`: the recipes that ship."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from smolfast.commands.parsers import command, nearest
from smolfast.errors import SmolfastError
from smolfast.recipes import find_recipe, recipe_names


def add_recipes(commands: Any) -> None:
    """The parser of `smolfast recipes` and `recipes show`."""
    parser = command(commands, "recipes", _recipes)
    parser.epilog = "further commands:\n\n  smolfast recipes show NAME\n      print a recipe, to start one's own from\n"
    show = parser.add_verb("show", "Print a recipe that ships, to start one's own from.")
    show.add_argument("name", metavar="NAME", help="its name")
    show.set_defaults(run=_show, after=None, goes_on=False, json=False, quiet=False)


def _recipes(arguments: argparse.Namespace) -> Mapping[str, Any] | None:
    found = {}
    for name in recipe_names():
        path = find_recipe(name)
        assert path is not None
        found[name] = path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
    if arguments.json:
        return {"recipes": found}
    width = max(map(len, found))
    print("\n".join(f"{name:<{width}}  {says}" for name, says in found.items()))
    return None


def _show(arguments: argparse.Namespace) -> None:
    path = find_recipe(arguments.name)
    if path is None:
        names = recipe_names()
        raise SmolfastError(
            f"there is no recipe {arguments.name!r}{nearest(arguments.name, names)}; there are {', '.join(names)}"
        )
    print(path.read_text(encoding="utf-8"), end="")
