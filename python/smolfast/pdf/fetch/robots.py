"""robots.txt, by RFC 9309: what a host asks robots to leave alone.

The standard library's parser knows neither `*` nor `$` in paths, and takes the first rule instead of the longest.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote, urlsplit

MOST_BYTES = 500 << 10
"""That are read of it; RFC 9309 asks for as many at least."""
_LINE = re.compile(r"\s*([A-Za-z-]+)\s*:\s*([^#]*)")


class Robots:
    """The rules for one robot."""

    def __init__(self, text: str, agent: str) -> None:
        """`agent` is the robot's name, without its version."""
        groups = _groups(text)
        name = agent.lower()
        mine = [rules for agents, rules in groups if name in agents]
        chosen = mine or [rules for agents, rules in groups if "*" in agents]
        self._rules = [(kind == "allow", _normal(path)) for rules in chosen for kind, path in rules if kind in _PATHS]
        delays = [value for rules in chosen for kind, value in rules if kind == "crawl-delay"]
        self.delay = max((_seconds(value) for value in delays), default=0.0)
        """Seconds that it asks for between two requests."""

    def allows(self, url: str) -> bool:
        """Whether an address may be fetched: the longest rule that fits decides, and allows if two are as long."""
        parts = urlsplit(url)
        path = _normal((parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
        if path == "/robots.txt":
            return True
        fitting = [(len(rule), allowed) for allowed, rule in self._rules if rule and _fits(rule, path)]
        return max(fitting)[1] if fitting else True


_PATHS = ("allow", "disallow")


def _groups(text: str) -> list[tuple[set[str], list[tuple[str, str]]]]:
    """Names of robots, and the lines that are for them."""
    found: list[tuple[set[str], list[tuple[str, str]]]] = []
    naming = False
    for line in text.lstrip("\ufeff").splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        key, value = match[1].lower(), match[2].strip()
        if key == "user-agent":
            if not naming:
                found.append((set(), []))
            found[-1][0].add(value.partition("/")[0].strip().lower())
            naming = True
        elif key in (*_PATHS, "crawl-delay"):
            naming = False
            if found:
                found[-1][1].append((key, value))
    return found


def _seconds(value: str) -> float:
    return float(value) if re.fullmatch(r"\d{1,6}(\.\d{0,6})?", value) else 0.0


def _normal(path: str) -> str:
    """One way to write a path: what needn't be escaped isn't."""
    return quote(unquote(path, errors="surrogateescape"), safe="/?*$=&:@!+,;~()'", errors="surrogateescape")


def _fits(rule: str, path: str) -> bool:
    """Whether a path begins as a rule says; `*` is anything, `$` at the end is the end. Takes linear time."""
    whole = rule.endswith("$")
    pieces = (rule[:-1] if whole else rule).split("*")
    if not path.startswith(pieces[0]):
        return False
    if len(pieces) == 1:
        return not whole or path == pieces[0]
    at = len(pieces[0])
    for piece in pieces[1:-1]:
        place = path.find(piece, at)
        if place < 0:
            return False
        at = place + len(piece)
    if whole:
        return len(path) - len(pieces[-1]) >= at and path.endswith(pieces[-1])
    return path.find(pieces[-1], at) >= 0
