"""Why a document went: the two texts and what differs."""

from __future__ import annotations

import difflib
import glob
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from smolfast.dedup.job import MANIFEST, REMOVED
from smolfast.errors import SmolfastError
from smolfast.files import naming, read_json
from smolfast.io.documents import find_sources, read_batches
from smolfast.io.sources import document_id as shown
from smolfast.io.sources import one_line, open_source


@dataclass(frozen=True)
class Explanation:
    """One removed document beside the one kept in its place."""

    id: str
    file: str
    row: int
    kept_id: str
    kept_file: str
    kept_row: int
    kind: str
    jaccard: float
    cluster_id: int
    text: str
    kept_text: str

    def as_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)

    def report(self, context: int = 2) -> str:
        """For people: what is what, then the lines that differ, `-` of the kept text and `+` of the removed one."""
        head = (
            f"removed  {self.id}  ({self.file}, row {self.row})\n"
            f"kept     {self.kept_id}  ({self.kept_file}, row {self.kept_row})\n"
            f"kind     {self.kind}, Jaccard similarity {self.jaccard:.3f}, cluster {self.cluster_id}\n"
        )
        if self.text == self.kept_text:
            return f"{head}\nthe texts are equal:\n{self.text}\n"
        lines = difflib.unified_diff(
            self.kept_text.splitlines(), self.text.splitlines(), "kept", "removed", lineterm="", n=context
        )
        return f"{head}\n" + "\n".join(lines) + "\n"


def explain(output: str | os.PathLike[str], document_id: str) -> Explanation:
    """Say why `deduplicate` removed a document; reads the inputs of that run again.

    Args:
        output: the folder that `deduplicate` wrote.
        document_id: an id in removed.parquet.

    Raises:
        SmolfastError: no such output or document, or an input that has changed or moved.
    """
    folder = Path(output)
    if folder.is_dir() and not (folder / MANIFEST).exists():
        raise SmolfastError(f"{folder} is no output of smolfast dedup (no {MANIFEST}); give the folder that it wrote")
    with naming(folder / MANIFEST, "run dedup again"):
        parameters = read_json(folder / MANIFEST)["parameters"]
        options = {key: str(parameters[key]) for key in ("text_column", "errors")}
    try:
        with open_source(str(folder / REMOVED)) as stream:
            removed = pq.read_table(stream, filters=pc.field("id") == document_id)
    except (OSError, pa.ArrowException) as error:
        raise SmolfastError(f"can't read {folder / REMOVED} ({one_line(error)}); run dedup again") from error
    if not removed.num_rows:
        raise SmolfastError(f"{folder / REMOVED} has no document {document_id!r}: it was kept, or is not of this run")
    row = removed.slice(0, 1).to_pylist()[0]
    return Explanation(
        **row,
        text=_text_at(row["file"], row["row"], options),
        kept_text=_text_at(row["kept_file"], row["kept_row"], options),
    )


def _path_of(file: str) -> str:
    """The path that removed.parquet names: a name that isn't UTF-8 stands there with U+FFFD in it."""
    if "://" in file or os.path.lexists(file) or "\ufffd" not in file:
        return file
    pattern = "*".join(map(glob.escape, file.split("\ufffd")))
    alike = [path for path in glob.glob(pattern) if shown(path) == file]  # noqa: PTH207 - Path.glob changes names
    if len(alike) > 1:
        raise SmolfastError(f"{len(alike)} files are called {file} where U+FFFD stands for any bytes; rename them")
    return alike[0] if alike else file


def _text_at(file: str, row: int, options: dict[str, Any]) -> str:
    first = 0
    (source,) = find_sources([_path_of(file)])
    # What is skipped for another column doesn't count.
    columns: list[str] | None = None if options["errors"] == "skip" else []
    try:
        for batch in read_batches(source, columns=columns, **options):
            if row < first + batch.num_rows:
                return str(batch.column(options["text_column"])[row - first].as_py())
            first += batch.num_rows
    except SmolfastError as error:  # its remedies are dedup's options
        raise SmolfastError(f"{file} can't be read as it was by dedup; it has changed since") from error
    raise SmolfastError(f"{file} has {first} rows, so no row {row}; it has changed since")
