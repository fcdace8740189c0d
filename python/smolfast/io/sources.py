"""Find the files of documents that the user named: files, folders, globs and fsspec URLs."""

from __future__ import annotations

import errno
import glob
import json
import os
import re
import shlex
import stat
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import pyarrow as pa
import pyarrow.fs

from smolfast.errors import SmolfastError
from smolfast.files import describe_os_error, is_temporary
from smolfast.io.stores.reading import StoreFile
from smolfast.io.stores.retries import persistently

Kind = Literal["parquet", "jsonl", "json", "csv", "tsv", "arrow", "text", "crawl", "pdf"]

_COMPRESSIONS = ("", ".gz", ".zst", ".zstd", ".bz2", ".xz")
_PLAIN: dict[str, Kind] = {
    ".txt": "text",
    ".md": "text",
    ".py": "text",
    ".rst": "text",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
}
SUFFIXES: dict[str, Kind] = {
    **{suffix + packed: kind for suffix, kind in _PLAIN.items() for packed in _COMPRESSIONS},
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}
CRAWLS = (".warc", ".warc.gz", ".warc.zst", ".warc.zstd", ".wet", ".wet.gz", ".wet.zst", ".wet.zstd")
"""How names of a crawl's files end; `smolfast curate` reads them."""
ROW_KINDS = ("jsonl", "json", "csv", "tsv")
"""Whose columns have no types of their own."""
KNOWN = ", ".join([*_PLAIN, ".parquet, .arrow, .feather, .ipc; all but the last four also with .gz, .zst, .bz2 or .xz"])

# What Hugging Face's libraries write about data beside it.
_ABOUT_DATA = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}

# Texts that are about what lies beside them.
_ABOUT_NAME = re.compile(
    r"(readme|licen[sc]e|copying|notice|changelog|changes|history|authors|contribut|citation|code_of_conduct|security"
    r"|requirements)([^a-z]|$|ing\b|ors\b)",
    re.IGNORECASE,
)

# Folders that commands keep beside or in their output.
_OURS = {".smolfast", ".work", ".smolfast-finished"}

STORE_RECORD = ".smolfast-store.json"
"""In a folder of a store that we write: which files are ours, and whether all of them are there."""

_MOST_NAMED = 5


@dataclass(frozen=True)
class Source:
    """One file of documents; `path` is the path as it was given (or found below a given folder), or a URL."""

    path: str
    kind: Kind


@dataclass(frozen=True)
class PassedOver:
    """A file or folder below a given folder that isn't read."""

    path: str
    reason: str


_HIDDEN, UNKNOWN, _BESIDE = "hidden", "of an unknown kind", "text beside files of data"
_TABLE = "tables beside text files"
_ABOUT, UNFINISHED, _BROKEN, _LOOP = "about data", "unfinished", "a broken link or no file", "a link to a folder above"
_NO_ROWS = "JSON without rows"
_CRAWL = "of a crawl, which smolfast curate reads"


class Sources(list[Source]):
    """The files to read, and what was passed over beside them."""

    def __init__(self, sources: Iterable[Source], passed_over: Sequence[PassedOver] = ()) -> None:
        super().__init__(sources)
        self.passed_over = list(passed_over)

    def summary(self) -> dict[str, Any]:
        """For a command's result: nothing, or `passed_over`, the number, and `passed_over_files`, their names."""
        if not self.passed_over:
            return {}
        return {"passed_over": len(self.passed_over), "passed_over_files": describe(self.passed_over)}


def said(summary: Any, *, only_if_any: tuple[str, ...] = ()) -> dict[str, Any]:
    """A summary's fields by name; those on what was passed over, and those of `only_if_any`, only if something was."""
    unsaid = ("passed_over", *only_if_any)
    return {name: value for name, value in asdict(summary).items() if value or not name.startswith(unsaid)}


def find_sources(inputs: Sequence[str | os.PathLike[str]], *, strict: bool = False) -> Sources:
    """List the files that `inputs` name: files, folders (every known file below them), globs, and fsspec URLs of these.

    Inputs keep their order and the files of a folder are sorted by path; a file named twice is read once. A name with
    `*`, `?` or `[` is a glob unless a file has just that name; `**` goes through folders.

    Below a folder, and among what a glob matches, this is passed over, and listed in the result's `passed_over`: hidden
    files and folders (leading dot), files of an unknown kind, unfinished ones, broken links, and what
    isn't documents: `.md`, `.rst`, `.py` and the like of README.txt in a folder that has parquet, Arrow or JSON lines
    in it or below it, as a dataset's card, licence and script; CSV and plain JSON in or below a folder of text files,
    as its metadata.csv; `.json` files without rows; what `deduplicate` and `curate_files` say of those they removed. A
    file that is named is read. Links are followed, each folder once.

    Args:
        strict: raise if anything but hidden files is passed over.

    Raises:
        SmolfastError: nothing given, a missing path, a folder without a known file, a glob that matches nothing, a
            file of an unknown kind, or a URL whose fsspec backend is missing.
    """
    if isinstance(inputs, str | os.PathLike):
        raise TypeError("find_sources takes a list of paths, not one path")
    if not inputs:
        raise SmolfastError("no input given; name at least one file, folder or URL")
    found: dict[str, Source] = {}
    passed: dict[str, PassedOver] = {}
    for given in inputs:
        path = os.fspath(given)
        of_this = _find_remote(path) if is_url(path) else _find_local(path)
        for source in of_this:
            found.setdefault(source.path, source)
        for other in of_this.passed_over:
            passed.setdefault(other.path, other)
    others = [other for other in passed.values() if other.path not in found]
    if strict:
        check_all_read(others)
    return Sources(found.values(), others)


def check_all_read(passed_over: Sequence[PassedOver]) -> None:
    """Raise if anything but hidden files was passed over."""
    counted = [other for other in passed_over if other.reason != _HIDDEN]
    if counted:
        raise SmolfastError(
            f"--strict: not all files are read: {describe(counted)}; leave out --strict, or name the files to read, as "
            "in 'FOLDER/**/*.parquet'"
        )


def describe(passed_over: Sequence[PassedOver]) -> str:
    """How many were passed over for which reason, and the first few names of each."""
    parts = []
    for reason, count in Counter(other.reason for other in passed_over).items():
        names = [document_id(other.path) for other in passed_over if other.reason == reason][:_MOST_NAMED]
        names = [name if name.isprintable() else repr(name) for name in names]
        more = f" and {count - len(names)} more" if count > len(names) else ""
        parts.append(f"{count} {reason} ({', '.join(names)}{more})")
    return "; ".join(parts)


def is_url(path: str) -> bool:
    """Whether this is for fsspec."""
    return "://" in path


def plain_name(path: str) -> str:
    """A path, or a web address without its query."""
    return path.split("?", 1)[0] if path.startswith(("http://", "https://")) else path


def kind_of(path: str) -> Kind | None:
    """What a file is by its name, or None."""
    name = PurePosixPath(plain_name(path)).name.lower()
    # The longest suffix is the file's: no two that fit differ in kind.
    return next((kind for suffix, kind in SUFFIXES.items() if name.endswith(suffix) and name != suffix), None)


def is_crawl(path: str) -> bool:
    """Whether a name is one of WARC or WET."""
    return plain_name(path).lower().endswith(CRAWLS)


def _known_kind(path: str) -> Kind:
    kind = kind_of(path)
    if kind is None and is_crawl(path):
        raise SmolfastError(
            f"{path} is a crawl; make documents of it first: {shlex.join(['smolfast', 'curate', path, '-o', 'DIR'])}"
        )
    if kind is None:
        raise SmolfastError(f"can't tell what kind of file {path} is; rename it to one of {KNOWN}")
    return kind


def _find_local(path: str) -> Sources:
    try:
        if Path(path).is_dir():
            return _of_folder(f"the folder {path}", *walk_folder(path))
        if glob.has_magic(path) and not os.path.lexists(path):
            return _of_glob(path)
        Path(path).stat()
    except SmolfastError:
        raise
    except OSError as error:
        raise SmolfastError(f"can't read {path}: {describe_os_error(error)}") from error
    except ValueError as error:  # a zero byte in the name
        raise SmolfastError(f"can't read {path!r}: {one_line(error)}; check the path") from error
    return Sources([Source(path, _known_kind(path))])


def _of_glob(pattern: str) -> Sources:
    if "**" in pattern.split("/"):
        return _of_pattern(pattern, *_below(pattern))
    files: list[str] = []
    passed: list[PassedOver] = []
    for match in sorted(glob.glob(pattern)):  # noqa: PTH207 - Path.glob changes names
        path = Path(match)
        if is_temporary(path.name):
            passed.append(PassedOver(match, UNFINISHED))
        elif path.is_dir():
            inner, others = walk_folder(match)
            files += inner
            passed += others
        elif path.is_file():
            files.append(match)
        else:
            passed.append(PassedOver(match, _BROKEN))
    return _of_pattern(pattern, files, passed)


def _below(pattern: str) -> tuple[list[str], list[PassedOver]]:
    """What matches a pattern with `**`, itself or with a folder above it. glob's own goes round loops of links."""
    parts = pattern.split("/")
    first = next(at for at, part in enumerate(parts) if glob.has_magic(part))
    root = "/".join(parts[:first]) or ("/" if pattern.startswith("/") else ".")
    inner = ["(?:[^/]+/)*" if part == "**" else _one_name(part) + "/" for part in parts[first:] if part]
    wanted = re.compile("".join(inner)) if parts[-1] != "**" else re.compile("".join(inner[:-1]))
    start = Path(root).parts if root != "." else ()

    def matches(path: str) -> bool:
        return wanted.match("/".join(Path(path).parts[len(start) :]) + "/") is not None

    if not Path(root).is_dir():
        return [], []
    files, passed = walk_folder(root)
    return [file for file in files if matches(file)], [other for other in passed if matches(other.path)]


def _one_name(part: str) -> str:
    """A glob of one name as a regular expression."""
    pieces = re.split(r"(\*|\?|\[!?\]?[^\]]*\])", part)
    known = {"*": "[^/]*", "?": "[^/]"}
    return "".join(
        known.get(piece) or (f"[{piece[1:].replace('!', '^', 1)}" if at % 2 else re.escape(piece))
        for at, piece in enumerate(pieces)
    )


def _of_pattern(pattern: str, files: Sequence[str], passed: Sequence[PassedOver]) -> Sources:
    if not files and not passed:
        raise SmolfastError(f"no file matches {pattern}; check the pattern")
    # `*.md` names files as a whole name does; `*` doesn't.
    end = re.split(r"[*?\]]", pattern)[-1]
    if kind_of(f"x{end}") is not None and all(map(kind_of, files)):
        return Sources([Source(file, _known_kind(file)) for file in dict.fromkeys(files)], passed)
    return _of_folder(f"what matches {pattern}", list(dict.fromkeys(files)), passed)


def walk_folder(folder: str) -> tuple[list[str], list[PassedOver]]:
    """Files below a folder, and what was passed over, sorted by path."""
    above = {_identity(parent) for parent in Path(folder).resolve().parents}
    seen = {_identity(Path(folder))}
    files: list[Path] = []
    passed: list[PassedOver] = []

    def fail(error: OSError) -> None:
        raise error

    for parent, subfolders, names in os.walk(folder, onerror=fail, followlinks=True):
        enter = []
        # What is no link comes first, so that a folder is read under its own name.
        subfolders[:] = [name for name in subfolders if name not in _OURS]
        for name in sorted(subfolders, key=lambda name: (Path(parent, name).is_symlink(), name)):
            path = Path(parent, name)
            reason = UNFINISHED if is_temporary(name) else _HIDDEN if name.startswith(".") else None
            if reason is None:
                identity = _identity(path)
                if identity in above:
                    reason = _LOOP
                elif identity in seen:
                    continue
                seen.add(identity)
            if reason is None:
                enter.append(name)
            else:
                passed.append(PassedOver(str(path), reason))
        subfolders[:] = enter
        for name in names:
            path = Path(parent, name)
            if is_temporary(name):
                passed.append(PassedOver(str(path), UNFINISHED))
            elif name.startswith("."):
                passed.append(PassedOver(str(path), _HIDDEN))
            elif path.is_file():
                files.append(path)
            else:
                passed.append(PassedOver(str(path), _BROKEN))
    return (
        [str(file) for file in sorted(files, key=lambda file: file.parts)],
        sorted(passed, key=lambda other: other.path),
    )


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _find_remote(url: str) -> Sources:
    filesystem, path = open_remote(url)
    try:
        filesystem.handler.fs.invalidate_cache()  # a listing of an earlier call may be old
        info = persistently(lambda: filesystem.get_file_info(path))
        if info.type == pyarrow.fs.FileType.File:
            return Sources([Source(url, _known_kind(url))])
        if info.type == pyarrow.fs.FileType.NotFound:
            if not ("*" in path or (glob.has_magic(path) and not url.startswith("http"))):
                raise FileNotFoundError(errno.ENOENT, "no such file or folder")
            handler = filesystem.handler.fs
            matches = sorted(match for match in handler.glob(path) if not handler.isdir(match))
            return _of_pattern(url, [handler.unstrip_protocol(match) for match in matches], [])
        entries = persistently(lambda: filesystem.get_file_info(pyarrow.fs.FileSelector(path, recursive=True)))
        _check_whole(filesystem.handler.fs, path, url)
    except SmolfastError:
        raise
    except OSError as error:
        raise SmolfastError(f"can't read {url}: {describe_os_error(error)}") from error
    except Exception as error:  # backends raise errors of their own, of no common type
        raise SmolfastError(f"can't read {url}: {type(error).__name__}: {one_line(error)}") from error
    root = PurePosixPath(path)
    files: list[tuple[str, ...]] = []
    passed: dict[tuple[str, ...], str] = {}
    for entry in entries:
        parts = PurePosixPath(entry.path).relative_to(root).parts
        hidden = next((at for at, part in enumerate(parts) if part.startswith(".")), None)
        unfinished = next((at for at, part in enumerate(parts) if is_temporary(part)), None)
        if unfinished is not None:
            passed[parts[: unfinished + 1]] = UNFINISHED
        elif hidden is not None:
            passed[parts[: hidden + 1]] = _HIDDEN
        elif entry.is_file:
            files.append(parts)

    def whole(parts: tuple[str, ...]) -> str:
        return f"{url.rstrip('/')}/{'/'.join(parts)}"

    others = [PassedOver(whole(parts), reason) for parts, reason in sorted(passed.items())]
    return _of_folder(f"the folder {url}", [whole(parts) for parts in sorted(files)], others)


def _check_whole(filesystem: Any, path: str, url: str) -> None:
    """Refuse a folder of a store that another command is writing, or was when it was stopped."""
    try:
        record = json.loads(persistently(lambda: filesystem.cat_file(f"{path.rstrip('/')}/{STORE_RECORD}")))
        whole = bool(record["whole"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return
    if not whole:
        raise SmolfastError(f"{url} isn't whole: a command writes it; wait for it, or run that command again")


def _of_folder(where: str, paths: Sequence[str], passed: Sequence[PassedOver]) -> Sources:
    """What of these files are documents."""
    passed = list(passed)
    known = set(paths)
    kinds: dict[str, Kind] = {}
    for path in paths:
        kind = kind_of(path)
        if kind is None:
            passed.append(PassedOver(path, _CRAWL if is_crawl(path) else UNKNOWN))
        elif PurePosixPath(path).name in _ABOUT_DATA or _is_removed(path, known):
            passed.append(PassedOver(path, _ABOUT))
        elif path.lower().endswith(".json") and not _has_rows(path):
            passed.append(PassedOver(path, _NO_ROWS))
        else:
            kinds[path] = kind
    # Parquet, Arrow and JSON lines are made to hold documents. CSV and plain JSON are as often about them, as
    # metadata.csv or package.json.
    # So are files of a crawl, whoever reads them.
    data = [path for path, kind in kinds.items() if _is_sure(path, kind)]
    data += [other.path for other in passed if other.reason == _CRAWL]
    sure = {folder for path in data for folder in PurePosixPath(path).parents}
    table = {folder for path, kind in kinds.items() if kind != "text" for folder in PurePosixPath(path).parents}
    prose = {PurePosixPath(path).parent for path, kind in kinds.items() if kind == "text" and not _is_about(path)}
    sources = []
    for path, kind in kinds.items():
        parents = PurePosixPath(path).parents
        beside = parents[0] in sure and (_is_about(path) or not _is_prose(path))
        if kind == "text" and (beside or (_is_about(path) and parents[0] in table - prose)):
            passed.append(PassedOver(path, _BESIDE))
        elif kind != "text" and not _is_sure(path, kind) and any(folder in prose - sure for folder in parents):
            passed.append(PassedOver(path, _TABLE))
        else:
            sources.append(Source(path, kind))
    if not sources:
        others = f" (passed over: {describe(passed)})" if passed else ""
        raise SmolfastError(f"{where} holds no file that ends in one of {KNOWN}{others}; check the path")
    return Sources(sources, passed)


def _is_sure(path: str, kind: Kind) -> bool:
    return kind in ("parquet", "arrow", "jsonl") or (kind == "json" and not path.lower().endswith(".json"))


def _is_prose(path: str) -> bool:
    return PurePosixPath(path).name.lower().endswith(tuple(f".txt{packed}" for packed in _COMPRESSIONS))


def _is_removed(path: str, paths: Collection[str]) -> bool:
    """Whether a file says which documents went: `deduplicate`'s removed.parquet, `curate_files`' folder removed."""
    place = PurePosixPath(path)
    if place.name == "removed.parquet":
        return path[: -len(place.name)] + "dedup.json" in paths
    inner = f"removed/{place.name}"
    if not path.endswith(f"/{inner}"):
        return False
    return any(path[: -len(inner)] + manifest in paths for manifest in ("curate.json", "pdf.json"))


def _is_about(path: str) -> bool:
    return bool(_ABOUT_NAME.match(PurePosixPath(path).name))


def _has_rows(path: str) -> bool:
    """Whether a .json file starts as a list of objects, or with a line that is an object: settings seldom do."""
    try:
        with open_source(path) as stream:
            head = stream.read(1 << 16)
    except (OSError, pa.ArrowException):
        return True  # reading it will say what is wrong
    if head[:1] in (b"\xff", b"\xfe", b"\0"):  # the mark of UTF-16 or UTF-32
        return True
    start = head.decode("utf-8-sig", "replace").lstrip()
    if not start.startswith("{"):
        return start.startswith("[") and start[1:].lstrip()[:1] in ("{", "")
    line = start.split("\n", 1)[0]
    if len(line) == len(start) == 1 << 16:  # a line longer than what was read
        return True
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return len(start) < 2 or len(line) > 1 << 12
    return True


def find_by_name(
    inputs: Sequence[str | os.PathLike[str]], kind: Kind, wanted: Callable[[str], bool], endings: Sequence[str]
) -> Sources:
    """List the files of one kind that `inputs` name: files, folders, patterns, and URLs of files.

    A file that is named is read whatever its name; below a folder and among what a pattern matches `wanted` decides.

    Raises:
        SmolfastError: nothing given, a missing path, nothing found (names the `endings` that were looked for).
    """
    if not inputs:
        raise SmolfastError("no input given; name at least one file, folder or URL")
    found: dict[str, Source] = {}
    passed: dict[str, PassedOver] = {}
    for given in inputs:
        files, others, chosen = _all_of_one(os.fspath(given))
        if chosen:
            others = [*others, *(PassedOver(file, UNKNOWN) for file in files if not wanted(file))]
            files = [file for file in files if wanted(file)]
        found |= {file: Source(file, kind) for file in files if file not in found}
        passed |= {other.path: other for other in others}
    if not found:
        where = ", ".join(os.fspath(given) for given in inputs[:3])
        raise SmolfastError(f"{where} holds no file that ends in one of {', '.join(endings)}; check the path")
    return Sources(found.values(), [other for other in passed.values() if other.path not in found])


def _all_of_one(path: str) -> tuple[list[str], list[PassedOver], bool]:
    """Files that a path names, what isn't read, and whether names decide among the files."""
    if is_url(path):
        files, chosen = _all_of_url(path)
        return files, [], chosen
    try:
        if Path(path).is_dir():
            files, others = walk_folder(path)
            return files, others, True
        if glob.has_magic(path) and not os.path.lexists(path):
            matches = [
                match
                for match in sorted(glob.glob(path, recursive=True))  # noqa: PTH207 - Path.glob changes names
                if not Path(match).is_dir()
            ]
            others = [PassedOver(match, UNFINISHED) for match in matches if is_temporary(Path(match).name)]
            others += [PassedOver(match, _BROKEN) for match in matches if not Path(match).is_file()]
            left = {other.path for other in others}
            return [match for match in matches if match not in left], others, True
        if not stat.S_ISREG(Path(path).stat().st_mode):
            raise SmolfastError(f"can't read {path}: it is a pipe or a device; give a file")
    except OSError as error:
        raise SmolfastError(f"can't read {path}: {describe_os_error(error)}") from error
    except ValueError as error:  # a zero byte in the name
        raise SmolfastError(f"can't read {path!r}: {error}; check the path") from error
    return [path], [], False


def _all_of_url(url: str) -> tuple[list[str], bool]:
    if not glob.has_magic(plain_name(url)):
        return [url], False
    filesystem, path = open_remote(url)
    handler = filesystem.handler.fs
    try:
        return [handler.unstrip_protocol(match) for match in sorted(handler.glob(path))], True
    except OSError as error:
        raise SmolfastError(f"can't read {url}: {describe_os_error(error)}") from error


def open_remote(url: str) -> tuple[pyarrow.fs.FileSystem, str]:
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
    if is_url(path):
        filesystem, inner = open_remote(path)
        if not path.startswith(("http://", "https://")):  # which need neither tell sizes nor give parts
            size = persistently(lambda: filesystem.get_file_info(inner).size)
            if size is not None:
                return pa.PythonFile(StoreFile(filesystem.handler.fs, inner, size), "r")
        return filesystem.open_input_file(inner)
    return pa.OSFile(os.fsencode(path), "rb")  # bytes, since names need not be UTF-8


def document_id(path: str) -> str:
    """A path as text: bytes of a file name that aren't UTF-8 become U+FFFD."""
    return os.fsencode(path).decode("utf-8", "replace")


def one_line(error: BaseException) -> str:
    """An error's message with its line breaks taken out."""
    return " ".join(str(error).split())
