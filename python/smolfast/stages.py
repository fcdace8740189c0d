"""The stage engine: skips what is finished and unchanged, leaves whole outputs or none, resumes what was killed.

A stage is a function from input files to one output file or folder. Its key is a hash of its name, its parameters,
the version of smolfast and the contents of its inputs; its manifest records the key and the hash of what came out.
Equal key and intact output: nothing to do.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import xxhash

from smolfast import __version__
from smolfast.errors import SmolfastError
from smolfast.files import atomic_path, describe_os_error, fingerprint, naming, read_json, remove, write_json
from smolfast.progress import Console, ProgressCallback, format_bytes, format_seconds

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


class Runner:
    """Runs stages in order, with manifests in one folder.

    Args:
        manifests: the folder for `<stage>.json`.
        console: where progress goes.
        on_change: what to do when the output stands but was made from other inputs or settings: "redo" replaces it,
            "refuse" raises.
    """

    def __init__(self, manifests: Path, console: Console, on_change: Literal["redo", "refuse"] = "redo") -> None:
        self._manifests = manifests
        self._console = console
        self._on_change = on_change
        self._known: dict[Path, str] = {}

    def run(self, stage: Stage) -> dict[str, Any]:
        """Run the stage unless it is finished and unchanged; return its summary.

        Raises:
            SmolfastError: an input is missing, the output stands in the way, or the work failed for the user's reasons.
        """
        for path in stage.inputs.values():
            if not path.exists():
                raise SmolfastError(
                    f"{stage.name}: {path} does not exist; check the path or run the stage that makes it"
                )
        key = self._key(stage)
        manifest_name = stage.manifest or stage.name
        manifest_path = self._manifests / f"{manifest_name}.json"
        manifest = _read_manifest(manifest_path)
        if stage.output.exists() and manifest is not None and manifest["key"] == key:
            if self._fingerprint(stage.output) == manifest["output"]["xxh3_128"]:
                self._console.line(f"{stage.name:<11} unchanged, skipped")
                summary: dict[str, Any] = manifest["summary"]
                return summary
            self._console.line(f"{stage.name:<11} output was altered since it was made; running again")
        started_path = self._manifests / f"{manifest_name}.started.json"
        resuming = stage.resumable and started_path.exists() and _read_started(started_path) == key
        if stage.output.exists() and not resuming:
            if self._on_change == "refuse" and not (manifest is not None and manifest["key"] == key):
                raise SmolfastError(
                    f"{stage.output} exists and was made from other input or settings; "
                    "choose another output or add --overwrite"
                )
            if stage.resumable:
                _remove(stage.output)
        if stage.resumable and not resuming:
            write_json(started_path, {"stage": stage.name, "key": key})

        _reset_peak_rss()
        started = time.monotonic()
        progress = self._console.progress(stage.name)
        progress(0, 1, "")
        if stage.resumable:
            summary = dict(stage.work(stage.output, progress))
        else:
            with atomic_path(stage.output) as temporary:
                summary = dict(stage.work(temporary, progress))
        seconds = time.monotonic() - started
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
                "inputs": {name: self._fingerprint(path) for name, path in stage.inputs.items()},
                "output": {"path": stage.output.name, "xxh3_128": self._fingerprint(stage.output)},
                "smolfast": __version__,
            },
        )
        started_path.unlink(missing_ok=True)
        self._console.line(f"{stage.name:<11} done in {format_seconds(seconds)}{_describe(summary)}")
        return summary

    def _key(self, stage: Stage) -> str:
        parts = {
            "stage": stage.name,
            "smolfast": __version__,
            "parameters": stage.parameters,
            "inputs": {name: self._fingerprint(path) for name, path in stage.inputs.items()},
        }
        return xxhash.xxh3_128_hexdigest(json.dumps(parts, sort_keys=True, default=str).encode())

    def _fingerprint(self, path: Path) -> str:
        if path not in self._known:
            self._known[path] = fingerprint(path)
        return self._known[path]


def _describe(summary: Mapping[str, Any]) -> str:
    if "documents_in" in summary and "documents_out" in summary:
        return (
            f": {summary['documents_in']:,} → {summary['documents_out']:,} documents, "
            f"{format_bytes(summary['bytes_in'])} → {format_bytes(summary['bytes_out'])}"
        )
    return ""


def _read_manifest(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    with naming(path, "delete it and run again"):
        manifest = read_json(path)
        found = {"key": manifest["key"], "output": dict(manifest["output"]), "summary": dict(manifest["summary"])}
        found["output"]["xxh3_128"]
        return found


def _read_started(path: Path) -> Any:
    with naming(path, "delete it and run again"):
        return read_json(path)["key"]


def _remove(path: Path) -> None:
    try:
        remove(path)
    except OSError as error:
        raise SmolfastError(f"can't replace {path}: {describe_os_error(error)}") from error


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
