"""PDFs whose text runs from top to bottom: a font in them says so, and which letters its glyphs stand for."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

FIRST_GLYPH = 36  # "A" of the font: glyphs before it may be empty


def vertical_pdf(lines: Sequence[tuple[float, float, str]], size: float = 12, numbers: Sequence[str] = ()) -> bytes:
    """A file of one page.

    Args:
        lines: x of the middle and y of the top in points from the lower left corner, and their letters.
        numbers: lines in Helvetica, across, at the foot of the page.
    """
    import reportlab

    letters = sorted({letter for _, _, text in lines for letter in text})
    glyphs = {letter: FIRST_GLYPH + at for at, letter in enumerate(letters)}
    maps = "".join(f"<{glyph:04x}> <{ord(letter):04x}>\n" for letter, glyph in glyphs.items())
    parts = [f"BT /F {size} Tf"]
    for x, y, text in lines:
        parts.append(f"1 0 0 1 {x} {y} Tm <{''.join(f'{glyphs[letter]:04x}' for letter in text)}> Tj")
    parts += [f"ET BT /G 10 Tf 1 0 0 1 290 {40 - 12 * at} Tm ({text}) Tj" for at, text in enumerate(numbers)]
    font = (Path(reportlab.__file__).parent / "fonts" / "Vera.ttf").read_bytes()
    cmap = (
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /M def /CMapType 2 def\n"
        f"1 begincodespacerange <0000> <ffff> endcodespacerange\n{len(glyphs)} beginbfchar\n{maps}endbfchar\n"
        "endcmap end end"
    )
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F 5 0 R /G "
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >>",
        _stream(" ".join([*parts, "ET"]).encode()),
        b"<< /Type /Font /Subtype /Type0 /BaseFont /Made /Encoding /Identity-V /DescendantFonts [6 0 R] "
        b"/ToUnicode 9 0 R >>",
        b"<< /Type /Font /Subtype /CIDFontType2 /BaseFont /Made "
        b"/CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) "
        b"/Supplement 0 >> /DW 1000 /CIDToGIDMap /Identity /FontDescriptor 7 0 R >>",
        b"<< /Type /FontDescriptor /FontName /Made /Flags 4 /FontBBox [-200 -300 1200 1000] /ItalicAngle 0 /Ascent 880 "
        b"/Descent -120 /CapHeight 700 /StemV 80 /FontFile2 8 0 R >>",
        _stream(font),
        _stream(cmap.encode()),
    ]
    made = b"%PDF-1.7\n"
    places = []
    for number, content in enumerate(objects, 1):
        places.append(len(made))
        made += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n"
    return made + end % (len(objects) + 1, table, len(objects) + 1, len(made))


def _stream(content: bytes) -> bytes:
    packed = zlib.compress(content)
    return b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(packed), packed)
