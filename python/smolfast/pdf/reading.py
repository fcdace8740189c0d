"""One PDF file, from its bytes to blocks of text by page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from smolfast import _native

OPENING = 0
"""The piece of work before the pages, which are numbered from 1."""
_HEAD, _TAIL = 1024, 2048
"""Bytes in which a PDF says that it is one, and that it ends."""


class Block(NamedTuple):
    """Lines that belong together."""

    kind: str
    """text, table, caption or footnote."""
    box: tuple[float, float, float, float]
    """Left, top, right and bottom in points, from the page's upper left corner as it is seen."""
    size: float
    """Of the font, in points."""
    characters: int
    text: str
    """Lines end with a line feed; with U+000B where the next word had room; with U+0002 for a hyphen and the end."""


@dataclass
class Document:
    """What was read; or for which `reason` nothing was."""

    reason: str = ""
    pages: list[list[Block] | None] = field(default_factory=list)
    """The blocks of each page, None where it can't be read."""
    failed: dict[int, str] = field(default_factory=dict)
    """Why pages, by number from 1, aren't read."""
    truncated: bool = False
    """Whether the mark at the end of a PDF is missing."""


def read_pdf(
    data: Any, library: str, *, lost: Mapping[int, str], at: Callable[[int], None] = lambda piece: None
) -> Document:
    """Read all pages.

    Args:
        data: the file's bytes, as a buffer.
        library: PDFium's file.
        lost: pieces (OPENING, or a page's number) that aren't worked on, and why.
        at: is told each piece before it is worked on.
    """
    if OPENING in lost:
        return Document(lost[OPENING])
    size = len(data)
    if b"%PDF-" not in data[:_HEAD]:
        return Document("not a PDF")
    found = Document(truncated=b"%%EOF" not in data[max(0, size - _TAIL) :])
    at(OPENING)
    try:
        pdf = _native.Pdf(library, data)
    except MemoryError:
        return Document("out of memory")
    if pdf.failure:
        return Document(_why(pdf.failure, found.truncated), truncated=found.truncated)
    if pdf.pages < 1:
        return Document("no pages", truncated=found.truncated)
    for number in range(1, pdf.pages + 1):
        blocks = None
        if number in lost:
            found.failed[number] = lost[number]
        else:
            at(number)
            try:
                page = pdf.read(number - 1)
                if page is None:
                    found.failed[number] = "damaged"
                else:
                    blocks = [Block(*block) for block in page[2]]
            except (MemoryError, SystemError):  # the second where there is no room for the first
                found.failed[number] = "out of memory"
        found.pages.append(blocks)
    return found


def _why(failure: str, truncated: bool) -> str:
    if failure == "password":
        return "encrypted: needs a password"
    if failure == "security":
        return "encrypted: unknown method"
    return "truncated" if truncated else "damaged"
