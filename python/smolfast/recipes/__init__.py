"""Recipes that ship with the package, one TOML file each: graphs of stages for `smolfast run`.

`changes/` holds sets of changes for `smolfast ablate`, a folder each.
"""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent


def recipe_names() -> list[str]:
    """The recipes there are, the first one first."""
    found = sorted(path.stem for path in _FOLDER.glob("*.toml"))
    return sorted(found, key=lambda name: name != "quickstart")


def find_recipe(name: str | Path) -> Path | None:
    """The file of a recipe by its bare name; None if there is none of it."""
    return _FOLDER / f"{name}.toml" if str(name) in recipe_names() else None


def change_sets() -> list[str]:
    """The sets of changes there are."""
    return sorted(path.name for path in (_FOLDER / "changes").iterdir() if path.is_dir())


def find_changes(name: str) -> list[Path]:
    """The files of a set of changes by its bare name; none if there is no such set."""
    return sorted((_FOLDER / "changes" / name).glob("*.toml")) if name in change_sets() else []
