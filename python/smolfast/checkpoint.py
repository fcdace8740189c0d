"""Checkpoints that are whole or refused: safetensors and JSON, every file checksummed, a new folder renamed into place.

    checkpoints/step-000050/
        model.safetensors       parameters by name
        optimizer.safetensors   the optimiser's tensors, as <index>.<key>
        state.json              step, progress, the optimiser's numbers, checksums

Nothing is pickled. The last `KEEP` stay, so that one damaged on disk leaves another to go on from.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import xxhash
from torch import nn

from smolfast.errors import SmolfastError
from smolfast.files import atomic_path, fingerprint, read_json

KEEP = 2
_FORMAT = 1
_FILES = ("model.safetensors", "optimizer.safetensors")
_log = logging.getLogger(__name__)


def save(
    folder: Path, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, progress: Mapping[str, Any]
) -> Path:
    """Write checkpoint `step`, then delete all but the last `KEEP`.

    Args:
        folder: the folder of checkpoints.
        step: optimiser steps done.
        progress: JSON values to get back from `restore`.

    Raises:
        SmolfastError: the disk is full or can't be written; earlier checkpoints are untouched.
    """
    tensors, numbers = _split_state(optimizer)
    final = folder / f"step-{step:06}"
    with atomic_path(final) as temporary:
        temporary.mkdir()
        _write_tensors(temporary / "model.safetensors", dict(model.state_dict()))
        _write_tensors(temporary / "optimizer.safetensors", tensors)
        state = {
            "format": _FORMAT,
            "step": step,
            "progress": dict(progress),
            "optimizer": numbers,
            "checksums": {name: fingerprint(temporary / name) for name in _FILES},
        }
        state["checksum"] = _checksum(state)
        (temporary / "state.json").write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
    for old in _checkpoints(folder)[:-KEEP]:
        shutil.rmtree(old)
    return final


def restore(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, dict[str, Any]] | None:
    """Load the last sound checkpoint into the model and the optimiser.

    A damaged one is refused with a warning that names it, and the one before is tried.

    Returns:
        the steps done and the progress saved with them, or None if there is no sound checkpoint.
    """
    for checkpoint in reversed(_checkpoints(folder)):
        try:
            return _load(checkpoint, model, optimizer)
        except SmolfastError as error:
            _log.warning("%s; going on from the checkpoint before it", error)
    return None


def _load(checkpoint: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, dict[str, Any]]:
    state = read_json(checkpoint / "state.json")
    if not isinstance(state, dict) or state.pop("checksum", None) != _checksum(state) or state["format"] != _FORMAT:
        raise SmolfastError(f"checkpoint {checkpoint} is damaged: state.json does not match its checksum")
    for name in _FILES:
        if fingerprint(checkpoint / name) != state["checksums"][name]:
            raise SmolfastError(f"checkpoint {checkpoint} is damaged: {name} does not match its checksum")
    weights = safetensors.torch.load_file(checkpoint / "model.safetensors")
    tensors = safetensors.torch.load_file(checkpoint / "optimizer.safetensors")
    model.load_state_dict(weights)
    optimizer.load_state_dict(_joined_state(optimizer, tensors, state["optimizer"]))
    return state["step"], state["progress"]


def _checkpoints(folder: Path) -> list[Path]:
    """The complete ones (a name of exactly `step-` and digits), oldest first."""
    found = [path for path in folder.glob("step-*") if path.name.removeprefix("step-").isdigit()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


def _split_state(optimizer: torch.optim.Optimizer) -> tuple[dict[str, torch.Tensor], dict[str, dict[str, Any]]]:
    """The optimiser's per-parameter state as tensors by `<index>.<key>`, and everything that isn't a tensor."""
    tensors: dict[str, torch.Tensor] = {}
    numbers: dict[str, dict[str, Any]] = {}
    for index, values in optimizer.state_dict()["state"].items():
        for key, value in values.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}.{key}"] = value
            else:
                numbers.setdefault(str(index), {})[key] = value
    return tensors, numbers


def _joined_state(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor], numbers: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    state: dict[int, dict[str, Any]] = {int(index): dict(values) for index, values in numbers.items()}
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = tensor
    # The groups hold settings, not state: those of the run's configuration stand.
    return {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}


def _write_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    # Written as bytes by us: save_file reports a full disk as its own error type, without the errno.
    path.write_bytes(safetensors.torch.save({name: tensor.contiguous() for name, tensor in tensors.items()}))


def _checksum(state: Mapping[str, Any]) -> str:
    text = json.dumps({key: value for key, value in state.items() if key != "checksum"}, sort_keys=True)
    return xxhash.xxh3_128(text.encode()).hexdigest()
