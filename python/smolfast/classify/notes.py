"""What training found out about a model, kept behind the model in its file: fastText stops reading before it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smolfast.errors import SmolfastError

_END = b"smolnote"
_MOST = 1 << 20


def append_notes(path: str | os.PathLike[str], notes: Mapping[str, Any]) -> None:
    """Write notes behind a model: JSON, its length in eight bytes, and eight that say that it is there."""
    text = json.dumps(notes, ensure_ascii=False, sort_keys=True).encode()
    with Path(path).open("ab") as file:
        file.write(text + len(text).to_bytes(8, "little") + _END)


def read_notes(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The notes of a model's file; none for a file of fastText's own.

    Raises:
        SmolfastError: they are damaged.
    """
    with Path(path).open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size < 16:
            return {}
        file.seek(size - 16)
        tail = file.read(16)
        if tail[8:] != _END:
            return {}
        length = int.from_bytes(tail[:8], "little")
        if length <= min(_MOST, size - 16):
            file.seek(size - 16 - length)
            try:
                found = json.loads(file.read(length))
            except ValueError:
                found = None
            if isinstance(found, dict):
                return found
    raise SmolfastError(f"{os.fspath(path)}: the notes behind the model are damaged; make or download the file again")
