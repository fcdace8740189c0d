"""Files of a crawl cut into ranges, each read by a worker; what comes of them, in the order of the input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from smolfast.crawl.reading.faults import Place
from smolfast.crawl.reading.members import Members
from smolfast.crawl.stretch import Stretch
from smolfast.io.sources import Source, document_id, open_source
from smolfast.processes.pool import Tasks

STRETCH_BYTES = 4 << 20
"""Of a file, as it lies on the disk: what a worker reads at a time, and reads again when a page ends it."""


class Reached(Protocol):
    """What came of a stretch, as far as order goes."""

    start: Place | None
    """Of its first record; None if there was none."""
    end: Place | None
    """Where reading goes on."""


R = TypeVar("R", bound=Reached)


@dataclass(frozen=True)
class CrawlFile:
    """A file to read."""

    source: Source
    size: int
    is_plain: bool

    def position(self, place: Place) -> int:
        """The offset in the file where a place is."""
        return place.inner if self.is_plain else place.member

    def is_before(self, place: Place, stop: int) -> bool:
        """Whether reading up to `stop` isn't done at a place."""
        return self.position(place) < stop or (not self.is_plain and place.inner > 0)


@dataclass(frozen=True)
class _Range:
    """A range of a file's offsets; the members that begin in it are one worker's."""

    file: int
    start: int
    stop: int


def open_file(source: Source) -> CrawlFile:
    """A file whose size and kind are known."""
    with open_source(source.path) as file:
        members = Members(file)
        return CrawlFile(source, members.size, members.kind == "plain")


def _ranges(files: Sequence[CrawlFile], first: int, place: Place) -> Iterator[_Range]:
    for index in range(first, len(files)):
        size = files[index].size
        begin = files[index].position(place) // STRETCH_BYTES * STRETCH_BYTES if index == first else 0
        for start in range(begin, size, STRETCH_BYTES):
            yield _Range(index, start, min(start + STRETCH_BYTES, size))


def results_in_order(
    files: Sequence[CrawlFile], first: int, place: Place, pool: Tasks[Stretch, R], ahead: int
) -> Iterator[tuple[int, Place, R]]:
    """Results from a place on in the order of the input, each with its file and where that goes on.

    A worker looks for the first record of its range. If the range before ended elsewhere, the range is read again
    from there. `ahead` ranges are asked for before they are wanted.
    """
    todo = enumerate(_ranges(files, first, place))
    asked: dict[int, _Range] = {}
    done: dict[int, R] = {}
    wanted = place
    number = 0

    def more() -> None:
        while len(asked) < ahead and (found := next(todo, None)) is not None:
            asked[found[0]] = found[1]
            pool.submit(found[0], _stretch(files, found[1]))

    more()
    while asked:
        while number not in done:
            at, result = pool.next()
            done[at] = result
        range_ = asked.pop(number)
        file = files[range_.file]
        if range_.file != first:
            first, wanted = range_.file, Place(0)
        found: R | None = done.pop(number)
        while file.is_before(wanted, range_.stop):
            if found is None or found.start != wanted:
                pool.submit(-1, _stretch(files, range_, wanted), first=True)
                while -1 not in done:
                    at, result = pool.next()
                    done[at] = result
                found = done.pop(-1)
            assert found.end is not None
            wanted = found.end
            yield range_.file, wanted, found
            found = None
        number += 1
        more()


def _stretch(files: Sequence[CrawlFile], range_: _Range, start: Place | None = None) -> Stretch:
    path = files[range_.file].source.path
    return Stretch(path, document_id(path), range_.start, range_.stop, start)
