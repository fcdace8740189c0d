"""URLs of stores as places to write, and what can be asked of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from smolfast.errors import SmolfastError
from smolfast.io.sources import STORE_RECORD, is_url, one_line, open_remote
from smolfast.io.stores.retries import Result, persistently

RECORD = STORE_RECORD
"""Of a file NAME it is `.NAME` and this, beside it."""


class StoreUrl(str):
    """A URL that is written to."""

    __slots__ = ()


def place(text: str) -> Path | StoreUrl:
    """Where a command writes: a path, which `file://` is too, or a URL.

    Raises:
        SmolfastError: a URL that nothing can be written to.
    """
    if not is_url(text):
        return Path(text)
    parts = urlsplit(text)
    if parts.scheme in ("file", "local"):
        return Path(unquote(parts.path))
    if parts.scheme in ("http", "https"):
        raise SmolfastError(f"{text}: nothing can be written to a web address; give a folder, or a URL such as s3://…")
    if not (parts.netloc + parts.path).strip("/"):
        raise SmolfastError(f"{text} names no place in the store; add a name behind it")
    return StoreUrl(text.rstrip("/"))


class Place:
    """A file or folder of a store. Each call is tried again after a fault (`retries`)."""

    def __init__(self, url: str) -> None:
        self.url = url
        filesystem, path = open_remote(url)
        self._fs: Any = filesystem.handler.fs
        self.path = path.rstrip("/")

    @property
    def parent(self) -> str:
        """The folder that it lies in."""
        return self.path.rpartition("/")[0]

    @property
    def name(self) -> str:
        """Its last word."""
        return self.path.rpartition("/")[2]

    def size(self, path: str) -> int | None:
        """Bytes of a file; None if there is none."""

        def once() -> int | None:
            self._fs.invalidate_cache()
            try:
                info = self._fs.info(path)
            except FileNotFoundError:
                return None
            return int(info["size"]) if info["type"] == "file" else None

        return self._asked(once)

    def standing(self) -> list[str]:
        """The files that stand there: below it, or itself (as "")."""

        def once() -> list[str]:
            self._fs.invalidate_cache()
            try:
                found = self._fs.find(self.path)
            except FileNotFoundError:
                return []
            names = (str(name).removeprefix("/") for name in found)
            return sorted(name.removeprefix(self.path.removeprefix("/")).removeprefix("/") for name in names)

        return self._asked(once)

    def read(self, path: str) -> bytes | None:
        """A small file; None if there is none."""

        def once() -> bytes | None:
            try:
                return bytes(self._fs.cat_file(path))
            except (FileNotFoundError, IsADirectoryError):
                return None

        return self._asked(once)

    def write(self, path: str, content: bytes) -> None:
        """Write a small file."""
        self._asked(lambda: self._fs.pipe_file(path, content))

    def put(self, local: Path, path: str) -> None:
        """Upload a file: in parts where it is large, and there only once all of it is."""

        def once() -> None:
            self._fs.put_file(str(local), path)
            self._fs.invalidate_cache()
            found = int(self._fs.info(path)["size"])
            if found != local.stat().st_size:
                raise OSError(f"{path} has {found} bytes of {local.stat().st_size}")

        self._asked(once)

    def delete(self, path: str) -> None:
        """Delete a file, if it is there."""

        def once() -> None:
            try:
                self._fs.rm_file(path)
            except FileNotFoundError:
                return

        self._asked(once)

    def _asked(self, once: Callable[[], Result]) -> Result:
        try:
            return persistently(once)
        except SmolfastError:
            raise
        except PermissionError as error:
            raise SmolfastError(
                f"{self.url}: the store refuses access ({one_line(error)}); check the credentials that fsspec finds, "
                "and the bucket's rules"
            ) from error
        except Exception as error:  # backends raise errors of their own, of no common type
            raise SmolfastError(
                f"{self.url}: the store gave up ({type(error).__name__}: {one_line(error)}); check it and the network, "
                "then run the same command again"
            ) from error


def normal(url: str) -> str:
    """A URL such that one that lies in another begins with it and a slash."""
    scheme, _, rest = url.partition("://")
    return f"{ {'s3a': 's3', 'gcs': 'gs'}.get(scheme, scheme) }://{'/'.join(part for part in rest.split('/') if part)}"


def check_record(found: Mapping[str, Any], url: str) -> dict[str, Any]:
    """A record as it was written.

    Raises:
        SmolfastError: it is damaged.
    """
    try:
        return {
            "key": str(found["key"]),
            "whole": bool(found["whole"]),
            "files": {str(name): int(size) for name, size in found["files"].items()},
            "replaces": [str(name) for name in found["replaces"]],
            "result": found["result"],
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SmolfastError(f"the record of {url} is damaged; delete it, or choose another output") from error
