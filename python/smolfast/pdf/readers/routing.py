"""Where a page's text comes from: from the file, from a picture of the page, or from nowhere since there is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

UNKNOWN_SHARE = 0.1
"""Of characters whose font doesn't say which letters they are: more, and the text is garbled."""
HIDDEN_SHARE = 0.5
"""Of a page's pieces of text: so many that aren't drawn are another program's reading of a scan."""
COVER = 0.6
"""Of the page: pictures that cover so much of it are a scan, if little text stands on them,"""
LITTLE_LETTERS = 200
"""which is fewer letters than these, as of a stamp or a page number."""
SOME_COVER = 0.05
"""A page without text whose pictures cover so much of it may have text in them."""
SHAPES = 40
"""Filled outlines of a letter's size on a page without text: letters that were drawn."""

Box = tuple[float, float, float, float]


class Features(NamedTuple):
    """What a page is made of. Nothing here needs the page to be drawn."""

    width: float
    """In points, as the height."""
    height: float
    letters: int
    """Characters other than spaces."""
    letter_area: float
    """Of their boxes, in square points."""
    unknown: int
    """Letters whose font doesn't say which they are."""
    texts: int
    """Pieces of text as the file draws them."""
    hidden_texts: int
    """Those that aren't drawn."""
    shapes: int
    """Filled outlines of a letter's size."""
    is_cut: bool
    """There are more parts than were looked at."""
    pictures: Sequence[Box]

    def cover(self) -> float:
        """The share of the page that pictures cover: of a grid of 24 × 24 points on it, those inside one."""
        steps = 24
        if not self.pictures or self.width <= 0 or self.height <= 0:
            return 0.0
        inside = 0
        for row in range(steps):
            y = (row + 0.5) * self.height / steps
            spans = [(x0, x1) for x0, y0, x1, y1 in self.pictures if y0 <= y <= y1]
            for column in range(steps if spans else 0):
                x = (column + 0.5) * self.width / steps
                inside += any(x0 <= x <= x1 for x0, x1 in spans)
        return inside / steps**2


class Route(NamedTuple):
    """Where a page's text comes from, and why."""

    where: str
    """text, ocr or blank."""
    why: str


def route_of(page: Features) -> Route:
    """The rule, its first line that fits:

    1. Text of which more than a tenth is letters that no font explains: OCR (garbled).
    2. Text of which half isn't drawn, and pictures over 60 % of the page: OCR (hidden text over a scan).
    3. Fewer than 200 letters, and pictures over 60 % of the page: OCR (scan).
    4. Any letters: the file's text.
    5. Pictures over 5 % of the page: OCR (picture).
    6. 40 filled outlines of a letter's size: OCR (outlined letters).
    7. Blank.
    """
    if page.letters and page.unknown > UNKNOWN_SHARE * page.letters:
        return Route("ocr", "garbled")
    is_drawn = page.hidden_texts < HIDDEN_SHARE * page.texts
    if page.letters >= LITTLE_LETTERS and is_drawn:
        return Route("text", "")  # whatever pictures cover
    cover = page.cover()
    if page.letters and not is_drawn and cover >= COVER:
        return Route("ocr", "hidden text over a scan")
    if page.letters < LITTLE_LETTERS and cover >= COVER:
        return Route("ocr", "scan")
    if page.letters:
        return Route("text", "")
    if cover >= SOME_COVER:
        return Route("ocr", "picture")
    if page.shapes >= SHAPES:
        return Route("ocr", "outlined letters")
    return Route("blank", "")
