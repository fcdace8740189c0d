"""One page as it is seen, with the blocks that are found on it: why its text came out as it did."""

from __future__ import annotations

import os
import stat
import struct
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from smolfast import _native
from smolfast.errors import SmolfastError
from smolfast.files import describe_os_error
from smolfast.pdf.pdfium import pdfium_path
from smolfast.pdf.readers.ocr import Recognizer, read_page
from smolfast.pdf.readers.routing import Features, Route, route_of
from smolfast.pdf.reading import Block, read_pdf
from smolfast.pdf.text import texts_of, without_running_lines

SCALE, MOST_PIXELS = 2.0, 3_000_000
"""Of the picture: pixels a point, and in all."""
OCR_SECONDS = 600.0


@dataclass(frozen=True)
class ShownPage:
    """A page, as `smolfast pdf show` draws it."""

    path: str
    number: int
    """From 1."""
    pages: int
    width: float
    """In points, as the height."""
    height: float
    png: bytes
    blocks: list[Block]
    """In reading order."""
    running: list[int]
    """Places of blocks whose lines stand at the edge of many pages, and are taken out."""
    texts: list[str]
    """Of each block, as it is written."""
    route: Route
    confidence: float | None
    """Of OCR."""


def show_page(path: str | os.PathLike[str], number: int, by: Recognizer | None = None) -> ShownPage:
    """Read a page, and draw it.

    Args:
        path: a PDF file.
        number: the page, from 1.
        by: reads it if it is a picture.

    Raises:
        SmolfastError: no such file or page, or one that can't be read.
    """
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode) and not Path(path).is_dir():
            raise SmolfastError(f"can't read {os.fspath(path)}: it is a pipe or a device; give a file")
        data = Path(path).read_bytes()
    except OSError as error:
        raise SmolfastError(f"can't read {os.fspath(path)}: {describe_os_error(error)}") from error
    library = pdfium_path()
    found = read_pdf(data, library, lost={})
    if found.reason:
        raise SmolfastError(f"can't read {os.fspath(path)}: {found.reason}; give another file")
    if not 1 <= number <= len(found.pages):
        raise SmolfastError(f"{os.fspath(path)} has no page {number}; give one from 1 to {len(found.pages)}")
    blocks = found.pages[number - 1]
    pdf = _native.Pdf(library, data)
    read, drawn = pdf.read(number - 1), pdf.render(number - 1, SCALE, MOST_PIXELS, 3)
    if blocks is None or read is None or drawn is None:
        why = found.failed.get(number, "damaged")
        raise SmolfastError(f"{os.fspath(path)}: page {number} is {why}; give another page")
    route = route_of(Features(read[0], read[1], *read[3]))
    confidence = None
    if route.where == "ocr" and by is not None:
        reading = read_page(pdf, number - 1, by, OCR_SECONDS)
        blocks, confidence = [Block(*block) for block in reading.blocks], reading.confidence
    pages = [page or [] for page in found.pages]
    pages[number - 1] = blocks
    left = Counter(block.box for block in without_running_lines(pages)[0][number - 1])
    return ShownPage(
        os.fspath(path),
        number,
        len(found.pages),
        read[0],
        read[1],
        as_png(drawn),
        blocks,
        [place for place, block in enumerate(blocks) if not left[block.box]],
        texts_of(blocks, pages),
        route,
        confidence,
    )


def as_png(pixels: npt.NDArray[Any]) -> bytes:
    """Pixels [height, width, 3] of blue, green and red as a PNG file."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels[:, :, ::-1])
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows, 9)),
        (b"IEND", b""),
    ]
    written = b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in parts
    )
    return b"\x89PNG\r\n\x1a\n" + written
