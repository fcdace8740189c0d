"""The parts of the pages that are read and extracted, one line each: what a killed run goes on from."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smolfast.crawl.reading.faults import Place
from smolfast.io.json.journal import append_entry, finished_entries, is_whole

JOURNAL = "pages.jsonl"


@dataclass
class Counts:
    """What was met; those of two parts add up to those of both."""

    records: int = 0
    pages: int = 0
    html_bytes: int = 0
    kept: int = 0
    kept_bytes: int = 0
    """UTF-8 bytes of text."""
    not_pages: Counter[str] = field(default_factory=Counter)
    removed: Counter[str] = field(default_factory=Counter)
    """By stage and reason, as `stage/reason`."""
    charsets: Counter[str] = field(default_factory=Counter)
    """By how a page's was found."""

    def add(self, other: Counts) -> None:
        """Count another part too."""
        for name in ("records", "pages", "html_bytes", "kept", "kept_bytes"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.not_pages.update(other.not_pages)
        self.removed.update(other.removed)
        self.charsets.update(other.charsets)

    def as_json(self) -> dict[str, Any]:
        """For the journal."""
        return {name: dict(value) if isinstance(value, Counter) else value for name, value in vars(self).items()}

    @staticmethod
    def from_json(found: dict[str, Any]) -> Counts:
        """What `as_json` gave."""
        counts = Counts()
        for name, value in found.items():
            setattr(counts, name, Counter(value) if isinstance(value, dict) else int(value))
        return counts


@dataclass
class Part:
    """A stretch of the input that is read and written."""

    number: int
    source: int
    """The file in which it ends."""
    place: Place
    """Where reading goes on in that file."""
    counts: Counts
    files: dict[str, int]
    """The bytes of each file, by its path in the folder."""


class Journal:
    """A line is written once the files that it names are on the disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / JOURNAL

    def finished(self) -> list[Part]:
        """The finished parts in order; what a kill or a lost file left beyond them is cut off."""
        return list(finished_entries(self.path, self._read))

    def add(self, part: Part) -> None:
        """Say that a part is finished."""
        append_entry(self.path, {**vars(part), "counts": part.counts.as_json()})

    def _read(self, found: Any, number: int) -> Part | None:
        part = Part(
            int(found["number"]),
            int(found["source"]),
            Place(*map(int, found["place"])),
            Counts.from_json(found["counts"]),
            {str(name): int(size) for name, size in found["files"].items()},
        )
        whole = part.number == number and all(is_whole(self.folder / name, size) for name, size in part.files.items())
        return part if whole else None
