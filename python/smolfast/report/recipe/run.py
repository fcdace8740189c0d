"""The folder of a recipe's run, read into plain values."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smolfast.errors import SmolfastError
from smolfast.files import naming, read_json

FILE = "recipe.json"
STATES = ("waiting", "running", "done", "skipped", "failed", "blocked")


@dataclass(frozen=True)
class Stage:
    """A stage as its run left it.

    Attributes:
        state: one of STATES; "skipped" was done before.
        seconds, size, memory: of its last whole run: wall-clock, bytes of its output, peak bytes of its process.
        share: how far it has come, from 0 to 1, while it runs.
        events: what its monitors saw.
    """

    name: str
    kind: str
    needs: tuple[str, ...]
    output: str
    state: str
    seconds: float | None = None
    size: int | None = None
    memory: int | None = None
    share: float | None = None
    note: str = ""
    log: tuple[str, ...] = ()
    events: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class RecipeRun:
    """What a run of a recipe says of itself."""

    folder: Path
    name: str
    state: str
    begun: str
    updated: str
    stages: tuple[Stage, ...]

    def count(self, *states: str) -> int:
        """Stages in these states."""
        return sum(stage.state in states for stage in self.stages)


def is_recipe_run(folder: str | os.PathLike[str]) -> bool:
    """Whether a recipe ran, or runs, in a folder."""
    return Path(folder, FILE).is_file()


def read_recipe_run(folder: str | os.PathLike[str]) -> RecipeRun:
    """Read the folder.

    Raises:
        SmolfastError: no recipe ran in it, or a file is damaged.
    """
    folder = Path(folder)
    if not is_recipe_run(folder):
        raise SmolfastError(f"{folder} holds no run of a recipe; give the output folder of smolfast run")
    with naming(folder / FILE, "run the recipe again"):
        said = read_json(folder / FILE)
        stages = tuple(_stage(folder, one) for one in said["stages"])
        return RecipeRun(folder, str(said["recipe"]), str(said["state"]), said["begun"], said["updated"], stages)


def _stage(folder: Path, said: Mapping[str, Any]) -> Stage:
    name = str(said["name"])
    record = folder / "stages" / f"{name}.json"
    made: Mapping[str, Any] = read_json(record) if record.is_file() else {}
    output = made.get("output") or {}
    total = said.get("total") or 0
    return Stage(
        name=name,
        kind=str(said["kind"]),
        needs=tuple(map(str, said["needs"])),
        output=str(said["output"]),
        state=said["state"] if said["state"] in STATES else "waiting",
        seconds=said.get("seconds", made.get("seconds")),
        size=output.get("bytes"),
        memory=made.get("peak_rss_bytes"),
        share=min(1.0, said.get("done", 0) / total) if total else None,
        note=str(said.get("note", "")),
        log=_last_lines(folder / "stages" / f"{name}.log") if said["state"] == "failed" else (),
        events=tuple(said.get("events", ())),
    )


def _last_lines(log: Path) -> tuple[str, ...]:
    try:
        return tuple(log.read_bytes()[-8192:].decode("utf-8", "replace").splitlines()[-12:])
    except OSError:
        return ()
