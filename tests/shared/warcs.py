"""WARC files made by hand, well-formed and not."""

from __future__ import annotations

import gzip
import random
import re
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

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
    generator = random.Random(number)
    paragraphs = [" ".join(_sentence(generator) for _ in range(4)) for _ in range(5)]
    body = "".join(f"<p>{paragraph}</p>" for paragraph in paragraphs)
    return f"<html><head><title>Essay {number}</title></head><body><main>{body}</main></body></html>"


def german_essay(number: int) -> str:
    """The same in German, which FineWeb-2's rules for it keep."""
    generator = random.Random(number)
    paragraphs = [" ".join(_german_sentence(generator) for _ in range(4)) for _ in range(5)]
    body = "".join(f"<p>{paragraph}</p>" for paragraph in paragraphs)
    return f"<html><head><title>Aufsatz {number}</title></head><body><main>{body}</main></body></html>"


_GERMAN_NOUNS = re.findall(
    r"\w+",
    """Brücke Mühle Straße Schule Küche Wiese Tür Lampe Stadt Kirche Insel Werkstatt Leiter Kammer Treppe Glocke Quelle
    Scheune Decke Tasche Wolke Pflanze Feder Kiste Kerze Reise Stimme Zeitung Freundin Lehrerin Nachbarin Tante""",
)
_GERMAN_VERBS = re.findall(r"\w+", "gesehen gefunden gemalt gezählt beschrieben besucht vergessen gehalten gebaut")


def _german_sentence(generator: random.Random) -> str:
    one, two, three, four, five = generator.sample(_GERMAN_NOUNS, 5)
    did, done = generator.sample(_GERMAN_VERBS, 2)
    who, when = (
        generator.choice(["sie", "er", "man", "wer"]),
        generator.choice(["im Winter", "am Abend", "bald", "heute"]),
    )
    return generator.choice(
        [
            f"Die {one} und die {two} wurden {when} von der {three} aus {did}, was die {four} der {five} erklärt.",
            f"Ob {who} der {one} eine {two} gegeben hat, ist {when} für die {three} mit {four} und {five} nicht klar.",
            f"{when.capitalize()} hat die {one} mit ihrer {two} das Haus der {three} {did} und bei der {four} {done}.",
            f"Eine {one} ohne {two}, so sagte {who} zur {three}, sei wie die {four}, die niemand {did} hat.",
            f"Auf der {one} stand {when} eine {two}, deren {three} als {four} {did} und dann {done} worden ist.",
            f"Wenn {who} die {one} nach der {two} fragt, zeigt die {three} auf ihre {four} oder {when} zur {five}.",
        ]
    )


_NOUNS = re.findall(
    r"\w+",
    """stone bridge water field winter farmer window letter garden market island teacher harbour forest silver road
    miller river candle basket kitchen ladder mirror pocket saddle thunder valley weather orchard tailor engine doctor
    painter castle village summer hammer blanket chimney meadow barrel wagon""",
)
_VERBS = re.findall(
    r"\w+", "carried followed remembered painted watched repaired counted visited described found measured"
)


def _sentence(generator: random.Random) -> str:
    nouns, verbs = generator.sample(_NOUNS, 6), generator.sample(_VERBS, 2)
    start = generator.choice(["Before", "After", "While", "Because", "Although", "Whenever", "Once"])
    place, which = (
        generator.choice(["near", "behind", "with", "under"]),
        generator.choice(["a", "this", "one", "every"]),
    )
    return (
        f"{start} the {nouns[0]} {verbs[0]} that {nouns[1]} {place} {which} {nouns[2]}, {nouns[3]} and {nouns[4]} "
        f"{verbs[1]} {generator.choice(['my', 'our', 'his', 'her'])} {nouns[5]}."
    )


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
