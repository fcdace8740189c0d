"""From a record of a crawl to the PDF that it holds."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from fastwarc.warc import WarcRecord

from smolfast.crawl.reading.pages import http_body
from smolfast.crawl.reading.records import MOST_RECORD, Raw

MIME_TYPES = ("application/pdf", "application/x-pdf")
_HEADERS = 128 << 10
_KINDS = ("response", "resource")


@dataclass(frozen=True)
class Held:
    """A PDF by what its record says, or the reason why it can't be had."""

    id: str
    url: str
    date: str
    truncated: bool
    """WARC-Truncated: the crawler kept its beginning only."""
    body: bytes
    reason: str = ""


def pdf_of(raw: Raw) -> Held | None:
    """The PDF of a record; None where it holds something else.

    A response of status 200 or another of success, or a resource. It counts as a PDF if the record or the HTTP header
    says that it is one, or if the path of its address ends in .pdf.

    Raises:
        Exception: FastWARC can't read the record.
    """
    if not _may_be_pdf(raw.data):
        return None
    record = WarcRecord.from_bytes(raw.data)
    headers = record.headers
    kind = (headers.get("WARC-Type") or "").lower()
    if kind not in _KINDS:
        return None
    url = (headers.get("WARC-Target-URI") or "").strip().removeprefix("<").removesuffix(">")
    about = (
        headers.get("WARC-Record-ID") or "",
        url,
        headers.get("WARC-Date") or "",
        bool((headers.get("WARC-Truncated") or "").strip()),
    )
    said = headers.get("Content-Type") or ""
    if kind == "response" and record.is_http:
        found = http_body(raw, record, MOST_RECORD)
        if isinstance(found, str):
            return Held(*about, b"", found)
        body, status, said, _ = found
        if not 200 <= status < 300:
            return None
    else:
        body = record.reader.read(MOST_RECORD + 1)
    mimes = [(name or "").partition(";")[0].strip().lower() for name in (headers.get(_IDENTIFIED), said)]
    if not any(mime in MIME_TYPES for mime in mimes) and not _ends_in_pdf(url):
        return None
    if len(body) > MOST_RECORD:
        return Held(*about, b"", "record of more than 64 MiB")
    return Held(*about, body)


_IDENTIFIED = "WARC-Identified-Payload-Type"


def _may_be_pdf(data: bytes) -> bool:
    """Whether the headers name a PDF at all: most records are pages, and are passed by without a second look."""
    head = data[:_HEADERS]
    end = head.find(b"\r\n\r\n")
    end = head.find(b"\r\n\r\n", end + 4) if end >= 0 else -1
    head = (head if end < 0 else head[:end]).lower()
    return b"/pdf" in head or b"/x-pdf" in head or b".pdf" in head


def _ends_in_pdf(url: str) -> bool:
    try:
        return urlsplit(url).path.lower().endswith(".pdf")
    except ValueError:  # brackets without an IPv6 address between them
        return url.partition("?")[0].lower().endswith(".pdf")
