"""Files that are either whole or absent: temporary name, fsync, rename. Fingerprints by xxh3."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import xxhash

from smolfast.errors import SmolfastError

RECORDS = ".smolfast"
"""The folder beside an output that holds what its stage says of it."""
_SUFFIX = ".smolfast-partial"
_OLD_SUFFIX = ".smolfast-old"
_SURROGATE = re.compile("[\ud800-\udfff]")
_NAME_BYTES = 200  # of 255, so that a temporary name of a long one isn't too long


def record_name(path: Path) -> str:
    """What the records of an output are called, in front of their suffixes: its own name if that isn't too long."""
    return _shortened(path.name)


def temporary_path(path: Path) -> Path:
    """Where `path` is made, beside it: a hidden name, so that what a kill leaves is never read as documents."""
    return _beside(path, _SUFFIX)


def final_path(path: Path) -> Path:
    """The path that a temporary one is made for; any other path as it is."""
    if path.name.startswith(".") and path.name.endswith(_SUFFIX):
        return path.with_name(path.name.removesuffix(_SUFFIX)[1:])
    return path


def is_temporary(name: str) -> bool:
    """Whether a file of this name, or one below a folder of it, is left over from a process that was killed."""
    return any(part.startswith(".") and part.endswith((_SUFFIX, _OLD_SUFFIX)) for part in name.split("/"))


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(f".{_shortened(path.name)}{suffix}")


def _shortened(name: str) -> str:
    if len(os.fsencode(name)) <= _NAME_BYTES:
        return name
    stem, kind = name[:40], "".join(Path(name).suffixes[-2:])[-20:]
    return f"{stem}-{xxhash.xxh3_64_hexdigest(os.fsencode(name))}{kind}"


def check_path(path: str | os.PathLike[str]) -> Path:
    """A path that something may be written to; without `..`, `.` by the folder's name, a link by what it leads to.

    Raises:
        SmolfastError: no file can have that name or stand there.
    """
    if not os.fspath(path) or "\0" in os.fspath(path):
        problem = "holds a zero byte" if os.fspath(path) else "is empty"
        raise SmolfastError(f"the path {os.fspath(path)!r} {problem}; choose another path")
    found = Path(path)
    try:
        with contextlib.suppress(FileNotFoundError):
            found.stat()
    except OSError as error:
        raise SmolfastError(f"can't write {path}: {describe_os_error(error)}") from error
    if not found.name or os.pardir in found.parts or found.is_symlink():  # new/../data is data once new is made
        found = Path(os.path.realpath(found))
    if not found.name:
        raise SmolfastError(f"can't write {path}: it is the root of all folders; choose another path")
    return found


def shown(path: str | os.PathLike[str]) -> Path:
    """A path as it will be called when it is done: no temporary names in it, for messages."""
    return Path(*[final_path(Path(part)).name or part for part in Path(path).parts])


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str], replaces: Collection[str] | None = None) -> Iterator[Path]:
    """Give a temporary path beside `path`; when the block ends well, fsync it and rename it to `path`.

    The block may make a file or a folder. On an error the temporary is removed and what stood at `path` stays. A link
    at `path` stays a link: what it points to is written. Of a folder that stands there, files that the new one lacks
    stay too.

    Args:
        replaces: names below a folder that stands there, as of `names_below`: these go, all others stay, and a new file
            where another stands is an error. None: all that have the name of a new file.

    Raises:
        SmolfastError: the folder can't be written or the disk is full; names the path and the remedy.
    """
    final = check_path(path)
    temporary, old = temporary_path(final), _beside(final, _OLD_SUFFIX)
    try:
        if os.path.ismount(final):  # nothing can be moved to its place
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        final.parent.mkdir(parents=True, exist_ok=True)
        remove(temporary)
        recover(final)
        yield temporary
        _sync(temporary)
        _install(temporary, final, old, replaces)
        _sync_entry(final.parent)
    except OSError as error:
        _remove_quietly(temporary)
        # An input that can't be read is not this file's fault: name the file that is.
        named = str(error.filename) if error.filename else ""
        ours = not named or named.startswith((str(final), str(temporary), str(old)))
        what = f"write {shown(final)}" if ours else f"use {named}"
        raise SmolfastError(f"can't {what}: {describe_os_error(error)}") from error
    except SmolfastError as error:
        _remove_quietly(temporary)
        if str(temporary) in str(error):  # users know the file by its own name
            raise SmolfastError(str(error).replace(str(temporary), os.fspath(path))) from error
        raise
    except BaseException:
        _remove_quietly(temporary)
        raise


def recover(path: Path) -> None:
    """Bring back a folder whose replacement was killed between its two renames."""
    old = _beside(path, _OLD_SUFFIX)
    if old.exists() and not path.exists():
        old.rename(path)


def _install(temporary: Path, final: Path, old: Path, replaces: Collection[str] | None) -> None:
    if not final.is_dir():
        if temporary.is_dir() and final.exists():
            final.unlink()
        temporary.replace(final)
        return
    standing, new = names_below(final), names_below(temporary)
    stay = check_room(temporary, final, replaces)
    if not stay and not _is_around(final, Path.cwd()):
        # A folder can't be renamed over a full one: move the old one away first, the new one in, then delete.
        remove(old)
        final.rename(old)
        temporary.rename(final)
        remove(old)
        return
    remove_names(final, standing - stay - new)
    for name in sorted(new):
        (final / name).parent.mkdir(parents=True, exist_ok=True)
        (temporary / name).replace(final / name)
    remove(temporary)
    _sync_entry(final)


def check_room(new: Path, folder: Path, replaces: Collection[str] | None) -> set[str]:
    """The files of a folder that stay when a new file or folder comes to its place (see `atomic_path`).

    Raises:
        SmolfastError: one of them is where a new one goes.
    """
    names = names_below(new) if new.is_dir() else set()
    stay = {name for name in names_below(folder) if not is_temporary(name)}
    stay -= names if replaces is None else set(replaces)
    if new.is_dir():
        needed = names | {parent for name in names for parent in _parents(name)}
        in_the_way = {name for name in stay if name in needed or not names.isdisjoint(_parents(name))}
    else:
        in_the_way = stay
    if in_the_way:
        raise SmolfastError(
            f"{folder / min(in_the_way)} is in the way, and smolfast has no record of having written it; move it, or "
            "choose another output"
        )
    return stay


def _parents(name: str) -> list[str]:
    return [parent.as_posix() for parent in PurePosixPath(name).parents[:-1]]


def names_below(path: Path) -> set[str]:
    """The files and links in a folder and its folders, as paths in it with slashes. Links are not followed."""
    names = set()
    for parent, folders, files in os.walk(path):
        entries = [*files, *(name for name in folders if Path(parent, name).is_symlink())]
        names |= {Path(parent, name).relative_to(path).as_posix() for name in entries}
    return names


def remove_names(folder: Path, names: Collection[str]) -> None:
    """Delete these files of a folder, and the folders in it that become empty."""
    parents = set()
    for name in names:
        within = [folder / parent for parent in _parents(name)]
        if any(parent.is_symlink() for parent in within):
            continue  # it would lead out of the folder
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            (folder / name).unlink()
        parents |= set(within)
    for parent in sorted(parents, key=lambda parent: -len(parent.parts)):
        with contextlib.suppress(OSError):
            parent.rmdir()


def _is_around(folder: Path, path: Path) -> bool:
    """Whether a folder is a path or one of its parents."""
    return any(folder.samefile(parent) for parent in (path, *path.parents))


def describe_os_error(error: OSError) -> str:
    """The reason and the remedy for a failed file operation, in a few words."""
    remedies = {
        errno.ENOSPC: "the disk is full; free space or write to another disk",
        errno.EDQUOT: "the disk quota is used up; free space or write to another disk",
        errno.EACCES: "permission denied; choose a folder you may write to",
        errno.EPERM: "permission denied; choose a folder you may write to",
        errno.EROFS: "the file system is read-only; choose another folder",
        errno.ENOTDIR: "a part of the path is a file, not a folder; choose another path",
        errno.EEXIST: "a file of that name is in the way; choose another path",
        errno.ENOENT: "no such file or folder; check the path",
        errno.EISDIR: "a folder of that name is in the way; choose another path",
        errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
        errno.ELOOP: "links lead in a circle; choose another path",
        errno.EXDEV: "it is the root of another disk; choose a folder in it",
        errno.EBUSY: "it is mounted there, or in use; choose another path",
        errno.EFBIG: "the file is larger than the disk or ulimit -f allows; raise the limit or write to another disk",
    }
    return remedies.get(error.errno or 0, error.strerror or str(error))


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write JSON atomically, keys in the order given; numbers that aren't finite become null.

    A file's name that isn't UTF-8 comes back as it was.
    """
    text = json.dumps(finite(value), indent=2, ensure_ascii=False) + "\n"
    if not text.isascii():
        text = _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    write_text(path, text)


def finite(value: Any) -> Any:
    """A JSON value with null for every number that JSON can't hold."""
    if isinstance(value, float) and value - value != 0:
        return None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list | tuple) else value


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


def fingerprint(path: str | os.PathLike[str], *, without: Path | None = None) -> str:
    """xxh3-128 of a file's bytes, or of the names and fingerprints of a folder's files, as hex.

    Args:
        without: an output that may lie in the folder: it, what it is made from and its records don't count.
    """
    path = Path(path)
    if path.is_dir():
        return fingerprint_files(path, _files_below(path, without))
    digest = xxhash.xxh3_128()
    try:
        with path.open("rb") as handle:
            while block := handle.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise SmolfastError(f"can't read {path}: {describe_os_error(error)}") from error
    return digest.hexdigest()


def fingerprint_files(folder: Path, names: Iterable[str]) -> str:
    """xxh3-128 of the names and fingerprints of these files of a folder."""
    digest = xxhash.xxh3_128()
    for name in sorted(names, key=lambda name: Path(name).parts):
        digest.update(name.encode("utf-8", "surrogateescape") + b"\0" + fingerprint(folder / name).encode() + b"\0")
    return digest.hexdigest()


def _files_below(folder: Path, without: Path | None) -> Iterator[str]:
    def counts(path: Path) -> bool:
        is_output = without is not None and without.exists() and path.exists() and path.samefile(without)
        return not is_output and path.name != RECORDS and not is_temporary(path.name)

    # Links are followed, as reading does, each folder once: the order decides under which of its names.
    seen = {_number(path) for path in (folder, *folder.resolve().parents)}
    for parent, folders, files in os.walk(folder, followlinks=True):
        enter = []
        for name in sorted(folders, key=lambda name: (Path(parent, name).is_symlink(), name)):
            number = _number(Path(parent, name))
            if number not in seen and counts(Path(parent, name)):
                enter.append(name)
                seen.add(number)
        folders[:] = enter
        for path in (Path(parent, name) for name in files):
            if path.is_file() and counts(path):
                yield path.relative_to(folder).as_posix()


def _number(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


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
