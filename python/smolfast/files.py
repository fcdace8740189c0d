"""Files that are either whole or absent: temporary name, fsync, rename. Fingerprints by xxh3."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import xxhash

from smolfast.errors import SmolfastError

TEMPORARY_SUFFIX = ".partial"


def shown(path: str | os.PathLike[str]) -> Path:
    """A path as it will be called when it is done: no temporary names in it, for messages."""
    return Path(*[part.removesuffix(TEMPORARY_SUFFIX) or part for part in Path(path).parts])


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside `path`; when the block ends well, fsync it and rename it to `path`.

    The block may make a file or a folder. On an error the temporary is removed and what stood at `path` stays.

    Raises:
        SmolfastError: the folder can't be written or the disk is full; names the path and the remedy.
    """
    final = Path(path)
    temporary = final.with_name(final.name + TEMPORARY_SUFFIX)
    old = final.with_name(final.name + ".old")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        remove(temporary)
        if old.exists() and not final.exists():
            old.rename(final)  # killed between the two renames below
        yield temporary
        _sync(temporary)
        if final.is_dir():
            # A folder can't be renamed over a full one: move the old one away first, the new one in, then delete.
            remove(old)
            final.rename(old)
            temporary.rename(final)
            remove(old)
        else:
            temporary.replace(final)
        _sync_entry(final.parent)
    except OSError as error:
        _remove_quietly(temporary)
        # An input that can't be read is not this file's fault: name the file that is.
        named = str(error.filename) if error.filename else ""
        what = f"use {named}" if named and not named.startswith(str(final)) else f"write {shown(final)}"
        raise SmolfastError(f"can't {what}: {describe_os_error(error)}") from error
    except BaseException:
        _remove_quietly(temporary)
        raise


def describe_os_error(error: OSError) -> str:
    """The reason and the remedy for a failed file operation, in a few words."""
    import errno

    remedies = {
        errno.ENOSPC: "the disk is full; free space or write to another disk",
        errno.EDQUOT: "the disk quota is used up; free space or write to another disk",
        errno.EACCES: "permission denied; choose a folder you may write to",
        errno.EPERM: "permission denied; choose a folder you may write to",
        errno.EROFS: "the file system is read-only; choose another folder",
        errno.ENOTDIR: "a part of the path is a file, not a folder; choose another path",
        errno.EEXIST: "a file of that name is in the way; choose another path",
        errno.ENOENT: "no such file or folder; check the path",
    }
    return remedies.get(error.errno or 0, error.strerror or str(error))


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write JSON atomically, keys in the order given."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read JSON that this package wrote.

    Raises:
        SmolfastError: the file is missing or isn't JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SmolfastError(f"can't read {path}: {describe_os_error(error)}") from error
    except (ValueError, RecursionError) as error:  # RecursionError: brackets thousands deep
        raise SmolfastError(f"{path} is not valid JSON ({error}); delete it and run again") from error


@contextlib.contextmanager
def naming(path: str | os.PathLike[str], remedy: str) -> Iterator[None]:
    """Turn what a value of unexpected shape raises (a missing key, a list for an object) into an error on its file."""
    try:
        yield
    except SmolfastError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise SmolfastError(f"{path} is damaged ({what}); {remedy}") from error


def is_plain_name(name: object) -> bool:
    """Whether a name that a file gives stays in that file's own folder: no path, nothing hidden."""
    return isinstance(name, str) and Path(name).name == name and not name.startswith(".") and "\0" not in name


def fingerprint(path: str | os.PathLike[str]) -> str:
    """xxh3-128 of a file's bytes, or of the names and fingerprints of a folder's files, as hex."""
    path = Path(path)
    digest = xxhash.xxh3_128()
    if path.is_dir():
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            digest.update(file.relative_to(path).as_posix().encode() + b"\0" + fingerprint(file).encode() + b"\0")
        return digest.hexdigest()
    try:
        with path.open("rb") as handle:
            while block := handle.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise SmolfastError(f"can't read {path}: {describe_os_error(error)}") from error
    return digest.hexdigest()


def remove(path: Path) -> None:
    """Delete a file, a folder with all in it, or a link (and not what it points to)."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _remove_quietly(path: Path) -> None:
    """Clean up after a failure without hiding it behind another."""
    with contextlib.suppress(OSError):
        remove(path)


def _sync(path: Path) -> None:
    if path.is_dir():
        for child in path.iterdir():
            _sync(child)
        _sync_entry(path)
    else:
        with path.open("rb") as handle:
            os.fsync(handle.fileno())


def _sync_entry(folder: Path) -> None:
    """Make a rename inside `folder` durable; a no-op where folders can't be opened (Windows)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
