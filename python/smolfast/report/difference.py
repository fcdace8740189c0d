"""Two texts side by side by the words that differ, long equal parts left out, and the n-grams that they share.

Lines say little: a text whose lines are broken elsewhere differs in every line and in no word. Words between anchors
(runs of words that occur once in each text) are matched by Ratcliff and Obershelp's blocks, as in `difflib`.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from smolfast import _native
from smolfast.report.markup import Markup, markup, tag
from smolfast.report.section import counted

_TOKEN = re.compile(r"(\s*)(\w+|[^\w\s])")
_CONTEXT = 12
"""Words shown before and after a difference."""
_MOST_PARTS = 6
_MOST_CHARACTERS = 400
_ANCHOR = 4
_LARGEST_MATCH = 200_000

Piece = tuple[str, bool]
"""A stretch of text, and whether it differs from the other side."""


@dataclass(frozen=True)
class Part:
    """A stretch with a difference in it, as either text has it, after `skipped` equal words that aren't shown."""

    skipped: int
    left: tuple[Piece, ...]
    right: tuple[Piece, ...]


@dataclass(frozen=True)
class Difference:
    """What differs, in words or signs.

    Attributes:
        parts: those to show.
        skipped: equal words after the last of them.
        only_left, only_right: words that the other text lacks there.
        hidden: how many of these don't show.
    """

    parts: tuple[Part, ...]
    skipped: int
    only_left: int
    only_right: int
    hidden: int


@dataclass(frozen=True)
class Shared:
    """N-grams of words that two texts have in common, of those in either; words as in deduplication."""

    common: int
    all: int

    @property
    def jaccard(self) -> float:
        return self.common / self.all if self.all else 1.0


def compare(left: str, right: str) -> Difference:
    """Align two texts word by word, whatever their white space, and cut around the differences."""
    a, b = _TOKEN.findall(left), _TOKEN.findall(right)
    changes = _changes([word for _, word in a], [word for _, word in b])
    groups: list[list[tuple[int, int, int, int]]] = []
    for change in changes:
        if groups and change[0] - groups[-1][-1][1] <= 2 * _CONTEXT:
            groups[-1].append(change)
        else:
            groups.append([change])
    parts: list[Part] = []
    shown = seen = 0
    for group in groups[:_MOST_PARTS]:
        begin = _line_start(a, range(max(seen, group[0][0] - _CONTEXT), group[0][0] + 1))
        end = _line_start(a, range(min(len(a), group[-1][1] + _CONTEXT), group[-1][1] - 1, -1))
        before, after = group[0][0] - begin, end - group[-1][1]
        sides = (
            _pieces(a, [(i1, i2) for i1, i2, _, _ in group], before, after),
            _pieces(b, [(j1, j2) for _, _, j1, j2 in group], before, after),
        )
        parts.append(Part(begin - seen, *sides))
        shown += sum(i2 - i1 + j2 - j1 for i1, i2, j1, j2 in group)
        seen = end
    only_left, only_right = sum(i2 - i1 for i1, i2, _, _ in changes), sum(j2 - j1 for _, _, j1, j2 in changes)
    # What is left of a long text after the last part shown: all of it, differences too.
    rest = max(len(a) - seen, 0) if len(groups) <= _MOST_PARTS else 0
    return Difference(tuple(parts), rest, only_left, only_right, only_left + only_right - shown)


def shared_ngrams(left: str, right: str, n: int) -> Shared:
    """Different n-grams of words of two texts, as deduplication counts them; a shorter text is one n-gram."""
    texts = [text.encode("utf-8", "replace") for text in (left, right)]
    sets = []
    for text, (_, edges) in zip(texts, (_native.words([text.decode()], 1)[0] for text in texts), strict=True):
        words = [text[begin:end] for begin, end in edges.reshape(-1, 2)]
        sets.append({tuple(words[at : at + n]) for at in range(max(1, len(words) - n + 1))})
    return Shared(len(sets[0] & sets[1]), len(sets[0] | sets[1]))


def difference_table(difference: Difference, left_name: object, right_name: object, caption: object) -> Markup:
    """The parts as a table of two columns; the style sheet puts them under each other on a narrow screen."""
    rows: list[Markup] = []
    for part in difference.parts:
        rows += [_gap(part.skipped), tag("tr", _cell(part.left, "del", "left"), _cell(part.right, "ins", "right"))]
    if difference.hidden:
        rows.append(_row(f"{counted(difference.hidden, 'more word')} that differ not shown"))
    rows.append(_gap(difference.skipped))
    head = tag("tr", tag("th", left_name, scope="col"), tag("th", right_name, scope="col"))
    body = tag("tbody", rows) if difference.parts else None
    return tag("table", tag("caption", caption), tag("thead", head), body, class_="difference")


def in_words(difference: Difference) -> str:
    """`7 words only in the removed text, 1 only in the one kept`."""
    if not difference.only_left + difference.only_right:
        return "only white space differs"
    left, right = counted(difference.only_left, "word"), f"{difference.only_right:,}"
    return f"{left} only in the removed text, {right} only in the one kept"


def _line_start(words: Sequence[tuple[str, str]], places: range) -> int:
    """The first of these places at which a line begins or the text ends; without one, the first."""
    return next((at for at in places if at == len(words) or at == 0 or "\n" in words[at][0]), places[0])


def _changes(a: Sequence[str], b: Sequence[str]) -> list[tuple[int, int, int, int]]:
    """Stretches [i1, i2) of a and [j1, j2) of b that differ, in order."""
    head = _equal_items(a, b)
    tail = _equal_items(a[head:][::-1], b[head:][::-1])
    found: list[tuple[int, int, int, int]] = []
    i = j = head
    for x, y in [*_anchors(a, b, head, tail), (len(a) - tail, len(b) - tail)]:
        if x < i or y < j:
            continue  # inside what the last anchor was extended to
        found += _between(a, b, i, x, j, y)
        same = _equal_items(a[x : len(a) - tail], b[y : len(b) - tail])
        i, j = x + same, y + same
    return found


def _between(a: Sequence[str], b: Sequence[str], i1: int, i2: int, j1: int, j2: int) -> list[tuple[int, int, int, int]]:
    if i1 == i2 or j1 == j2:
        return [(i1, i2, j1, j2)] if i1 < i2 or j1 < j2 else []
    quick = (i2 - i1) * (j2 - j1) > _LARGEST_MATCH
    matcher = SequenceMatcher(None, a[i1:i2], b[j1:j2], autojunk=quick)
    return [
        (i1 + x1, i1 + x2, j1 + y1, j1 + y2) for action, x1, x2, y1, y2 in matcher.get_opcodes() if action != "equal"
    ]


def _anchors(a: Sequence[str], b: Sequence[str], head: int, tail: int) -> list[tuple[int, int]]:
    """Places of runs of words that occur once in each, rising in both: the longest such chain (as in patience diff)."""
    once: list[dict[tuple[str, ...], int]] = []
    for words in (a, b):
        places: dict[tuple[str, ...], int] = {}
        for at in range(head, len(words) - tail - _ANCHOR + 1):
            run = tuple(words[at : at + _ANCHOR])
            places[run] = -1 if run in places else at
        once.append({run: at for run, at in places.items() if at >= 0})
    pairs = [(at, once[1][run]) for run, at in once[0].items() if run in once[1]]
    ends: list[int] = []
    last: list[int] = []
    before = [-1] * len(pairs)
    for index, (_, y) in enumerate(pairs):
        place = bisect_left(ends, y)
        before[index] = last[place - 1] if place else -1
        ends[place : place + 1], last[place : place + 1] = [y], [index]
    chain: list[tuple[int, int]] = []
    index = last[-1] if last else -1
    while index >= 0:
        chain.append(pairs[index])
        index = before[index]
    return chain[::-1]


def _equal_items(a: Sequence[str], b: Sequence[str]) -> int:
    """How many items two sequences share from the start."""
    return next((index for index, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _pieces(
    words: Sequence[tuple[str, str]], changes: Sequence[tuple[int, int]], before: int, after: int
) -> tuple[Piece, ...]:
    """One side of a part: equal and changed stretches in turn, with the text's own white space between words."""
    pieces: list[Piece] = []
    at = changes[0][0] - before
    for begin, end in (*changes, (changes[-1][1] + after, changes[-1][1] + after)):
        for first, last, changed in ((at, begin, False), (begin, end, True)):
            text = "".join(gap + word for gap, word in words[first:last])
            # White space before a change isn't part of it.
            bare = text.lstrip() if changed else text
            for piece in ((text[: len(text) - len(bare)], False), (bare, changed)):
                if piece[0] and pieces and pieces[-1][1] == piece[1]:
                    pieces[-1] = (pieces[-1][0] + piece[0], piece[1])
                elif piece[0]:
                    pieces.append(piece)
        at = end
    if pieces:
        # Of the white space before the first word its line's indentation stays.
        bare = pieces[0][0].lstrip()
        _, line_break, indentation = pieces[0][0][: len(pieces[0][0]) - len(bare)].rpartition("\n")
        pieces[0] = (indentation + bare if line_break else bare, pieces[0][1])
    return tuple(piece for piece in pieces if piece[0])


def _cell(pieces: Sequence[Piece], mark: str, side: str) -> Markup:
    content = []
    for text, changed in pieces:
        if len(text) > _MOST_CHARACTERS:
            text = text[:_MOST_CHARACTERS] + f" … ({len(text) - _MOST_CHARACTERS:,} more characters)"
        content.append(tag(mark if changed else "span", text))
    return tag("td", tag("code", markup(content)), class_=side)


def _gap(words: int) -> Markup:
    return _row(f"{counted(words, 'equal word')} not shown") if words else Markup()


def _row(text: str) -> Markup:
    return tag("tr", tag("td", f"⋯ {text} ⋯", colspan=2), class_="gap")
