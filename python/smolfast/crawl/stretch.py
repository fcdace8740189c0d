"""One stretch of a crawl's file, from its bytes to rows of text: what a worker process does."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from resiliparse.parse.html import HTMLTree

from smolfast.crawl.extraction.metadata import Metadata, metadata_of
from smolfast.crawl.extraction.nesting import is_nested_too_deep
from smolfast.crawl.reading.faults import Fault, Place
from smolfast.crawl.reading.members import Members
from smolfast.crawl.reading.pages import BadPage, NoPage, Page, page_of
from smolfast.crawl.reading.records import Raw, Reached, find_first, read_records
from smolfast.crawl.urls import UrlFilter
from smolfast.io.sources import open_source

PAGE_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.large_string()),
        ("url", pa.string()),
        ("date", pa.string()),
        ("title", pa.string()),
        ("published", pa.string()),
        ("canonical_url", pa.string()),
        ("charset", pa.string()),
        ("charset_from", pa.string()),
        ("html_bytes", pa.int64()),
        ("file", pa.string()),
        ("offset", pa.int64()),
        ("inner_offset", pa.int64()),
    ]
)
"""A row of each page. `offset` is where its record (or the compressed member with it) begins in the file, and
`inner_offset` where in the member: 0 but in members of several records."""
FATE = (pa.field("stage", pa.string()), pa.field("reason", pa.string()))
"""Of a page that goes: where, and why; null of one that stays."""
ROW_SCHEMA = pa.schema([*PAGE_SCHEMA, *FATE])

BATCH_BYTES = 4 << 20

NO_PAGE = Metadata(None, None, None)


@dataclass(frozen=True)
class Stretch:
    """What to read: the records from `start` on whose members begin before `stop`.

    Without a start, from the first that is found at or behind `search`.
    """

    path: str
    name: str
    """The path as it stands in the rows."""
    search: int
    stop: int
    start: Place | None = None
    lost: Mapping[Place, str] = field(default_factory=dict)
    """Records that end a worker, and how: they aren't extracted again, or with a `!` before it not even parsed."""


@dataclass
class Found:
    """What was in a stretch, beside its rows."""

    start: Place | None = None
    end: Place | None = None
    records: int = 0
    html_bytes: int = 0
    not_pages: Counter[str] = field(default_factory=Counter)
    """Records without a page, by what they are."""
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """By stage, of this process; for people, not for the manifest."""


class Reader:
    """Reads stretches, with one extractor and one URL filter."""

    def __init__(
        self,
        extract: Callable[[Any], str | None],
        urls: UrlFilter,
        at: Callable[[Place], None] = lambda place: None,
        *,
        takes_trees: bool = False,
    ) -> None:
        """`at` is told each record before it is worked on; `takes_trees`: `extract` takes Resiliparse's tree."""
        self._takes_trees = takes_trees
        self._extract = extract
        self._urls = urls
        self._at = at

    def read(self, stretch: Stretch, found: Found) -> Iterator[pa.RecordBatch]:
        """Rows of pages in order; `found` is filled on the way."""
        rows: list[dict[str, Any]] = []
        size = 0
        with open_source(stretch.path) as file:
            members = Members(file)
            found.start = stretch.start or find_first(members, stretch.search, stretch.stop)
            if found.start is None:
                return
            records = read_records(members, found.start, stretch.stop)
            while True:
                began = time.perf_counter()
                item = next(records)
                found.seconds["read"] += time.perf_counter() - began
                if isinstance(item, Reached):
                    found.end = item.place
                    break
                row = self._row(item, stretch, found)
                if row is not None:
                    plain = members.kind == "plain"
                    row["offset"] = item.place.inner if plain else item.place.member
                    row["inner_offset"] = 0 if plain else item.place.inner
                    rows.append(row)
                    size += len(row.get("text") or "")
                if size >= BATCH_BYTES or len(rows) >= 4096:
                    yield as_batch(rows, stretch.name)
                    rows, size = [], 0
        if rows:
            yield as_batch(rows, stretch.name)

    def _row(self, item: Raw | Fault, stretch: Stretch, found: Found) -> dict[str, Any] | None:
        found.records += 1
        if isinstance(item, Fault):
            return {"stage": "read", "reason": item.reason}
        known = stretch.lost.get(item.place, "")
        if known.startswith("!"):
            return {"stage": "read", "reason": known[1:]}
        self._at(item.place)
        began = time.perf_counter()
        try:
            page = page_of(item)
        except Exception:  # FastWARC is stricter than our cutting, and costs this record alone
            return {"stage": "read", "reason": "broken WARC header"}
        found.seconds["page"] += time.perf_counter() - began
        if isinstance(page, NoPage):
            found.not_pages[page.reason] += 1
            return None
        about: dict[str, Any] = {"id": page.id, "url": page.url, "date": page.date}
        if isinstance(page, BadPage):
            return {**about, "stage": "read", "reason": page.reason}
        found.html_bytes += page.size
        about = {**about, "charset": page.charset, "charset_from": page.charset_from, "html_bytes": page.size}
        began = time.perf_counter()
        reason = self._urls.reason(page.url)
        found.seconds["url"] += time.perf_counter() - began
        if reason is not None:
            return {**about, "stage": "url", "reason": reason}
        if known:
            return {**about, "stage": "extract", "reason": known}
        began = time.perf_counter()
        row = {**about, **self._extracted(page)}
        found.seconds["extract"] += time.perf_counter() - began
        return row

    def _extracted(self, page: Page) -> dict[str, Any]:
        if not page.is_html:
            return {"text": page.text}
        if is_nested_too_deep(page.text):
            return {"stage": "extract", "reason": "nested too deep"}
        try:
            tree = HTMLTree.parse(page.text)
            about = metadata_of(tree, page.text, page.url)
            text: Any = self._extract(tree if self._takes_trees else page.text)
        except Exception as error:  # whatever a library or the user's function raises of a page costs this page alone
            return {"stage": "extract", "reason": f"error: {type(error).__name__}"}
        if text is not None and not isinstance(text, str):
            return {"stage": "extract", "reason": f"error: {type(text).__name__} instead of text"}
        if not text or not text.strip():
            return {**about._asdict(), "stage": "extract", "reason": "empty"}
        return {**about._asdict(), "text": text}


def as_batch(rows: list[dict[str, Any]], name: str) -> pa.RecordBatch:
    """Rows as a batch; what is no Unicode text in them (half of a pair) becomes U+FFFD."""
    columns = []
    for field_ in ROW_SCHEMA:
        values = [name if field_.name == "file" else row.get(field_.name) for row in rows]
        try:
            columns.append(pa.array(values, field_.type))
        except UnicodeEncodeError:
            columns.append(pa.array([_storable(value) for value in values], field_.type))
    return pa.RecordBatch.from_arrays(columns, schema=ROW_SCHEMA)


def _storable(value: Any) -> Any:
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if isinstance(value, str) else value
