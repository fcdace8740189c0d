"""Rules by name and version, from a TOML file, or from a YAML file of FineWeb-2's."""

from __future__ import annotations

import tomllib
from difflib import get_close_matches
from importlib.resources import files
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from smolfast.curate.languages import scripted
from smolfast.curate.rules.fineweb2 import read_yaml, with_language
from smolfast.curate.rules.ruleset import Rules, rules_from
from smolfast.errors import SmolfastError

_FOLDER = files("smolfast.curate.rules")
# name@version: file. Older versions aren't here: their words were NLTK's, and their checks other ones.
_SHIPPED = {
    "fineweb@0.10": "fineweb-0.10.toml",
    "fineweb-2@1": "fineweb-2-1.toml",
    "c4@0.10": "c4-0.10.toml",
    "gopher@0.10": "gopher-0.10.toml",
}


def shipped_rules() -> list[str]:
    """The names of rules that come with the package."""
    return list(_SHIPPED)


def load_rules(source: str | PathLike[str] | Rules, language: str | None = None) -> Rules:
    """Rules by name, or from a file.

    Args:
        source: `fineweb@0.10` or another of `shipped_rules`; a TOML file; a YAML file of FineWeb-2's configs/ as it is;
            or Rules, which come back.
        language: for rules with numbers by language (`fineweb-2@1`): "sk", "slk" or "slk_Latn".

    Raises:
        SmolfastError: an unknown name, version, language, key or value; it says which there are.
    """
    if isinstance(source, Rules):
        return source
    name = fspath(source)
    if name in _SHIPPED:
        return _from_toml((_FOLDER / _SHIPPED[name]).read_text("utf-8"), f"rules {name}", language)
    path = Path(name)
    if path.suffix in (".yml", ".yaml"):
        base = tomllib.loads((_FOLDER / _SHIPPED["fineweb-2@1"]).read_text("utf-8"))
        return with_language(base, path.stem, read_yaml(path), name)
    if path.suffix == ".toml" or path.is_file():
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SmolfastError(
                f"{name}: can't be read ({error}); give a TOML file of rules, or one of: {_names()}"
            ) from error
        return _from_toml(text, name, language)
    raise SmolfastError(f"rules {name!r} are unknown{_hint(name)}; use one of: {_names()}, or a .toml or .yml file")


def _from_toml(text: str, where: str, language: str | None) -> Rules:
    try:
        table: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SmolfastError(f"{where}: not TOML ({error}); correct that line") from error
    languages = table.get("language")
    if not isinstance(languages, dict):
        return rules_from(table, where)
    if language is None:
        raise SmolfastError(f"{where}: has numbers by language; name one of: {', '.join(languages)}")
    code = language if language in languages else scripted(language)
    if code not in languages:
        raise SmolfastError(
            f"{where}: no numbers for language {language!r}; use one of: {', '.join(languages)}, or give the "
            "language's YAML file from FineWeb-2's configs/ as rules"
        )
    return with_language(table, code, languages[code], where)


def _names() -> str:
    return ", ".join(_SHIPPED)


def _hint(name: str) -> str:
    stem = name.partition("@")[0]
    versions = [shipped for shipped in _SHIPPED if shipped.partition("@")[0] == stem]
    if versions and "@" in name:
        return f" (of {stem} there is {', '.join(versions)}; other versions decide by other words and checks)"
    if versions:
        return f" (name the version: {', '.join(versions)})"
    close = get_close_matches(name, list(_SHIPPED), 1)
    return f" (did you mean {close[0]}?)" if close else ""
