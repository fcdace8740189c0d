"""The metrics for trackio, as an option."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smolfast.errors import SmolfastError
from smolfast.machine import install_command
from smolfast.train.watch.tensorboard_log import scalars

PROJECT = "smolfast"


class TrackioLog:
    """Logs each number of a step's metrics to the run named after its folder, in trackio's own folder on this machine.

    trackio can't take lines back: steps that were done again after a kill or a rollback stand there twice.

    Raises:
        SmolfastError: trackio isn't installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            import trackio
        except ImportError as error:
            raise SmolfastError(
                "train.trackio needs the package trackio; set train.trackio=false, or install it with: "
                f"{install_command('watch')}"
            ) from error
        self._trackio: Any = trackio
        with contextlib.redirect_stdout(io.StringIO()):  # it greets
            self._run = trackio.init(
                PROJECT,
                name=folder.absolute().name,
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )

    def write(self, metrics: Mapping[str, Any]) -> None:
        """A step's line of metrics."""
        self._run.log({name: value for name, value in scalars(metrics) if name != "step"}, step=metrics["step"])

    def close(self) -> None:
        """Write what is held back."""
        with contextlib.redirect_stdout(io.StringIO()):
            self._trackio.finish()
