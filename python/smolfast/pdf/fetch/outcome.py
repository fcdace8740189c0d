"""What came of fetching an address."""

from __future__ import annotations

from dataclasses import dataclass

FETCHED = "fetched"
PRIVATE = "private address"
ROBOTS = "robots.txt forbids it"
TIMED_OUT = "timed out"
UNREACHABLE = "can't connect"
CUT_OFF = "cut off"
BROKEN = "broken answer"
TOO_LARGE = "too large"
NOT_A_PDF = "not a PDF"
BAD_ADDRESS = "no http address"
REDIRECTS = "too many redirects"
CIRCLE = "redirects in a circle"
LONG_WAIT = "asked to wait too long"
GIVEN_UP = "host given up"


class Failed(Exception):
    """An address that wasn't fetched, and why."""

    def __init__(self, reason: str, *, again: bool = False, wait: float | None = None) -> None:
        """`again`: another try may help, after `wait` seconds if the host says so."""
        super().__init__(reason)
        self.reason = reason
        self.again = again
        self.wait = wait


@dataclass(frozen=True)
class Outcome:
    """A file, or the reason why there is none."""

    reason: str
    """FETCHED, or why not."""
    file: str = ""
    """Its name in the store."""
    size: int = 0
    hash: str = ""
    """xxh3-128 of its bytes."""
