"""What one pass over the text leaves of each document: columns of numbers, in memory or, when they don't fit, on disk.

On disk a column is one file of little-endian values, appended to. `commits.jsonl` says after each append, once
everything is fsynced, how many documents are whole; whatever lies beyond is cut off when the store is opened again,
so that a killed run goes on from its last commit. Band columns are all that a distributed run would have to
shuffle: each can be grouped on another machine, and none holds text.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smolfast.errors import SmolfastError
from smolfast.files import describe_os_error, naming
from smolfast.io.json.journal import append_entry
from smolfast.io.sources import document_id

COMMITS = "commits.jsonl"


@dataclass(frozen=True)
class Column:
    """`width` values of `dtype` a document; width 0 for a number that differs."""

    dtype: np.dtype[Any]
    width: int = 1


@dataclass(frozen=True)
class Position:
    """How far the pass over the text has come."""

    source: int = 0
    row: int = 0
    """Rows of that source already in the store."""


class DocumentStore:
    """Columns of document numbers 0, 1, 2, …"""

    def __init__(self, layout: Mapping[str, Column], folder: Path, memory: int) -> None:
        """Open the store in `folder`, going on from what a killed run committed there.

        Args:
            memory: bytes to hold before columns go to disk.
        """
        self.layout = dict(layout)
        self.folder = folder
        self.memory = memory
        self.documents = 0
        self.position = Position()
        self.extra: dict[str, int] = {}
        """Totals that belong to the committed documents, such as their bytes."""
        self.on_disk = False
        self._pieces: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in self.layout}
        self._held = 0
        self._moving = False  # between states: what is held can't be committed
        self._appended: dict[str, int] = {}  # the totals when the last batch was added
        self._writing: Future[None] | None = None
        self._writer: ThreadPoolExecutor | None = None
        self._resume()

    def append(
        self, columns: Mapping[str, npt.NDArray[Any]], documents: int, position: Position, extra: Mapping[str, int]
    ) -> None:
        """Add a batch; `position` and `extra` hold after it."""
        self._moving = True
        for name, column in self.layout.items():
            values = np.ascontiguousarray(columns[name], dtype=column.dtype)
            if column.width and values.size != documents * column.width:
                raise ValueError(f"column {name} has {values.size} values for {documents} documents")
            self._pieces[name].append(values.reshape(-1))
            self._held += values.nbytes
        self.documents += documents
        self.position = position
        self.extra, self._appended = dict(extra), dict(extra)
        self._moving = False
        # Once on disk, small commits lose little to a kill. What is held and what is being written share the memory.
        if self.on_disk:
            if self._held > min(self.memory // 2, 64 << 20):
                self._spill()
        elif self._held > self.memory:
            self._spill()
            self._wait()

    def finish(self) -> None:
        """The last batch is in."""
        if self.on_disk and self._held:
            self._spill()
        self.close()

    def save(self) -> None:
        """Commit what is held, for another run to go on from: this one ends before its time."""
        if not self._moving and self._held:
            self._spill()
        self.close()

    def close(self) -> None:
        """Wait for what is being written."""
        if self._writer is not None:
            self._writer.shutdown()
        self._wait()
        self._writer = None

    def pieces(self, name: str) -> list[npt.NDArray[Any]]:
        """A column as arrays that follow one another; mapped when it is on disk."""
        if not self.on_disk:
            return self._pieces[name]
        path = self._path(name)
        return [np.memmap(path, self.layout[name].dtype, "r")] if path.stat().st_size else []

    def load(self, name: str) -> npt.NDArray[Any]:
        """A column as one array in memory."""
        pieces = self.pieces(name)
        return np.concatenate(pieces) if pieces else np.empty(0, self.layout[name].dtype)

    def source(self, name: str) -> str | list[npt.NDArray[Any]]:
        """A column for the native readers: a path, or arrays."""
        path = str(self._path(name))
        if self.on_disk and path == document_id(path):
            return path
        return self.pieces(name)  # a path that isn't UTF-8 can't be handed on

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.bin"

    def _wait(self) -> None:
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()

    def _spill(self) -> None:
        """Start writing what is held, once what was held before is on disk."""
        self._wait()
        self._moving = True
        commit = {
            "documents": self.documents,
            "source": self.position.source,
            "row": self.position.row,
            "extra": self._appended,
        }
        self._writer = self._writer or ThreadPoolExecutor(1, "smolfast-spill")
        self._writing = self._writer.submit(self._write, self._pieces, commit)
        self.on_disk = True
        self._pieces = {name: [] for name in self.layout}
        self._held = 0
        self._moving = False

    def _write(self, pieces: Mapping[str, list[npt.NDArray[Any]]], commit: dict[str, Any]) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            sizes = {}
            for name in self.layout:
                with self._path(name).open("ab") as file:
                    for piece in pieces[name]:
                        file.write(piece.data)
                    sizes[name] = file.tell()
                    file.flush()
                    os.fsync(file.fileno())
            commit = self._checked({**commit, "sizes": sizes})
            append_entry(self.folder / COMMITS, commit)
        except OSError as error:
            raise SmolfastError(
                f"can't write the work folder {self.folder}: {describe_os_error(error)}; what is finished stays, "
                "and the same command goes on from there"
            ) from error

    def _checked(self, commit: Any) -> dict[str, Any]:
        """A commit, if its sizes are of this store's files and so many documents: others would be cut off."""
        sizes = {str(name): int(size) for name, size in commit["sizes"].items()}
        documents = int(commit["documents"])
        wanted = {name: documents * column.width * column.dtype.itemsize for name, column in self.layout.items()}
        if sizes.keys() != wanted.keys() or documents < 0 or min(sizes.values(), default=0) < 0:
            raise ValueError("the sizes of other columns")
        if any(self.layout[name].width and sizes[name] != size for name, size in wanted.items()):
            raise ValueError(f"not the sizes of {documents} documents")
        extra = {str(name): int(value) for name, value in commit["extra"].items()}
        numbers = {name: int(commit[name]) for name in ("documents", "source", "row")}
        return {**numbers, "sizes": sizes, "extra": extra}

    def _resume(self) -> None:
        commits = self.folder / COMMITS
        if not commits.exists():
            for name in self.layout:
                self._path(name).unlink(missing_ok=True)
            return
        whole = commits.read_bytes().split(b"\n")[:-1]
        if not whole:
            commits.unlink()
            self._resume()
            return
        with naming(commits, f"delete {self.folder}"):
            last = self._checked(json.loads(whole[-1]))
        # The last line may have been cut by a kill: keep the whole ones only.
        os.truncate(commits, sum(len(line) + 1 for line in whole))
        for name, size in last["sizes"].items():
            if not self._path(name).is_file() or self._path(name).stat().st_size < size:
                raise SmolfastError(f"{self._path(name)} is shorter than was committed; delete {self.folder}")
            os.truncate(self._path(name), size)
        self.documents = last["documents"]
        self.position = Position(last["source"], last["row"])
        self.extra, self._appended = last["extra"], dict(last["extra"])
        self.on_disk = True
