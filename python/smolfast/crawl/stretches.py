"""Stretches of a crawl as tasks of worker processes, and what comes of them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from smolfast.crawl.reading.faults import Place
from smolfast.crawl.stretch import Stretch
from smolfast.errors import SmolfastError

UNREADABLE = "!"
"""Before the reason of a record that ends workers even when it isn't extracted: it isn't looked at any more."""


@dataclass
class Result:
    """What came of a stretch."""

    start: Place | None
    end: Place | None
    records: int
    html_bytes: int
    not_pages: dict[str, int]
    seconds: dict[str, float]
    pages: list[bytes] = field(default_factory=list)
    """Arrow streams, each of one batch."""

    def batches(self) -> list[pa.RecordBatch]:
        """The rows of `ROW_SCHEMA`."""
        return [batch for stream in self.pages for batch in pa.ipc.open_stream(stream)]


class StretchJob:
    """What jobs on stretches have in common."""

    def ask(self, task: Stretch) -> tuple[Mapping[str, Any], bytes]:
        """What a process is told of a stretch."""
        asked = {
            "path": os.fsencode(task.path).hex(),
            "name": task.name,
            "search": task.search,
            "stop": task.stop,
            "start": task.start,
            "lost": list(task.lost.items()),
        }
        return asked, b""

    def path(self, task: Stretch) -> str:
        """The file, for messages."""
        return task.path

    def without(self, task: Stretch, place: tuple[int, int] | None, how: str, status: int) -> Stretch:
        """The stretch again, without the record at which its process ended.

        Raises:
            SmolfastError: it ended where no record is to blame.
        """
        at = Place(*(place or (-1, -1)))
        known = task.lost.get(at, "")
        if at.member < 0 or known.startswith(UNREADABLE):
            where = f"{task.path} near offset {task.search if at.member < 0 else at}"
            raise SmolfastError(
                f"the process that read {where} ended (status {status}); free memory, or leave that file out"
            )
        return dataclasses.replace(task, lost={**task.lost, at: (UNREADABLE if known else "") + how})


def stretch_of(asked: Mapping[str, Any]) -> Stretch:
    """The stretch that `StretchJob.ask` told of."""
    return Stretch(
        os.fsdecode(bytes.fromhex(asked["path"])),
        asked["name"],
        asked["search"],
        asked["stop"],
        None if asked["start"] is None else Place(*asked["start"]),
        {Place(*place): how for place, how in asked["lost"]},
    )


@dataclass(frozen=True)
class Setup(StretchJob):
    """What all workers work by: the Job of a `Pool`."""

    extract: str
    """As `extractor_name` gives it."""
    urls: Mapping[str, str | None]
    """Files of the URL filter, as `read_url_filter` takes them."""
    cpu_seconds: float = 60.0
    """Of one page, after which its worker ends. Pages within the other limits take seconds at most."""
    memory: int = 4 << 30
    """Bytes of a worker."""

    @property
    def module(self) -> str:
        """Which each process runs."""
        return "smolfast.crawl.worker"

    def setup(self) -> Mapping[str, Any]:
        """What a process is told when it begins."""
        return dataclasses.asdict(self)

    def result(self, said: Mapping[str, Any], frames: list[bytes]) -> Result:
        """What came of a stretch."""
        start, end = (None if said[name] is None else Place(*said[name]) for name in ("start", "end"))
        return Result(start, end, said["records"], said["html_bytes"], said["not_pages"], said["seconds"], frames)
