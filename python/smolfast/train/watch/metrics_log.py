"""metrics.jsonl: a line for each step, and for TensorBoard and trackio too where asked."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from smolfast.errors import SmolfastError
from smolfast.files import describe_os_error, finite, naming, write_text
from smolfast.train.watch.tensorboard_log import TensorBoardLog
from smolfast.train.watch.trackio_log import TrackioLog


class MetricsLog:
    """The steps' lines, which can be cut back to any step.

    Args:
        writes: False for a rank that writes no files.

    Raises:
        SmolfastError: fewer lines than steps, a full disk (from the block, too), no tensorboard or trackio.
    """

    def __init__(
        self, path: Path, step: int, *, writes: bool = True, tensorboard: bool = False, trackio: bool = False
    ) -> None:
        self.path, self._writes, self._tensorboard, self._trackio = path, writes, tensorboard, trackio
        self.last: dict[str, Any] = {}
        self._boards: list[TensorBoardLog | TrackioLog] = []
        self._file: Any = None
        self.cut(step)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close()
        if isinstance(error, OSError):
            raise SmolfastError(f"can't write {self.path}: {describe_os_error(error)}") from error

    def cut(self, step: int) -> None:
        """Leave the lines of the first `step` steps."""
        if not self._writes:
            return
        self._close()
        with naming(self.path, f"delete {self.path.parent} to start over"):
            lines = self.path.read_text(encoding="utf-8").splitlines()[:step] if self.path.exists() else []
            self.last = dict(json.loads(lines[-1])) if lines else {}
        if len(lines) < step:
            raise SmolfastError(
                f"{self.path} has {len(lines)} lines and the checkpoint {step} steps; bring that file back, or "
                f"delete {self.path.parent} to start over"
            )
        write_text(self.path, "".join(line + "\n" for line in lines))
        if self._tensorboard:
            self._boards.append(TensorBoardLog(self.path.parent / "tensorboard", step))
        if self._trackio:
            self._boards.append(TrackioLog(self.path.parent))
        self._file = self.path.open("a", encoding="utf-8")

    def add(self, line: dict[str, Any]) -> None:
        """Append a step's line; numbers that aren't finite become null."""
        self.last = line
        if self._writes:
            self._file.write(json.dumps(finite(line)) + "\n")
            self._file.flush()
        for board in self._boards:
            board.write(line)

    def sync(self) -> None:
        """Put the lines on disk."""
        if self._writes:
            os.fsync(self._file.fileno())

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        while self._boards:
            self._boards.pop().close()


def describe(step: int, steps: int, line: Mapping[str, Any]) -> str:
    """A line of metrics in words, for the bar."""
    loss = f"loss {line['loss']:.3f}" if math.isfinite(line["loss"]) else "nothing to learn"
    return f"step {step:,}/{steps:,}  {line['speed']['tokens_per_second']:,.0f} tokens/s  {loss}"
