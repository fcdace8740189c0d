"""Find the files of documents that the user named: files, folders and fsspec URLs."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import pyarrow as pa
import pyarrow.fs

from smolfast.errors import SmolfastError
from smolfast.files import describe_os_error

Kind = Literal["parquet", "jsonl", "text"]

SUFFIXES: dict[str, Kind] = {
    ".txt": "text",
    ".md": "text",
    ".py": "text",
    ".rst": "text",
    ".jsonl": "jsonl",
    ".jsonl.gz": "jsonl",
    ".jsonl.zst": "jsonl",
    ".parquet": "parquet",
}


@dataclass(frozen=True)
class Source:
    """One file of documents; `path` is the path as it was given (or found below a given folder), or a URL."""

    path: str
    kind: Kind


def find_sources(inputs: Sequence[str | os.PathLike[str]]) -> list[Source]:
    """List the files that `inputs` name: files, folders (every known file below them) and fsspec URLs.

    Inputs keep their order and the files of a folder are sorted by path; a file named twice is read once. Hidden
    files and folders (leading dot) below a folder are passed over, as are files of an unknown kind; links to folders
    are not followed.

    Raises:
        SmolfastError: nothing given, a missing path, a folder without a known file, a file of an unknown kind, or a
            URL whose fsspec backend is missing.
    """
    if isinstance(inputs, str | os.PathLike):
        raise TypeError("find_sources takes a list of paths, not one path")
    if not inputs:
        raise SmolfastError("no input given; name at least one file, folder or URL")
    found: dict[str, Source] = {}
    for given in inputs:
        path = os.fspath(given)
        for source in _find_remote(path) if _is_url(path) else _find_local(path):
            found.setdefault(source.path, source)
    return list(found.values())


def _is_url(path: str) -> bool:
    return "://" in path


def _kind(path: str) -> Kind | None:
    name = PurePosixPath(path).name.lower()
    return next((kind for suffix, kind in SUFFIXES.items() if name.endswith(suffix) and name != suffix), None)


def _known_kind(path: str) -> Kind:
    kind = _kind(path)
    if kind is None:
        raise SmolfastError(f"can't tell what kind of file {path} is; rename it to one of {', '.join(SUFFIXES)}")
    return kind


def _find_local(path: str) -> list[Source]:
    try:
        if Path(path).is_dir():
            return _of_folder(path, _walk(path))
        Path(path).stat()
    except SmolfastError:
        raise
    except OSError as error:
        raise SmolfastError(f"can't read {path}: {describe_os_error(error)}") from error
    except ValueError as error:  # a zero byte in the name
        raise SmolfastError(f"can't read {path!r}: {one_line(error)}; check the path") from error
    return [Source(path, _known_kind(path))]


def _walk(folder: str) -> list[str]:
    def fail(error: OSError) -> None:
        raise error

    files = []
    for parent, subfolders, names in os.walk(folder, onerror=fail):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        files += [Path(parent, name) for name in names if not name.startswith(".")]
    return [str(file) for file in sorted(files, key=lambda file: file.parts) if file.is_file()]


def _find_remote(url: str) -> list[Source]:
    filesystem, path = _remote(url)
    try:
        info = filesystem.get_file_info(path)
        if info.type == pyarrow.fs.FileType.File:
            return [Source(url, _known_kind(url))]
        if info.type == pyarrow.fs.FileType.NotFound:
            raise FileNotFoundError(errno.ENOENT, "no such file or folder")
        entries = filesystem.get_file_info(pyarrow.fs.FileSelector(path, recursive=True))
    except SmolfastError:
        raise
    except OSError as error:
        raise SmolfastError(f"can't read {url}: {describe_os_error(error)}") from error
    except Exception as error:  # backends raise errors of their own, of no common type
        raise SmolfastError(f"can't read {url}: {type(error).__name__}: {one_line(error)}") from error
    root = PurePosixPath(path)
    inner = (PurePosixPath(entry.path).relative_to(root) for entry in entries if entry.is_file)
    visible = sorted(file.parts for file in inner if not any(part.startswith(".") for part in file.parts))
    return _of_folder(url, [f"{url.rstrip('/')}/{'/'.join(parts)}" for parts in visible])


def _of_folder(folder: str, paths: Iterable[str]) -> list[Source]:
    sources = [Source(path, kind) for path in paths if (kind := _kind(path)) is not None]
    if not sources:
        known = ", ".join(SUFFIXES)
        raise SmolfastError(f"the folder {folder} holds no file that ends in one of {known}; check the path")
    return sources


def _remote(url: str) -> tuple[pyarrow.fs.FileSystem, str]:
    """The filesystem of a URL and the path in it."""
    try:
        import fsspec
    except ImportError as error:
        raise SmolfastError(f"{url} needs fsspec; pip install fsspec and the backend of its protocol") from error
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:  # a known protocol without its backend, an unknown protocol
        raise SmolfastError(f"can't open {url}: {one_line(error)}") from error
    return pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(filesystem)), path


def open_source(path: str) -> pa.NativeFile:
    """Open a local path or a URL for reading; raises OSError."""
    if _is_url(path):
        filesystem, inner = _remote(path)
        return filesystem.open_input_file(inner)
    return pa.OSFile(os.fsencode(path), "rb")  # bytes, since names need not be UTF-8


def stat_source(path: str) -> tuple[int, int]:
    """Size in bytes and time of change in nanoseconds of a local path or URL; 0 where the backend doesn't tell.

    Raises:
        SmolfastError: the file can't be reached.
    """
    try:
        if not _is_url(path):
            status = Path(path).stat()
            return status.st_size, status.st_mtime_ns
        filesystem, inner = _remote(path)
        info = filesystem.get_file_info(inner)
        return info.size or 0, info.mtime_ns or 0
    except OSError as error:
        raise SmolfastError(f"can't read {path}: {describe_os_error(error)}") from error


def document_id(path: str) -> str:
    """A path as text: bytes of a file name that aren't UTF-8 become U+FFFD."""
    return os.fsencode(path).decode("utf-8", "replace")


def one_line(error: BaseException) -> str:
    """An error's message with its line breaks taken out."""
    return " ".join(str(error).split())
