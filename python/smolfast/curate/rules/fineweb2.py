"""FineWeb-2's numbers for a language: put into its rules, and read from the YAML files of its repository."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from smolfast.curate.rules.ruleset import Rules, rules_from
from smolfast.errors import SmolfastError

# Where each of a language's ten numbers goes: filter and parameter.
PLACES = {
    "dup_line_frac": ("gopher_repetition", "dup_line_frac"),
    "top_n_grams": ("gopher_repetition", "top_n_grams"),
    "dup_n_grams": ("gopher_repetition", "dup_n_grams"),
    "line_punct_thr": ("fineweb_quality", "line_punct_thr"),
    "new_line_ratio": ("fineweb_quality", "new_line_ratio"),
    "min_avg_word_length": ("gopher_quality", "min_avg_word_length"),
    "max_avg_word_length": ("gopher_quality", "max_avg_word_length"),
    "max_non_alpha_words_ratio": ("gopher_quality", "max_non_alpha_words_ratio"),
    "stopwords": ("gopher_quality", "stop_words"),
}


def with_language(base: Mapping[str, Any], language: str, numbers: Mapping[str, Any], where: str) -> Rules:
    """The base's rules with a language's numbers in their places.

    Raises:
        SmolfastError: a number is missing or unknown.
    """
    wanted = [*PLACES, "language_score"]
    for key in numbers:
        if key not in wanted:
            raise SmolfastError(f"{where}: unknown key {key}; use: {', '.join(wanted)}")
    for key in wanted:
        if key not in numbers:
            raise SmolfastError(f"{where}: {key} is missing; a language of FineWeb-2 has: {', '.join(wanted)}")
    table = {key: value for key, value in base.items() if key != "language"}
    filters = [dict(item) for item in table["filter"]]
    for key, (name, parameter) in PLACES.items():
        for item in filters:
            if item["name"] == name:
                item[parameter] = numbers[key]
    rules = rules_from({**table, "filter": filters, "language_score": numbers["language_score"]}, where)
    return replace(rules, language=language)


def read_yaml(path: Path) -> dict[str, Any]:
    """A file of FineWeb-2's configs/: flat keys with a number, a list of strings or a list of pairs.

    This reads that form and no other, as `yaml.safe_load` would: no package is needed for ten keys.

    Raises:
        SmolfastError: a line of another form.
    """
    try:
        # A backslash at the end of a line, in quotes, goes on with the next one's first character.
        lines = re.sub(r"\\\n *", "", path.read_text("utf-8")).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SmolfastError(f"{path}: can't be read ({error}); give a file of FineWeb-2's configs/") from error
    config: dict[str, Any] = {}
    items: list[Any] = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        key = re.fullmatch(r"([a-z_]+):(?: (.+))?", line.rstrip())
        if key is not None:
            items = []
            config[key[1]] = items if key[2] is None else _scalar(key[2], path, number)
        elif line.startswith("- - "):
            items.append([_scalar(line[4:], path, number)])
        elif line.startswith("  - ") and items and isinstance(items[-1], list):
            items[-1].append(_scalar(line[4:], path, number))
        elif line.startswith("- ") and config:
            items.append(_scalar(line[2:], path, number))
        else:
            raise _other_form(path, number)
    return config


def _scalar(text: str, path: Path, line: int) -> Any:
    text = text.strip()
    if text == "[]":
        return []
    if len(text) > 1 and text[0] == text[-1] == "'":
        return text[1:-1].replace("''", "'")
    if len(text) > 1 and text[0] == text[-1] == '"':
        return _unescape(text[1:-1], path, line)
    if re.fullmatch(r"[-+]?[0-9]+", text):
        return int(text)
    if re.fullmatch(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?", text):
        return float(text)
    # What YAML reads as something else than a string, or ends a plain one with, is quoted in these files.
    if re.match(r"[-?:,\[\]{}#&*!|>'\"%@`](?!\S)|[,\[\]{}#&*!|>'\"%@`]", text) or ": " in text or " #" in text:
        raise _other_form(path, line)
    if text.lower() in ("null", "~", "true", "false", "yes", "no", "on", "off"):
        raise _other_form(path, line)
    return text


_ESCAPES = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "0": "\0",
    "e": "\x1b",
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "v": "\v",
    "N": "\x85",
    "_": "\xa0",
    "L": "\u2028",
    "P": "\u2029",
}


def _unescape(text: str, path: Path, line: int) -> str:
    def character(match: re.Match[str]) -> str:
        code = match[1] or match[2] or match[3]
        if code:
            return chr(int(code, 16))
        escaped = match[4]
        if escaped in '"\\/ ':
            return escaped
        if escaped not in _ESCAPES:
            raise _other_form(path, line)
        return _ESCAPES[escaped]

    return re.sub(r"\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))", character, text)


def _other_form(path: Path, line: int) -> SmolfastError:
    return SmolfastError(
        f"{path}, line {line}: not of the form of FineWeb-2's configs/; write your rules as TOML instead "
        "(Rules.to_toml of a shipped one is a start)"
    )
