"""Blocks of all pages to one text: without what stands on every page, with headings, and words joined over lines."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

from smolfast.pdf.reading import Block

RUNNING_SHARE = 0.25
"""FinePDFs' rule: a line at the edge of so many of the pages, and of RUNNING_PAGES of them, is no text."""
RUNNING_PAGES = 5
SAME_HEIGHT_SHARE = 0.5
"""Ours: on so many of the pages a line that comes again stands at this height."""
FIGURE = "<!-- image -->"
"""Stands where a picture does, directly before its caption."""
_EDGE_BLOCKS = 2
"""At the top and at the bottom of a page."""
_HEADINGS = ((1.7, "# "), (1.35, "## "), (1.15, "### "))
"""By size over that of the text."""
_LONGEST_HEADING = 200
_HYPHEN = "\x02"
_DIGITS = re.compile(r"\d+")
_FIRST_WORD = re.compile(r"\w+")
_WORD = re.compile(r"\w+(?:-\w+)*")
_CJK = "\u2e80-\u312f\u3190-\u9fff\uf900-\ufaff\uff00-\uffef"
_CJK_BREAK = re.compile(f"\n(?<=[{_CJK}]\n)(?=[{_CJK}])")
_HANGUL = "\u1100-\u11ff\u3130-\u318f\uac00-\ud7af"
_HANGUL_BREAK = re.compile(rf"\n(?<=[{_HANGUL}]\n)([{_HANGUL}]\w*)")
"""Korean has spaces between words, and lines end inside words too."""
_LAST_WORD = re.compile(r"\w*\Z")
_LONGEST_WORD = 100
_UNSTORABLE = re.compile("[\ud800-\udfff\x00]")


class Placed(NamedTuple):
    """A block, and where it stands in the text."""

    page: int
    """From 1."""
    kind: str
    """text, heading, table, caption, footnote or figure."""
    box: tuple[float, float, float, float]
    """As that of a `Block`."""
    start: int
    """In characters; the block ends before `end`."""
    end: int


class Text(NamedTuple):
    """A document's text."""

    text: str
    starts: list[int]
    """In characters, where each page begins."""
    empty: list[int]
    """Numbers, from 1, of pages that were read and have no text."""
    running: int
    """Lines that were taken out since they stand on many pages."""
    blocks: list[Placed]
    """In the order of the text."""


def text_of(pages: Sequence[list[Block] | None]) -> Text:
    """The text of pages in order."""
    words = [
        blocks if blocks and any(block.kind != "figure" or block.text for block in blocks) else [] for blocks in pages
    ]
    empty = [at for at, page in enumerate(pages, 1) if page is not None and not words[at - 1]]
    read, running = without_running_lines(words)
    usual = _usual_size(read)
    joins = _Joins(block.text for blocks in read for block in blocks)
    text: list[str] = []
    placed: list[Placed] = []
    starts, length = [], 0
    last: Block | None = None
    for page, blocks in enumerate(read, 1):
        begin = True
        starts.append(length)
        for block in blocks:
            written = _written(block, usual, joins)
            if not written:
                continue
            between = _between(last, block, text[-1], written, begin) if text and last is not None else ""
            if not between and text:
                length -= len(text[-1])
                text[-1] = joins.before(text[-1], written)
                length += len(text[-1])
                placed[-1] = placed[-1]._replace(end=length)
            if begin:
                starts[-1] = length + len(between)
                begin = False
            text.append(between + written)
            length += len(between) + len(written)
            is_heading = written[0] == "#" and block.kind == "text" and _heading(block, written.lstrip("# "), usual)
            kind = "heading" if is_heading else block.kind
            placed.append(Placed(page, kind, block.box, length - len(written), length))
            last = block
    return Text("".join(text), starts, empty, running, placed)


def texts_of(blocks: Sequence[Block], pages: Sequence[list[Block]]) -> list[str]:
    """The text of each block of a page, as it is written in the document whose pages these are."""
    usual = _usual_size(pages)
    joins = _Joins(block.text for page in pages for block in page)
    written = [_written(block, usual, joins) for block in blocks]
    return [text.removeprefix(FIGURE).lstrip() for text in written]


def _between(last: Block, block: Block, before: str, words: str, begin: bool) -> str:
    """What stands between two blocks; `begin` where a page begins with the second."""
    if last.kind == "figure" and block.kind == "caption" and not begin:
        return "\n"
    # The next page, or the next column: it begins above where the last one ended.
    is_behind = begin or block.box[1] < last.box[3]
    is_open = last.kind == "text" and (before[-1].isalnum() or before[-1] in ",;-") and before.lstrip()[0] != "#"
    if is_behind and is_open and block.kind == "text" and words[0].islower():
        return "" if before.endswith("-") else " "
    return "\n\n"


def without_running_lines(pages: Sequence[list[Block]]) -> tuple[list[list[Block]], int]:
    """Pages without headers, footers and page numbers, and how many lines went.

    A line counts by its letters, runs of digits as one 0, without white space. Rows of tables never count. Beside
    FinePDFs' rule a line goes if it comes again at the same height, and lines that do so stand there on half of the
    pages: headers that name each chapter.
    """
    edges = [list(_edges(blocks)) for blocks in pages]
    running = _running_lines(edges)
    spots = Counter(spot for blocks in pages for spot in {_spot(block) for block in blocks if block.kind == "figure"})
    signs = {spot for spot, count in spots.items() if count >= max(RUNNING_PAGES, RUNNING_SHARE * len(pages))}
    found, gone = [], 0
    for blocks, edge in zip(pages, edges, strict=True):
        kept = list(blocks)
        for place, first, line, height, key in edge:
            if key not in running and (key, height) not in running:
                continue
            text = kept[place].text
            if (text.startswith if first else text.endswith)(line):
                gone += 1
                text = text[len(line) + 1 :] if first else text[: max(0, len(text) - len(line) - 1)]
                kept[place] = kept[place]._replace(text=text)
        found.append([block for block in kept if (block.text if block.kind != "figure" else _spot(block) not in signs)])
    return found, gone


def _running_lines(edges: Sequence[list[tuple[int, bool, str, int, str]]]) -> set[str | tuple[str, int]]:
    """Keys of lines that go wherever they stand at an edge, and of those that go at one height."""
    least = max(RUNNING_PAGES, RUNNING_SHARE * len(edges))
    of_pages = [{(key, height) for _, _, _, height, key in edge} for edge in edges]
    counts = Counter(key for page in of_pages for key in {key for key, _ in page if key})
    placed = Counter(one for page in of_pages for one in page if one[0])
    again = {one for one, count in placed.items() if count > 1}
    heights = Counter(
        height for page in of_pages for height in {height for key, height in page if (key, height) in again}
    )
    half = max(RUNNING_PAGES, SAME_HEIGHT_SHARE * len(edges))
    at_height = {(key, height) for key, height in again if heights[height] >= half}
    return {key for key, count in counts.items() if count >= least} | at_height


def _edges(blocks: Sequence[Block]) -> Iterator[tuple[int, bool, str, int, str]]:
    """Of each block at an edge its place, whether that is the upper one, the line there, its height in 4 points, and
    what that line counts by."""
    places = [place for place, block in enumerate(blocks) if block.kind not in ("table", "figure")]
    for place in sorted(places, key=lambda place: blocks[place].box[1])[:_EDGE_BLOCKS]:
        line = blocks[place].text.replace("\v", "\n").partition("\n")[0]
        yield place, True, line, round(blocks[place].box[1] / 4), _key(line)
    for place in sorted(places, key=lambda place: -blocks[place].box[3])[:_EDGE_BLOCKS]:
        line = blocks[place].text.replace("\v", "\n").rpartition("\n")[2]
        yield place, False, line, round(blocks[place].box[3] / 4), _key(line)


def _spot(block: Block) -> tuple[int, ...]:
    """Where a picture stands; one that stands there on many pages is a sign."""
    return tuple(round(value / 4) for value in block.box)


def _key(line: str) -> str:
    return _DIGITS.sub("0", "".join(line.split()))


def _usual_size(pages: Sequence[list[Block]]) -> float:
    """The size that most characters have, in halves of a point."""
    counts: dict[float, int] = {}
    for blocks in pages:
        for block in blocks:
            counts[block.size] = counts.get(block.size, 0) + block.characters
    sizes: Counter[float] = Counter()
    for size, count in counts.items():  # many blocks, and few sizes
        sizes[round(2 * size) / 2] += count
    return max(sizes.items(), key=lambda one: (one[1], -one[0]))[0] if sizes else 0.0


def _written(block: Block, usual: float, joins: _Joins) -> str:
    text = joins.join(block.text)
    is_plain = text.isascii() and "\0" not in text  # most are, and need no search
    if not is_plain:
        text = _UNSTORABLE.sub("\ufffd", text)
    if block.kind == "table":
        return text
    text = (text if is_plain else _CJK_BREAK.sub("", text)).replace("\n", " ").replace("\v", "\n").strip()
    if block.kind == "figure":
        return f"{FIGURE}\n{text}" if text else FIGURE
    if block.kind == "text" and (mark := _heading(block, text, usual)):
        return mark + text.replace("\n", " ")
    return text


def _heading(block: Block, text: str, usual: float) -> str:
    """The mark before a heading; "" where a block is none."""
    if not text or not usual or block.size < _HEADINGS[-1][0] * usual or len(text) > _LONGEST_HEADING:
        return ""
    return next((mark for share, mark in _HEADINGS if block.size >= share * usual), "")


class _Joins:
    """What becomes of the end of a line inside a word.

    A hyphen goes, unless the document has that word with it elsewhere. Korean words are joined if the document has
    them so elsewhere.
    """

    def __init__(self, texts: Iterator[str]) -> None:
        found = list(texts)
        has_any = any(
            _HYPHEN in text or text.endswith("-") or (not text.isascii() and _HANGUL_BREAK.search(text))
            for text in found
        )
        self._texts = found if has_any else []

    @cached_property
    def _words(self) -> set[str]:
        pieces = set("\n".join(self._texts).split())  # most of them come again
        return set(map(str.lower, _WORD.findall("\n".join(pieces))))

    @cached_property
    def _compounds(self) -> set[str]:
        """Words with a hyphen. They are few, and found in less time than all."""
        pieces = {piece for text in self._texts if "-" in text for piece in text.split() if "-" in piece}
        return {word.lower() for word in _WORD.findall("\n".join(pieces)) if "-" in word}

    def join(self, text: str) -> str:
        if _HYPHEN in text:
            text = self._without_breaks(text)
        return text if text.isascii() else _HANGUL_BREAK.sub(self._korean, text)

    def _without_breaks(self, text: str) -> str:
        """Each broken word joined. Its second half can't be the first one of another."""
        first, *others = text.split(_HYPHEN)
        found = []
        for other in others:
            begin = _begin_of_last_word(first)
            word = _FIRST_WORD.match(other)
            if begin < len(first) and word:
                end = word.end()
                found += [first[:begin], self._joined_words(first[begin:], other[:end])]
                first = other[end:]
            else:
                found += [first, "-"]
                first = other
        return "".join([*found, first])

    def before(self, text: str, words: str) -> str:
        """A text that ends with a hyphen, as it is followed by words."""
        first, second = re.search(r"(\w+)-$", text), re.match(r"\w+", words)
        if first is None or second is None or not first[1][-1].isalpha():
            return text
        joined = self._joined_words(first[1], second[0])
        return text if "-" in joined else text[:-1]

    def _korean(self, match: re.Match[str]) -> str:
        before = match.string[max(0, match.start() - _LONGEST_WORD) : match.start()]
        last = _LAST_WORD.search(before)
        whole = (last[0] if last else "") + match[1]
        return match[1] if whole.lower() in self._words else f" {match[1]}"

    def _joined_words(self, first: str, second: str) -> str:
        whole, compound = first + second, f"{first}-{second}"
        keeps = compound.lower() in self._compounds and whole.lower() not in self._words
        return compound if keeps else whole


def _begin_of_last_word(text: str) -> int:
    """Where the letters at the end of a text begin; its length where it has none there."""
    at = len(text)
    while at and (text[at - 1].isalnum() or text[at - 1] == "_"):
        at -= 1
    return at
