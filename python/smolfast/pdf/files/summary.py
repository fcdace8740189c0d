"""What a run says of itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from smolfast.io.sources import said


@dataclass(frozen=True)
class PdfSummary:
    """Counts of a run; `bytes_in` are those of the PDFs, `bytes_out` UTF-8 bytes of text."""

    documents_in: int
    bytes_in: int
    documents_out: int
    bytes_out: int
    pages: int
    """Of the documents that could be opened."""
    empty_pages: int
    """Read, but without text: scans, pictures, blank pages."""
    failed_pages: int
    ocr_pages: int
    """Read from their picture."""
    needs_ocr_pages: int
    """Would have been, with an `ocr`."""
    ocr_figures: int
    """Pictures among a page's text in which something was read."""
    running_lines: int
    """Headers, footers and page numbers that were taken out."""
    truncated: int
    """Documents without a PDF's end that could be read all the same."""
    fetched: int
    """Documents that were got from the web."""
    other_records: int
    """Of crawls, which hold no PDF."""
    reasons: list[dict[str, Any]] = field(default_factory=list)
    """Of each `reason` the `documents` and single `pages` that went for it."""
    passed_over: int = 0
    passed_over_files: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The fields by name; those on what was passed over only if something was."""
        return said(self)


NUMBERS = (
    "documents_in", "bytes_in", "documents_out", "bytes_out", "pages", "empty_pages", "failed_pages", "ocr_pages",
    "needs_ocr_pages", "ocr_figures", "running_lines", "truncated", "fetched",
)  # fmt: skip


@dataclass
class Counts:
    """What was met; those of two parts add up to those of both."""

    numbers: Counter[str] = field(default_factory=Counter)
    documents: Counter[str] = field(default_factory=Counter)
    """That went, by reason."""
    pages: Counter[str] = field(default_factory=Counter)

    def add(self, other: Counts) -> None:
        """Count another part too."""
        for name, counter in vars(self).items():
            counter.update(vars(other)[name])

    def as_json(self) -> dict[str, Any]:
        """For the journal."""
        return {name: dict(counter) for name, counter in vars(self).items()}

    @staticmethod
    def from_json(found: Mapping[str, Any]) -> Counts:
        """What `as_json` gave."""
        return Counts(*(Counter(found[name]) for name in ("numbers", "documents", "pages")))

    def summary(self, other_records: int) -> dict[str, Any]:
        """The fields of PdfSummary."""
        reasons = sorted({*self.documents, *self.pages}, key=lambda one: (-self.documents[one], -self.pages[one], one))
        rows = [{"reason": one, "documents": self.documents[one], "pages": self.pages[one]} for one in reasons]
        numbers = {name: self.numbers[name] for name in NUMBERS}
        return {**numbers, "other_records": other_records, "reasons": rows}
