"""A document of a finished run, found by its id or its place: which row it is, where it went, and its text."""

from __future__ import annotations

import bisect
import glob
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from smolfast.curate.files.folder import KEPT, MANIFEST, REMOVED
from smolfast.errors import SmolfastError
from smolfast.files import naming
from smolfast.io.documents import find_sources, read_batches
from smolfast.io.schemas.columns import as_names
from smolfast.io.sources import document_id, one_line, open_source


@dataclass(frozen=True)
class Found:
    """One document."""

    document: int
    file: str
    row: int
    kept: bool
    columns: Mapping[str, Any]
    """Its row in `kept/` or `removed/`."""
    original: str
    """The text as it came."""


class Finder:
    """Looks documents up in a folder that `curate_files` wrote."""

    def __init__(self, output: Path, manifest: Mapping[str, Any]) -> None:
        self.output = output
        self.parameters = manifest["parameters"]
        with naming(output / MANIFEST, "run curate again"):
            self.files = [str(one["path"]) for one in manifest["inputs"]]
            self.starts = [int(first) for first in manifest["first_documents"]]
            self.parts = [(int(first), int(end)) for first, end in manifest["parts"]]
            self.rewritten = {int(part) for part in manifest["rewritten_in"]}

    def find(self, name: str) -> Found:
        """The first document of that id, or the one at FILE:ROW.

        Raises:
            SmolfastError: there is none, or a file of the run is missing or was altered.
        """
        for part, (first, _) in enumerate(self.parts):
            removed, kept = self._named(REMOVED, part, name), self._named(KEPT, part, name)
            gone = self._removed_documents(part)
            candidates = [int(gone[row]) for row in removed]
            candidates += [int(_staying(gone, first, self.parts[part][1])[row]) for row in kept]
            if candidates:
                return self._at(min(candidates), part, gone)
        document = self._at_place(name)
        part = bisect.bisect_right([first for first, _ in self.parts], document) - 1
        return self._at(document, part, self._removed_documents(part))

    def _at_place(self, name: str) -> int:
        file, _, row = name.rpartition(":")
        if file in self.files and row.isdecimal():
            place = self.files.index(file)
            end = [*self.starts, self.parts[-1][1]][place + 1]
            if self.starts[place] + int(row) < end:
                return self.starts[place] + int(row)
            raise SmolfastError(f"{file} has {end - self.starts[place]} rows, counted from 0, so no row {row}")
        shown = "; without ids give FILE:ROW, rows counted from 0" if file not in self.files else ""
        raise SmolfastError(f"{self.output} has no document {name!r}{shown}")

    def _at(self, document: int, part: int, gone: np.ndarray[Any, Any]) -> Found:
        place = bisect.bisect_right(self.starts, document) - 1
        file, row = self.files[place], document - self.starts[place]
        text_column = str(self.parameters["text_column"])
        at = int(np.searchsorted(gone, document))
        if at < len(gone) and gone[at] == document:
            columns = self._row(REMOVED, part, at)
            return Found(document, file, row, False, columns, str(columns[text_column]))
        columns = self._row(KEPT, part, document - self.parts[part][0] - at)
        text = str(columns[text_column])
        if part in self.rewritten:
            text = self._text_at(file, row)
        return Found(document, file, row, True, columns, text)

    # Files of a part

    def _path(self, folder: str, part: int) -> Path:
        return self.output / folder / f"part-{part:05}.parquet"

    def _read(self, folder: str, part: int, columns: list[str]) -> pa.Table:
        path = self._path(folder, part)
        try:
            with open_source(str(path)) as stream, pq.ParquetFile(stream) as file:
                there = set(file.schema_arrow.names)
                return file.read(columns=[name for name in columns if name in there])
        except (OSError, pa.ArrowException) as error:
            raise SmolfastError(f"can't read {path} ({one_line(error)}); run curate again") from error

    def _named(self, folder: str, part: int, name: str) -> list[int]:
        """The rows of that id."""
        column = str(self.parameters["id_column"])
        table = self._read(folder, part, [column])
        if column not in table.column_names:
            return []
        rows: list[int] = []
        before = 0
        for chunk in table[column].chunks:
            rows += [before + at for at, one in enumerate(as_names(chunk).to_pylist()) if one == name]
            before += len(chunk)
        return rows

    def _removed_documents(self, part: int) -> np.ndarray[Any, Any]:
        table = self._read(REMOVED, part, [f"{self.parameters['prefix']}document"])
        with naming(self._path(REMOVED, part), "run curate again"):
            return np.asarray(table.column(0).to_numpy())

    def _row(self, folder: str, part: int, row: int) -> dict[str, Any]:
        path = self._path(folder, part)
        try:
            with open_source(str(path)) as stream, pq.ParquetFile(stream) as file:
                for group in range(file.num_row_groups):
                    rows = file.metadata.row_group(group).num_rows
                    if row < rows:
                        table = file.read_row_group(group).slice(row, 1)
                        return {name: _plain(table[name]) for name in table.column_names}
                    row -= rows
        except (OSError, pa.ArrowException) as error:
            raise SmolfastError(f"can't read {path} ({one_line(error)}); run curate again") from error
        raise SmolfastError(f"{path} has fewer rows than {MANIFEST} says; run curate again")

    # Files of the input

    def _text_at(self, file: str, row: int) -> str:
        first = 0
        options = {name: self.parameters[name] for name in ("text_column", "errors", "types")}
        # What is skipped for another column doesn't count.
        columns: list[str] | None = None if options["errors"] == "skip" else []
        try:
            (source,) = find_sources([_path_of(file)])
            for batch in read_batches(source, columns=columns, **options):
                if row < first + batch.num_rows:
                    return str(batch.column(options["text_column"])[row - first].as_py())
                first += batch.num_rows
        except SmolfastError as error:  # its remedies are curate's options
            raise SmolfastError(f"{file} can't be read as it was by curate; it has changed since") from error
        raise SmolfastError(f"{file} has {first} rows, so no row {row}; it has changed since")


def _staying(gone: np.ndarray[Any, Any], first: int, end: int) -> np.ndarray[Any, Any]:
    """The documents of a part that stay."""
    return np.setdiff1d(np.arange(first, end), gone, assume_unique=True)


def _plain(column: pa.ChunkedArray) -> Any:
    """A value as Python has it; None for one that it has no form for."""
    try:
        return column[0].as_py()
    except (ValueError, pa.ArrowException, OverflowError):
        return None


def _path_of(file: str) -> str:
    """The path that the manifest names: a name that isn't UTF-8 stands there with U+FFFD in it."""
    if "://" in file or os.path.lexists(file) or "\ufffd" not in file:
        return file
    pattern = "*".join(map(glob.escape, file.split("\ufffd")))
    alike = [path for path in glob.glob(pattern) if document_id(path) == file]  # noqa: PTH207 - Path.glob changes names
    if len(alike) > 1:
        raise SmolfastError(f"{len(alike)} files are called {file} where U+FFFD stands for any bytes; rename them")
    return alike[0] if alike else file
