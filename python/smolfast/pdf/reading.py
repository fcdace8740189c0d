"""One PDF file, from its bytes to blocks of text by page."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from smolfast import _native
from smolfast.pdf.cut import HEAD, is_cut
from smolfast.pdf.readers.extractors import Extractor
from smolfast.pdf.readers.ocr import Recognizer, read_figures, read_page
from smolfast.pdf.readers.routing import Features, route_of

OPENING = 0
"""The piece of work before the pages, which are numbered from 1."""


MOST_PAGES = 100_000
"""Of a document. What says to have more holds mostly pages that aren't there."""


class Block(NamedTuple):
    """Lines that belong together."""

    kind: str
    """text, table, caption, footnote or figure."""
    box: tuple[float, float, float, float]
    """Left, top, right and bottom in points, from the page's upper left corner as it is seen."""
    size: float
    """Of the font, in points."""
    characters: int
    text: str
    """Lines end with a line feed; with U+000B where the next word had room; with U+0002 for a hyphen and the end. Of a
    figure: what OCR read in it."""


@dataclass
class Document:
    """What was read; or for which `reason` nothing was."""

    reason: str = ""
    pages: list[list[Block] | None] = field(default_factory=list)
    """The blocks of each page, None where it can't be read."""
    failed: dict[int, str] = field(default_factory=dict)
    """Why pages, by number from 1, aren't read."""
    truncated: bool = False
    """Whether some of the file's end is missing."""
    ocr: dict[int, float] = field(default_factory=dict)
    """Pages that were read from their picture, and how sure that is, from 0 to 1."""
    needs_ocr: list[int] = field(default_factory=list)
    """Pages that would have been."""
    sizes: list[tuple[float, float] | None] = field(default_factory=list)
    """Width and height of each page in points, None where it isn't known."""
    guessed: dict[int, float] = field(default_factory=dict)
    """Of pages whose text is the file's: the share of letters that are garbled, or that no font explains."""
    figures: int = 0
    """In which OCR read something."""
    failed_figures: dict[int, str] = field(default_factory=dict)
    """Why figures of a page aren't read, though its text is."""


class OcrError(Exception):
    """The library that reads pictures failed at a page."""


class Page(NamedTuple):
    """What was read on a page."""

    blocks: list[Block]
    size: tuple[float, float] | None = None
    """Width and height in points."""
    confidence: float | None = None
    """Of OCR."""
    needs_ocr: bool = False
    guessed: float = 0.0
    """The share of letters that are garbled, or that no font explains."""
    figures: int = 0
    """In which OCR read something."""
    failed_figures: str = ""
    """Why they aren't read."""


class Pages(Protocol):
    """An open document."""

    def __len__(self) -> int: ...

    def read(self, page: int) -> Page | None:
        """A page, from 0; None where it can't be read."""


@dataclass(frozen=True)
class Options:
    """How pages are read."""

    extractor: Extractor | None = None
    """None: by us."""
    by: Recognizer | None = None
    """Reads pages that are pictures."""
    figures: bool = False
    """Whether it reads figures too."""
    ocr_seconds: float = 600.0
    """By the clock, of a page."""


def _nothing(piece: int) -> None:
    pass


def read_pdf(
    data: Any,
    library: str,
    *,
    lost: Mapping[int, str],
    options: Options | None = None,
    seconds: float = math.inf,
    at: Callable[[int], None] = _nothing,
) -> Document:
    """Read all pages.

    Args:
        data: the file's bytes, as a buffer.
        library: PDFium's file.
        lost: pieces (OPENING, or a page's number) that aren't worked on, and why.
        options: of other libraries, and of OCR.
        seconds: CPU time of the document, after which no further page is read.
        at: is told each piece before it is worked on.
    """
    if OPENING in lost:
        return Document(lost[OPENING])
    if b"%PDF-" not in data[:HEAD]:
        return Document("not a PDF")
    found = Document(truncated=is_cut(data))
    at(OPENING)
    options = options or Options()
    pdf = _open(data, library, options)
    if isinstance(pdf, str):
        return Document(_why(pdf, found.truncated), truncated=found.truncated)
    if len(pdf) < 1:
        return Document("no pages", truncated=found.truncated)
    if len(pdf) > MOST_PAGES:
        return Document("too many pages", truncated=found.truncated)
    began = time.process_time()
    for number in range(1, len(pdf) + 1):
        page = None
        if number in lost:
            found.failed[number] = lost[number]
        elif time.process_time() - began >= seconds:
            found.failed[number] = "timed out"
        else:
            at(number)
            try:
                page = pdf.read(number - 1)
            except TimeoutError:
                found.failed[number] = "timed out"
            except OcrError:
                found.failed[number] = "ocr failed"
            else:
                if page is None:
                    found.failed[number] = "damaged"
        _add(found, number, page)
    return found


def _add(found: Document, number: int, page: Page | None) -> None:
    found.pages.append(None if page is None else page.blocks)
    found.sizes.append(None if page is None else page.size)
    if page is None:
        return
    if page.confidence is not None:
        found.ocr[number] = page.confidence
    if page.needs_ocr:
        found.needs_ocr.append(number)
    if page.guessed:
        found.guessed[number] = page.guessed
    found.figures += page.figures
    if page.failed_figures:
        found.failed_figures[number] = page.failed_figures


def _open(data: Any, library: str, options: Options) -> Pages | str:
    """The document, or why it can't be opened."""
    if options.extractor is not None:
        try:
            return _Theirs(options.extractor(bytes(data)))
        except MemoryError:
            raise
        except Exception:
            return "format"
    pdf = _native.Pdf(library, data)
    return pdf.failure or _Ours(pdf, options)


class _Ours:
    """Read by us, or where there is nothing but a picture by OCR."""

    def __init__(self, pdf: Any, options: Options) -> None:
        self._pdf, self._by, self._seconds = pdf, options.by, options.ocr_seconds
        self._figures = options.figures

    def __len__(self) -> int:
        return int(self._pdf.pages)

    def read(self, page: int) -> Page | None:
        found = self._pdf.read(page)
        if found is None:
            return None
        width, height, blocks, parts = found
        features = Features(width, height, *parts)
        route = route_of(features)
        guessed = features.unknown / features.letters if features.letters else 0.0
        own = Page(list(map(Block._make, blocks)), (width, height), guessed=guessed)
        if route.where != "ocr":
            return self._with_figures(page, own) if self._figures else own
        if self._by is None:
            return own._replace(needs_ocr=True)
        try:
            reading = read_page(self._pdf, page, self._by, self._seconds)
        except (MemoryError, SystemError, TimeoutError):
            raise
        except Exception as error:  # of a library that isn't ours
            raise OcrError from error
        if not reading.blocks:  # the file's own text is better than none, if it is text
            return own._replace(blocks=[], guessed=0.0) if route.why == "garbled" else own
        return Page([Block(*block) for block in reading.blocks], own.size, reading.confidence)

    def _with_figures(self, page: int, own: Page) -> Page:
        """The page with what OCR reads in its figures."""
        places = [place for place, block in enumerate(own.blocks) if block.kind == "figure"]
        if not places or self._by is None:
            return own
        try:
            texts = read_figures(self._pdf, page, [own.blocks[at].box for at in places], self._by, self._seconds)
        except (MemoryError, SystemError):
            raise
        except TimeoutError:
            return own._replace(failed_figures="figures: timed out")
        except Exception:  # of a library that isn't ours
            return own._replace(failed_figures="figures: ocr failed")
        blocks = list(own.blocks)
        for place, text in zip(places, texts, strict=True):
            blocks[place] = blocks[place]._replace(text=text)
        return own._replace(blocks=blocks, figures=sum(map(bool, texts)))


class _Theirs:
    """Pages as an extractor gives them: each is one block, whose lines stay as they are."""

    def __init__(self, pages: Any) -> None:
        self._pages: Sequence[str] = (
            pages if hasattr(pages, "__getitem__") and hasattr(pages, "__len__") else list(pages)
        )

    def __len__(self) -> int:
        return len(self._pages)

    def read(self, page: int) -> Page | None:
        try:
            text = str(self._pages[page] or "")
        except MemoryError:
            raise
        except Exception:
            return None
        lines = "\v".join(line.rstrip() for line in text.replace("\r\n", "\n").split("\n")).strip("\v")
        return Page([Block("text", (0, 0, 0, 0), 0, len(lines), lines)] if lines.strip() else [])


def _why(failure: str, truncated: bool) -> str:
    if failure == "password":
        return "encrypted: needs a password"
    if failure == "security":
        return "encrypted: unknown method"
    return "truncated" if truncated else "damaged"
