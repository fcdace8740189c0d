"""The record of each trial of a sweep, in a file of its own: what resumes a sweep, and what its page is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from smolfast.config import toml_value
from smolfast.files import naming, read_json, write_json

FOLDER = "trials"
ENDED = ("done", "pruned", "diverged", "stopped", "failed")
"""What a trial can be in the end; until then it is "running"."""
LIKE_THE_WORST = ("diverged", "stopped")
"""Those that a sampler learns from, as from the worst value there is."""


@dataclass(frozen=True)
class Training:
    """A training of a trial: the steps that it was to take, and held-out losses by step as far as it was looked at."""

    steps: int
    curve: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Trial:
    """One choice of settings.

    Attributes:
        state: "running" until it has a result. "pruned": ended early for it was behind others, or waiting for them.
            "diverged": its loss was no longer finite, which is a result. "stopped": a monitor ended it, which is one
            too. "failed": anything else. Of the last three `error` says why.
        value: the objective; None without one.
        trainings: by the name of the stage. events: what they noted, as far as they were looked at.
        curve: held-out loss by step of the last training that told any.
        stages: the name of each stage in the folder. steps: training steps that it took by itself.
        attributes: what the sampler wants to remember of it.
    """

    number: int
    params: Mapping[str, Any]
    state: str = "running"
    value: float | None = None
    curve: Mapping[int, float] = field(default_factory=dict)
    trainings: Mapping[str, Training] = field(default_factory=dict)
    stages: Mapping[str, str] = field(default_factory=dict)
    steps: int = 0
    seconds: float = 0.0
    error: str = ""
    events: Sequence[Mapping[str, Any]] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> list[str]:
        """Its values as `--set` takes them."""
        return [setting(name, value) for name, value in self.params.items()]

    def write(self, folder: Path) -> None:
        """Keep it, in the sweep's folder."""
        write_json(folder / FOLDER / f"{self.number:04}.json", asdict(self))


def setting(name: str, value: Any) -> str:
    """`NAME=VALUE` in TOML's syntax."""
    return f"{name}={toml_value(value)}"


def read_trials(folder: Path) -> list[Trial]:
    """The trials of a sweep in order, without gaps: behind the first that is missing, none counts.

    Raises:
        SmolfastError: a record that is damaged.
    """
    found: list[Trial] = []
    while (path := folder / FOLDER / f"{len(found):04}.json").is_file():
        with naming(path, "delete it and run again"):
            said = read_json(path)
            said["curve"] = _curve(said["curve"])
            trainings = said.get("trainings", {}).items()
            said["trainings"] = {name: Training(int(one["steps"]), _curve(one["curve"])) for name, one in trainings}
            found.append(Trial(**{**said, "events": tuple(said.get("events", ()))}))
    return found


def _curve(said: Mapping[str, float]) -> dict[int, float]:
    return {int(step): float(loss) for step, loss in said.items()}
