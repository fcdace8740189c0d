"""Where in a text a check's number comes from: the lines, words and n-grams that it counted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

Span = tuple[int, int]
"""The first code point and the one after the last."""


def cut(text: str, separator: str) -> Iterator[Span]:
    """What stands between the matches of a regular expression, empty ends too, as `re.split` gives it."""
    start = 0
    for found in re.finditer(separator, text):
        yield start, found.start()
        start = found.end()
    yield start, len(text)


def lines(text: str) -> Iterator[Span]:
    """Lines as `str.splitlines` cuts them, without their ends."""
    start = 0
    for line in text.splitlines(keepends=True):
        yield start, start + len((line.splitlines() or [""])[0])
        start += len(line)


def paragraphs(text: str) -> Iterator[Span]:
    """What stands between two line feeds or more, of the text without white space around it."""
    first = len(text) - len(text.lstrip())
    for start, end in cut(text.strip(), r"\n{2,}"):
        yield first + start, first + end


def repeated(parts: Iterable[Span], text: str) -> list[Span]:
    """Parts that equal one before."""
    seen: set[str] = set()
    found = []
    for start, end in parts:
        if text[start:end] in seen and start < end:
            found.append((start, end))
        seen.add(text[start:end])
    return found


def top_n_gram(text: str, words: Sequence[Span], n: int) -> list[Span]:
    """Every place of the n words that stand together most often; of several the first seen."""
    grams = _n_grams(text, words, n, " ")
    if not grams:
        return []
    top = Counter(grams).most_common(1)[0][0]  # equals come in the order in which they were met
    return [(words[at][0], words[at + n - 1][1]) for at, gram in enumerate(grams) if gram == top]


def duplicated_n_grams(text: str, words: Sequence[Span], n: int) -> list[Span]:
    """Places of n words that equal some before; after one the next n words are passed over, as datatrove does."""
    grams = _n_grams(text, words, n, "")
    seen: set[str] = set()
    found = []
    at = 0
    while at < len(grams):
        if grams[at] in seen:
            found.append((words[at][0], words[at + n - 1][1]))
            at += n
        else:
            seen.add(grams[at])
            at += 1
    return found


def _n_grams(text: str, words: Sequence[Span], n: int, between: str) -> list[str]:
    cut_words = [text[start:end] for start, end in words]
    return [between.join(cut_words[at : at + n]) for at in range(len(words) - n + 1)]


def matches(text: str, pattern: str) -> list[Span]:
    """Where a regular expression matches."""
    return [found.span() for found in re.finditer(pattern, text)]


def those(parts: Iterable[Span], text: str, wanted: Callable[[str], bool]) -> list[Span]:
    """Parts that something is true of."""
    return [(start, end) for start, end in parts if wanted(text[start:end])]


def merged(spans: Iterable[Span]) -> list[Span]:
    """Spans in order, those that overlap or touch as one."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        elif start < end:
            found.append((start, end))
    return found
