"""Stretches of a crawl as tasks of workers that look for PDFs, and what comes of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from smolfast.crawl.reading.faults import Place
from smolfast.crawl.stretches import StretchJob


@dataclass(frozen=True)
class Item:
    """A PDF of a stretch, or what can't be read there."""

    place: Place
    id: str = ""
    url: str = ""
    date: str = ""
    truncated: bool = False
    reason: str = ""
    content: bytes = b""


@dataclass
class Scan:
    """What came of a stretch."""

    start: Place | None
    end: Place | None
    others: int
    """Records that hold something else."""
    items: list[Item] = field(default_factory=list)


@dataclass(frozen=True)
class ScanJob(StretchJob):
    """What all workers work by: the Job of a `Pool`."""

    cpu_seconds: float = 60.0
    """Of one record, after which its worker ends."""
    memory: int = 2 << 30
    """Bytes of a worker."""

    @property
    def module(self) -> str:
        """Which each process runs."""
        return "smolfast.pdf.warc.worker"

    def setup(self) -> Mapping[str, Any]:
        """What a process is told when it begins."""
        return dataclasses.asdict(self)

    def result(self, said: Mapping[str, Any], frames: list[bytes]) -> Scan:
        """What came of a stretch."""
        start, end = (None if said[name] is None else Place(*said[name]) for name in ("start", "end"))
        items = [
            Item(**{**one, "place": Place(*one["place"]), "content": frames[at]})
            for at, one in enumerate(said["items"])
        ]
        return Scan(start, end, said["others"], items)
