"""From a record to the page that it holds, or to the reason why it holds none."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fastwarc.warc import WarcRecord

from smolfast.crawl.reading.charset import decode
from smolfast.crawl.reading.records import Raw

MOST_PAGE = 8 << 20
"""Bytes of a page, unpacked; a longer one isn't extracted. Common Crawl cuts pages at 1 or 5 MiB."""

_HTML = ("text/html", "application/xhtml+xml")
_TEXT = "text/plain"


@dataclass(frozen=True)
class Page:
    """What a record says of a page."""

    id: str
    url: str
    date: str
    """WARC-Date."""
    text: str
    """HTML, or the text where the crawl holds text (WET)."""
    is_html: bool
    charset: str
    charset_from: str
    size: int
    """Bytes of the body."""


@dataclass(frozen=True)
class NoPage:
    """A record without a page for us, which is counted."""

    reason: str


@dataclass(frozen=True)
class BadPage:
    """A page that can't be read, which goes with a reason."""

    id: str
    url: str
    date: str
    reason: str


def page_of(raw: Raw) -> Page | NoPage | BadPage:
    """The page of a record.

    HTML in a response of status 200 or another of success, or in a resource; text in a conversion (WET). What the
    content is, WARC-Identified-Payload-Type says, else the HTTP header, else its first bytes.
    """
    record = WarcRecord.from_bytes(raw.data)
    headers = record.headers
    kind = (headers.get("WARC-Type") or "").lower()
    if kind not in ("response", "conversion", "resource"):
        return NoPage(kind if kind in _KINDS else "unknown type")
    about = (
        headers.get("WARC-Record-ID") or "",
        (headers.get("WARC-Target-URI") or "").strip().removeprefix("<").removesuffix(">"),
        headers.get("WARC-Date") or "",
    )
    header_charset = None
    said = headers.get("Content-Type") or ""
    if kind == "response" and record.is_http:
        found = http_body(raw, record, MOST_PAGE)
        if isinstance(found, str):
            return BadPage(*about, found)
        body, status, said, header_charset = found
        if not 200 <= status < 300:
            return NoPage(f"HTTP status {status // 100}xx")
    else:
        body = record.reader.read(MOST_PAGE + 1)
    if len(body) > MOST_PAGE:
        return BadPage(*about, "page of more than 8 MiB")
    mime = _mime(headers.get("WARC-Identified-Payload-Type") or said, body)
    is_html = mime in _HTML
    if not is_html and not (kind == "conversion" and mime == _TEXT):
        return NoPage("not HTML")
    if not body.strip():
        return BadPage(*about, "empty body")
    text, charset, found_by = decode(body, header_charset)
    return Page(*about, text, is_html, charset, found_by, len(body))


_KINDS = {"warcinfo", "request", "metadata", "revisit", "continuation"}


def http_body(raw: Raw, record: WarcRecord, most: int) -> tuple[bytes, int, str, str | None] | str:
    """Body (up to `most` + 1 bytes), status, content type and charset of a response; or what is wrong with it."""
    # A header often names an encoding that the crawler has already taken off.
    for how in ("all", "content", "none"):
        if how != "all":  # the last try has read from it
            record = WarcRecord.from_bytes(raw.data)
        try:
            record.parse_http(auto_decode=how)
            body = record.reader.read(most + 1)
        except (OSError, ValueError):
            continue
        if record.http_headers is None or record.http_headers.status_code is None:
            return "broken HTTP header"
        if how == "none" and _is_packed(body):
            return "broken content encoding"
        said = record.http_headers.get("Content-Type") or ""
        return body, record.http_headers.status_code, said, _charset_in(said)
    return "broken HTTP header"


def _is_packed(body: bytes) -> bool:
    return body.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x78\x9c", b"\x78\xda", b"\x78\x01"))


def _charset_in(content_type: str) -> str | None:
    found = re.search(r"charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", content_type, re.IGNORECASE)
    return found[1] if found else None


def _mime(said: str, body: bytes) -> str:
    name = said.partition(";")[0].strip().lower()
    if name and name not in ("application/http", "application/octet-stream", "unk", "application/x-unknown"):
        return name
    from resiliparse.parse.encoding import detect_mime

    return str(detect_mime(body[:4096]))
