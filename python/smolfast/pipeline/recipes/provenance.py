"""From a file back to its sources: which stage made it, of what, with which settings, when and with which versions."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smolfast.errors import SmolfastError
from smolfast.files import RECORDS, fingerprint, read_json, record_name, shown
from smolfast.pipeline.run_folder import RUN_FILE, STAGES
from smolfast.progress import format_bytes, format_seconds

_OWN = ("curate.json", "dedup.json", "pdf.json")
"""Records that some jobs keep in their own output."""


@dataclass(frozen=True)
class Made:
    """What is known of a file or folder.

    Attributes:
        path: where it lies. output: the output that it belongs to; None for a source, which nothing here has made.
        record: of the stage that made it.
        inputs: what that was made of, by name.
        altered: it isn't as it was when a later stage read it; None if that isn't known.
    """

    path: Path
    output: Path | None
    record: Mapping[str, Any]
    inputs: Mapping[str, Made]
    altered: bool | None = None

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        record = {key: value for key, value in self.record.items() if key not in ("inputs", "paths")}
        return {
            "path": str(self.path),
            **({"altered": self.altered} if self.altered is not None else {}),
            **({"made_by": record} if record else {}),
            **({"inputs": {name: one.as_dict() for name, one in self.inputs.items()}} if self.inputs else {}),
        }


def trace(path: str | os.PathLike[str]) -> Made:
    """What made a file or folder, and what it was made of, back to the sources.

    Raises:
        SmolfastError: nothing is there, or no record says what made it.
    """
    path = Path(path)
    if not path.exists():
        raise SmolfastError(f"{path} does not exist; give a file or folder that smolfast made")
    if (path / STAGES).is_dir() and (path / RUN_FILE).is_file():
        names = sorted(read_json(record)["output"]["path"] for record in _records(path / STAGES))
        raise SmolfastError(f"{path} is the folder of a run; give one of its outputs: {', '.join(names)}")
    made = _trace(path, None, ())
    if made.output is None:
        raise SmolfastError(
            f"{path}: no record says what made it; give an output of a run or of one of smolfast's commands"
        )
    return made


def _trace(path: Path, recorded: str | None, above: tuple[Path, ...]) -> Made:
    altered = None if recorded is None else not path.exists() or fingerprint(path) != recorded
    output, record = _owner(path)
    if output is None or output in above:
        return Made(path, None, {}, {}, altered)
    folder = output.parent
    inputs = {}
    for name, said in record.get("paths", {}).items():
        place = Path(os.path.normpath(folder / said))
        inputs[name] = _trace(place, record.get("inputs", {}).get(name), (*above, output))
    return Made(path, output, record, inputs, altered)


def _owner(path: Path) -> tuple[Path | None, Mapping[str, Any]]:
    """The output that a path belongs to, and its record."""
    path = Path(path).absolute()
    for output in (path, *path.parents):
        for record in _records(output.parent / STAGES):
            found = read_json(record)
            if found.get("output", {}).get("path") == output.name and "summary" in found:
                return output, found
        beside = output.parent / RECORDS / f"{record_name(output)}.json"
        if beside.is_file():
            return output, read_json(beside)
        for name in _OWN:
            if (output / name).is_file() and any((output / one).exists() for one in ("kept", "kept.parquet")):
                return output, {"stage": name.removesuffix(".json"), **_said(read_json(output / name))}
    return None, {}


def _said(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What a job's own record tells."""
    inputs = manifest.get("inputs", [])
    names = [one.get("path", "") if isinstance(one, Mapping) else one for one in inputs]
    reads = [str(name) for name in names] if isinstance(inputs, list) else list(inputs)
    return {"reads": reads, "parameters": manifest.get("options", {}), "smolfast": manifest.get("smolfast")}


def _records(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (path for path in sorted(folder.glob("*.json")) if not path.name.endswith(".started.json"))


def described(made: Made) -> list[str]:
    """The chain as lines, each input below what was made of it."""
    return list(_lines(made, "", "", set()))


def _lines(made: Made, first: str, rest: str, said: set[Path]) -> Iterator[str]:
    note = "  (altered since)" if made.altered else ""
    if made.output is None:
        yield f"{first}{shown(made.path)}{note}  (a source)"
        return
    again = made.output in said
    said.add(made.output)
    yield f"{first}{_relative(made.path)}{note}  {_headline(made.record)}{', as above' if again else ''}"
    if again:
        return
    reads = list(made.record.get("reads", ()))
    for index, (_, one) in enumerate(made.inputs.items()):
        last = index == len(made.inputs) - 1 and not reads
        yield from _lines(one, f"{rest}{'└ ' if last else '├ '}", f"{rest}{'  ' if last else '│ '}", said)
    for index, source in enumerate(reads[:10]):
        last = index == min(len(reads), 10) - 1 and len(reads) <= 10
        yield f"{rest}{'└ ' if last else '├ '}{source}  (a source)"
    if len(reads) > 10:
        yield f"{rest}└ and {len(reads) - 10} more sources"


def _relative(path: Path) -> str:
    here = Path.cwd()
    absolute = Path(path).absolute()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(path)


def _headline(record: Mapping[str, Any]) -> str:
    by = record.get("by") or {}
    parts = [str(record.get("stage", "?"))]
    if by.get("recipe"):
        parts.append(f"recipe {by['recipe']}")
    if record.get("begun"):
        parts.append(str(record["begun"])[:16].replace("T", " "))
    if record.get("seconds") is not None:
        parts.append(format_seconds(record["seconds"]))
    if size := (record.get("output") or {}).get("bytes"):
        parts.append(format_bytes(size))
    if record.get("smolfast"):
        commit = f" at {by['commit'][:12]}" if by.get("commit") else ""
        parts.append(f"smolfast {record['smolfast']}{commit}")
    if by.get("host") not in (None, platform.node()):
        parts.append(f"on {by['host']}")
    return ", ".join(parts)
