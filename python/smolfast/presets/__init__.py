"""Configurations that ship with the package, one TOML file each: sizes of model with the recipe that fits them."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent
FURTHER = ("align",)
"""Presets of how a model goes on, whose shape is its own."""


def preset_names() -> list[str]:
    """The presets of models, smallest first."""
    return ["compact", "135m", "360m", "1.7b", "smollm3-3b"]


def find_preset(path: str | Path) -> Path | None:
    """The file of a preset that is given as `NAME`, `NAME.toml` or `presets/NAME.toml`; None if it is none of them."""
    given = Path(path)
    name = given.name.removesuffix(".toml")
    if name not in (*preset_names(), *FURTHER) or given.parent not in (Path(), Path("presets")):
        return None
    return _FOLDER / f"{name}.toml"
