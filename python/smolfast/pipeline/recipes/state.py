"""What a run of a recipe is doing now, in `recipe.json` of its folder: for its page, and for who watches."""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from smolfast.errors import SmolfastError
from smolfast.files import write_json
from smolfast.pipeline.recipes.graph import Graph
from smolfast.report.recipe.page import write_recipe_report
from smolfast.report.recipe.run import FILE

PAGE = "recipe.html"
_SECONDS = 0.5


class State:
    """Keeps the file up to date: at once when a run begins and ends, else twice a second at most."""

    def __init__(self, graph: Graph, folder: Path) -> None:
        self._path = folder / FILE
        self._lock = threading.Lock()
        self._written = 0.0
        self._about = {"recipe": graph.recipe.name, "begun": _now()}
        self._stages: dict[str, dict[str, Any]] = {
            node.name: {
                "name": node.name,
                "kind": node.kind_name,
                "needs": list(node.needs),
                "output": node.output,
                "state": "waiting",
            }
            for node in graph.nodes.values()
        }

    def __enter__(self) -> Self:
        self._write("running")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        bad = any(stage["state"] in ("failed", "blocked") for stage in self._stages.values())
        for stage in self._stages.values():
            if stage["state"] == "running":
                stage["state"] = "waiting"
        try:
            self._write("interrupted" if kind is not None else "failed" if bad else "done")
            write_recipe_report(self._path.parent, self._path.with_name(PAGE))
        except SmolfastError:
            if kind is None:  # of two errors the first one tells more
                raise

    def set(self, name: str, state: str, **more: Any) -> None:
        """A stage has come to another state."""
        with self._lock:
            stage = self._stages[name]
            stage["state"] = state
            if state == "running":
                stage["since"] = _now()
            else:
                for key in ("done", "total", "note"):
                    stage.pop(key, None)
            stage.update(more)
        self._now_and_then()

    def note(self, name: str, events: Sequence[Mapping[str, Any]]) -> None:
        """A stage's monitors saw something."""
        with self._lock:
            self._stages[name]["events"] = [dict(event) for event in events]

    def progress(self, name: str, done: float, total: float, note: str) -> None:
        """A stage has come further."""
        with self._lock:
            self._stages[name].update(done=done, total=total, note=note[:200])
        self._now_and_then()

    def _now_and_then(self) -> None:
        if time.monotonic() - self._written >= _SECONDS:
            self._write("running")

    def _write(self, state: str) -> None:
        with self._lock:
            self._written = time.monotonic()
            write_json(
                self._path, {**self._about, "state": state, "updated": _now(), "stages": list(self._stages.values())}
            )


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
