"""Documents that are at work while one before them is: which are begun next, and how many wait for it."""

from __future__ import annotations

from smolfast.pdf.files.rows import Gone
from smolfast.pdf.input import Pdf
from smolfast.pdf.tasks import Result, Task
from smolfast.processes.pool import Tasks

MOST, LEAST = 64, 3
"""Documents of a worker that are known: while a long one is read, others go on. And how many of them are handed out, so
that no worker waits for the next."""
HELD_BYTES = 64 << 20
"""Of PDFs and texts in memory. Where they take more, no document is begun beyond the first LEAST of each worker."""
BLOCK_BYTES = 400
"""Of the place of a block, in memory."""
LARGE = 4
"""Times the mean size: such documents are begun before others, so that none of them is the last one at work."""


class Ahead:
    """Documents in the order of the input, and what came of them in the same order."""

    def __init__(self, pool: Tasks[Task, Result], workers: int, first: int) -> None:
        """`first` is the number of the first document that comes."""
        self._pool = pool
        self._most, self._least = MOST * workers, LEAST * workers
        self._number = first
        self._known: dict[int, Pdf] = {}
        self._done: dict[int, Result | Gone] = {}
        self._ready: list[tuple[int, Task]] = []
        self._held: dict[int, int] = {}
        self._at_work = self._came = self._size = 0

    def __len__(self) -> int:
        return len(self._known)

    @property
    def has_room(self) -> bool:
        """Whether another document may come."""
        return len(self._known) < (self._most if self._bytes < HELD_BYTES else self._least)

    @property
    def _bytes(self) -> int:
        return sum(self._held.values())

    def add(self, number: int, pdf: Pdf, task: Task | Gone) -> None:
        """Take the next document, and what is to be done with it, or why nothing is."""
        self._known[number] = pdf
        self._came += 1
        self._size += pdf.size
        if isinstance(task, Gone):
            self._done[number] = task
            return
        self._held[number] = len(task.content or b"")
        is_large = pdf.size * self._came > LARGE * self._size
        self._ready.insert(0 if is_large else len(self._ready), (number, task))
        self._begin()

    def _begin(self) -> None:
        """Hand out what is to be begun."""
        while self._ready and self._at_work < self._least:
            last = self._number + self._least if self._bytes >= HELD_BYTES else None
            place = next((at for at, (one, _) in enumerate(self._ready) if last is None or one < last), None)
            if place is None:
                return
            self._pool.submit(*self._ready.pop(place))
            self._at_work += 1

    def next(self) -> tuple[int, Pdf, Result | Gone]:
        """Wait for the first document; its number, and what came of it."""
        while self._number not in self._done:
            number, result = self._pool.next()
            self._done[number] = result
            self._held[number] = len(result.text) + BLOCK_BYTES * len(result.blocks)
            self._at_work -= 1
            self._begin()
        number = self._number
        self._number += 1
        self._held.pop(number, None)
        self._begin()
        return number, self._known.pop(number), self._done.pop(number)
