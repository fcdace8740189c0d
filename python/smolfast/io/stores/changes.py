"""Whether an input is what it was: a local file by its bytes, one of a store by what the store says of it."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import xxhash

from smolfast.errors import SmolfastError
from smolfast.files import describe_os_error, fingerprint
from smolfast.io.sources import document_id, is_url, one_line, open_remote
from smolfast.io.stores.retries import persistently

Answer = TypeVar("Answer")
# What fsspec's backends call a tag, a checksum, a version or a time of change.
_TELLING = {
    *("etag", "content-md5", "content_md5", "digest", "md5hash", "md5", "crc32c", "sha", "sha256", "xet_hash"),
    *("generation", "versionid", "version_id", "blob_id"),
    *("lastmodified", "last_modified", "last-modified", "mtime", "modified", "updated", "created"),
}
_ASKED_AT_ONCE = 16


def stat_source(path: str) -> tuple[int, int]:
    """Size in bytes and time of change in nanoseconds of a local path.

    Of a URL, the second is a number that changes with its tag, checksum, version or time. Each is 0 where the backend
    doesn't tell.

    Raises:
        SmolfastError: the file can't be reached.
    """
    try:
        if not is_url(path):
            status = Path(path).stat()
            return status.st_size, status.st_mtime_ns
    except OSError as error:
        raise SmolfastError(f"can't read {path}: {describe_os_error(error)}") from error
    return _told(_asked(path, lambda filesystem, inner: filesystem.info(inner)))


def stat_all(url: str) -> list[tuple[str, int, int]]:
    """Name, and what `stat_source` gives, of every file that a URL names: itself, a folder's files, a pattern's.

    Raises:
        SmolfastError: the store can't be reached.
    """

    def listed(filesystem: Any, inner: str) -> dict[str, dict[str, Any]]:
        filesystem.invalidate_cache()
        if glob.has_magic(inner):
            found = filesystem.glob(inner, detail=True)
        elif (info := filesystem.info(inner))["type"] == "file":
            return {inner: info}
        else:
            found = filesystem.find(inner, detail=True)
        return {name: info for name, info in found.items() if info["type"] == "file"}

    return [(name, *_told(info)) for name, info in sorted(_asked(url, listed).items())]


def describe_inputs(paths: Iterable[str]) -> list[dict[str, str]]:
    """What a manifest says of the files that went in: each one's name, and a text that changes when its content does.

    That is the fingerprint of a local file. Of a URL, it is the address with its size and its store's mark. Where a
    store tells neither, a change can't be seen.

    Raises:
        SmolfastError: a file can't be reached.
    """
    names = list(paths)
    urls = [name for name in names if is_url(name)]
    with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:  # starts no thread where there is nothing to ask
        told = dict(zip(urls, pool.map(stat_source, urls), strict=True))
    marks = [" ".join((name, *map(str, told[name]))) if name in told else fingerprint(name) for name in names]
    return [{"path": document_id(name), "xxh3_128": mark} for name, mark in zip(names, marks, strict=True)]


def _asked(url: str, ask: Callable[[Any, str], Answer]) -> Answer:
    filesystem, inner = open_remote(url)
    try:
        return persistently(lambda: ask(filesystem.handler.fs, inner))
    except OSError as error:
        raise SmolfastError(f"can't read {url}: {describe_os_error(error)}") from error
    except Exception as error:  # backends raise errors of their own, of no common type
        raise SmolfastError(f"can't read {url}: {type(error).__name__}: {one_line(error)}") from error


def _told(info: dict[str, Any]) -> tuple[int, int]:
    said = {key.lower(): str(value) for key, value in info.items() if key.lower() in _TELLING and value is not None}
    version = xxhash.xxh3_64_intdigest(repr(sorted(said.items())).encode()) >> 1 if said else 0
    return int(info.get("size") or 0), version
