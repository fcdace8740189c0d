"""How near an extractor's text comes to the truth: edit similarity, order, running lines, rows, assertions."""

from __future__ import annotations

import random
import re
import unicodedata
from bisect import bisect_right
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

from pdf_documents import Made

_RULE = re.compile(r"^[\s|:+-]*-{3,}[\s|:+-]*$", re.M)
_MARKS = re.compile(r"^\s*(?:#{1,6}|[•*-]|```\w*)(?=\s|$)", re.M)
_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u9fff"
_INLINE = re.compile(r"\*\*|<br>|\\(?=\|)|`|==> picture .* <==|<!-- image -->|!\[\]\([^)]*\)")


def plain(text: str, *, lines: bool = False) -> str:
    """Text without marks of Markdown, in NFKC, white space as one space (line ends stay with `lines`)."""
    text = unicodedata.normalize("NFKC", text).replace("\u00ad", "-")
    text = _INLINE.sub(" ", _MARKS.sub("", _RULE.sub("", text))).replace("|", " ")
    if lines:
        return "\n".join(" ".join(line.split()) for line in text.split("\n"))
    return " ".join(text.split())


def distance(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """Levenshtein's, by Hyyrö's form of Myers's algorithm on Python's integers: a column in a few operations."""
    if not a or not b:
        return len(a) or len(b)
    places: dict[Hashable, int] = {}
    for at, one in enumerate(a):
        places[one] = places.get(one, 0) | 1 << at
    full, last = (1 << len(a)) - 1, 1 << (len(a) - 1)
    up, down, found = full, 0, len(a)
    for one in b:
        match = places.get(one, 0)
        zero = (((match & up) + up) ^ up) | match | down
        higher = down | ~(zero | up) & full
        lower = up & zero
        found += bool(higher & last) - bool(lower & last)
        higher = (higher << 1 | 1) & full
        up = (lower << 1) & full | ~(zero | higher) & full
        down = higher & zero
    return found


def similarity(a: Sequence[Hashable], b: Sequence[Hashable]) -> float:
    """1 - distance / length of the longer, in [0, 1]."""
    longer = max(len(a), len(b))
    return 1 - distance(a, b) / longer if longer else 1.0


def bag(a: Sequence[Hashable], b: Sequence[Hashable]) -> float:
    """F1 of words, whatever their order."""
    both = sum((Counter(a) & Counter(b)).values())
    return 2 * both / (len(a) + len(b)) if a or b else 1.0


def tau(places: Sequence[int]) -> float:
    """Kendall's τ of places that should rise; a pair of which one is missing (-1) counts as in the wrong order."""
    count = len(places)
    if count < 2:
        return 1.0
    good = 0
    before: list[int] = []
    for place in places:
        if place >= 0:
            at = bisect_right(before, place)
            good += at
            before.insert(at, place)
    pairs = count * (count - 1) // 2
    return 2 * good / pairs - 1


def words(text: str) -> list[str]:
    """Runs of letters and digits; each ideograph, and each letter of Japanese, for itself."""
    return re.findall(rf"[{_IDEOGRAPHS}]|(?:(?![{_IDEOGRAPHS}])\w)+", text)


def without(text: str, running: Sequence[str]) -> tuple[str, int]:
    """Text without lines that are exactly a running one, and how many of those it had."""
    left = Counter(plain(line) for line in running)
    for line in list(left):  # Hebrew footers are numbers alone: nothing to turn round
        left.setdefault(line, 0)
    found, kept = 0, []
    for line in text.split("\n"):
        key = plain(line)
        if left[key] > 0:
            left[key] -= 1
            found += 1
        else:
            kept.append(line)
    return "\n".join(kept), found


@dataclass(frozen=True)
class Score:
    """Of one document; shares in [0, 1], τ in [-1, 1]."""

    similarity: float
    bag: float
    tau: float
    whole: float
    """Sentences that are there without a break."""
    running: float | None
    """Lines at the edges that are gone."""
    rows: float | None
    """Rows of tables whose cells stand on one line in their order, and nothing else with them."""


def score(made: Made, text: str) -> Score:
    """Judge an extractor's text. Running lines are counted, then taken out, so that content is compared alike."""
    rest, left = without(text, made.running)
    flat, truth = plain(rest), plain(made.text())
    by_line = set(plain(rest, lines=True).split("\n"))
    rows = [row for unit in made.units for row in unit.rows]
    good = sum(" ".join(" ".join(row).split()) in by_line for row in rows)
    places = [flat.find(sentence.split()[0].rstrip(".")) for sentence in made.sentences]
    whole = sum(plain(sentence).rstrip(".") in flat for sentence in made.sentences)
    return Score(
        similarity(truth, flat),
        bag(words(truth), words(flat)),
        tau(places),
        whole / len(made.sentences),
        1 - left / len(made.running) if made.running else None,
        good / len(rows) if rows else None,
    )


@dataclass(frozen=True)
class Assertion:
    """One thing that must be so: present, absent, before, same row."""

    kind: str
    first: str
    second: str = ""

    def holds(self, text: str, by_line: Sequence[str]) -> bool:
        """Of a text made plain, and its lines."""
        if self.kind == "absent":
            return self.first not in by_line
        if self.kind == "same row":
            return any(
                re.search(rf"\b{re.escape(self.first)}\b.*\b{re.escape(self.second)}\b", line) for line in by_line
            )
        first = text.find(self.first)
        return first >= 0 and (self.kind == "present" or first < text.find(self.second))


def assertions(made: Made, seed: int) -> Iterator[Assertion]:
    """Some of each kind that a document has, by chance."""
    chosen = random.Random(seed)
    sentences = [plain(one).rstrip(".") for one in made.sentences if len(one) > 30]
    for sentence in chosen.sample(sentences, min(6, len(sentences))):
        yield Assertion("present", sentence)
    for _ in range(6 if len(sentences) > 1 else 0):
        at = chosen.randrange(len(sentences) - 1)
        other = chosen.choice([at + 1, chosen.randrange(at + 1, len(sentences))])
        yield Assertion("before", sentences[at].split()[0], sentences[other].split()[0])
    for line in sorted(set(map(plain, made.running)))[:4]:
        yield Assertion("absent", line)
    for sentence in made.scans[:2]:
        yield Assertion("absent", sentence.split()[0])
    rows = [row for unit in made.units for row in unit.rows[1:]]
    for row in chosen.sample(rows, min(5, len(rows))):
        a, b = sorted(chosen.sample(range(len(row)), 2))
        if "".join(row) and max(len(row[a]), len(row[b])) < 24:
            yield Assertion("same row", row[a], row[b])
