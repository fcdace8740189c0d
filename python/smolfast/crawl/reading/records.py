"""Records of a crawl's file, one at a time; what can't be read is a fault of its own and costs nothing else."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from smolfast.crawl.reading.faults import Fault, MemberError, Place
from smolfast.crawl.reading.members import MOST_UNPACKED, Member, Members, PlainMember

MOST_RECORD = 64 << 20
"""Bytes of a record that is read; a longer one is passed over, and its bytes are skipped, not kept."""
MOST_HEADER = 64 << 10
MOST_UNPACKED_CHUNK = 256 << 20
"""Bytes unpacked after which a stretch of work ends, even inside a member."""

_READ = 1 << 20
_LENGTH = re.compile(rb"\n[Cc][Oo][Nn][Tt][Ee][Nn][Tt]-[Ll][Ee][Nn][Gg][Tt][Hh][ \t]*:[ \t]*([0-9]{1,18})[ \t]*\r?\n")
_NEXT = b"\nWARC/1."
_TOO_LONG = "record of more than 64 MiB"


@dataclass(frozen=True)
class Raw:
    """A record's bytes: its header, the empty line and its block."""

    place: Place
    data: bytes


@dataclass(frozen=True)
class Reached:
    """The end of a stretch: where the next record, or the file's end, is."""

    place: Place


def find_first(members: Members, start: int, stop: int) -> Place | None:
    """Where the first member (of a plain file: record) at or behind `start` begins, before `stop`."""
    if start == 0:
        return Place(0)
    at = members.search(start, stop)
    if at is None:
        return None
    return Place(0, at) if members.kind == "plain" else Place(at)


def read_records(members: Members, start: Place, stop: int) -> Iterator[Raw | Fault | Reached]:
    """Records and faults from `start` on, up to the first member that begins at offset `stop` or later; Reached last.

    The last record of a compressed member comes once the member is known to be whole: its checksum stands behind it.
    """
    if members.kind == "plain":
        yield from _of_plain(members, start, stop)
        return
    place, unpacked = start, 0
    while True:
        if place.inner == 0:
            place = Place(members.after_padding(place.member))
        if place.member >= members.size or (place.inner == 0 and place.member >= stop):
            break
        scanner, ended = None, None
        try:
            member = members.at(place.member)
            if member is None:
                raise MemberError(f"no {members.kind} member")
            scanner = _Scanner(member, place, going_on=members.going_on)
            yield from scanner.records()
            if scanner.stopped is not None:
                place = scanner.stopped
                break
            ended = scanner.end()
            unpacked += scanner.read_so_far
        except MemberError as error:
            yield Fault(place if scanner is None or scanner.held is None else scanner.held.place, str(error))
        if ended is None:
            found = members.search(place.member + 1, members.size)
            place = Place(members.size if found is None else found)
        else:
            place = Place(ended)
        if unpacked >= MOST_UNPACKED_CHUNK:
            break
    yield Reached(place)


def _of_plain(members: Members, start: Place, stop: int) -> Iterator[Raw | Fault | Reached]:
    scanner = _Scanner(PlainMember(members.file, start.inner), start, stop=stop)
    yield from scanner.records()
    yield Reached(Place(0, members.size if scanner.stopped is None else scanner.stopped.inner))


class _Scanner:
    """Cuts plain bytes into records."""

    def __init__(
        self,
        member: Member,
        start: Place,
        stop: int | None = None,
        going_on: Callable[[int], tuple[int, Member] | None] = lambda end: None,
    ) -> None:
        """`going_on` gives the member behind an offset, with its own, if that one goes on with a record."""
        self._member = member
        self._going_on = going_on
        self._joins: deque[tuple[int, int]] = deque()
        """Where in the window's member others were joined to it: at which offset, and which member."""
        self._stop = stop
        self._place = start.member
        self._inner = 0 if stop is None else start.inner
        """Offset of the window's first byte."""
        self._first = start.inner
        self._window = bytearray()
        self._ended = False
        self.read_so_far = 0
        self._idle = 0
        """Bytes read since the last record: an exploding member, or one of line breaks, isn't gone through."""
        self._error: MemberError | None = None
        self.held: Raw | Fault | None = None
        self.stopped: Place | None = None
        """Where a long member was left; None at its end."""

    def end(self) -> int:
        """The offset behind the last member, once all is read."""
        return self._member.end()

    def _join(self) -> bool:
        """Go on in the next member, if a record that this one cuts can go on there."""
        found = None if self._error is not None else self._going_on(self._member.end())
        if found is None:
            return False
        self._joins.append((self._inner + len(self._window), found[0]))
        self._member, self._ended = found[1], False
        return True

    def _fill(self, size: int, *, join: bool = False) -> bool:
        """Have `size` bytes in the window; whether there are so many. `join`: those of further members too."""
        while len(self._window) < size and not (self._ended and not (join and self._join())):
            try:
                block = self._member.read(min(_READ, max(size - len(self._window), 1 << 14)))
            except MemberError as error:  # what came before it is as good as ever
                self._error, block = error, b""
            self._ended = not block
            self._window += block
            self._count(len(block))
        return len(self._window) >= size

    def _count(self, size: int) -> None:
        self.read_so_far += size
        self._idle += size
        if self._idle > MOST_UNPACKED and not isinstance(self._member, PlainMember):
            raise MemberError("member of more than 1 GiB")

    def _drop(self, size: int) -> None:
        del self._window[:size]
        self._inner += size
        while self._joins and self._inner >= self._joins[0][0]:
            at, self._place = self._joins.popleft()
            self._inner -= at
            self._joins = deque((other - at, member) for other, member in self._joins)

    def _skip(self, size: int) -> bool:
        """Go `size` bytes on without keeping them; whether there are so many."""
        have = min(size, len(self._window))
        self._drop(have)
        size -= have
        if isinstance(self._member, PlainMember):
            left = self._member.end() - self._member.at
            self._member.at += min(size, left)
            self._inner += min(size, left)
            return size <= left
        while size:
            block = self._member.read(min(_READ, size))
            if not block:
                return False
            self._count(len(block))
            self._inner += len(block)
            size -= len(block)
        return True

    def _here(self) -> Place:
        return Place(self._place, self._inner)

    def records(self) -> Iterator[Raw | Fault]:
        while self._inner < self._first:
            self._idle = 0
            if not self._skip(min(_READ, self._first - self._inner)):
                raise MemberError("cut off")
        began = self._inner
        while True:
            self._skip_newlines()
            if not self._fill(1):
                break
            at_end = self._stop is not None and self._inner >= self._stop
            if at_end or self._inner - began >= MOST_UNPACKED_CHUNK:
                self.stopped = self._here()
                break
            found = self._next()
            if self.held is not None:
                yield self.held
            self.held = found
        if self._error is not None:
            raise self._error
        if self.held is not None:
            yield self.held

    def _skip_newlines(self) -> None:
        while self._fill(1) and self._window[0] in b"\r\n":
            self._drop(len(self._window) - len(self._window.lstrip(b"\r\n")))

    def _next(self) -> Raw | Fault:
        place = self._here()
        self._fill(8)
        if not self._window.startswith(b"WARC/"):
            self._resync()
            return Fault(place, "no WARC record")
        header = self._header()
        length = _LENGTH.search(self._window, 0, header) if header else None
        if not header or not length:
            self._resync()
            return Fault(place, "broken WARC header")
        total = header + int(length[1])
        if total > MOST_RECORD:
            if isinstance(self._member, PlainMember) and not self._member.is_boundary(self._inner + total):
                self._resync()
                return Fault(place, "wrong Content-Length")
            if not self._skip(total):
                return Fault(place, "Content-Length beyond the end")
            return Fault(place, _TOO_LONG)
        if not self._fill(total, join=True):
            self._resync()
            return Fault(place, "Content-Length beyond the end")
        self._fill(total + 16)
        rest = self._window[total : total + 16]
        after = rest.lstrip(b"\r\n")
        if after and not after.startswith(b"WARC/"[: len(after)]) and not rest.startswith(b"\r\n\r\n"):
            self._resync()
            return Fault(place, "wrong Content-Length")
        data = bytes(memoryview(self._window)[:total])
        self._drop(total)
        self._idle = 0
        return Raw(place, data)

    def _header(self) -> int:
        """The header's length, with the empty line; 0 if it doesn't end."""
        size = 1 << 10
        while True:
            whole = self._fill(size)
            ends = [at + len(mark) for mark in (b"\r\n\r\n", b"\n\n") if (at := self._window.find(mark, 0, size)) >= 0]
            if ends:
                return min(ends)
            if size >= MOST_HEADER or not (whole or self._fill(len(self._window) + 1, join=True)):
                return 0
            size *= 4 if whole else 1

    def _resync(self) -> None:
        """Go on to the next line that begins as a record does."""
        self._drop(min(1, len(self._window)))
        while True:
            self._fill(1 << 16)
            at = self._window.find(_NEXT)
            if at >= 0:
                self._drop(at + 1)
                return
            self._drop(len(self._window) if self._ended else max(0, len(self._window) - len(_NEXT) + 1))
            if self._ended:
                return
