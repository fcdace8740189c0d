"""Folders of parquet parts that a killed run goes on with: what is in one follows from its settings, part by part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smolfast.errors import SmolfastError
from smolfast.files import read_json, write_json


def claim(folder: Path, index_file: str, settings: Mapping[str, Any]) -> None:
    """Make the folder that of a cache with these settings, or refuse one that is another's.

    Raises:
        SmolfastError: it is.
    """
    index = folder / index_file
    if index.exists():
        found = read_json(index)
        for key, value in settings.items():
            if not isinstance(found, dict) or found.get(key) != value:
                raise SmolfastError(
                    f"{folder} holds a cache with another {key}; choose another output or delete that folder"
                )
    elif folder.exists() and any(folder.glob("*.parquet")):
        raise SmolfastError(f"{folder} holds other parquet files; choose another output")
    else:
        write_json(index, dict(settings))


def part_name(name: str, part: int) -> str:
    """The name of a part's file."""
    return f"{name}.{part:05}.parquet"


def parts_of(starts: npt.NDArray[np.int64], size: int) -> Iterator[tuple[int, int]]:
    """Runs of documents, first and one past the last, each ending with the document that brings it to `size` tokens."""
    first = 0
    while first < len(starts) - 1:
        last = min(int(np.searchsorted(starts, starts[first] + size)), len(starts) - 1)
        yield first, last
        first = last
