"""What is wrong with a stretch of a crawl's file, and where it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Place(NamedTuple):
    """Where a record begins: the member's offset in the file, and the record's in the unpacked member.

    In files that aren't compressed the whole file is one member, at 0.
    """

    member: int
    inner: int = 0

    def __str__(self) -> str:
        return f"{self.member}+{self.inner}" if self.inner and self.member else str(self.member + self.inner)


@dataclass(frozen=True)
class Fault:
    """A stretch that can't be read, and is passed over."""

    place: Place
    reason: str
    """In a few words, the same for faults of a kind."""


class MemberError(Exception):
    """A compressed member is damaged, cut off, or too long to go through."""
