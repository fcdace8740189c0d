"""PDF files to documents: pages read in worker processes, put in reading order, and written as parquet."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smolfast.pdf.fetch.limits import Limits
    from smolfast.pdf.files.job import extract_pdfs
    from smolfast.pdf.files.summary import PdfSummary

__all__ = ["Limits", "PdfSummary", "extract_pdfs"]

_WHERE = {
    "Limits": "smolfast.pdf.fetch.limits",
    "PdfSummary": "smolfast.pdf.files.summary",
    "extract_pdfs": "smolfast.pdf.files.job",
}


def __getattr__(name: str) -> Any:
    """Loaded when it is first used: a worker process needs none of it, and begins in half the time."""
    if name not in _WHERE:
        raise AttributeError(f"module 'smolfast.pdf' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
