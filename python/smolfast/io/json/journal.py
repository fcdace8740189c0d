"""What a run has finished, a line of JSON for each part: what a killed run goes on from."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from smolfast.errors import SmolfastError
from smolfast.files import describe_os_error

T = TypeVar("T")


def append_entry(path: Path, entry: Mapping[str, Any]) -> None:
    """Write a line, on the disk when this returns. The files that it names must be there before.

    Raises:
        SmolfastError: it can't be written.
    """
    try:
        with path.open("ab") as file:
            file.write(json.dumps(entry).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise SmolfastError(
            f"can't write the work folder {path.parent}: {describe_os_error(error)}; what is finished stays, and the "
            "same command goes on from there"
        ) from error


def finished_entries(path: Path, read: Callable[[Any, int], T | None]) -> Iterator[T]:
    """What `read` makes of each line and its number, up to the first that is cut off or of which it makes None.

    What a kill or a lost file left from there on is cut off.
    """
    if not path.exists():
        return
    end = 0
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True)):
        try:
            entry = read(json.loads(line), number) if line.endswith(b"\n") else None
        except (ValueError, KeyError, TypeError, AttributeError):  # another version's, or damaged
            entry = None
        if entry is None:
            break
        yield entry
        end += len(line)
    os.truncate(path, end)


def is_whole(path: Path, size: int) -> bool:
    """Whether the file is there and of that size."""
    return path.is_file() and path.stat().st_size == size
