"""An index on disk of documents already kept: new ones are compared with it, and added to it.

A folder of columns as in `DocumentStore`, of parquet files that name the documents, and of index.json, which is
written last: it says how much of each column counts, so that an addition is there as a whole or not at all.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from smolfast.dedup.store import Column, DocumentStore
from smolfast.errors import SmolfastError
from smolfast.files import atomic_path, describe_os_error, is_plain_name, naming, read_json, write_json
from smolfast.io.locks import LOCK_FILE
from smolfast.io.sources import one_line, open_source

INDEX = "index.json"

NAMES_SCHEMA = pa.schema([("file", pa.string()), ("row", pa.int64()), ("id", pa.string())])


class Index:
    """Documents 0 to `documents` − 1, in the order they were added."""

    def __init__(self, folder: Path, parameters: Mapping[str, Any], layout: Mapping[str, Column]) -> None:
        """Open an index, or an empty one where there is none yet.

        Raises:
            SmolfastError: the index was made with other parameters, or is damaged.
        """
        self.folder = folder
        self.parameters = dict(parameters)
        self.layout = {name: column for name, column in layout.items() if is_indexed(name)}
        self.additions: list[dict[str, Any]] = []
        path = folder / INDEX
        if path.exists():
            with naming(path, "build the index again"):
                found = _checked(read_json(path))
            if found["parameters"].get("version") != self.parameters.get("version"):
                raise SmolfastError(
                    f"the index {folder} was built by another version of smolfast, whose signatures differ; build it "
                    "again in another folder: smolfast dedup index build"
                )
            for name, value in found["parameters"].items():
                if self.parameters.get(name) != value:
                    raise SmolfastError(
                        f"the index {folder} was made with {name} = {value!r}, not {self.parameters.get(name)!r}; "
                        "use the same, or build another index"
                    )
            self.additions = found["additions"]
        elif folder.exists() and any(child.name != LOCK_FILE for child in folder.iterdir()):
            raise SmolfastError(f"{folder} is not an index: it has no {INDEX}; give another folder")

    @property
    def documents(self) -> int:
        """How many documents there are."""
        return sum(addition["documents"] for addition in self.additions)

    def keys(self) -> list[str]:
        """What was added, by the key of each run."""
        return [addition["key"] for addition in self.additions]

    def before(self, addition: int) -> Index:
        """The index as it was before one of its additions, by its number."""
        earlier = Index.__new__(Index)
        earlier.__dict__.update(self.__dict__)
        earlier.additions = self.additions[:addition]
        return earlier

    def piece(self, name: str) -> npt.NDArray[Any]:
        """A column, mapped."""
        column = self.layout[name]
        if not self.documents:
            return np.empty(0, column.dtype)
        path = self.folder / f"{name}.bin"
        size = self.documents * column.width
        if not path.exists() or path.stat().st_size < size * column.dtype.itemsize:
            raise SmolfastError(f"the index column {path} is missing or too short; build the index again")
        return np.memmap(path, column.dtype, "r", shape=(size,))

    def names(self, documents: npt.NDArray[Any]) -> pa.Table:
        """File, row and id of some documents."""
        try:
            tables = []
            for addition in self.additions:
                with open_source(str(self.folder / addition["names"])) as stream:
                    tables.append(pq.read_table(stream))
            return pa.concat_tables([NAMES_SCHEMA.empty_table(), *tables]).take(pa.array(documents))
        except (OSError, pa.ArrowException) as error:
            raise SmolfastError(
                f"the names in the index {self.folder} can't be read ({one_line(error)}); build the index again"
            ) from error

    def add(self, key: str, store: DocumentStore, chosen: npt.NDArray[np.bool_], names: pa.Table) -> None:
        """Append the chosen documents of a store; nothing happens to the index until all is on disk."""
        name = f"documents-{len(self.additions):06}.parquet"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for column_name, column in self.layout.items():
                path = self.folder / f"{column_name}.bin"
                with path.open("r+b" if path.exists() else "w+b") as file:
                    file.truncate(self.documents * column.width * column.dtype.itemsize)
                    file.seek(0, os.SEEK_END)
                    first = 0
                    for piece in store.pieces(column_name):
                        rows = piece.reshape(-1, column.width)
                        step = max(1, (4 << 20) // (column.width * column.dtype.itemsize))
                        for start in range(0, len(rows), step):
                            part = rows[start : start + step]
                            file.write(part[chosen[first + start : first + start + len(part)]].tobytes())
                        first += len(rows)
                    file.flush()
                    os.fsync(file.fileno())
        except OSError as error:
            raise SmolfastError(f"can't write the index {self.folder}: {describe_os_error(error)}") from error
        with atomic_path(self.folder / name) as temporary, temporary.open("wb") as file:
            pq.write_table(names, file, compression="zstd")
        self.additions = [*self.additions, {"key": key, "documents": int(chosen.sum()), "names": name}]
        write_json(self.folder / INDEX, {"parameters": self.parameters, "additions": self.additions})


def _checked(found: Any) -> dict[str, Any]:
    """What an index says of itself, if it keeps to its folder."""
    additions = list(found["additions"])
    for addition in additions:
        documents, names = addition["documents"], addition["names"]
        if not isinstance(documents, int) or not 0 <= documents < 1 << 32:
            raise ValueError(f"an addition of {str(documents)[:40]} documents")
        if not is_plain_name(names):
            raise ValueError(f"{str(names)[:80]!r} is no file of the index")
        str(addition["key"])
    return {"parameters": dict(found["parameters"]), "additions": additions}


class JoinedStore:
    """The columns of an index followed by those of a store, under one numbering."""

    def __init__(self, index: Index, store: DocumentStore) -> None:
        self.layout = store.layout
        self.documents = index.documents + store.documents
        self._index = index
        self._store = store

    def pieces(self, name: str) -> list[npt.NDArray[Any]]:
        """As of DocumentStore. Columns that an index doesn't keep, such as lengths, are zero for its documents."""
        if is_indexed(name):
            head = self._index.piece(name)
        else:
            head = np.zeros(self._index.documents * self.layout[name].width, self.layout[name].dtype)
        return [head, *self._store.pieces(name)]

    def load(self, name: str) -> npt.NDArray[Any]:
        """As of DocumentStore."""
        return np.concatenate(self.pieces(name))

    def source(self, name: str) -> list[npt.NDArray[Any]]:
        """As of DocumentStore."""
        return self.pieces(name)


def is_indexed(name: str) -> bool:
    """Whether an index keeps a column."""
    return name.startswith("band-") or name in ("text-high", "text-low", "signature")


def names_table(files: pa.Array, rows: npt.NDArray[Any], ids: pa.Array) -> pa.Table:
    """The naming of documents that `Index.add` takes."""
    return pa.table([pc.cast(files, pa.string()), pa.array(rows), ids], schema=NAMES_SCHEMA)
