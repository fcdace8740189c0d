"""Files that pieces of work make: in place where a worker has the disk of who asked, else sent to who asked."""

from __future__ import annotations

import contextlib
import secrets
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smolfast.cluster.engine import Engine
from smolfast.files import atomic_path, names_below


@dataclass(frozen=True)
class Place:
    """The folder that files go to."""

    folder: Path
    token: Path | None = None
    """A file that only that folder's disk has; None where all pieces are done on it."""

    @property
    def is_here(self) -> bool:
        """Whether this process has that disk."""
        return self.token is None or self.token.exists()


@contextlib.contextmanager
def token_in(folder: Path, engine: Engine) -> Iterator[Path | None]:
    """A file by which workers tell whether they have the disk of `folder`, while the block runs."""
    if not engine.spread:
        yield None
        return
    token = folder / f".smolfast-here-{secrets.token_hex(8)}.smolfast-partial"
    token.touch()
    try:
        yield token
    finally:
        token.unlink(missing_ok=True)


@dataclass
class Made:
    """What came of a piece that makes files."""

    place: Place
    said: Any = None
    fault: str | None = None
    """Why there are none."""
    contents: dict[str, bytes] = field(default_factory=dict, repr=False)
    """The files by their paths in the folder, where they were made on another disk."""

    @contextlib.contextmanager
    def writing(self) -> Iterator[Path]:
        """The folder to write into."""
        if self.place.is_here:
            yield self.place.folder
            return
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
            self.contents = {name: Path(folder, name).read_bytes() for name in names_below(Path(folder))}

    def take(self) -> None:
        """Put files in place that came from another disk."""
        for name, content in self.contents.items():
            with atomic_path(self.place.folder / name) as temporary:
                temporary.write_bytes(content)
        self.contents = {}
