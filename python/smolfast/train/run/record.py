"""run.json of a training run: whose folder it is, and whether what the run left there is whole.

It is written before anything else, so a folder with metrics or checkpoints and no run.json has lost it. With the first
checkpoint it gets the mark `checkpointed`: from then on a run that finds no checkpoint has lost it, too, and would
begin anew and write over what it said of itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smolfast.errors import SmolfastError
from smolfast.files import naming, read_json, write_json

RUN_FILE = "run.json"
MODEL_FILES = "model_files"
"""In the record of a finished run: the bytes of each file of its model."""
_LEFT_BY_A_RUN = ("checkpoints", "metrics.jsonl", "events.jsonl", "model")


class RunRecord:
    """The record of the run in a folder.

    Attributes:
        values: what run.json says; empty for a new run.
    """

    def __init__(
        self, output: Path, identity: Mapping[str, Any], defaults: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        """
        Args:
            identity: what tells this run from another.
            defaults: by section of it. A record that an earlier version wrote has no value for a setting that came
                later: its run went by the default.

        Raises:
            SmolfastError: the folder holds another run, or a run without its record.
        """
        self.output, self.path = output, output / RUN_FILE
        self.values: dict[str, Any] = {}
        if not self.path.exists():
            left = [name for name in _LEFT_BY_A_RUN if (output / name).exists()]
            if left:
                raise SmolfastError(
                    f"{output} holds {', '.join(left)} of a run and no {RUN_FILE}, which says what run that was; bring "
                    "it back, or choose another output or delete that folder"
                )
            return
        try:
            found = read_json(self.path)
        except SmolfastError as error:
            raise self._unreadable(str(error).partition(";")[0]) from error
        if not isinstance(found, dict):
            raise self._unreadable(f"{self.path} is no record of a run")
        # What isn't there, or is of a damaged record, differs.
        older = {
            name: {**section, **found[name]}
            for name, section in (defaults or {}).items()
            if isinstance(found.get(name), dict)
        }
        if different := first_difference(identity, {**found, **older}):
            raise SmolfastError(
                f"{output} holds a run with another {different}; choose another output or delete that folder"
            )
        self.values = found

    def _unreadable(self, what: str) -> SmolfastError:
        return SmolfastError(
            f"{what}, and says what run {self.output} holds; bring it back, or choose another output or delete that "
            "folder"
        )

    @property
    def summary(self) -> dict[str, Any] | None:
        """The summary of a finished run; None if it isn't finished, or a file of its model is gone or cut short."""
        model = self.output / "model"
        if "summary" not in self.values or not model.exists():
            return None
        with naming(self.path, "choose another output or delete that folder"):
            files: dict[str, int] = self.values.get(MODEL_FILES, {})
            whole = all((model / name).is_file() and _is_whole(model / name, size) for name, size in files.items())
            return dict(self.values["summary"]) if whole else None

    @property
    def steps(self) -> int:
        """How many steps the run has in all."""
        with naming(self.path, "choose another output or delete that folder"):
            return int(self.values["steps"])

    def write(self, values: Mapping[str, Any]) -> None:
        """Add to the record, on disk too."""
        self.values |= values
        write_json(self.path, self.values)

    def mark_checkpointed(self) -> None:
        """Remember that there is a checkpoint to go on from."""
        if not self.values.get("checkpointed"):
            self.write({"checkpointed": True})

    def check_nothing_lost(self, checkpoint_every: int) -> None:
        """Call where no sound checkpoint was found and a run is about to begin with its first step.

        Raises:
            SmolfastError: there was one.
        """
        metrics = self.output / "metrics.jsonl"
        lines = metrics.read_bytes().count(b"\n") if metrics.exists() else 0
        # A second checkpoint isn't begun before the first is on disk: this tells of records without the mark.
        if self.values.get("checkpointed") or "summary" in self.values or lines > 2 * checkpoint_every:
            raise SmolfastError(
                f"{self.output / 'checkpoints'} has no sound checkpoint, and this run has saved some ({lines:,} steps "
                f"are in {metrics.name}); bring that folder back, or delete {self.output} to start over"
            )


def _is_whole(path: Path, size: int) -> bool:
    """A configuration may have been edited since."""
    found = path.stat().st_size
    return found == size if path.suffix == ".safetensors" else found > 0


def first_difference(expected: Any, found: Any, prefix: str = "") -> str | None:
    """The dotted name of the first value that isn't as expected."""
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        for key, value in expected.items():
            if different := first_difference(value, found.get(key), f"{prefix}{key}."):
                return different
        return None
    return None if expected == found else prefix.rstrip(".") or "configuration"
