"""The metrics for TensorBoard, as an option."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smolfast.errors import SmolfastError
from smolfast.machine import install_command


class TensorBoardLog:
    """Writes each number of a step's metrics as a scalar: lists as name/index, dicts as name/key.

    Raises:
        SmolfastError: tensorboard isn't installed.
    """

    def __init__(self, folder: Path, step: int) -> None:
        """
        Args:
            step: steps done; what the folder says of later ones is hidden.
        """
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise SmolfastError(
                "train.tensorboard needs the package tensorboard; set train.tensorboard=false, or install it with: "
                f"{install_command('watch')}"
            ) from error
        self._writer = SummaryWriter(str(folder), purge_step=step + 1)

    def write(self, metrics: Mapping[str, Any]) -> None:
        """A step's line of metrics."""
        for name, value in scalars(metrics):
            if name != "step":
                self._writer.add_scalar(name, value, metrics["step"])

    def close(self) -> None:
        """Write what is held back."""
        self._writer.close()


def scalars(value: Any, name: str = "") -> list[tuple[str, float]]:
    """Every number of a line of metrics, with its name: lists as name/index, dicts as name/key; no truth values."""
    if isinstance(value, Mapping):
        children = list(value.items())
    elif isinstance(value, list | tuple):
        children = list(enumerate(value))
    else:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return [(name, float(value))] if number else []
    return [found for key, item in children for found in scalars(item, f"{name}/{key}" if name else str(key))]
