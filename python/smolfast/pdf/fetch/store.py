"""Fetched files, and what their hosts said of them: so that a file that is still the same isn't sent again."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import xxhash

from smolfast.errors import SmolfastError
from smolfast.files import atomic_path, describe_os_error, fingerprint, is_temporary, remove, write_json
from smolfast.pdf.fetch.outcome import FETCHED, Outcome

_ASKS = {"etag": "If-None-Match", "last_modified": "If-Modified-Since"}


class Store:
    """A folder with two files for each address: its bytes, and what is known of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for left_over in folder.iterdir():
                if is_temporary(left_over.name):  # of a run that was killed
                    remove(left_over)
        except OSError as error:
            raise SmolfastError(f"can't write {folder}: {describe_os_error(error)}") from error

    def path(self, outcome: Outcome) -> Path:
        """The file of an outcome."""
        return self.folder / outcome.file

    def is_there(self, outcome: Outcome) -> bool:
        """Whether the file of an outcome, if it has one, is whole."""
        if outcome.reason != FETCHED:
            return True
        path = self.path(outcome)
        return path.is_file() and path.stat().st_size == outcome.size and fingerprint(path) == outcome.hash

    def known(self, url: str) -> tuple[Outcome, dict[str, str]] | None:
        """The file of an address, and the headers that ask whether it is still the same."""
        try:
            said: Any = json.loads(self._about(url).read_text())
            outcome = Outcome(FETCHED, _name(url), int(said["size"]), str(said["xxh3_128"]))
            headers = {header: str(said[name]) for name, header in _ASKS.items() if said[name]}
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return (outcome, headers) if headers and said["url"] == url and self.is_there(outcome) else None

    @contextlib.contextmanager
    def writing(self, url: str) -> Iterator[BinaryIO]:
        """A file to write an address's bytes into, in its place once they are whole."""
        try:
            with atomic_path(self.folder / _name(url)) as path:
                with path.open("wb") as file:
                    yield file
                self._about(url).unlink(missing_ok=True)  # it tells of the bytes that go now
        except OSError as error:
            raise SmolfastError(f"can't write {self.folder}: {describe_os_error(error)}") from error

    def finish(self, url: str, final: str, size: int, made: str, etag: str, last_modified: str) -> Outcome:
        """Say what is known of a file that was written."""
        said = {
            "url": url,
            "came_from": final,
            "size": size,
            "xxh3_128": made,
            "etag": etag,
            "last_modified": last_modified,
        }
        write_json(self._about(url), said)
        return Outcome(FETCHED, _name(url), size, made)

    def _about(self, url: str) -> Path:
        return self.folder / f"{_name(url)}.json"


def _name(url: str) -> str:
    return xxhash.xxh3_128_hexdigest(os.fsencode(url)) + ".pdf"
