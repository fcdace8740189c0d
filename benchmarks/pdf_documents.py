"""Made PDF files with their truth: text in reading order, running lines, tables.

    python benchmarks/pdf_documents.py FOLDER      # writes them, each with its truth as JSON beside it

The reading order is the usual one: columns one after the other, notes at the foot of their page, captions where they
stand, what is at the side of a page after its body.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pdf_setter import HEIGHT, WIDTH, Frame, Setter, Style, Unit
from pdf_words import Sentences
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFError, TTFont

VARIANTS = 6
_FONTS = (("Times-Roman", "Times-Bold"), ("Helvetica", "Helvetica-Bold"))
_HEBREW_FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf"
_TOP, _BOTTOM = 70.0, HEIGHT - 70.0


@dataclass
class Made:
    """A file and what is to be read in it."""

    name: str
    kind: str
    data: bytes
    pages: int
    units: list[Unit]
    running: list[str]
    """Headers, footers and page numbers: as often as they stand in the file."""
    sentences: list[str]
    """In reading order."""
    scans: list[str] = dataclasses.field(default_factory=list)
    """Sentences on pages that are pictures."""

    def text(self) -> str:
        """The truth as plain text."""
        parts = []
        for unit in self.units:
            rows = [" ".join(cell for cell in row if cell) for row in unit.rows]
            parts.append("\n".join(rows) if unit.rows else unit.text)
        return "\n\n".join(part for part in parts if part)


def columns(count: int, *, left: float = 60, right: float = WIDTH - 60, gap: float = 20, first: float = _TOP) -> Any:
    """Frames of pages; on the first one they begin at `first`."""
    width = (right - left - gap * (count - 1)) / count

    def frames(page: int) -> Sequence[Frame]:
        top = first if page == 0 else _TOP
        return [Frame(left + at * (width + gap), top, width, _BOTTOM) for at in range(count)]

    return frames


def style_of(variant: int, **options: Any) -> Style:
    """How a variant looks: two fonts, three orders of drawing, with hyphens or without, justified or not."""
    font, bold = _FONTS[variant % 2]
    order = ("read", "rows", "random")[variant % 3]
    made = {"font": font, "bold": bold, "order": order, "justify": variant % 2 == 0, "hyphens": variant % 3 == 0}
    return Style(**{**made, "size": (10, 9, 11)[variant % 3], "indent": 12 if variant >= 3 else 0, **options})


class Maker:
    """One document."""

    def __init__(self, kind: str, number: int, variant: int, style: Style, frames: Any, **options: Any) -> None:
        self.kind, self.variant = kind, variant
        self.words = Sentences(number, hebrew=style.rtl)
        self.set = Setter(style, frames, number, **options)
        self.running: list[str] = []
        self.notes: dict[int, list[Unit]] = {}

    def text(self, count: int, least: int = 3, most: int = 6) -> None:
        for _ in range(count):
            self.set.add(Unit("text", self.words.paragraph(least, most)))

    def heading(self, level: int = 2) -> None:
        self.set.add(Unit("heading", self.words.sentence(2, 4).rstrip("."), level=level))

    def sections(self, pages: int, *, extra: Callable[[], None] | None = None) -> None:
        """Headings and paragraphs until a page is reached."""
        while self.set.page < pages:
            self.heading(1 + self.words._random.randint(1, 2))
            self.text(self.words._random.randint(2, 4))
            if extra is not None:
                extra()

    def title(self, size: float = 20) -> None:
        """Over all columns, above the first page's frames."""
        text = self.words.sentence(3, 4).rstrip(".")
        self.set.put(text, 60, 80, self.set.style.bold, size, page=0)
        self.set.units.insert(0, Unit("heading", text))

    def table(self, rows: int, count: int, **options: Any) -> None:
        words = self.words
        head = [words.words(1).capitalize() + f" {chr(65 + at)}" for at in range(count)]
        body = []
        for _ in range(rows):
            name = words.sentence(1, options.pop("long", 1)).rstrip(".")
            body.append([name, *(words.number() for _ in range(count - 1))])
            if options.get("words"):
                body[-1][-1] = words.words(options["words"])
        self.set.add(Unit("table", rows=[head, *body], options=options))

    def figure(self, number: int, **options: Any) -> None:
        self.set.add(Unit("figure", options=options))
        self.set.add(Unit("caption", f"Figure {number}: {self.words.paragraph(1, 2)}"))

    def note(self, mark: int, page: int) -> None:
        self.notes.setdefault(page, []).append(Unit("footnote", f"{mark} {self.words.sentence(8, 12)}", page=page))

    def edges(self, pages: int, *, header: Callable[[int], str] | None, footer: Callable[[int], str] | None) -> None:
        """Headers and footers; the notes above these."""
        style, middle = self.set.style, WIDTH / 2
        for page in range(pages):
            for line, y in ((header and header(page), 40.0), (footer and footer(page), HEIGHT - 30.0)):
                if line:
                    width = pdfmetrics.stringWidth(line, style.font, 9)
                    x = middle - width / 2 if not style.rtl else 60
                    self.set.put(line, x, y, style.font, 9, page=page)
                    self.running.append(line)
            y = HEIGHT - 62.0
            size = style.size * 0.8
            for unit in self.notes.get(page, []):
                for line, _ in self.set.lines(unit.text, style.font, size, WIDTH - 120):
                    self.set.put(line, 60, y, style.font, size, page=page)
                    y += size * 1.2

    def made(self, pages: int, before: Any = None) -> Made:
        data = self.set.save(pages, before)
        units = [unit for unit in self.set.units if unit.page < pages and unit.kind != "figure"]
        for page, notes in self.notes.items():
            last = max(at for at, unit in enumerate(units) if unit.page <= page)
            units[last + 1 : last + 1] = notes
        text = " ".join(" ".join([unit.text, *(cell for row in unit.rows for cell in row)]) for unit in units)
        sentences = [one for one in self.words.made if one in text]
        sentences.sort(key=text.index)
        return Made(f"{self.kind}-{self.variant}", self.kind, data, pages, units, self.running, sentences)


def header_of(maker: Maker) -> Callable[[int], str]:
    title = maker.words.words(4).title()
    return lambda page: title


def page_number(page: int) -> str:
    return str(page + 1)


def trimmed(maker: Maker, pages: int) -> Maker:
    """Without the units that end beyond the last page, which isn't kept."""
    maker.set.units = [unit for unit in maker.set.units if unit.page < pages]
    maker.set.strokes = [stroke for stroke in maker.set.strokes if stroke.page < pages]
    return maker


def article(number: int, variant: int) -> Made:
    maker = Maker("one column", number, variant, style_of(variant), columns(1), whole=variant % 2 == 0)
    maker.sections(6)
    trimmed(maker, 6).edges(6, header=header_of(maker), footer=lambda page: f"Page {page + 1} of 6")
    return maker.made(6)


def paper(number: int, variant: int) -> Made:
    """Two columns under a title, with notes."""
    frames = columns(2, first=110)
    maker = Maker("two columns", number, variant, style_of(variant), lambda page: _shorter(frames(page), 45))
    maker.sections(6)
    trimmed(maker, 6).title()
    for page in range(0, 6, 2):
        maker.note(page + 1, page)
    maker.edges(6, header=header_of(maker) if variant % 2 else None, footer=page_number)
    return maker.made(6)


def _shorter(frames: Sequence[Frame], by: float) -> list[Frame]:
    return [dataclasses.replace(frame, bottom=frame.bottom - by) for frame in frames]


def news(number: int, variant: int) -> Made:
    frames = columns(3, left=40, right=WIDTH - 40, gap=14, first=110)
    maker = Maker("three columns", number, variant, style_of(variant, size=9), frames, whole=variant % 2 == 0)
    maker.sections(5)
    trimmed(maker, 5).title(24)
    maker.edges(5, header=None, footer=lambda page: f"{page + 1} – The Evening Letter")
    return maker.made(5)


def tables(number: int, variant: int, *, rules: str, kind: str) -> Made:
    maker = Maker(kind, number, variant, style_of(variant, justify=False), columns(1))
    while maker.set.page < 5:
        maker.text(2)
        shape = maker.words._random.randint(0, 2)
        options: dict[str, Any] = {"rules": rules, "by": "columns" if variant % 2 else "rows", "bold": True}
        if shape == 0:
            maker.table(6, 4, right=True, **options)
        elif shape == 1:
            maker.table(5, 3, words=2, **options)
        else:
            maker.table(4, 3, words=9, shares=[0.25, 0.2, 0.55], pad=5, **options)
    trimmed(maker, 5).edges(5, header=header_of(maker), footer=page_number)
    return maker.made(5)


def figures(number: int, variant: int) -> Made:
    count = 1 + variant % 2
    maker = Maker("figures", number, variant, style_of(variant), columns(count))
    shown = 0
    while maker.set.page < 5:
        maker.text(3)
        shown += 1
        maker.figure(shown)
    trimmed(maker, 5).edges(5, header=None, footer=page_number)
    return maker.made(5)


def lists(number: int, variant: int) -> Made:
    maker = Maker("lists and programs", number, variant, style_of(variant, justify=False), columns(1))
    while maker.set.page < 5:
        maker.text(1)
        for at in range(4):
            mark = "•" if variant % 2 else f"{at + 1}."
            maker.set.add(Unit("item", f"{mark} {maker.words.paragraph(1, 2)}"))
        maker.text(1)
        lines = [f"{maker.words.words(1)}_{at} = open({maker.words.words(1)})" for at in range(4)]
        maker.set.add(Unit("code", "\n".join(lines)))
    trimmed(maker, 5).edges(5, header=header_of(maker), footer=page_number)
    return maker.made(5)


def notes(number: int, variant: int) -> Made:
    frames = columns(1)
    maker = Maker("footnotes", number, variant, style_of(variant), lambda page: _shorter(frames(page), 70))
    maker.sections(5)
    trimmed(maker, 5)
    for page in range(5):
        for mark in range(1 + page % 3):
            maker.note(mark + 1, page)
    maker.edges(5, header=header_of(maker), footer=page_number)
    return maker.made(5)


def turned(number: int, variant: int) -> Made:
    """Pages that a viewer turns: what is written from left to right is seen so, or runs up or down."""
    maker = Maker("rotated pages", number, variant, style_of(variant), columns(1 + variant % 2))
    maker.sections(3)
    trimmed(maker, 3)
    turn = (90, 180, 270)[variant % 3]

    def before(pen: Any, page: int) -> None:
        pen.setPageRotation(turn)
        if variant >= 3:
            pen.scale(0.7, 0.7)
        else:  # drawn so that it is upright once turned; reportlab turns the sheet itself
            across, down = {90: (HEIGHT, 0), 180: (WIDTH, HEIGHT), 270: (0, WIDTH)}[turn]
            pen.translate(across, down)
            pen.rotate(turn)

    return maker.made(3, before)


def sideways(number: int, variant: int) -> Made:
    """A table that lies on its side, on a page of its own among upright ones."""
    maker = Maker("sideways tables", number, variant, style_of(variant, justify=False), columns(1))
    maker.text(5)
    first = maker.set.page
    maker.set.next_page()
    where = maker.set.page
    maker.table(9, 5, rules="rows" if variant % 2 else None, right=variant % 3 == 0)
    maker.set.next_page()
    maker.text(5)
    assert first + 1 == where

    def before(pen: Any, page: int) -> None:
        if page == where:
            pen.translate(WIDTH, 0) if variant % 2 else pen.translate(0, HEIGHT)
            pen.rotate(90 if variant % 2 else -90)
            pen.scale(0.99, 0.99)
            pen.translate(20, -250)

    return maker.made(maker.set.page + 1, before)


def hebrew(number: int, variant: int) -> Made:
    pdfmetrics.registerFont(TTFont("Hebrew", _HEBREW_FONT))
    count = 1 + variant % 2
    frames = columns(count)
    style = Style(font="Hebrew", bold="Hebrew", size=10, rtl=True, order=("read", "rows", "random")[variant % 3])
    maker = Maker("right to left", number, variant, style, lambda page: list(reversed(frames(page))))
    maker.sections(5)
    trimmed(maker, 5)
    maker.edges(5, header=None, footer=page_number)
    return maker.made(5)


def sidebar(number: int, variant: int) -> Made:
    """A body with a narrow column of other text at its side, on a grey ground."""
    maker = Maker("sidebars", number, variant, style_of(variant), columns(1, left=60, right=380))
    maker.sections(4)
    trimmed(maker, 4)
    style, drawn = maker.set.style, []
    for page in range(4):
        y, size = 120.0, 8.0
        unit = Unit("text", maker.words.paragraph(4, 6), page=page)
        for line, _ in maker.set.lines(unit.text, style.font, size, 130):
            maker.set.put(line, 405, y, style.font, size, page=page)
            y += size * 1.25
        drawn.append(unit)
    for unit in drawn:
        last = max(at for at, other in enumerate(maker.set.units) if other.page <= unit.page)
        maker.set.units.insert(last + 1, unit)

    def before(pen: Any, page: int) -> None:
        pen.setFillColorRGB(0.9, 0.9, 0.9)
        pen.rect(395, 300, 150, HEIGHT - 400, fill=1, stroke=0)
        pen.setFillColorRGB(0, 0, 0)

    return maker.made(4, before)


def chapters(number: int, variant: int) -> Made:
    """Headers that name each chapter, at the outer edges, numbers beside them."""
    maker = Maker("chapters", number, variant, style_of(variant), columns(1 + variant % 2), whole=variant < 3)
    maker.sections(12)
    trimmed(maker, 12)
    names = [maker.words.words(3).title() for _ in range(2)]
    book = maker.words.words(4).title()
    maker.edges(
        12, header=lambda page: f"{page + 1} {book}" if page % 2 else f"{names[page // 6]} {page + 1}", footer=None
    )
    return maker.made(12)


def mixed(number: int, variant: int) -> Made:
    """Pages that are pictures of text, between pages of text."""
    frames = columns(1)
    maker = Maker("scans mixed in", number, variant, style_of(variant), frames)
    maker.sections(5)
    trimmed(maker, 5)
    scan = page_picture(Sentences(number + 500), variant)
    pages = [0, 1, 3]

    def before(pen: Any, page: int) -> None:
        if page in (1, 3):
            pen.drawInlineImage(scan[0], 0, 0, WIDTH, HEIGHT)

    gone = set(pages[1:])
    maker.set.strokes = [stroke for stroke in maker.set.strokes if stroke.page not in gone]
    kept = []
    for unit in maker.set.units:  # all of a unit stands on one page
        if unit.page not in gone:
            kept.append(unit)
    maker.set.units = kept
    made = maker.made(5, before)
    made.scans = scan[1]
    return made


def page_picture(words: Sentences, variant: int, dpi: int = 100) -> tuple[Any, list[str]]:
    """A page of text as a grey picture, and its sentences."""
    import pypdfium2

    setter = Setter(style_of(variant, size=11, order="read", hyphens=False), columns(1), 1)
    for _ in range(6):
        setter.add(Unit("text", words.paragraph()))
    document = pypdfium2.PdfDocument(setter.save(1))
    picture = document[0].render(scale=dpi / 72, grayscale=True).to_pil()
    text = " ".join(unit.text for unit in setter.units if unit.page == 0)
    return picture, [one for one in words.made if one in text]


KINDS: dict[str, Callable[[int, int], Made]] = {
    "one column": article,
    "two columns": paper,
    "three columns": news,
    "tables, ruled": partial(tables, rules="all", kind="tables, ruled"),
    "tables, few rules": partial(tables, rules="rows", kind="tables, few rules"),
    "tables without rules": partial(tables, rules="", kind="tables without rules"),
    "figures": figures,
    "lists and programs": lists,
    "footnotes": notes,
    "rotated pages": turned,
    "sideways tables": sideways,
    "right to left": hebrew,
    "sidebars": sidebar,
    "chapters": chapters,
    "scans mixed in": mixed,
}


def documents(variants: int = VARIANTS) -> list[Made]:
    """All of them, the same at every call."""
    found = []
    for number, make in enumerate(KINDS.values()):
        for variant in range(variants):
            try:
                found.append(make(1 + number * VARIANTS + variant, variant))
            except TTFError as error:
                raise SystemExit(f"{error}; install the package fonts-dejavu-core") from None
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for one in documents():
        name = one.name.replace(" ", "-").replace(",", "")
        (options.folder / f"{name}.pdf").write_bytes(one.data)
        truth = {**dataclasses.asdict(one), "data": None, "text": one.text()}
        (options.folder / f"{name}.json").write_text(json.dumps(truth, ensure_ascii=False), encoding="utf-8")
    print(f"wrote {len(documents())} documents to {options.folder}")


if __name__ == "__main__":
    main()
