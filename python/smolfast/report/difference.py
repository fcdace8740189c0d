"""Two texts side by side with what differs marked, long equal parts left out.

Lines are matched first, then words inside lines that resemble each other (Ratcliff and Obershelp's matching blocks, as
in `difflib`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

from smolfast.report.markup import Markup, tag

_TOKEN = re.compile(r"\w+|\s+|[^\w\s]")
_CONTEXT_LINES = 2
_MOST_ROWS = 18
_CONTEXT_CHARACTERS = 90
_MOST_CHANGED_CHARACTERS = 400
_ALIKE = 0.3
_LARGEST_ALIGNMENT = 1600
_LARGEST_MATCH = 1_000_000

Piece = tuple[str, bool]
"""A stretch of a line, and whether it differs from the other side."""


@dataclass(frozen=True)
class Row:
    """A line of each text (None: that text has none here), or a gap of `skipped` lines left out (of the longer side).

    Line numbers count from 1.
    """

    kind: Literal["equal", "changed", "gap"]
    left: tuple[Piece, ...] | None = None
    right: tuple[Piece, ...] | None = None
    left_line: int = 0
    right_line: int = 0
    skipped: int = 0


@dataclass(frozen=True)
class Difference:
    """The rows to show; how many lines differ in all and how many of those rows don't show."""

    rows: tuple[Row, ...]
    changed: int
    hidden: int


def compare(left: str, right: str) -> Difference:
    """Align two texts line by line and word by word, and cut around the differences."""
    rows = _all_rows(left.split("\n"), right.split("\n"))
    changed = [index for index, row in enumerate(rows) if row.kind == "changed"]
    near = sorted(
        {at for i in changed for at in range(i - _CONTEXT_LINES, i + _CONTEXT_LINES + 1) if 0 <= at < len(rows)}
    )
    groups: list[list[int]] = []
    for at in near:
        if groups and groups[-1][-1] == at - 1:
            groups[-1].append(at)
        else:
            groups.append([at])
    # Whole groups of changes with their context, as many as fit; of a first one that doesn't, the beginning.
    chosen = groups[0][:_MOST_ROWS] if groups else []
    for group in groups[1:]:
        if len(chosen) + len(group) > _MOST_ROWS:
            break
        chosen += group
    shown: list[Row] = []
    last = -1
    for at in [*chosen, len(rows)]:
        if at > last + 1:
            between = rows[last + 1 : at]
            lines = (sum(row.left is not None for row in between), sum(row.right is not None for row in between))
            shown.append(Row("gap", skipped=max(lines)))
        shown += rows[at : at + 1]
        last = at
    changes_shown = sum(row.kind == "changed" for row in shown)
    return Difference(tuple(shown), len(changed), len(changed) - changes_shown)


def difference_table(difference: Difference, left_name: str, right_name: str, caption: str) -> Markup:
    """The rows as a table of two columns; the style sheet puts them under each other on a narrow screen."""
    rows = [_row_markup(row) for row in difference.rows]
    head = tag("tr", tag("th", left_name, scope="col"), tag("th", right_name, scope="col"))
    return tag(
        "table",
        tag("caption", caption),
        tag("thead", head),
        tag("tbody", rows),
        class_="difference",
    )


def _all_rows(left: Sequence[str], right: Sequence[str]) -> list[Row]:
    rows: list[Row] = []

    def add(kind: Literal["equal", "changed"], i: int | None, j: int | None) -> None:
        a, b = (left[i] if i is not None else None), (right[j] if j is not None else None)
        if kind == "equal" or a is None or b is None:
            pieces: tuple[tuple[Piece, ...] | None, ...] = tuple(
                None if text is None else ((text, kind == "changed"),) for text in (a, b)
            )
        else:
            pieces = _words(a, b)
        rows.append(Row(kind, pieces[0], pieces[1], 0 if i is None else i + 1, 0 if j is None else j + 1))

    for action, i1, i2, j1, j2 in SequenceMatcher(None, left, right).get_opcodes():
        if action == "equal":
            for i, j in zip(range(i1, i2), range(j1, j2), strict=True):
                add("equal", i, j)
        else:
            for a, b in _align(left[i1:i2], right[j1:j2]):
                add("changed", None if a is None else i1 + a, None if b is None else j1 + b)
    return rows


def _align(left: Sequence[str], right: Sequence[str]) -> list[tuple[int | None, int | None]]:
    """Pair lines that resemble each other, in order, for the greatest total likeness; the others stand alone."""
    n, m = len(left), len(right)
    if n * m > _LARGEST_ALIGNMENT:  # quadratic: a large block goes line by line, or as removed lines, then added ones
        if n == m:
            return [(i, i) for i in range(n)]
        return [(i, None) for i in range(n)] + [(None, j) for j in range(m)]
    words = [[frozenset(_TOKEN.findall(line)) - {" "} for line in lines] for lines in (left, right)]
    best = [[0.0] * (m + 1) for _ in range(n + 1)]
    for i in reversed(range(n)):
        for j in reversed(range(m)):
            alike = _likeness(words[0][i], words[1][j])
            paired = alike + best[i + 1][j + 1] if alike > _ALIKE else 0.0
            best[i][j] = max(paired, best[i + 1][j], best[i][j + 1])
    pairs: list[tuple[int | None, int | None]] = []
    i = j = 0
    while i < n and j < m:
        alike = _likeness(words[0][i], words[1][j])
        if alike > _ALIKE and best[i][j] == alike + best[i + 1][j + 1]:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            pairs.append((i, None))
            i += 1
        else:
            pairs.append((None, j))
            j += 1
    return pairs + [(k, None) for k in range(i, n)] + [(None, k) for k in range(j, m)]


def _likeness(a: frozenset[str], b: frozenset[str]) -> float:
    return len(a & b) / len(a | b) if a | b else 1.0


def _words(left: str, right: str) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    a, b = _TOKEN.findall(left), _TOKEN.findall(right)
    # Equal ends first: the quadratic matcher can then mostly afford to look at common words too.
    head = _equal_items(a, b)
    tail = _equal_items(a[head:][::-1], b[head:][::-1])
    middle = (a[head : len(a) - tail], b[head : len(b) - tail])
    matcher = SequenceMatcher(None, *middle, autojunk=len(middle[0]) * len(middle[1]) > _LARGEST_MATCH)
    pieces: tuple[list[Piece], list[Piece]] = ([("".join(a[:head]), False)], [("".join(b[:head]), False)])
    for action, i1, i2, j1, j2 in matcher.get_opcodes():
        pieces[0].append(("".join(middle[0][i1:i2]), action != "equal"))
        pieces[1].append(("".join(middle[1][j1:j2]), action != "equal"))
    ending = ("".join(a[len(a) - tail :]), False)
    return _joined([*pieces[0], ending]), _joined([*pieces[1], ending])


def _equal_items(a: Sequence[str], b: Sequence[str]) -> int:
    """How many items two sequences share from the start."""
    return next((index for index, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _joined(pieces: Sequence[Piece]) -> tuple[Piece, ...]:
    """Neighbours of one kind joined; a space between two changes belongs to the change."""
    marked = [piece for piece in pieces if piece[0]]
    out: list[Piece] = []
    for index, (text, changed) in enumerate(marked):
        between = 0 < index < len(marked) - 1 and marked[index - 1][1] and marked[index + 1][1]
        changed = changed or (between and text.isspace())
        if out and out[-1][1] == changed:
            out[-1] = (out[-1][0] + text, changed)
        else:
            out.append((text, changed))
    return tuple(out)


def _row_markup(row: Row) -> Markup:
    if row.kind == "gap":
        lines = "1 line" if row.skipped == 1 else f"{row.skipped:,} lines"
        return tag("tr", tag("td", f"⋯ {lines} not shown ⋯", colspan=2), class_="gap")
    return tag(
        "tr",
        _cell(row.left, row.left_line, "del", row.kind),
        _cell(row.right, row.right_line, "ins", row.kind),
        class_=row.kind,
    )


def _cell(pieces: tuple[Piece, ...] | None, line: int, mark: str, kind: str) -> Markup:
    if pieces is None:
        return tag("td", class_="none")
    content: list[Markup] = []
    for index, (text, changed) in enumerate(pieces):
        if changed:
            if len(text) > _MOST_CHANGED_CHARACTERS:
                text = (
                    text[:_MOST_CHANGED_CHARACTERS] + f" … ({len(text) - _MOST_CHANGED_CHARACTERS:,} more characters)"
                )
            content.append(tag(mark, text or "⏎"))
        else:
            content.append(tag("span", _cut(text, first=index == 0, last=index == len(pieces) - 1)))
    side = "left" if mark == "del" else "right"
    return tag("td", tag("span", f"{line}", class_="line"), tag("code", content), class_=side)


def _cut(text: str, *, first: bool, last: bool) -> str:
    """An equal stretch with its middle left out; at either end of the line only the part near the change stays."""
    if len(text) <= 2 * _CONTEXT_CHARACTERS + 20:
        return text
    if first and last:
        return text[: 2 * _CONTEXT_CHARACTERS] + " …"
    if first:
        return "… " + text[-_CONTEXT_CHARACTERS:]
    if last:
        return text[:_CONTEXT_CHARACTERS] + " …"
    return text[:_CONTEXT_CHARACTERS] + " … " + text[-_CONTEXT_CHARACTERS:]
