"""On which line of a TOML file a key stands: the parser of Python's library doesn't say."""

from __future__ import annotations

import re
from collections.abc import Sequence

_HEADER = re.compile(r"\s*\[\[?\s*(?P<name>[^\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(
    r"""\s*(?P<name>(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*="""
)
_PART = re.compile(r"""[A-Za-z0-9_@-]+|"[^"]*"|'[^']*'""")


class Lines:
    """The lines of the tables and keys of one file."""

    def __init__(self, text: str) -> None:
        self._lines: dict[tuple[str, ...], int] = {}
        table: tuple[str, ...] = ()
        quotes = ""
        for number, line in enumerate(text.splitlines(), 1):
            if quotes:  # inside a text of several lines
                quotes = "" if quotes in line else quotes
                continue
            if found := _HEADER.match(line):
                table = _parts(found["name"])
                self._add(table, number)
            elif found := _KEY.match(line):
                self._add((*table, *_parts(found["name"])), number)
            quotes = next((mark for mark in ('"""', "'''") if line.count(mark) % 2), "")

    def _add(self, key: tuple[str, ...], number: int) -> None:
        for end in range(1, len(key) + 1):
            self._lines.setdefault(key[:end], number)

    def of(self, key: Sequence[str]) -> int:
        """The line of a key, or of the nearest table that holds it; 1 where neither stands in the file."""
        return next(
            (self._lines[tuple(key[:end])] for end in range(len(key), 0, -1) if tuple(key[:end]) in self._lines), 1
        )


def _parts(name: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in _PART.findall(name))
