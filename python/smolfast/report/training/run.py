"""The files of a run folder, read into plain values. What isn't there is empty; what is broken is an error."""

from __future__ import annotations

import json
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smolfast.errors import SmolfastError
from smolfast.files import describe_os_error, read_json

STAGE_ORDER = (
    "collect",
    "normalize",
    "dedup",
    "split",
    "tokenizer",
    "tokenize",
    "train",
    "evaluate",
    "export",
    "generate",
)
_LARGEST_HEADER = 100 << 20


@dataclass(frozen=True)
class Run:
    """What a run left behind.

    Attributes:
        about: `run.json`, its `identity` merged in: config, input, versions, hardware, seed, threads.
        stages: manifests of finished stages in pipeline order, the report's own left out.
        metrics: one dict a step, steps rising.
        events: one dict an event of training, as they came.
        shapes: parameter name to shape, from the headers of the final model's safetensors files.
        whole: a quickstart's folder; else that of `smolfast train`, which holds training alone.
    """

    folder: Path
    about: dict[str, Any]
    stages: list[dict[str, Any]]
    metrics: list[dict[str, Any]]
    events: list[dict[str, Any]]
    evaluation: dict[str, Any]
    sample: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]
    whole: bool = True

    @property
    def config(self) -> dict[str, Any]:
        """The configuration as nested dicts, or nothing."""
        return _dict(self.about.get("config"))

    @property
    def seconds(self) -> dict[str, float]:
        """Wall-clock seconds by stage; of a resumed stage all of its sessions, where it counts them itself."""
        return {s["stage"]: max(_seconds(s), _seconds(_dict(s.get("summary")))) for s in self.stages}

    def summary(self, stage: str) -> dict[str, Any]:
        """What a stage said of itself, or nothing."""
        return next((_dict(s.get("summary")) for s in self.stages if s["stage"] == stage), {})


def read_run(folder: str | os.PathLike[str]) -> Run:
    """Read a run folder.

    Raises:
        SmolfastError: the folder is missing or holds no run, or one of its files is broken.
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise SmolfastError(f"{folder} {what}; give the output folder of smolfast quickstart")
    about = _dict(_without_secrets(_merged(_optional_json(folder / "run.json"))))
    whole = (folder / "train").is_dir() or not (folder / "metrics.jsonl").is_file()
    trained = folder / "train" if whole else folder
    if not whole:
        about["config"] = {key: about[key] for key in ("model", "train") if isinstance(about.get(key), dict)}
    run = Run(
        folder=folder,
        about=about,
        stages=_stages(folder / "stages"),
        metrics=_metrics(trained / "metrics.jsonl"),
        events=_events(trained / "events.jsonl"),
        evaluation=_optional_json(folder / "evaluate" / "evaluation.json"),
        sample=_optional_json(folder / "generate" / "sample.json"),
        shapes=_shapes(trained / "model"),
        whole=whole,
    )
    if not (run.about or run.stages or run.metrics or run.evaluation):
        raise SmolfastError(
            f"{folder} holds no run (no run.json, no stages); give the output folder of smolfast quickstart"
        )
    return run


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _seconds(record: dict[str, Any]) -> float:
    value = record.get("seconds")
    return float(value) if isinstance(value, int | float) else 0.0


def _merged(about: dict[str, Any]) -> dict[str, Any]:
    return {**about, **_dict(about.get("identity"))}


def _without_secrets(value: Any) -> Any:
    """Webhooks by their hosts alone: the rest of such a URL is a password, and pages are passed around."""
    if isinstance(value, dict):
        return {
            key: "/".join([*one.split("/")[:3], "HIDDEN"])
            if key == "webhook" and isinstance(one, str) and one
            else _without_secrets(one)
            for key, one in value.items()
        }
    return [_without_secrets(one) for one in value] if isinstance(value, list) else value


def _optional_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    value = read_json(path)
    if not isinstance(value, dict):
        raise SmolfastError(f"{path} holds {type(value).__name__}, not an object; delete it and run that stage again")
    return value


def _stages(folder: Path) -> list[dict[str, Any]]:
    """Manifests by pipeline order, unknown stages last by name; marks of stages under way don't count."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        manifest = _optional_json(path)
        name = manifest.get("stage")
        if isinstance(name, str) and "summary" in manifest and name != "report":
            found[name] = manifest
    order = {name: index for index, name in enumerate(STAGE_ORDER)}
    return [found[name] for name in sorted(found, key=lambda name: (order.get(name, len(order)), name))]


def _metrics(path: Path) -> list[dict[str, Any]]:
    """Steps in order. A step written again after a resume counts once, as last written; a torn last line is dropped."""
    lines = _lines(path)
    steps: dict[int, dict[str, Any]] = {}
    for index, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            steps[int(entry["step"])] = entry
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            if index == len(lines) - 1:
                break
            raise SmolfastError(
                f"{path}, line {index + 1} is not a step's metrics ({error}); delete the train folder and run again"
            ) from error
    return [steps[step] for step in sorted(steps)]


def _events(path: Path) -> list[dict[str, Any]]:
    """In the order of writing; a torn last line is dropped."""
    lines = _lines(path)
    events = []
    for index, line in enumerate(lines):
        try:
            events.append(dict(json.loads(line)))
        except (ValueError, TypeError, RecursionError) as error:
            if index == len(lines) - 1:
                break
            raise SmolfastError(
                f"{path}, line {index + 1} is not an event ({error}); delete the train folder and run again"
            ) from error
    return events


def _lines(path: Path) -> list[str]:
    if not path.exists():
        return []
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise SmolfastError(f"can't read {path}: {describe_os_error(error)}") from error


def _shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """The tensors of every safetensors file in a folder."""
    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        shapes |= _header(path)
    return shapes


def _header(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes in a safetensors file: eight bytes of header length (little-endian), then JSON."""
    try:
        with path.open("rb") as handle:
            (length,) = struct.unpack("<Q", handle.read(8))
            if length > _LARGEST_HEADER:
                raise ValueError(f"a header of {length:,} bytes")
            header = json.loads(handle.read(length))
        return {name: tuple(map(int, entry["shape"])) for name, entry in header.items() if name != "__metadata__"}
    except OSError as error:
        raise SmolfastError(f"can't read {path}: {describe_os_error(error)}") from error
    except (
        struct.error,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise SmolfastError(
            f"{path} is not a safetensors file ({error}); delete the train folder and run again"
        ) from error
