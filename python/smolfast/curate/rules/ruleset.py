"""A list of filters with a name and a version: made of a dictionary, checked, and written as TOML."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from smolfast.curate.rules.filters import FILTERS, Filter, parameter_names
from smolfast.errors import SmolfastError


@dataclass(frozen=True)
class Rules:
    """Filters in their order. `language` and `language_score` say what the thresholds were chosen for.

    `language_score` is a number of FineWeb-2's, for GlotLID's scores. `curate_files` applies it to those of its model.
    Two equal lists of filters judge alike, whatever their names.
    """

    name: str
    version: str
    filters: tuple[Filter, ...]
    language: str | None = None
    language_score: float | None = None

    def __post_init__(self) -> None:
        names = [kind.name for kind in self.filters]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise SmolfastError(f"rules {self.name}: filter {name} stands twice; each filter may stand once")
        if not self.filters:
            raise SmolfastError(f"rules {self.name}: no filter; give one of: {', '.join(FILTERS)}")
        for kind in self.filters:
            for problem in kind.problems():
                raise SmolfastError(f"rules {self.name}, filter {kind.name}: {problem}")

    @property
    def rewrites(self) -> bool:
        """Whether a filter changes texts."""
        return any(kind.rewrites for kind in self.filters)

    def to_toml(self) -> str:
        """The rules as `load_rules` reads them."""
        lines = [f"name = {json.dumps(self.name)}", f"version = {json.dumps(self.version)}"]
        if self.language is not None:
            lines.append(f"language = {json.dumps(self.language)}")
        if self.language_score is not None:
            lines.append(f"language_score = {self.language_score!r}")
        for kind in self.filters:
            lines += ["", "[[filter]]", f'name = "{kind.name}"']
            lines += [f"{key} = {_toml(value)}" for key, value in kind.parameters().items() if value is not None]
        return "\n".join(lines) + "\n"


def rules_from(table: Mapping[str, Any], where: str) -> Rules:
    """Rules from a table as TOML holds them.

    Raises:
        SmolfastError: an unknown key or filter, or a value of the wrong type; it names what is allowed.
    """
    _check_keys(table, ["name", "version", "language", "language_score", "filter"], where)
    listed = table.get("filter", [])
    if not isinstance(listed, list) or not all(isinstance(item, Mapping) for item in listed):
        raise SmolfastError(f"{where}: filter must be a list of tables; write [[filter]] above each")
    filters = tuple(_filter_from(item, f"{where}, filter {index + 1}") for index, item in enumerate(listed))
    score = table.get("language_score")
    return Rules(
        name=_text(table, "name", where, "own"),
        version=_text(table, "version", where, "1"),
        filters=filters,
        language=_text(table, "language", where, "") or None,
        language_score=None if score is None else _number("language_score", score, where),
    )


def _filter_from(table: Mapping[str, Any], where: str) -> Filter:
    name = table.get("name")
    if not isinstance(name, str) or name not in FILTERS:
        raise SmolfastError(
            f"{where}: name is {json.dumps(name, default=str)}{_nearest(name, FILTERS)}; "
            f"use one of: {', '.join(FILTERS)}"
        )
    kind = FILTERS[name]
    where = f"{where} ({name})"
    _check_keys(table, ["name", *parameter_names(kind)], where)
    defaults = kind().parameters()
    values = {key: _value(key, value, defaults[key], where) for key, value in table.items() if key != "name"}
    return kind(**values)


def _value(key: str, value: Any, default: Any, where: str) -> Any:
    """The value as its parameter's type, which the default shows."""
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise SmolfastError(f"{where}: {key} is {value!r}; use true or false")
        return value
    if key in ("top_n_grams", "dup_n_grams"):
        if not isinstance(value, Sequence) or isinstance(value, str) or not all(_is_pair(item) for item in value):
            raise SmolfastError(f"{where}: {key} is {value!r}; use a list of [words, limit], such as [[2, 0.2]]")
        return tuple((n, _number(key, limit, where)) for n, limit in value)
    if default is None or isinstance(default, list):
        if not isinstance(value, Sequence) or isinstance(value, str) or not all(isinstance(v, str) for v in value):
            raise SmolfastError(f'{where}: {key} is {value!r}; use a list of strings, such as ["a", "b"]')
        return tuple(value)
    if isinstance(default, str):
        if not isinstance(value, str):
            raise SmolfastError(f"{where}: {key} is {value!r}; use a string")
        return value
    return _number(key, value, where)


def _is_pair(item: Any) -> bool:
    if not isinstance(item, Sequence) or isinstance(item, str) or len(item) != 2:
        return False
    return isinstance(item[0], int) and not isinstance(item[0], bool)


def _number(key: str, value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise SmolfastError(f"{where}: {key} is {value!r}; use a number")
    return value


def _text(table: Mapping[str, Any], key: str, where: str, default: str) -> str:
    value = table.get(key, default)
    if not isinstance(value, str):
        raise SmolfastError(f"{where}: {key} is {value!r}; use a string")
    return value


def _check_keys(table: Mapping[str, Any], allowed: list[str], where: str) -> None:
    for key in table:
        if key not in allowed:
            raise SmolfastError(f"{where}: unknown key {key}{_nearest(key, allowed)}; use one of: {', '.join(allowed)}")


def _nearest(word: Any, allowed: Any) -> str:
    close = get_close_matches(str(word), list(allowed), 1)
    return f" (did you mean {close[0]}?)" if close else ""


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    # JSON's strings are TOML's, but for DEL, which TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f") if isinstance(value, str) else repr(value)
