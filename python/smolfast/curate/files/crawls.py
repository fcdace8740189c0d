"""Find the files of a crawl that the user named: WARC and WET, in folders and by patterns too."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from smolfast.errors import SmolfastError
from smolfast.files import describe_os_error, is_temporary
from smolfast.io.keep_apart import leave_out
from smolfast.io.sources import (
    CRAWLS,
    UNFINISHED,
    UNKNOWN,
    PassedOver,
    Source,
    Sources,
    find_sources,
    is_crawl,
    is_url,
    open_remote,
    plain_name,
    walk_folder,
)

PathLike = str | os.PathLike[str]


def find_crawls(inputs: Sequence[PathLike]) -> Sources:
    """List the WARC and WET files that `inputs` name: files, folders, patterns, and URLs of files.

    A file that is named is read whatever its name; below a folder and among what a pattern matches the name decides.

    Raises:
        SmolfastError: nothing given, a missing path, nothing found.
    """
    if not inputs:
        raise SmolfastError("no input given; name at least one file, folder or URL")
    found: dict[str, Source] = {}
    passed: dict[str, PassedOver] = {}
    for given in inputs:
        files, others = _of_one(os.fspath(given))
        found |= {file: Source(file, "crawl") for file in files if file not in found}
        passed |= {other.path: other for other in others}
    if not found:
        where = ", ".join(os.fspath(given) for given in inputs[:3])
        raise SmolfastError(f"{where} holds no file that ends in one of {', '.join(CRAWLS)}; check the path")
    return Sources(found.values(), [other for other in passed.values() if other.path not in found])


def holds_crawls(inputs: Sequence[PathLike], *outputs: PathLike) -> bool:
    """Whether these inputs are of a crawl and not of documents; what can't be found is left to who reads it.

    What lies in `outputs` counts as neither: an earlier run wrote it.

    Raises:
        SmolfastError: both.
    """
    try:
        crawls = any(is_crawl(source.path) for source in find_crawls(inputs))
    except SmolfastError:
        return False
    if not crawls:
        return False
    for given in inputs:
        if is_crawl(os.fspath(given)):
            continue
        try:
            documents = find_sources([given])
        except SmolfastError:  # it holds none
            continue
        for output in outputs:
            documents, _ = leave_out(documents, output)
        if documents:
            raise SmolfastError(
                f"{documents[0].path} holds documents, and other input is a crawl; give one of them, by name or by a "
                "pattern such as 'FOLDER/*.warc.gz'"
            )
    return True


def _of_one(path: str) -> tuple[list[str], list[PassedOver]]:
    if is_url(path):
        return _of_url(path), []
    try:
        if Path(path).is_dir():
            return _by_name(*walk_folder(path))
        if glob.has_magic(path) and not os.path.lexists(path):
            files: list[str] = []
            others: list[PassedOver] = []
            for match in sorted(glob.glob(path, recursive=True)):  # noqa: PTH207 - Path.glob changes names
                if Path(match).is_dir():
                    continue
                if is_temporary(Path(match).name):
                    others.append(PassedOver(match, UNFINISHED))
                else:
                    files.append(match)
            return _by_name(files, others)
        Path(path).stat()
    except OSError as error:
        raise SmolfastError(f"can't read {path}: {describe_os_error(error)}") from error
    except ValueError as error:  # a zero byte in the name
        raise SmolfastError(f"can't read {path!r}: {error}; check the path") from error
    return [path], []


def _by_name(files: Sequence[str], passed: Sequence[PassedOver]) -> tuple[list[str], list[PassedOver]]:
    unknown = [PassedOver(file, UNKNOWN) for file in files if not is_crawl(file)]
    return [file for file in files if is_crawl(file)], [*passed, *unknown]


def _of_url(url: str) -> list[str]:
    if not glob.has_magic(plain_name(url)):
        return [url]
    filesystem, path = open_remote(url)
    handler = filesystem.handler.fs
    try:
        return [handler.unstrip_protocol(match) for match in sorted(handler.glob(path)) if is_crawl(match)]
    except OSError as error:
        raise SmolfastError(f"can't read {url}: {describe_os_error(error)}") from error
