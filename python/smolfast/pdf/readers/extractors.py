"""What makes text of a PDF: our own reading, another library's, or a function of the user's.

An extractor takes a file's bytes and gives its pages: a sequence of strings. What is only made when a page is asked for
costs that page alone where it dies.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import io
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from typing import Any

from smolfast.errors import SmolfastError
from smolfast.pdf.pdfium import pdfium_version
from smolfast.processes.functions import function_name, is_name, load_function

Extractor = Callable[[bytes], Iterable[str]]
"""Takes a PDF's bytes and gives the text of each page, best as a sequence that makes it when it is asked for."""

OURS = "smolfast"
_MODULES = {"pypdfium2": "pypdfium2", "pdf-oxide": "pdf_oxide", "docling-parse": "docling_parse"}
NAMES = (OURS, *_MODULES)


class Pypdfium2(Sequence[str]):
    """PDFium's own text, in the order in which the file draws it."""

    def __init__(self, data: bytes) -> None:
        self._pdf = importlib.import_module("pypdfium2").PdfDocument(data)

    def __len__(self) -> int:
        return len(self._pdf)

    def __getitem__(self, page: Any) -> Any:
        text = self._pdf[page].get_textpage().get_text_range()
        return text.replace("\ufffe", "-").replace("\x02", "-")  # hyphens at the end of lines


class PdfOxide(Sequence[str]):
    """pdf-oxide's plain text."""

    def __init__(self, data: bytes) -> None:
        self._pdf = importlib.import_module("pdf_oxide").PdfDocument.from_bytes(data)

    def __len__(self) -> int:
        return int(self._pdf.page_count())

    def __getitem__(self, page: Any) -> Any:
        return str(self._pdf.extract_text(page))


class DoclingParse(Sequence[str]):
    """docling-parse's lines; it has no layout of its own."""

    def __init__(self, data: bytes) -> None:
        parser = importlib.import_module("docling_parse.pdf_parser").DoclingPdfParser(loglevel="fatal")
        self._pdf = parser.load(io.BytesIO(data))
        self._unit = importlib.import_module("docling_core.types.doc.page").TextCellUnit.LINE

    def __len__(self) -> int:
        return int(self._pdf.number_of_pages())

    def __getitem__(self, page: Any) -> Any:
        lines = [cell.text for cell in self._pdf.get_page(page + 1).iterate_cells(self._unit)]
        self._pdf.unload_pages((page + 1, page + 2))
        return "\n".join(lines)


_LOADED: dict[str, Extractor] = {"pypdfium2": Pypdfium2, "pdf-oxide": PdfOxide, "docling-parse": DoclingParse}


def extractor_name(extractor: str | Extractor) -> str:
    """How a worker process finds an extractor: one of NAMES, MODULE:FUNCTION, or FILE.py:FUNCTION.

    Raises:
        SmolfastError: unknown, not installed, or a function that another process can't find by a name.
    """
    if not isinstance(extractor, str):
        return function_name(extractor, "extractor")
    if extractor == OURS or is_name(extractor):
        return extractor
    if extractor not in _MODULES:
        raise SmolfastError(f"extractor = {extractor!r}: give one of {', '.join(NAMES)}, or MODULE:FUNCTION")
    if find_spec(_MODULES[extractor]) is None:
        raise SmolfastError(f"{extractor} isn't installed; install it with: pip install {extractor}")
    return extractor


def extractor_version(name: str) -> str:
    """As rows name it."""
    if name == OURS:
        return pdfium_version()
    return f"{name} {importlib.metadata.version(name)}" if name in _MODULES else name


def load_extractor(name: str) -> Extractor | None:
    """The extractor of a name that `extractor_name` gave; None for our own.

    Raises:
        SmolfastError: a module or function that isn't there.
    """
    if name == OURS:
        return None
    return _LOADED.get(name) or load_function(name, "extractor", "takes bytes and gives the text of each page")
