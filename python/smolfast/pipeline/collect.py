"""Collect documents into one table: the user's files, or the text that every Python installation holds."""

from __future__ import annotations

import os
import string
import sysconfig
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from smolfast.errors import SmolfastError
from smolfast.io.boundary import computing
from smolfast.io.documents import BatchWriter, Source, find_sources, read_batches
from smolfast.io.keep_apart import check_apart, find_apart
from smolfast.io.schemas.columns import as_names, is_string
from smolfast.io.sources import document_id
from smolfast.io.stores.changes import stat_source

if TYPE_CHECKING:
    from smolfast.config import CollectConfig
    from smolfast.progress import ProgressCallback

SCHEMA = pa.schema([("id", pa.string()), ("text", pa.large_string())])

INSTALLATION_SUFFIXES = (".py", ".md", ".rst", ".txt")
PACKAGE_SHARE = 8
"""No top-level package of the installation gives more than 1 / PACKAGE_SHARE of `max_bytes`."""
LETTER_SHARE = 0.3
"""A file of the installation with fewer letters a byte is a table of numbers, not text.

Of 12,847 files of one installation with torch and transformers, 90 files (2.7 of 218 MB) fall below: character
tables, number test cases, parser automata.
"""


@dataclass(frozen=True)
class Input:
    """A file to collect from; `id` is its stable name if it is a file of this installation."""

    source: Source
    id: str | None
    size: int
    modified: int


class Inputs(list[Input]):
    """The files to collect from, and what was passed over beside them."""

    def __init__(self, files: Iterable[Input], passed_over: Mapping[str, Any] | None = None) -> None:
        super().__init__(files)
        self.passed_over = dict(passed_over or {})


def list_inputs(
    inputs: Sequence[str | os.PathLike[str]],
    *,
    without: str | os.PathLike[str] | None = None,
    strict: bool = False,
) -> Inputs:
    """The files that `inputs` name, in order; for no inputs the text of this Python installation, in drawing order.

    The installation's text is the `.py`, `.md`, `.rst` and `.txt` files of the standard library and of the installed
    packages, without smolfast itself and without files that installers write with paths of this machine in them.
    Their order is that of a hash of folder name and file name: a beginning of the list is an even sample, the same on
    every machine with the same packages, in which copies of a file in several packages (vendored modules, licences)
    come together, so that a sample keeps its near-duplicates.

    Args:
        without: an output that may lie in a folder of the inputs, and is not read.

    Raises:
        SmolfastError: as `find_sources`, or an installation without such files.
    """
    if inputs:
        if without is None:
            sources = find_sources(inputs, strict=strict)
        else:
            sources, _ = find_apart(inputs, without, strict=strict)
        return Inputs((Input(source, None, *stat_source(source.path)) for source in sources), sources.summary())
    paths = sysconfig.get_paths()
    # On Windows and outside virtual environments the packages' folder lies below the library's; purelib is platlib.
    roots = {Path(paths["stdlib"]): "stdlib", Path(paths["purelib"]): "site-packages"}
    roots.setdefault(Path(paths["platlib"]), "site-packages")
    found = {file.id: file for root, name in roots.items() for file in _walk(root, name)}
    if not found:
        raise SmolfastError("this Python installation holds no source files or documentation; name files to read")
    return Inputs(sorted(found.values(), key=lambda file: (_draw(file.id or ""), file.id)))


def signature(inputs: Sequence[Input]) -> str:
    """A hash that changes when a file comes, goes, or changes its size or time."""
    digest = xxhash.xxh3_128()
    for file in inputs:
        name = file.id or file.source.path
        digest.update(f"{name}\0{file.size}\0{file.modified}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def collect(
    inputs: Sequence[Input] | None,
    output_folder: str | os.PathLike[str],
    config: CollectConfig,
    *,
    errors: str = "fail",
    text_column: str = "text",
    progress: ProgressCallback | None = None,
) -> dict[str, Any]:
    """Write `documents.parquet` (id: string, text: large_string) with at most `config.max_bytes` bytes of text.

    The user's files are read in order up to that size. A document's id is its own `id` (a string, whole number or UUID,
    and in JSON whatever stands there) if it has one, else the path, with the row for formats of many rows. Of this
    installation's files (`inputs` from `list_inputs([])`, or None), a top-level package gives at most an eighth of
    `max_bytes`, and files that aren't UTF-8, can't be read or are tables of numbers are passed over, whatever `errors`
    says.

    Args:
        inputs: from `list_inputs`.
        output_folder: a file of that name in it is replaced, whoever wrote it, as Python's writers do (the command
            refuses where it has no record of it); others stay.
        errors: for the user's text that isn't UTF-8 or is null: "fail", "replace" or "skip".

    Returns:
        documents_in, bytes_in (looked at), documents_out, bytes_out, full (whether `max_bytes` ended it), and
        skipped_not_utf8, skipped_too_short, skipped_too_long, skipped_table, skipped_unreadable, skipped_package_cap;
        if files of a folder were passed over, passed_over and passed_over_files.

    Raises:
        SmolfastError: bad input, no documents left, a disk that can't be written.
    """
    inputs = list_inputs([]) if inputs is None else inputs
    check_apart(output_folder, (file.source.path for file in inputs), writes=["documents.parquet"])
    of_installation = bool(inputs) and inputs[0].id is not None
    counts: Counter[str] = Counter()
    if of_installation:
        batches = _read_installation(inputs, config, counts)
    else:
        batches = _read_inputs(inputs, config, counts, errors, text_column)
    with BatchWriter(Path(output_folder) / "documents.parquet", SCHEMA) as writer:
        for batch in batches:
            writer.write(batch)
            if progress is not None:
                progress(counts["bytes_out"], config.max_bytes, f"{counts['documents_out']:,} documents")
        if writer.rows == 0:
            raise SmolfastError(
                f"no documents to collect: {counts['documents_in']} looked at, none of {config.min_document_bytes} to "
                f"{config.max_document_bytes} bytes; give other input or change collect.min_document_bytes or "
                "collect.max_document_bytes"
            )
    names = ("documents_in", "bytes_in", "documents_out", "bytes_out")
    skips = ("not_utf8", "too_short", "too_long", "table", "unreadable", "package_cap")
    return {
        **{name: counts[name] for name in names},
        "full": bool(counts["full"]),
        **{f"skipped_{reason}": counts[f"skipped_{reason}"] for reason in skips},
        **(inputs.passed_over if isinstance(inputs, Inputs) else {}),
    }


# The installation


def _walk(root: Path, name: str) -> Iterator[Input]:
    for folder, subfolders, files in os.walk(root):
        # Sorted: where two ids were equal (no two are on Linux), the same one would win.
        subfolders[:] = sorted(
            sub for sub in subfolders if sub not in {"__pycache__", "site-packages", "dist-packages"}
        )
        relative = Path(folder).relative_to(root)
        if name == "site-packages" and relative.parts[:1] and relative.parts[0].startswith("smolfast"):
            subfolders.clear()
            continue
        for file in sorted(files):
            if not file.endswith(INSTALLATION_SUFFIXES):
                continue
            # Written at install time, with paths of this machine.
            if "_editable_" in file or file.startswith(("_sysconfigdata", "_smolfast_editable")):
                continue
            path = Path(folder, file)
            try:
                status = path.stat()
            except OSError:
                continue
            identity = f"{name}/{(relative / file).as_posix()}"
            if not identity.isprintable():  # a name that isn't UTF-8, or with a line break in it
                continue
            yield Input(Source(str(path), "text"), identity, status.st_size, status.st_mtime_ns)


def _draw(identity: str) -> int:
    return xxhash.xxh3_64_intdigest("/".join(identity.split("/")[-2:]).encode())


def _read_installation(
    inputs: Sequence[Input], config: CollectConfig, counts: Counter[str]
) -> Iterator[pa.RecordBatch]:
    counts["documents_in"] = len(inputs)
    counts["bytes_in"] = sum(file.size for file in inputs)
    package_bytes: Counter[str] = Counter()
    for file in inputs:
        assert file.id is not None
        package = "/".join(file.id.split("/")[:2])
        if file.size < config.min_document_bytes:
            counts["skipped_too_short"] += 1
        elif file.size > config.max_document_bytes:
            counts["skipped_too_long"] += 1
        elif counts["bytes_out"] + file.size > config.max_bytes:
            counts["full"] = 1
            return
        elif (package_bytes[package] + file.size) * PACKAGE_SHARE > config.max_bytes:
            counts["skipped_package_cap"] += 1
        else:
            text = _read_file(file, counts)
            if text is not None:
                size = len(text.encode())
                package_bytes[package] += size
                counts["documents_out"] += 1
                counts["bytes_out"] += size
                yield pa.RecordBatch.from_pydict({"id": [file.id], "text": [text]}, schema=SCHEMA)


def _read_file(file: Input, counts: Counter[str]) -> str | None:
    try:
        data = Path(file.source.path).read_bytes()
    except OSError:
        counts["skipped_unreadable"] += 1
        return None
    if _letters(data) < LETTER_SHARE * len(data):
        counts["skipped_table"] += 1
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        counts["skipped_not_utf8"] += 1
        return None


def _letters(data: bytes) -> int:
    """ASCII letters, and bytes of everything that isn't ASCII."""
    return len(data) - len(data.translate(None, _LETTERS))


_LETTERS = string.ascii_letters.encode() + bytes(range(128, 256))


# The user's files


def _read_inputs(
    inputs: Sequence[Input], config: CollectConfig, counts: Counter[str], errors: str, text_column: str
) -> Iterator[pa.RecordBatch]:
    skipped: Counter[str] = Counter()
    for file in inputs:
        row = 0
        # As strings: to find one type for all ids of a large file would take reading it to its end.
        reading = read_batches(
            file.source, text_column=text_column, columns=["id"], types={"id": "string"}, errors=errors, counts=skipped
        )
        for batch in reading:
            with computing(file.source.path, row, len(batch)):
                text = batch.column(text_column)
                name = document_id(file.source.path)
                ids = pa.array([f"{name}:{row + index}" for index in range(len(batch))], pa.string())
                if text_column != "id" and "id" in batch.schema.names:
                    column = batch.column("id")
                    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
                    if is_string(kind) or pa.types.is_integer(kind) or kind == pa.uuid():
                        ids = pc.coalesce(as_names(column), ids)
            row += len(batch)
            chosen = _choose(text, config, counts)
            counts["skipped_not_utf8"] = skipped["skipped"]
            if len(chosen):
                yield pa.RecordBatch.from_arrays([ids, text], schema=SCHEMA).take(pa.array(chosen))
            if counts["full"]:
                return


def _choose(text: pa.Array, config: CollectConfig, counts: Counter[str]) -> np.ndarray:
    """Rows to take, int64: not too short, not too long, until `max_bytes` are reached."""
    sizes = pc.binary_length(text).to_numpy(zero_copy_only=False).astype(np.int64)
    short, long = sizes < config.min_document_bytes, sizes > config.max_document_bytes
    rows = np.flatnonzero(~short & ~long)
    fits = int(np.searchsorted(np.cumsum(sizes[rows]), config.max_bytes - counts["bytes_out"], side="right"))
    end = len(sizes)
    if fits < len(rows):
        counts["full"] = 1
        end, rows = int(rows[fits]), rows[:fits]
    counts["documents_in"] += end
    counts["bytes_in"] += int(sizes[:end].sum())
    counts["skipped_too_short"] += int(short[:end].sum())
    counts["skipped_too_long"] += int(long[:end].sum())
    counts["documents_out"] += len(rows)
    counts["bytes_out"] += int(sizes[rows].sum())
    return rows
