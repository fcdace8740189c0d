"""PDF files as tasks of worker processes, and what comes of them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from smolfast.errors import SmolfastError
from smolfast.pdf.reading import OPENING
from smolfast.pdf.text import Placed

MOST_LOST = 16
"""Pages that may end a worker before all of the document counts as damaged: each means reading it again."""
DEATHS = {
    "work limit": "timed out",
    "time limit": "timed out",
    "killed": "crashed or out of memory",
    "out of memory": "out of memory",
}
"""What is said of how a worker ended."""


@dataclass(frozen=True)
class Task:
    """A document to read."""

    path: str
    content: bytes | None = None
    """Of a row of parquet; None: the file's."""
    lost: Mapping[int, str] = field(default_factory=dict)
    """Pages that ended a worker, and how."""


@dataclass(frozen=True)
class Result:
    """What came of a document; `text` is empty where `reason` says why."""

    reason: str
    text: str
    pages: int
    starts: list[int]
    empty: list[int]
    failed: dict[int, str]
    truncated: bool
    running: int
    ocr: dict[int, float]
    """Pages read from their picture, and how sure that is."""
    needs_ocr: list[int]
    """Pages that would have been."""
    garbled: float
    """As `Measures` says, and `page_garbled` and `key` too."""
    page_garbled: list[float]
    key: str
    figures: int
    """In which OCR read something."""
    failed_figures: dict[int, str]
    """Why those of a page aren't read."""
    blocks: list[Placed]
    """If they were asked for; as `sizes`."""
    sizes: list[list[float] | None]
    """Width and height of each page in points."""


@dataclass(frozen=True)
class PdfJob:
    """What all workers work by: the Job of a `Pool`."""

    library: str
    cpu_seconds: float
    """Of one page, after which its worker ends."""
    memory: int
    """Bytes of a worker."""
    document_seconds: float = 3600.0
    """CPU time of a document, after which its other pages aren't read."""
    extractor: str = "smolfast"
    ocr: str = "none"
    ocr_figures: bool = False
    boxes: bool = False
    """Whether the places of blocks are told."""

    @property
    def module(self) -> str:
        """Which each process runs."""
        return "smolfast.pdf.worker"

    def setup(self) -> Mapping[str, Any]:
        """What a process is told when it begins."""
        return dataclasses.asdict(self)

    def ask(self, task: Task) -> tuple[Mapping[str, Any], bytes]:
        """What a process is told of a document."""
        path = None if task.content is not None else os.fsencode(task.path).hex()
        return {"path": path, "lost": list(task.lost.items())}, task.content or b""

    def result(self, said: Mapping[str, Any], frames: list[bytes]) -> Result:
        """What came of a document."""
        by_page = ("failed", "ocr", "failed_figures")
        found: dict[str, Any] = {name: {int(page): value for page, value in said[name]} for name in by_page}
        found["blocks"] = [Placed(*block) for block in said["blocks"]]
        return Result(**{**said, "text": b"".join(frames).decode(), **found})

    def path(self, task: Task) -> str:
        """The file, for messages."""
        return task.path

    def without(self, task: Task, place: tuple[int, int] | None, how: str, status: int) -> Task:
        """The document again, without the page at which its process ended.

        Raises:
            SmolfastError: it ended before it began, or again where nothing is worked on any more.
        """
        if place is None or OPENING in task.lost:
            raise SmolfastError(
                f"the process that read {task.path} ended (status {status}); free memory, or leave that file out"
            )
        piece = place[0]
        if piece < 0 or piece in task.lost or len(task.lost) >= MOST_LOST:
            piece = OPENING
        return dataclasses.replace(task, lost={**task.lost, piece: DEATHS[how]})
