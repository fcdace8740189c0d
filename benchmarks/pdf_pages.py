"""Made pages of which it is known where their text has to come from: for bench_pdf.py's part `routing`.

python benchmarks/pdf_pages.py FOLDER          # one file for each class
"""

from __future__ import annotations

import argparse
import ctypes
import io
import random
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import pypdfium2
import pypdfium2.raw as raw
import reportlab
from pdf_setter import HEIGHT, WIDTH
from pdf_words import Sentences
from PIL import Image, ImageFilter
from reportlab.lib.utils import ImageReader
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

FONT = str(Path(reportlab.__file__).parent / "fonts" / "Vera.ttf")
Page = Callable[[Any, random.Random, Sentences], None]


def lines(words: Sentences, count: int, width: float = 470, size: float = 11, font: str = "Helvetica") -> list[str]:
    """Lines of text."""
    found, line = [], ""
    while len(found) < count:
        for word in words.sentence().split():
            if pdfmetrics.stringWidth(f"{line} {word}", font, size) > width:
                found.append(line)
                line = word
            else:
                line = f"{line} {word}".strip()
    return found[:count]


def write(
    pen: Any, text: list[str], *, y: float = 770, size: float = 11, font: str = "Helvetica", mode: int = 0
) -> None:
    """Lines below each other; mode 3 isn't drawn."""
    for line in text:
        piece = pen.beginText(60, y)
        piece.setFont(font, size)
        piece.setTextRenderMode(mode)
        piece.textOut(line)
        pen.drawText(piece)
        y -= size * 1.3


def picture_of(
    text: list[str], dpi: int, *, size: float = 11, tilt: float = 0, noise: int = 0, seed: int = 0
) -> Image.Image:
    """A scan: the page drawn, turned a little, with grain."""
    sink = io.BytesIO()
    pen = Canvas(sink, pagesize=(WIDTH, HEIGHT))
    write(pen, text, size=size)
    pen.save()
    document = pypdfium2.PdfDocument(sink.getvalue())
    picture = document[0].render(scale=dpi / 72, grayscale=True).to_pil()
    document.close()
    if tilt:
        picture = picture.rotate(tilt, resample=Image.Resampling.BICUBIC, fillcolor=255)
    if noise:
        grain = Image.frombytes("L", picture.size, random.Random(seed).randbytes(picture.size[0] * picture.size[1]))
        picture = Image.blend(picture, grain.filter(ImageFilter.GaussianBlur(1)), noise / 100)
    return picture


def put(
    pen: Any, picture: Image.Image, x: float = 0, y: float = 0, width: float = WIDTH, height: float = HEIGHT
) -> None:
    sink = io.BytesIO()
    picture.save(sink, "JPEG", quality=80)
    pen.drawImage(ImageReader(io.BytesIO(sink.getvalue())), x, y, width, height)


def photo(chosen: random.Random) -> Image.Image:
    """A picture without letters."""
    small = Image.frombytes("RGB", (12, 16), chosen.randbytes(12 * 16 * 3))
    return small.resize((600, 800), Image.Resampling.BICUBIC)


# The file's text is right.


def plain_page(pen: Any, chosen: random.Random, words: Sentences) -> None:
    write(pen, lines(words, chosen.randint(2, 50)))


def with_photos(pen: Any, chosen: random.Random, words: Sentences) -> None:
    write(pen, lines(words, chosen.randint(12, 22)))
    put(pen, photo(chosen), 60, 60, 475, chosen.randint(150, 320))


def slide(pen: Any, chosen: random.Random, words: Sentences) -> None:
    put(pen, photo(chosen))
    write(pen, lines(words, chosen.randint(6, 14), size=16), size=16)


def title_page(pen: Any, chosen: random.Random, words: Sentences) -> None:
    write(pen, lines(words, 1, width=300, size=24), y=600, size=24)


def chart(pen: Any, chosen: random.Random, words: Sentences) -> None:
    write(pen, lines(words, 8))
    for at in range(120):
        pen.rect(60 + 4 * at, 200, 3, chosen.randint(3, 200), fill=1)


# It has to be read from a picture of the page.


def scan(pen: Any, chosen: random.Random, words: Sentences) -> None:
    put(pen, picture_of(lines(words, chosen.randint(10, 50)), 100, tilt=chosen.uniform(-1, 1), noise=8))


def strips(pen: Any, chosen: random.Random, words: Sentences) -> None:
    whole = picture_of(lines(words, 50), 100)
    count = chosen.randint(3, 12)
    for at in range(count):
        top, bottom = whole.height * at // count, whole.height * (at + 1) // count
        put(
            pen,
            whole.crop((0, top, whole.width, bottom)),
            0,
            HEIGHT * (1 - (at + 1) / count),
            WIDTH,
            HEIGHT / count + 0.5,
        )


def small_scan(pen: Any, chosen: random.Random, words: Sentences) -> None:
    """With white around it."""
    put(pen, picture_of(lines(words, 30), 100), 50, 60, 495, 700)


def stamped(pen: Any, chosen: random.Random, words: Sentences) -> None:
    put(pen, picture_of(lines(words, 40), 100))
    write(pen, ["Copied in the library of the old mill, for study alone"], y=20, size=8)


def part_scan(pen: Any, chosen: random.Random, words: Sentences) -> None:
    """A clipping, and nothing else."""
    whole = picture_of(lines(words, 14), 100)
    put(pen, whole.crop((0, 0, whole.width, whole.height // 3)), 0, 300, WIDTH, HEIGHT / 3)


def hidden(pen: Any, chosen: random.Random, words: Sentences, *, inside: bool = False) -> None:
    """Another program's reading lies under (or over) the scan, not drawn."""
    text = lines(words, chosen.randint(10, 50))
    if inside:
        write(pen, text, mode=3)
    put(pen, picture_of(text, 100))
    if not inside:
        write(pen, text, mode=3)


def outlined(pen: Any, chosen: random.Random, words: Sentences, *, by_line: bool = False) -> None:
    """Letters drawn as curves: each as a path, or all of a line as one."""
    y = 770.0
    for line in lines(words, chosen.randint(3, 20)):
        x = 60.0
        path = pen.beginPath()
        for letter in line:
            for kind, points in outline(letter):
                at = [(x + 11 * px, y + 11 * py) for px, py in points]
                if kind == "move":
                    path.moveTo(*at[0])
                elif kind == "line":
                    path.lineTo(*at[0])
                else:
                    path.curveTo(*at[0], *at[1], *at[2])
            if not by_line:
                pen.drawPath(path, stroke=0, fill=1)
                path = pen.beginPath()
            x += pdfmetrics.stringWidth(letter, "Helvetica", 11)
        if by_line:
            pen.drawPath(path, stroke=0, fill=1)
        y -= 14


@cache
def outline(letter: str) -> list[tuple[str, list[tuple[float, float]]]]:
    """A letter's curves at size 1, from PDFium's own font."""
    sink = io.BytesIO()
    pen = Canvas(sink)
    pdfmetrics.registerFont(TTFont("Outlines", FONT))
    pen.setFont("Outlines", 100)
    pen.drawString(0, 0, letter)
    pen.save()
    document = pypdfium2.PdfDocument(sink.getvalue())
    page = document[0]
    found: list[tuple[str, list[tuple[float, float]]]] = []
    text = next((one for one in page.get_objects() if one.type == raw.FPDF_PAGEOBJ_TEXT), None)
    if text is not None:
        font = raw.FPDFTextObj_GetFont(text.raw)
        glyph = pdfmetrics.getFont("Outlines").face.charToGlyph.get(ord(letter), 0)
        path = raw.FPDFFont_GetGlyphPath(font, glyph, 1.0)
        curve: list[tuple[float, float]] = []
        for at in range(raw.FPDFGlyphPath_CountGlyphSegments(path)):
            segment = raw.FPDFGlyphPath_GetGlyphPathSegment(path, at)
            x, y = ctypes.c_float(), ctypes.c_float()
            raw.FPDFPathSegment_GetPoint(segment, x, y)
            kind = raw.FPDFPathSegment_GetType(segment)
            if kind == raw.FPDF_SEGMENT_BEZIERTO:
                curve.append((x.value, y.value))
                if len(curve) == 3:
                    found.append(("curve", curve))
                    curve = []
            else:
                found.append(("move" if kind == raw.FPDF_SEGMENT_MOVETO else "line", [(x.value, y.value)]))
    document.close()
    return found


def garbled(pen: Any, chosen: random.Random, words: Sentences) -> None:
    """Accented letters in a font that doesn't say which letters it has: ASCII would be guessed."""
    alphabet = "àáâãäåæçèéêëìíîïðñòóôõöøùúûüýþ"
    pdfmetrics.registerFont(TTFont("Mapless", FONT))
    text = [" ".join("".join(chosen.choices(alphabet, k=chosen.randint(2, 9))) for _ in range(9)) for _ in range(20)]
    write(pen, text, font="Mapless")


# There is nothing to read.


def blank(pen: Any, chosen: random.Random, words: Sentences) -> None:
    pass


def ruled(pen: Any, chosen: random.Random, words: Sentences) -> None:
    for at in range(chosen.randint(1, 40)):
        pen.line(60, 60 + 17 * at, 535, 60 + 17 * at)


def bars(pen: Any, chosen: random.Random, words: Sentences) -> None:
    for at in range(100):
        pen.rect(60 + 4 * at, 200, 3, chosen.randint(3, 50), fill=1)


def drawing(pen: Any, chosen: random.Random, words: Sentences) -> None:
    for _ in range(chosen.randint(20, 200)):
        pen.bezier(*(chosen.uniform(50, 550) for _ in range(8)))


CLASSES: dict[str, tuple[str, tuple[Page, ...]]] = {
    "born digital": ("text", (plain_page, with_photos, slide, title_page, chart)),
    "scans": ("ocr", (scan, strips, small_scan, stamped, part_scan)),
    "scans with hidden text": ("ocr", (hidden, partial(hidden, inside=True))),
    "outlined letters": ("ocr", (outlined, partial(outlined, by_line=True))),
    "fonts without maps": ("ocr", (garbled,)),
    "blank": ("blank", (blank, ruled, drawing, bars)),
}
"""Of each class where its text comes from, and what draws its pages."""


def pages_of(name: str, count: int) -> bytes:
    """A file of a class, the same at every call."""
    sink = io.BytesIO()
    pen = Canvas(sink, pagesize=(WIDTH, HEIGHT), invariant=1, pageCompression=0)
    makers = CLASSES[name][1]
    for number in range(count):
        makers[number % len(makers)](pen, random.Random(number), Sentences(900 + number))
        pen.showPage()
    pen.save()
    data = sink.getvalue()
    return data.replace(b"/ToUnicode", b"/NoUnicode") if name == "fonts without maps" else data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pages", type=int, default=50, help="of each class")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in CLASSES:
        (options.folder / f"{name.replace(' ', '-')}.pdf").write_bytes(pages_of(name, options.pages))


if __name__ == "__main__":
    main()
