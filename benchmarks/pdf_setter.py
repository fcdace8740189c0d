"""Sets text on pages whose reading order is known: what the made documents of bench_pdf.py are drawn with.

A unit (a paragraph, a table, …) flows through frames, as in a word processor. What is drawn is first only noted down,
so that a file can draw it in an order of its own: as it is read, row by row over all columns, or without any order.
"""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from reportlab.pdfbase import pdfmetrics
from reportlab.pdfgen.canvas import Canvas

WIDTH, HEIGHT = 595, 842


@dataclass
class Unit:
    """What is read in one go."""

    kind: str
    """text, heading, item, code, caption, footnote, table or figure."""
    text: str = ""
    rows: list[list[str]] = field(default_factory=list)
    level: int = 1
    page: int = 0
    """Where it ends."""
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class Frame:
    """Where lines are set: a column of a page. y grows downwards."""

    x: float
    top: float
    width: float
    bottom: float


@dataclass
class Stroke:
    """A line of text, or a drawing, that is noted down."""

    page: int
    x: float
    y: float
    draw: Callable[[Any], None]


@dataclass
class Style:
    """How a document looks."""

    font: str = "Times-Roman"
    bold: str = "Times-Bold"
    size: float = 10
    leading: float = 1.2
    justify: bool = False
    hyphens: bool = False
    indent: float = 0
    """Of the first line, in place of white space between paragraphs."""
    order: str = "read"
    """In which strokes are drawn: read, rows, random."""
    rtl: bool = False


class Setter:
    """One document as it is set."""

    def __init__(
        self, style: Style, frames: Callable[[int], Sequence[Frame]], seed: int, *, whole: bool = True
    ) -> None:
        self.style, self._frames, self._whole = style, frames, whole
        self.strokes: list[Stroke] = []
        self.units: list[Unit] = []
        self.random = random.Random(seed)
        self._page, self._column = 0, 0
        self._y = frames(0)[0].top

    @property
    def frame(self) -> Frame:
        return self._frames(self._page)[self._column]

    @property
    def page(self) -> int:
        return self._page

    def next_frame(self) -> None:
        if self._column + 1 < len(self._frames(self._page)):
            self._column += 1
        else:
            self.next_page()
        self._y = self.frame.top

    def next_page(self) -> None:
        self._page, self._column = self._page + 1, 0
        self._y = self.frame.top

    def add(self, unit: Unit) -> None:
        """Set a unit where there is room for it."""
        {"table": self._table, "figure": self._figure}.get(unit.kind, self._text)(unit)
        unit.page = self._page
        self.units.append(unit)

    # Lines of text.

    def _text(self, unit: Unit) -> None:
        style = self.style
        size, font, hang, indent = style.size, style.font, 0.0, style.indent if unit.kind == "text" else 0.0
        if unit.kind == "heading":
            size, font = size * (1.8, 1.4, 1.2)[unit.level - 1], style.bold
        elif unit.kind == "caption":
            size *= 0.9
        elif unit.kind == "item":
            hang = 14
        elif unit.kind == "code":
            font, size = "Courier", size * 0.9
        size = unit.options.get("size", size)
        pitch = size * style.leading
        if unit.kind == "code":
            lines = [(line, True) for line in unit.text.split("\n")]
        else:
            lines = self.lines(unit.text, font, size, self.frame.width - hang, indent)
        gap = 0 if style.indent and unit.kind == "text" else 0.6 * style.size
        if unit.kind == "heading":
            gap = style.size
        keep = self._whole or unit.kind in ("heading", "caption", "code")
        need = gap + pitch * (len(lines) if keep else 1) + (3 * pitch if unit.kind == "heading" else 0)
        if self._y + need > self.frame.bottom:
            self.next_frame()
        else:
            self._y += gap
        for number, (line, last) in enumerate(lines):
            if self._y + pitch > self.frame.bottom:
                self.next_frame()
            shift = (indent if number == 0 else 0) + (hang if number else 0)
            if unit.kind == "item" and number == 0:
                mark, _, line = line.partition(" ")
                self.put(mark, self.frame.x, self._y + size, font, size)
                shift = hang
            width = self.frame.width - shift
            self.put(line, self.frame.x + shift, self._y + size, font, size, None if last else width)
            self._y += pitch

    def lines(self, text: str, font: str, size: float, width: float, indent: float = 0) -> list[tuple[str, bool]]:
        """Lines of a width, and whether each is a last one."""
        found: list[tuple[str, bool]] = []
        line = ""
        for word in text.split():
            longer = f"{line} {word}".strip()
            room = width - (indent if not found else 0)
            if pdfmetrics.stringWidth(longer, font, size) <= room or not line:
                line = longer
                continue
            if self.style.hyphens and (cut := self._cut(line, word, font, size, room)):
                found.append((f"{line} {word[:cut]}-", False))
                line = word[cut:]
            else:
                found.append((line, False))
                line = word
        return [*found, (line, True)]

    @staticmethod
    def _cut(line: str, word: str, font: str, size: float, room: float) -> int:
        if len(word) < 7 or not word.isalpha():
            return 0
        for at in range(len(word) - 3, 2, -1):
            if word[at - 1] in "aeiou" and pdfmetrics.stringWidth(f"{line} {word[:at]}-", font, size) <= room:
                return at
        return 0

    def put(
        self,
        line: str,
        x: float,
        y: float,
        font: str,
        size: float,
        width: float | None = None,
        *,
        page: int | None = None,
    ) -> None:
        """Note a line down; `width` if it is to fill that."""
        style = self.style
        spaces = line.count(" ")
        if style.rtl:
            line = " ".join(word if word.strip(".,").isdigit() else word[::-1] for word in reversed(line.split()))
            x = x + self.frame.width - pdfmetrics.stringWidth(line, font, size)
        extra = 0.0
        if style.justify and width and spaces and not style.rtl:
            extra = (width - pdfmetrics.stringWidth(line, font, size)) / spaces

        def draw(pen: Any) -> None:
            text = pen.beginText(x, HEIGHT - y)
            text.setFont(font, size)
            text.setWordSpace(extra)
            text.textOut(line)
            pen.drawText(text)

        self.strokes.append(Stroke(self._page if page is None else page, x, y, draw))

    # Tables and pictures.

    def _table(self, unit: Unit) -> None:
        style, options = self.style, unit.options
        size = options.get("size", style.size)
        count = max(len(row) for row in unit.rows)
        shares = options.get("shares", [1 / count] * count)
        width = self.frame.width
        starts = [width * sum(shares[:at]) for at in range(count)]
        cells = [
            [self.lines(cell, style.font, size, shares[at] * width - 10) for at, cell in enumerate(row)]
            for row in unit.rows
        ]
        heights = [max(len(lines) for lines in row) * size * 1.2 + options.get("pad", 4) for row in cells]
        if self._y + sum(heights) + 16 > self.frame.bottom:
            self.next_frame()
        self._y += 8
        top, x0 = self._y, self.frame.x
        strokes: list[tuple[int, int, str, float, float]] = []
        for number, row in enumerate(cells):
            for column, lines in enumerate(row):
                for at, (line, _) in enumerate(lines):
                    indent = 4.0
                    if options.get("right") and column:
                        indent = shares[column] * width - 6 - pdfmetrics.stringWidth(line, style.font, size)
                    strokes.append(
                        (number, column, line, x0 + starts[column] + indent, self._y + size * (1 + 1.2 * at))
                    )
            self._y += heights[number]
        if options.get("by") == "columns":
            strokes.sort(key=lambda one: one[1])
        for number, _, line, x, y in strokes:
            self.put(line, x, y, style.bold if number == 0 and options.get("bold") else style.font, size)
        if rules := options.get("rules"):
            edges = [top - 1]
            for height in heights:
                edges.append(edges[-1] + height)

            def draw(pen: Any) -> None:
                chosen = edges if rules == "all" else [edges[0], edges[1], edges[-1]]
                for y in chosen:
                    pen.line(x0, HEIGHT - y, x0 + width, HEIGHT - y)
                if rules == "all":
                    for x in [*starts, width]:
                        pen.line(x0 + x, HEIGHT - edges[0], x0 + x, HEIGHT - edges[-1])

            self.strokes.append(Stroke(self._page, x0, top, draw))
        self._y += 8

    def _figure(self, unit: Unit) -> None:
        height = unit.options.get("height", 110.0)
        caption = unit.options.get("caption_lines", 3)
        if self._y + height + 12 + caption * self.style.size * 1.2 > self.frame.bottom:
            self.next_frame()
        self._y += 8
        x, y, width = self.frame.x, self._y, self.frame.width
        colour = self.random.random()
        picture = unit.options.get("picture")

        def draw(pen: Any) -> None:
            if picture is not None:
                pen.drawInlineImage(picture, x, HEIGHT - y - height, width, height)
                return
            pen.setFillColorRGB(0.7, 0.8, colour)
            pen.rect(x, HEIGHT - y - height, width, height, fill=1)
            pen.setFillColorRGB(0, 0, 0)
            pen.line(x, HEIGHT - y, x + width, HEIGHT - y - height)

        self.strokes.append(Stroke(self._page, x, y, draw))
        self._y += height + 4

    def save(self, pages: int, before: Callable[[Any, int], None] | None = None) -> bytes:
        """The file's bytes. `before` is called with the pen as each page begins."""
        sink = io.BytesIO()
        pen = Canvas(sink, pagesize=(WIDTH, HEIGHT), invariant=1)
        for page in range(pages):
            if before is not None:
                before(pen, page)
            strokes = [stroke for stroke in self.strokes if stroke.page == page]
            if self.style.order == "rows":
                strokes.sort(key=lambda one: (round(one.y), one.x))
            elif self.style.order == "random":
                self.random.shuffle(strokes)
            for stroke in strokes:
                stroke.draw(pen)
            pen.showPage()
        pen.save()
        return sink.getvalue()
