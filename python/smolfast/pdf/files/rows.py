"""What comes of a document: its row in kept/, or its rows in removed/; and its counts."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from smolfast.classify import Model
from smolfast.io.sources import document_id
from smolfast.pdf.files.summary import Counts
from smolfast.pdf.input import Pdf
from smolfast.pdf.signals.language import language_of
from smolfast.pdf.signals.measures import key_of, pages_of
from smolfast.pdf.tasks import Result

DUPLICATE_FILE, DUPLICATE_TEXT = "duplicate_file", "duplicate_text"

KEPT_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.large_string()),
        ("path", pa.string()),
        ("url", pa.string()),
        ("date", pa.string()),
        ("pages", pa.int32()),
        ("page_starts", pa.list_(pa.int64())),
        ("empty_pages", pa.list_(pa.int32())),
        ("failed_pages", pa.list_(pa.int32())),
        ("garbled", pa.float64()),
        ("page_garbled", pa.list_(pa.float32())),
        ("needs_ocr", pa.list_(pa.int32())),
        ("ocr_pages", pa.list_(pa.int32())),
        ("ocr_confidence", pa.float64()),
        ("page_ocr_confidence", pa.list_(pa.float32())),
        ("ocr_figures", pa.int32()),
        ("truncated", pa.bool_()),
        ("fetch", pa.string()),
        ("pdf_bytes", pa.int64()),
        ("xxh3_128", pa.string()),
        ("extractor", pa.string()),
    ]
)
LANGUAGE = [
    pa.field("language", pa.string()),
    pa.field("language_score", pa.float64()),
    pa.field("page_languages", pa.list_(pa.string())),
]
"""With a model that tells languages."""
_POINTS = [(name, pa.float32()) for name in ("x0", "y0", "x1", "y1")]
BOXES = [
    pa.field("page_sizes", pa.list_(pa.struct([("width", pa.float32()), ("height", pa.float32())]))),
    pa.field(
        "blocks",
        pa.list_(
            pa.struct(
                [("page", pa.int32()), ("kind", pa.string()), *_POINTS, ("start", pa.int64()), ("end", pa.int64())]
            )
        ),
    ),
]
"""If they were asked for."""
REMOVED_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("path", pa.string()),
        ("url", pa.string()),
        ("page", pa.int32()),
        ("reason", pa.string()),
        ("duplicate_of", pa.string()),
        ("fetch", pa.string()),
        ("pdf_bytes", pa.int64()),
        ("xxh3_128", pa.string()),
    ]
)


class Gone(NamedTuple):
    """A document that isn't read."""

    reason: str
    duplicate_of: str | None = None
    """The id of the one with the same bytes."""


class Rows:
    """Makes rows of documents in the order of the input, and knows what texts there were."""

    def __init__(self, model: Model | None, extractor: str, boxes: bool = False) -> None:
        self._model, self._extractor, self._boxes = model, extractor, boxes
        self._texts: dict[str, str] = {}
        more = [*(LANGUAGE if model is not None else []), *(BOXES if boxes else [])]
        self.kept_schema = pa.schema([*KEPT_SCHEMA, *more])

    def know(self, parts: Iterable[Path]) -> None:
        """Read the texts of files in kept/ that are finished."""
        for path in parts:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(64, columns=["id", "text"]):
                    for name, text in zip(batch.column("id"), batch.column("text"), strict=True):
                        self._texts.setdefault(key_of(text.as_py()), name.as_py())

    def of(self, pdf: Pdf, result: Result | Gone, counts: Counts) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Rows of a document for kept/ and removed/; counts it."""
        about = {
            "id": pdf.id,
            "path": document_id(pdf.path),
            "url": pdf.url,
            "fetch": pdf.fetch,
            "pdf_bytes": pdf.size,
            "xxh3_128": pdf.hash or None,
        }
        counts.numbers.update({"documents_in": 1, "bytes_in": pdf.size, "fetched": int(pdf.fetch == "fetched")})
        if isinstance(result, Gone):
            counts.documents[result.reason] += 1
            return [], [{**about, **result._asdict()}]
        numbers = {"pages": result.pages, "empty_pages": len(result.empty), "failed_pages": len(result.failed)}
        numbers |= {"ocr_pages": len(result.ocr), "needs_ocr_pages": len(result.needs_ocr)}
        counts.numbers.update({**numbers, "running_lines": result.running, "ocr_figures": result.figures})
        without = sorted([*result.failed.items(), *result.failed_figures.items()])
        gone = [{**about, "page": page, "reason": reason} for page, reason in without]
        counts.pages.update(reason for _, reason in without)
        if result.reason:
            counts.documents[result.reason] += 1
            return [], [{**about, "reason": result.reason}, *gone]
        if (same := self._texts.get(result.key)) is not None:
            counts.documents[DUPLICATE_TEXT] += 1
            return [], [{**about, "reason": DUPLICATE_TEXT, "duplicate_of": same}, *gone]
        self._texts[result.key] = pdf.id
        truncated = result.truncated or pdf.truncated
        counts.numbers.update({"documents_out": 1, "bytes_out": len(result.text.encode()), "truncated": int(truncated)})
        row: dict[str, Any] = {
            **about,
            "text": result.text,
            "date": pdf.date,
            "pages": result.pages,
            "page_starts": result.starts,
            "empty_pages": result.empty,
            "failed_pages": sorted(result.failed),
            "garbled": result.garbled,
            "page_garbled": result.page_garbled,
            "needs_ocr": result.needs_ocr,
            "ocr_pages": list(result.ocr),
            "ocr_confidence": statistics.fmean(result.ocr.values()) if result.ocr else None,
            "page_ocr_confidence": list(result.ocr.values()),
            "ocr_figures": result.figures,
            "truncated": truncated,
            "extractor": self._extractor,
        }
        if self._model is not None:
            heard = language_of(pages_of(result.text, result.starts), self._model)
            row |= {"language": heard.name, "language_score": heard.score, "page_languages": heard.pages}
        if self._boxes:
            row["page_sizes"] = [size and dict(zip(("width", "height"), size, strict=True)) for size in result.sizes]
            row["blocks"] = [
                {**one._asdict(), **dict(zip(("x0", "y0", "x1", "y1"), one.box, strict=True))} for one in result.blocks
            ]
        return [row], gone
