"""WARC files made by hand, well-formed and not."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

PROSE = (
    "The river rises in the hills behind the old town, and it was there that the first mill was built. For two hundred "
    "years the people of the valley brought their corn to it, and they had to wait until the water was high enough."
)
DATE = "2024-01-02T03:04:05Z"


def http(body: bytes, status: str = "200 OK", content_type: str = "text/html", headers: str = "") -> bytes:
    """A response."""
    return f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\n{headers}\r\n".encode() + body


def record(block: bytes, url: str = "", kind: str = "response", length: int | None = None, headers: str = "") -> bytes:
    """A record; `length` is what it says of itself."""
    what = {"response": "application/http; msgtype=response", "conversion": "text/plain"}.get(kind, "text/plain")
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Record-ID: <urn:uuid:{url}>\r\nWARC-Date: {DATE}\r\n"
        f"WARC-Target-URI: {url}\r\nContent-Type: {what}\r\n{headers}"
        f"Content-Length: {len(block) if length is None else length}\r\n\r\n"
    )
    return head.encode() + block + b"\r\n\r\n"


def page(number: int | str, body: str | bytes = "", **options: str) -> bytes:
    """A record of a page whose address ends in its number."""
    content = body if isinstance(body, bytes) else (body or f"<p>page {number}</p>").encode()
    return record(http(content, **options), f"http://example.org/{number}")


def essay(number: int) -> str:
    """HTML of prose that FineWeb's rules keep, another for each number."""
    lines = [
        f"<p>{PROSE.replace('mill', f'mill number {number} of {number * 7}')} {_sentence(number, at)}</p>"
        for at in range(5)
    ]
    return f"<html><head><title>Essay {number}</title></head><body><main>{''.join(lines)}</main></body></html>"


_WORDS = "stone bridge water field winter farmer window letter garden market island teacher harbour forest silver road".split()


def _sentence(number: int, at: int) -> str:
    state, words = number * 7919 + at * 104729 + 1, []
    for _ in range(24):
        state = state * 1103515245 + 12345 & 0x7FFFFFFF
        words.append(_WORDS[state >> 16 & 15])
    return f"They said that the {' and the '.join(words[:3])} had been with {' or '.join(words[3:9])} for the {' '.join(words[9:14])}."


def pack(records: Iterable[bytes], how: str = "gzip") -> bytes:
    """A file of records, each in a member of its own."""
    if how == "plain":
        return b"".join(records)
    if how == "gzip":
        return b"".join(gzip.compress(one, 6, mtime=0) for one in records)
    return b"".join(pa.compress(one, "zstd", asbytes=True) for one in records)


def write(path: Path, records: Iterable[bytes], how: str = "gzip") -> Path:
    path.write_bytes(pack(records, how))
    return path
