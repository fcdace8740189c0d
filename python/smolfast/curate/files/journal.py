"""The parts of a run that are finished, one line each: what a killed run goes on from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smolfast.curate.files.tallies import Tallies
from smolfast.io.json.journal import append_entry, finished_entries, is_whole

JOURNAL = "journal.jsonl"
_NUMBERS = ("number", "source", "row", "first", "end", "skipped")


@dataclass
class Part:
    """A stretch of the input that is judged and written: two files, and where reading goes on after it."""

    number: int
    source: int
    """The source in which it ends."""
    row: int
    """Rows of that source up to its end."""
    first: int
    """The number of its first document."""
    end: int
    """The number of the document after it."""
    starts: dict[int, int]
    """The first document of each source that begins in it."""
    skipped: int
    """Rows left out in the sources before the one in which it ends."""
    tallies: Tallies
    files: dict[str, list[Any]] = field(default_factory=dict)
    """Size and fingerprint of each file, by its path in the output."""


class Journal:
    """`journal.jsonl` in the work folder. A line is written once the files that it names are on the disk."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.path = work / JOURNAL

    def finished(self) -> Iterator[Part]:
        """The finished parts in order; what a kill or a lost file left beyond them is cut off."""
        return finished_entries(self.path, self._read)

    def add(self, part: Part) -> None:
        """Say that a part is finished."""
        numbers = {name: getattr(part, name) for name in (*_NUMBERS, "files")}
        append_entry(self.path, {**numbers, "starts": list(part.starts.items()), "tallies": part.tallies.as_json()})

    def _read(self, found: Any, number: int) -> Part | None:
        part = Part(
            **{name: int(found[name]) for name in _NUMBERS},
            starts={int(source): int(first) for source, first in found["starts"]},
            tallies=Tallies.from_json(found["tallies"]),
            files={str(name): [int(size), str(print_)] for name, (size, print_) in found["files"].items()},
        )
        whole = part.number == number and all(
            is_whole(self.work / name, size) for name, (size, _) in part.files.items()
        )
        return part if whole else None
