"""Blocks of all pages to one text: without what stands on every page, with headings, and words joined over lines."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from smolfast.pdf.reading import Block

RUNNING_SHARE = 0.25
"""FinePDFs' rule: a line at the edge of so many of the pages, and of RUNNING_PAGES of them, is no text."""
RUNNING_PAGES = 5
_EDGE_BLOCKS = 2
"""At the top and at the bottom of a page."""
_HEADINGS = ((1.7, "# "), (1.35, "## "), (1.15, "### "))
"""By size over that of the text."""
_LONGEST_HEADING = 200
_HYPHEN = "\x02"
_LINE_END = re.compile("[\n\v]")
_BROKEN = re.compile(rf"(\w+){_HYPHEN}(\w+)")
_WORD = re.compile(r"\w+(?:-\w+)*")
_CJK = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef"
_CJK_BREAK = re.compile(f"(?<=[{_CJK}])\n(?=[{_CJK}])")
_UNSTORABLE = re.compile("[\ud800-\udfff\x00]")


class Text(NamedTuple):
    """A document's text."""

    text: str
    starts: list[int]
    """In characters, where each page begins."""
    empty: list[int]
    """Numbers, from 1, of pages that were read and have no text."""
    running: int
    """Lines that were taken out since they stand on many pages."""


def text_of(pages: Sequence[list[Block] | None]) -> Text:
    """The text of pages in order."""
    empty = [number for number, blocks in enumerate(pages, 1) if blocks is not None and not blocks]
    read = [blocks or [] for blocks in pages]
    read, running = without_running_lines(read)
    usual = _usual_size(read)
    joins = _Joins(block.text for blocks in read for block in blocks)
    text, starts, open_ended, length = [], [], False, 0
    for blocks in read:
        begin = True
        starts.append(length)
        for block in blocks:
            words = _written(block, usual, joins)
            if not words:
                continue
            goes_on = begin and open_ended and block.kind == "text" and words[0].islower()
            between = "" if not length else " " if goes_on else "\n\n"
            if begin:
                starts[-1] = length + len(between)
                begin = False
            text.append(between + words)
            length += len(between) + len(words)
            open_ended = block.kind == "text" and (words[-1].isalnum() or words[-1] in ",;") and words[0] != "#"
    return Text("".join(text), starts, empty, running)


def without_running_lines(pages: Sequence[list[Block]]) -> tuple[list[list[Block]], int]:
    """Pages without headers, footers and page numbers, and how many lines went.

    A line counts by its letters, runs of digits as one 0, without white space. Rows of tables never count.
    """
    edges = [list(_edges(blocks)) for blocks in pages]
    counts = Counter(key for edge in edges for key in {_key(line) for _, _, line in edge})
    least = max(RUNNING_PAGES, RUNNING_SHARE * len(pages))
    running = {key for key, count in counts.items() if key and count >= least}
    found, gone = [], 0
    for blocks, edge in zip(pages, edges, strict=True):
        kept = list(blocks)
        for place, first, line in edge:
            if _key(line) not in running:
                continue
            text = kept[place].text
            if (text.startswith if first else text.endswith)(line):
                gone += 1
                text = text[len(line) + 1 :] if first else text[: max(0, len(text) - len(line) - 1)]
                kept[place] = kept[place]._replace(text=text)
        found.append([block for block in kept if block.text])
    return found, gone


def _edges(blocks: Sequence[Block]) -> Iterator[tuple[int, bool, str]]:
    """The place of each block at an edge, whether that is the upper one, and the line there."""
    places = [place for place, block in enumerate(blocks) if block.kind != "table"]
    for place in sorted(places, key=lambda place: blocks[place].box[1])[:_EDGE_BLOCKS]:
        yield place, True, _LINE_END.split(blocks[place].text)[0]
    for place in sorted(places, key=lambda place: -blocks[place].box[3])[:_EDGE_BLOCKS]:
        yield place, False, _LINE_END.split(blocks[place].text)[-1]


def _key(line: str) -> str:
    return re.sub(r"\d+", "0", "".join(line.split()))


def _usual_size(pages: Sequence[list[Block]]) -> float:
    """The size that most characters have, in halves of a point."""
    sizes: Counter[float] = Counter()
    for blocks in pages:
        for block in blocks:
            sizes[round(2 * block.size) / 2] += block.characters
    return max(sizes.items(), key=lambda one: (one[1], -one[0]))[0] if sizes else 0.0


def _written(block: Block, usual: float, joins: _Joins) -> str:
    text = _UNSTORABLE.sub("\ufffd", joins.join(block.text))
    if block.kind == "table":
        return text
    text = _CJK_BREAK.sub("", text).replace("\n", " ").replace("\v", "\n").strip()
    if (
        block.kind == "text"
        and len(text) <= _LONGEST_HEADING
        and text
        and usual
        and block.size >= _HEADINGS[-1][0] * usual
    ):
        text = text.replace("\n", " ")
        return next((mark for share, mark in _HEADINGS if block.size >= share * usual), "") + text
    return text


class _Joins:
    """What becomes of a hyphen at the end of a line: it goes, unless the document has that word with it elsewhere."""

    def __init__(self, texts: Iterator[str]) -> None:
        texts_ = list(texts)
        self._words: set[str] = set()
        if any(_HYPHEN in text for text in texts_):
            self._words = {word.lower() for text in texts_ for word in _WORD.findall(text)}

    def join(self, text: str) -> str:
        return _BROKEN.sub(self._joined, text).replace(_HYPHEN, "-") if _HYPHEN in text else text

    def _joined(self, match: re.Match[str]) -> str:
        whole, compound = match[1] + match[2], f"{match[1]}-{match[2]}"
        keeps = compound.lower() in self._words and whole.lower() not in self._words
        return compound if keeps else whole
