"""Results of experiments as recipes: `best.toml` of a sweep, `winners.toml` of an ablation."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

from smolfast.config import parse_value, toml_value
from smolfast.files import write_text
from smolfast.pipeline.recipes.reading import profile_settings, recipe_file


def write_profile(path: Path, title: str, recipe: str, profile: str | None, settings: Sequence[str], name: str) -> None:
    """Write a recipe with settings as a profile of that name, after those of a profile that it had.

    `smolfast run PATH --profile NAME` runs it from any place.
    """
    file, base = recipe_file(recipe)
    text = file.read_text(encoding="utf-8")
    before = [] if profile is None else profile_settings(recipe, profile)
    chosen = {".".join(key): value for key, value in before}
    for setting in settings:
        key, _, value = setting.partition("=")
        chosen[key] = parse_value(value)
    relative = os.path.relpath((base / _base(text)).resolve(), path.parent)
    text = re.sub(r"(?m)^base\s*=.*\n", "", text)
    text = re.sub(rf"(?ms)^\[profiles\.{name}\].*?(?=^\[|\Z)", "", text)
    lines = [title, "", f"base = {json.dumps(relative)}  # the folder that paths start from", "", text.rstrip(), ""]
    lines += [f"[profiles.{name}]", *(f"{key} = {toml_value(value)}" for key, value in chosen.items()), ""]
    write_text(path, "\n".join(lines))


def _base(text: str) -> str:
    found = re.search(r"(?m)^base\s*=\s*(.*)$", text)
    return "" if found is None else str(parse_value(found[1].strip()))
