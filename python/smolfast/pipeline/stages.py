"""The stage engine: skips what is finished and unchanged, leaves whole outputs or none, resumes what was killed.

A stage is a function from input files to one output file or folder. Its key is a hash of its name, its parameters,
the version of smolfast and the contents of its inputs; its manifest records the key and the hash of what came out.
Equal key and intact output: nothing to do. The manifest also lists the files that the stage wrote: these alone are ever
replaced or removed.
"""

from __future__ import annotations

import contextlib
import datetime
import fnmatch
import json
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import xxhash

from smolfast import __version__
from smolfast.errors import SmolfastError
from smolfast.files import (
    atomic_path,
    check_path,
    check_room,
    describe_os_error,
    fingerprint,
    fingerprint_files,
    is_plain_name,
    is_temporary,
    names_below,
    naming,
    read_json,
    recover,
    remove_names,
    write_json,
)
from smolfast.io.keep_apart import check_apart
from smolfast.io.locks import hold
from smolfast.progress import Console, ProgressCallback, describe_end

Work = Callable[[Path, ProgressCallback], Mapping[str, Any]]
"""Writes the given path (a file or a folder) and returns a summary for the manifest."""


@dataclass(frozen=True)
class Stage:
    """One step of a pipeline."""

    name: str
    inputs: Mapping[str, Path]
    output: Path
    parameters: Mapping[str, Any]
    work: Work
    resumable: bool = False
    """The work writes `output` itself, bit by bit, and goes on from what it finds there."""
    manifest: str = ""
    """The manifest's file name without suffix; the stage's name when empty."""
    writes: Sequence[str] = ("*",)
    """Of a resumable stage: what it writes in its folder, as patterns of `fnmatch` (a star goes through folders)."""
    reads: Sequence[str] = ()
    """Where its text comes from, if not from its inputs alone: for people who ask later."""


@dataclass(frozen=True)
class Outlook:
    """What `Runner.run` would do with a stage now.

    Attributes:
        action: "skip"; "run"; or "go on" with what an interrupted run of the same stage left.
        reasons: why it isn't skipped, one or more: what changed, old → new.
        summary: of the last whole run, if there was one.
        seconds: how long that took, and peak_rss_bytes what it took of memory.
    """

    action: Literal["skip", "run", "go on"]
    reasons: Sequence[str] = ()
    summary: Mapping[str, Any] | None = None
    seconds: float | None = None
    peak_rss_bytes: int | None = None


class Runner:
    """Runs stages in order, with manifests in one folder.

    Args:
        manifests: the folder for `<stage>.json`.
        console: where progress goes.
        on_change: what to do when the output stands but was made from other inputs or settings: "redo" replaces it,
            "refuse" raises. Either replaces nothing but what a manifest says that a stage wrote, and leaves alone what
            else lies in a folder.
        own_folder: the outputs lie in a folder of this run alone: folders there may hold other files from the start.
        notes: what each manifest says beside what the stage is, such as the versions that ran it. Never compared.
        known: fingerprints of paths that are known to be unchanged.
    """

    def __init__(
        self,
        manifests: Path,
        console: Console,
        on_change: Literal["redo", "refuse"] = "redo",
        *,
        own_folder: bool = False,
        notes: Mapping[str, Any] | None = None,
        known: Mapping[Path, str] | None = None,
    ) -> None:
        self._manifests = manifests
        self._notes = dict(notes or {})
        self._console = console
        self._on_change = on_change
        self._own_folder = own_folder
        self._known: dict[Path, str] = dict(known or {})

    @property
    def known(self) -> dict[Path, str]:
        """Fingerprints of the paths that were looked at."""
        return dict(self._known)

    def forget(self, output: Path) -> None:
        """Another process has made this output: what is known of it, and of what lies in it, holds no more."""
        self._known = {path: found for path, found in self._known.items() if output not in (path, *path.parents)}

    def look(self, stage: Stage, *, inputs: bool = True) -> Outlook:
        """What `run` would do; writes nothing.

        Args:
            inputs: whether they are looked at too; False where other stages are about to make them.

        Raises:
            SmolfastError: an input is missing, or a manifest can't be read.
        """
        stage = replace(stage, output=check_path(stage.output))
        if inputs:
            _check_inputs(stage)
        manifest_path, started_path = self._records(stage)
        manifest, started = _read_manifest(manifest_path), _read_started(started_path)
        if not inputs and manifest is not None:
            stage = replace(stage, inputs={})
            manifest = {**manifest, "inputs": {}}
            manifest["key"] = manifest["key"] if self._changes(stage, manifest) else self._key(stage)
        key = self._key(stage) if inputs or manifest is not None else ""
        found: dict[str, Any] = {}
        if manifest is not None:
            found = {name: manifest[name] for name in ("summary", "seconds", "peak_rss_bytes")}
        whole = manifest is not None and self._is_as_made(stage, manifest)
        if manifest is not None and manifest["key"] == key and whole:
            return Outlook("skip", **found)
        if started is not None and started["key"] == key and stage.resumable and os.path.lexists(stage.output):
            return Outlook("go on", ["it was interrupted"], **found)
        if manifest is None:
            return Outlook("run", ["it was interrupted" if started is not None else "not made yet"])
        if manifest["key"] != key:
            return Outlook("run", self._changes(stage, manifest) or ["its record is of another stage"], **found)
        how = "was altered since it was made" if os.path.lexists(stage.output) else "is gone"
        return Outlook("run", [f"{stage.output.name} {how}"], **found)

    @staticmethod
    def _is_as_made(stage: Stage, manifest: Mapping[str, Any]) -> bool:
        output = manifest["output"]
        return os.path.lexists(stage.output) and _fingerprint_of(stage.output, output["files"]) == output["xxh3_128"]

    def _records(self, stage: Stage) -> tuple[Path, Path]:
        name = stage.manifest or stage.name
        return self._manifests / f"{name}.json", self._manifests / f"{name}.started.json"

    def _changes(self, stage: Stage, manifest: Mapping[str, Any]) -> list[str]:
        """What differs from the run that a manifest tells of."""
        changes = differences(manifest["parameters"], json.loads(json.dumps(dict(stage.parameters), default=str)))
        inputs = {name: self._fingerprint(path, stage.output) for name, path in stage.inputs.items()}
        before = manifest["inputs"]
        for name in sorted({*before, *inputs}):
            if before.get(name) != inputs.get(name):
                what = "new input" if name not in before else "no longer input" if name not in inputs else "changed"
                changes.append(f"{name} {what}" if what == "changed" else f"{what} {name}")
        if manifest["smolfast"] != __version__:
            changes.append(f"smolfast {manifest['smolfast']} → {__version__}")
        return changes

    def run(self, stage: Stage, watch: ProgressCallback | None = None) -> dict[str, Any]:
        """Run the stage unless it is finished and unchanged; return its summary.

        Args:
            watch: is told of progress too.

        Raises:
            SmolfastError: an input is missing, the output stands in the way, or the work failed for the user's reasons.
        """
        stage = replace(stage, output=check_path(stage.output))
        if (stage.manifest or stage.name).endswith(".started"):  # as the records of what is under way end
            raise SmolfastError(
                f"{stage.output}: a name that ends in .started is smolfast's own; choose another output"
            )
        _check_inputs(stage)
        check_apart(stage.output, stage.inputs.values())
        with hold(self._manifests / f"{stage.manifest or stage.name}.lock", stage.output):
            return self._run(stage, *self._records(stage), watch)

    def _run(
        self, stage: Stage, manifest_path: Path, started_path: Path, watch: ProgressCallback | None
    ) -> dict[str, Any]:
        try:
            recover(Path(os.path.realpath(stage.output)))
        except OSError as error:
            raise SmolfastError(f"can't write {stage.output}: {describe_os_error(error)}") from error
        key = self._key(stage)
        manifest, started = _read_manifest(manifest_path), _read_started(started_path)
        unchanged = manifest is not None and manifest["key"] == key
        if manifest is not None and unchanged and os.path.lexists(stage.output):
            if self._is_as_made(stage, manifest):
                started_path.unlink(missing_ok=True)  # of a run that was killed right at its end
                self._console.line(f"{stage.name:<11} unchanged, skipped")
                summary: dict[str, Any] = manifest["summary"]
                return summary
            if self._on_change == "refuse":
                raise SmolfastError(
                    f"{stage.output} was altered since it was made; choose another output, or add --overwrite to make "
                    "it again"
                )
            self._console.line(f"{stage.name:<11} output was altered since it was made; running again")
        going_on = started is not None and started["key"] == key
        owned = self._owned(stage, manifest, started)
        if self._on_change == "refuse" and owned is not None and not unchanged and not going_on:
            raise SmolfastError(
                f"{stage.output} exists and was made from other input or settings; "
                "choose another output or add --overwrite"
            )
        owned = owned or set()
        record: dict[str, Any] = {"stage": stage.name, "key": key, "output": stage.output.name}
        if stage.resumable and not going_on:
            _make_room(stage, owned)
            write_json(started_path, {**record, "files": [], "writes": list(stage.writes)})

        _reset_peak_rss()
        began = time.monotonic()
        shown = self._console.progress(stage.name)

        def progress(done: float, total: float, note: str) -> None:
            shown(done, total, note)
            if watch is not None:
                watch(done, total, note)

        begun = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        progress(0, 1, "")
        if stage.resumable:
            summary = dict(stage.work(stage.output, progress))
            files = sorted(name for name in names_below(stage.output) if _is_of(name, stage.writes))
            made = _fingerprint_of(stage.output, files)
        else:
            with atomic_path(stage.output, owned) as temporary:
                summary = dict(stage.work(temporary, progress))
                files = sorted(names_below(temporary))
                made = _fingerprint_of(temporary, files)
                if stage.output.is_dir():
                    check_room(temporary, stage.output, owned)
                # From here on a kill may leave the new output without its manifest, or some new files among old ones.
                record |= {"files": sorted(owned.union(files)), "xxh3_128": made}
                write_json(started_path, record)
        seconds = time.monotonic() - began
        self._known.pop(stage.output, None)
        write_json(
            manifest_path,
            {
                "stage": stage.name,
                "key": key,
                "seconds": round(seconds, 3),
                "peak_rss_bytes": _peak_rss(),
                "summary": summary,
                "parameters": dict(stage.parameters),
                "inputs": {name: self._fingerprint(path, stage.output) for name, path in stage.inputs.items()},
                "paths": {name: _from(path, stage.output.parent) for name, path in stage.inputs.items()},
                "reads": list(stage.reads),
                "output": {
                    "path": stage.output.name,
                    "xxh3_128": made,
                    "files": files,
                    "bytes": _size(stage.output, files),
                },
                "smolfast": __version__,
                "begun": begun,
                **self._notes,
            },
        )
        started_path.unlink(missing_ok=True)
        self._console.line(f"{stage.name:<11} {describe_end(summary, seconds)}")
        return summary

    def _owned(
        self, stage: Stage, manifest: Mapping[str, Any] | None, started: Mapping[str, Any] | None
    ) -> set[str] | None:
        """The files below the output that may be replaced; None if nothing stands there.

        Raises:
            SmolfastError: something stands there that no manifest knows.
        """
        output = stage.output
        if not output.exists():  # a link that leads nowhere stands in nobody's way
            return None
        if not output.is_dir():
            # A manifest of a folder says nothing of a file, nor one of a run that was killed before it wrote this one.
            known = manifest is not None and not manifest["output"]["files"]
            if not known and not (started is not None and started["xxh3_128"] == fingerprint(output)):
                raise SmolfastError(
                    f"{output} exists, and smolfast has no record of having written it; choose another output, or move "
                    "it"
                )
            return set()
        standing = names_below(output)
        if not standing:
            return None
        if manifest is None and started is None and not self._own_folder:
            raise SmolfastError(
                f"{output} holds files that smolfast has no record of having written ({min(standing)}); choose another "
                "output, or move them"
            )
        owned = set() if manifest is None else set(manifest["output"]["files"])
        if started is not None:
            owned |= {name for name in standing if name in started["files"] or _is_of(name, started["writes"])}
        return owned

    def _key(self, stage: Stage) -> str:
        parts = {
            "stage": stage.name,
            "smolfast": __version__,
            "parameters": stage.parameters,
            "inputs": {name: self._fingerprint(path, stage.output) for name, path in stage.inputs.items()},
        }
        return xxhash.xxh3_128_hexdigest(json.dumps(parts, sort_keys=True, default=str).encode())

    def _fingerprint(self, path: Path, output: Path) -> str:
        if path not in self._known:
            self._known[path] = fingerprint(path, without=output)
        return self._known[path]


def differences(before: Any, now: Any, key: str = "") -> list[str]:
    """What differs between two trees of settings, a line each: `train.steps 100 → 200`."""
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            line
            for name in sorted({*before, *now})
            for line in differences(before.get(name), now.get(name), f"{key}.{name}" if key else name)
        ]
    return [] if before == now else [f"{key} {_value(before)} → {_value(now)}"]


def _value(value: Any) -> str:
    text = "none" if value is None else value if isinstance(value, str) and value else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _from(path: Path, folder: Path) -> str:
    """A path from the folder of the output on, if it lies there: the folder may be moved."""
    try:
        return (
            os.path.relpath(path, folder)
            if Path(path).absolute().is_relative_to(Path(folder).absolute())
            else str(path)
        )
    except ValueError:  # another drive
        return str(path)


def _size(output: Path, files: Sequence[str]) -> int:
    """Bytes of a file, or of files of a folder."""
    with contextlib.suppress(OSError):
        return sum((output / name).stat().st_size for name in files) if output.is_dir() else output.stat().st_size
    return 0


def _check_inputs(stage: Stage) -> None:
    for path in stage.inputs.values():
        if not path.exists():
            raise SmolfastError(f"{stage.name}: {path} does not exist; check the path or run the stage that makes it")


def remove_made(manifests: Path, outputs: Path, names: Collection[str] | None = None) -> None:
    """Delete what the stages with manifests in a folder have made in the folder `outputs`, and these manifests.

    Args:
        names: of the stages; None for all.
    """
    for path in sorted(manifests.glob("*.json")):
        started = path.name.endswith(".started.json")
        if names is not None and path.name.removesuffix(".started.json" if started else ".json") not in names:
            continue
        if started:
            found = _read_started(path)
            made = found and {"path": found["output"], "files": set(found["files"]), "writes": found["writes"]}
        else:
            found = _read_manifest(path)
            made = found and {"path": found["output"]["path"], "files": set(found["output"]["files"]), "writes": ()}
        if not made or not is_plain_name(made["path"]):
            continue
        output, files = outputs / made["path"], made["files"]
        try:
            if output.is_dir():
                files |= {name for name in names_below(output) if _is_of(name, made["writes"])}
            _remove_files(output, files)
            path.unlink()
            with contextlib.suppress(OSError):  # other files in it, or none
                output.rmdir()
        except OSError as error:
            raise SmolfastError(f"can't replace {output}: {describe_os_error(error)}") from error


def _make_room(stage: Stage, owned: Collection[str]) -> None:
    """Remove what an earlier run of a resumable stage left; refuse to write over anything else."""
    try:
        _remove_files(stage.output, owned)
        left = names_below(stage.output) if stage.output.is_dir() else set()
    except OSError as error:
        raise SmolfastError(f"can't replace {stage.output}: {describe_os_error(error)}") from error
    in_the_way = {name for name in left if _is_of(name, stage.writes)}
    if in_the_way:
        raise SmolfastError(
            f"{stage.output / min(in_the_way)} is in the way, and smolfast has no record of having written it; "
            "move it, or choose another output"
        )


def _remove_files(output: Path, files: Collection[str]) -> None:
    """Remove files below a folder; or the output itself if it is a file."""
    if output.is_dir():
        remove_names(output, files)
    elif output.exists():
        output.unlink()


def _is_of(name: str, patterns: Sequence[str]) -> bool:
    return is_temporary(name) or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _fingerprint_of(output: Path, files: Sequence[str]) -> str:
    """Of a file, or of those files of a folder that a stage wrote; empty if one is missing."""
    if not output.is_dir():
        return fingerprint(output) if output.is_file() else ""
    if not all((output / name).is_file() for name in files):
        return ""
    return fingerprint_files(output, files)


def _read_manifest(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    with naming(path, "delete it and run again"):
        manifest = read_json(path)
        output = dict(manifest["output"])
        if "files" not in output and "path" in output:
            raise SmolfastError(
                f"{path} is the record of an earlier version, and doesn't say which files are smolfast's; move it and "
                f"{output['path']}, or choose another output"
            )
        output["files"] = _checked_names(output["files"])
        found = {"key": manifest["key"], "output": output, "summary": dict(manifest["summary"])}
        found |= {name: dict(manifest.get(name) or {}) for name in ("parameters", "inputs")}
        found |= {name: manifest.get(name) for name in ("seconds", "peak_rss_bytes", "smolfast")}
        found["output"]["xxh3_128"], found["output"]["path"]
        return found


def _read_started(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    with naming(path, "delete it and run again"):
        started = read_json(path)
        return {
            "key": started["key"],
            "output": started["output"],
            "files": _checked_names(started["files"]),
            "writes": [str(pattern) for pattern in started.get("writes", ())],
            "xxh3_128": started.get("xxh3_128", ""),
        }


def _checked_names(names: Any) -> list[str]:
    """Names of files below a folder, none of which leads out of it: they may be deleted."""
    for name in names:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\0" in name or not path.name:
            raise ValueError(f"{name[:80]!r} is no file of the output")
    return list(names)


def _reset_peak_rss() -> None:
    """Start the peak anew, where the kernel lets a process do so (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _peak_rss() -> int:
    """Bytes: the peak since `_reset_peak_rss` on Linux, since the process began elsewhere; 0 where unknown."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    if os.name == "posix":
        import resource
        import sys

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return 0
