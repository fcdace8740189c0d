"""The parts of a run that are finished, one line each: what a killed run goes on from."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smolfast.curate.files.tallies import Tallies
from smolfast.errors import SmolfastError
from smolfast.files import describe_os_error

JOURNAL = "journal.jsonl"


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
        if not self.path.exists():
            return
        end = 0
        for number, line in enumerate(self.path.read_bytes().splitlines(keepends=True)):
            part = _read(line, number) if line.endswith(b"\n") else None
            if part is None or not all(self._is_whole(name, size) for name, (size, _) in part.files.items()):
                break
            yield part
            end += len(line)
        os.truncate(self.path, end)

    def _is_whole(self, name: str, size: int) -> bool:
        path = self.work / name
        return path.is_file() and path.stat().st_size == size

    def add(self, part: Part) -> None:
        """Say that a part is finished."""
        entry = {
            **{name: getattr(part, name) for name in ("number", "source", "row", "first", "end", "skipped", "files")},
            "starts": list(part.starts.items()),
            "tallies": part.tallies.as_json(),
        }
        try:
            with self.path.open("ab") as file:
                file.write(json.dumps(entry).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise SmolfastError(
                f"can't write the work folder {self.work}: {describe_os_error(error)}; what is finished stays, and the "
                "same command goes on from there"
            ) from error


def _read(line: bytes, number: int) -> Part | None:
    """A line's part; None if it isn't that part's line."""
    try:
        found = json.loads(line)
        part = Part(
            **{name: int(found[name]) for name in ("number", "source", "row", "first", "end", "skipped")},
            starts={int(source): int(first) for source, first in found["starts"]},
            tallies=Tallies.from_json(found["tallies"]),
            files={str(name): [int(size), str(print_)] for name, (size, print_) in found["files"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return part if part.number == number else None
