"""PDFs written object by object, as no library would write them."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

FONT = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"
WORDS = b"BT /F1 9 Tf 20 20 Td (words of a page) Tj ET"


def file_of(objects: Sequence[bytes]) -> bytes:
    """A file of objects, numbered from 1; the first is the catalogue."""
    out, places = bytearray(b"%PDF-1.7\n"), []
    for number, one in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n" % number + one + b"\nendobj\n"
    table = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, table)
    return bytes(out)


def stream(data: bytes, about: bytes = b"") -> bytes:
    return b"<</Length %d%s>>\nstream\n" % (len(data), about) + data + b"\nendstream"


def packed(data: bytes, about: bytes = b"") -> bytes:
    return stream(zlib.compress(data, 9), b"/Filter/FlateDecode" + about)


def page_of(content: bytes, thing: bytes = b"null", catalogue: bytes = b"", page: bytes = b"") -> bytes:
    """A file of one page, whose content is a stream; `thing` is the object X that it can draw."""
    return file_of(
        [
            b"<</Type/Catalog/Pages 2 0 R" + catalogue + b">>",
            b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Resources<</Font<</F1 4 0 R>>/XObject<</X 6 0 R>>>>"
            b"/Contents 5 0 R" + page + b">>",
            FONT,
            content,
            thing,
        ]
    )


def many_pages(count: int) -> bytes:
    """A file of so many pages, each with a line of its own."""
    kids = b"".join(b"%d 0 R " % (3 + number) for number in range(count))
    pages = [
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Resources<</Font<</F1 %d 0 R>>>>/Contents %d 0 R>>"
        % (count + 3, count + 4 + number)
        for number in range(count)
    ]
    letters = [f"{number:05}".translate(str.maketrans("0123456789", "abcdefghij")).encode() for number in range(count)]
    lines = [stream(b"BT /F1 9 Tf 50 700 Td (Page %s is one of many.) Tj ET" % word) for word in letters]
    tree = b"<</Type/Pages/Kids[" + kids + b"]/Count %d>>" % count
    return file_of([b"<</Type/Catalog/Pages 2 0 R>>", tree, *pages, FONT, *lines])


def odd_files() -> dict[str, bytes]:
    """Files that are meant to cost a reader its time, its memory or its stack; by what they are."""
    plain = page_of(stream(WORDS))
    table = plain.index(b"\nxref") + 1
    loop = b"/Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</X 6 0 R>>>>"
    picture = b"/Type/XObject/Subtype/Image/Width 60000/Height 60000/ColorSpace/DeviceRGB/BitsPerComponent 8"
    draws = stream(WORDS + b" /X Do")
    empty = b"<</Type/Pages/Kids[]/Count 0>>"
    script = b"/OpenAction<</S/JavaScript/JS(this.submitForm\\('http://127.0.0.1:1/'\\))>>"
    attached = b"/Names<</EmbeddedFiles<</Names[(a.pdf)<</Type/Filespec/F(a.pdf)/EF<</F 6 0 R>>>>]>>>>"
    launches = b"/AA<</O<</S/Launch/F(/bin/false)>>>>"
    return {
        "a million drawings": page_of(packed(b"".join(b"%d %d 1 1 re f\n" % (n % 600, n % 800) for n in range(10**6)))),
        "a million texts": page_of(
            packed(
                b"BT /F1 1 Tf\n"
                + b"".join(b"1 0 0 1 %d %d Tm (ab) Tj\n" % (n % 600, n % 800) for n in range(10**6))
                + b"ET"
            )
        ),
        "bomb": page_of(packed(b" " * (1 << 30))),
        "bomb in a bomb": page_of(
            stream(zlib.compress(zlib.compress(bytes(1 << 30), 9), 9), b"/Filter[/FlateDecode/FlateDecode]")
        ),
        "large picture": page_of(draws, packed(bytes(1 << 24), picture)),
        "form that draws itself": page_of(draws, stream(b"/X Do /X Do", loop)),
        "tables in a circle": plain.replace(b"trailer\n<<", b"trailer\n<</Prev %d" % table),
        "pages in a circle": file_of([b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[2 0 R 2 0 R]/Count 4>>"]),
        "object that is itself": file_of([b"<</Type/Catalog/Pages 2 0 R>>", b"2 0 R"]),
        "nested arrays": page_of(stream(WORDS), b"[" * 100_000 + b"]" * 100_000),
        "zero pages": file_of([b"<</Type/Catalog/Pages 2 0 R>>", empty]),
        "says two million pages": plain.replace(b"/Count 1>>", b"/Count 1000000>>"),
        "ten thousand pages": many_pages(10_000),
        "script and attachment": page_of(stream(WORDS), stream(plain), script + attached, launches),
    }
