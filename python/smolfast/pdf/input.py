"""One document as it comes in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pdf:
    """A PDF, or what stands in its place in the input and can't be one."""

    id: str
    path: str
    """The file in which it came, or its URL."""
    size: int = 0
    hash: str = ""
    """xxh3-128 of its bytes."""
    content: bytes | None = None
    """Its bytes, if it isn't a file of its own."""
    file: str | None = None
    """Where its bytes lie, if that isn't `path`."""
    url: str | None = None
    date: str | None = None
    """WARC-Date."""
    truncated: bool = False
    """Whether who fetched it says that it is cut."""
    fetch: str | None = None
    """`fetched`, or why it wasn't; None where nobody tried."""
    reason: str = ""
    """Why it isn't read."""
