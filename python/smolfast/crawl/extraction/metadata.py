"""Title, date and canonical address, as a page gives them in its head."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urljoin

from resiliparse.parse.html import HTMLTree

_DATE_NAMES = (
    "article:published_time",
    "datepublished",
    "og:published_time",
    "date",
    "dc.date",
    "dc.date.issued",
    "dcterms.created",
    "dcterms.date",
    "dcterms.issued",
    "pubdate",
    "publishdate",
    "publish-date",
    "citation_publication_date",
    "article:modified_time",
)
_LINKED_DATA = re.compile(r'"datePublished"\s*:\s*"([^"]{8,40})"')
_DATE = re.compile(r"(\d{4})[-/.](\d\d?)[-/.](\d\d?)(T\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?")
_MOST_TITLE = 1_000
"""Characters."""


class Metadata(NamedTuple):
    """None where the page doesn't say."""

    title: str | None
    published: str | None
    """YYYY-MM-DD, with the time if the page gives it in ISO 8601."""
    canonical_url: str | None


def metadata_of(tree: HTMLTree, html: str, url: str) -> Metadata:
    """What a parsed page says of itself."""
    title = " ".join((tree.title or "").split())[:_MOST_TITLE] or None
    head = tree.head
    if head is None:
        return Metadata(title, _linked_date(html), None)
    return Metadata(title, _meta_date(head) or _linked_date(html), _canonical(head, url))


def _meta_date(head: object) -> str | None:
    found: dict[str, str] = {}
    for meta in head.get_elements_by_tag_name("meta"):  # type: ignore[attr-defined]
        name = meta.getattr("property") or meta.getattr("name") or meta.getattr("itemprop") or ""
        found.setdefault(name.lower(), meta.getattr("content") or "")
    return next((date for name in _DATE_NAMES if (date := _as_date(found.get(name, "")))), None)


def _linked_date(html: str) -> str | None:
    found = _LINKED_DATA.search(html)
    return _as_date(found[1]) if found else None


def _as_date(text: str) -> str | None:
    found = _DATE.match(text.strip())
    if not found or not (1 <= int(found[2]) <= 12 and 1 <= int(found[3]) <= 31):
        return None
    return f"{found[1]}-{int(found[2]):02}-{int(found[3]):02}{found[4] or ''}"


def _canonical(head: object, url: str) -> str | None:
    for link in head.get_elements_by_tag_name("link"):  # type: ignore[attr-defined]
        if "canonical" in (link.getattr("rel") or "").lower().split():
            try:
                found = urljoin(url, (link.getattr("href") or "").strip())
            except ValueError:  # an address that can't be one
                return None
            return found if found.startswith(("http://", "https://")) else None
    return None
