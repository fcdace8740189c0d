"""The output folder: whose its files are, what a new run may replace, and how finished work comes to its place.

`curate.json` names every file that a run wrote, with its fingerprint. While a run works, its own record lies in the
work folder, and says what the files in place were. So whatever moment a kill comes at, each file is known by one of
the two, and a file that neither knows is never replaced.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import xxhash

from smolfast.curate.files.journal import JOURNAL
from smolfast.errors import SmolfastError
from smolfast.files import (
    describe_os_error,
    fingerprint,
    is_temporary,
    names_below,
    naming,
    read_json,
    remove,
    remove_names,
    write_json,
)

KEPT = "kept"
REMOVED = "removed"
MANIFEST = "curate.json"
WORK = ".work"
OUTPUTS = (KEPT, REMOVED, MANIFEST, WORK)


class OutputFolder:
    """One folder that runs write into, one at a time."""

    def __init__(self, path: Path, manifest: str = MANIFEST) -> None:
        """`manifest` is the name of the file that names the others.

        Raises:
            SmolfastError: there is a record that isn't one of ours.
        """
        self.path = path
        self.manifest = manifest
        self.work = path / WORK
        self.found = _record(path / manifest)
        self.begun = _record(self.work / manifest)

    def result(
        self, made_from: Mapping[str, Any], run: Callable[[Path], Mapping[str, Any]], *, overwrite: bool
    ) -> dict[str, Any]:
        """The manifest of what is made from that: found in place, or of `run`, which writes into the work folder.

        `run` gives what the manifest says of the result. It goes on from what it left there when it was stopped.
        """
        key = xxhash.xxh3_128_hexdigest(repr(made_from).encode())
        found = self.finished(key)
        if found is None:
            self.check(key, overwrite=overwrite)
            self.begin(key)
            if not self.is_complete:
                if self.begun is not None and self.begun["outputs"]:
                    self.restart()
                self.complete({"key": key, **made_from, **run(self.work)})
            found = self.install()
        return found

    def finished(self, key: str) -> dict[str, Any] | None:
        """The manifest of a run with that key whose files all stand as it made them."""
        if self.found is None or self.found["key"] != key or self._altered(self.found["outputs"]):
            return None
        begun_by = None if self.begun is None else self.begun["key"]
        if begun_by == key or (begun_by is None and _is_left_over(self.work)):  # from a kill after the last rename
            self.clear()
        return self.found

    def check(self, key: str, *, overwrite: bool) -> None:
        """Refuse to replace what no record knows of, or, unless asked to, the result of another run."""
        goes_on = self.begun is not None and self.begun["key"] == key
        standing = self._standing()
        if not overwrite and (standing or self.found is not None) and not (goes_on and self.found is None):
            if self.found is None or self.found["key"] != key:
                raise SmolfastError(
                    f"{self.path} holds the result of other input or settings; choose another output or add --overwrite"
                )
            if altered := [name for name in self._altered(self.found["outputs"]) if name in standing]:
                raise SmolfastError(
                    f"{self.path / min(altered)} was altered since it was made; choose another output, or add "
                    "--overwrite to make it again"
                )

    def _standing(self) -> dict[str, str]:
        """The files in place and their fingerprints, as recorded; those of an unknown one are an error."""
        standing = {}
        for folder in (KEPT, REMOVED):
            path = self.path / folder
            if not os.path.lexists(path):
                continue
            if path.is_symlink() or not path.is_dir():
                raise _foreign(path)
            for name in sorted(f"{folder}/{below}" for below in names_below(path)):
                if not is_temporary(name):
                    standing[name] = self._known(name)
        if self.begun is None and os.path.lexists(self.work) and not _is_left_over(self.work):
            raise SmolfastError(f"{self.work} exists, and smolfast didn't make it; choose another output, or move it")
        return standing

    def _known(self, name: str) -> str:
        if self.found is not None:
            if name in self.found["outputs"]:
                return str(self.found["outputs"][name])
        elif self.begun is not None:  # a run was killed between the renames
            made = fingerprint(self.path / name)
            if made in (self.begun["outputs"].get(name), self.begun["replaces"].get(name)):
                return made
        raise _foreign(self.path / name)

    def begin(self, key: str) -> None:
        """Make the work folder this run's, unless it is already: what it finished then stays."""
        if self.begun is not None and self.begun["key"] == key:
            return
        replaces = self._standing()
        self._empty()
        self.begun = {"key": key, "outputs": {}, "replaces": replaces}
        write_json(self.work / self.manifest, self.begun)

    @property
    def is_complete(self) -> bool:
        """Whether all of the begun run's files are made, and only have to come to their place."""
        if self.begun is None or not self.begun["outputs"]:
            return False
        return not [
            name
            for name, made in self.begun["outputs"].items()
            if not (self.work / name).is_file() and not _is_as_made(self.path / name, made)
        ]

    def complete(self, manifest: Mapping[str, Any]) -> None:
        """Record that all files are made, and what the manifest will say."""
        assert self.begun is not None
        self.begun = {**manifest, "replaces": self.begun["replaces"]}
        write_json(self.work / self.manifest, self.begun)

    def restart(self) -> None:
        """Forget what the begun run finished: some of it is lost."""
        assert self.begun is not None
        self._empty()
        self.begun = {"key": self.begun["key"], "outputs": {}, "replaces": self.begun["replaces"]}
        write_json(self.work / self.manifest, self.begun)

    def install(self) -> dict[str, Any]:
        """Put the files in place, the manifest last: without it, a kill on the way only means going on."""
        assert self.begun is not None
        manifest = {name: value for name, value in self.begun.items() if name != "replaces"}
        try:
            (self.path / self.manifest).unlink(missing_ok=True)
            old = self.begun["replaces"].keys() - manifest["outputs"].keys()
            remove_names(self.path, {name for name in old if (self.path / name).is_file()})
            for name in manifest["outputs"]:
                if (self.work / name).exists():
                    (self.path / name).parent.mkdir(parents=True, exist_ok=True)
                    (self.work / name).replace(self.path / name)
        except OSError as error:
            raise SmolfastError(f"can't write {self.path}: {describe_os_error(error)}") from error
        write_json(self.path / self.manifest, manifest)
        self.clear()
        return manifest

    def _altered(self, outputs: Mapping[str, str]) -> list[str]:
        return [name for name, made in outputs.items() if not _is_as_made(self.path / name, made)]

    def _empty(self) -> None:
        """Remove all but the record, which says whose it is; the journal first, since it says what is whole."""
        try:
            if not self.work.is_dir() or self.work.is_symlink():
                remove(self.work)
                return
            (self.work / JOURNAL).unlink(missing_ok=True)
            for path in self.work.iterdir():
                if path.name != self.manifest:
                    remove(path)
        except OSError as error:
            raise SmolfastError(f"can't remove {self.work}: {describe_os_error(error)}") from error

    def clear(self) -> None:
        """Remove the work folder."""
        self._empty()
        try:
            remove(self.work)
        except OSError as error:
            raise SmolfastError(f"can't remove {self.work}: {describe_os_error(error)}") from error


def read_manifest(output: Path) -> dict[str, Any]:
    """What `curate.json` says of a finished run.

    Raises:
        SmolfastError: there is none, or it is damaged.
    """
    found = _record(output / MANIFEST)
    if found is None or not found["outputs"]:
        raise SmolfastError(f"{output} holds no {MANIFEST}; give the output folder of smolfast curate")
    return found


def _record(path: Path) -> dict[str, Any] | None:
    """What a manifest says; None if there is none, an error if the file isn't one of ours."""
    if not os.path.lexists(path):
        return None
    with naming(path, "choose another output, or move that file"):
        found = dict(read_json(path))
        return {
            **found,
            "key": str(found["key"]),
            "outputs": dict(found["outputs"]),
            "replaces": dict(found.get("replaces", {})),
        }


def _foreign(path: Path) -> SmolfastError:
    return SmolfastError(
        f"{path} exists, and smolfast has no record of having written it; choose another output, or move it"
    )


def _is_as_made(path: Path, made: str) -> bool:
    return path.is_file() and fingerprint(path) == made


def _is_left_over(work: Path) -> bool:
    """Whether there is a work folder that a kill left before it had a record, or after."""
    return not work.is_symlink() and work.is_dir() and all(is_temporary(name) for name in names_below(work))
