"""What happened to a run beside its steps: spikes, skipped batches, rollbacks, clipped heads, alarms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from smolfast.errors import SmolfastError
from smolfast.files import finite, naming, write_text


class EventLog:
    """Lines of JSON, each with `step` (the step that it happened in), `event` (its kind) and what else there is to say.

    A resumed run cuts the file back to its checkpoint and writes the same lines again; a rollback cuts nothing, so that
    what led to it can be read.
    """

    def __init__(self, path: Path, *, writes: bool = True) -> None:
        self.path, self.count, self._writes = path, 0, writes

    def cut(self, count: int) -> None:
        """Keep the first `count` lines.

        Raises:
            SmolfastError: there are fewer.
        """
        self.count = count
        if not self._writes:
            return
        with naming(self.path, f"delete {self.path.parent} to start over"):
            lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        if len(lines) < count:
            raise SmolfastError(
                f"{self.path} has {len(lines)} lines and the checkpoint {count} events; bring that file back, or "
                f"delete {self.path.parent} to start over"
            )
        if self.path.exists():
            write_text(self.path, "".join(line + "\n" for line in lines[:count]))

    def add(self, step: int, event: str, **details: Any) -> None:
        """Append a line; numbers that aren't finite become null."""
        self.count += 1
        if self._writes:
            line = {"step": step, "event": event} | details
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(finite(line)) + "\n")
