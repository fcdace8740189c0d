"""Checkpoints that are whole or refused: safetensors and JSON, every file checksummed, a new folder renamed into place.

    checkpoints/step-000050/
        model.safetensors       parameters by name
        optimizer.safetensors   the optimiser's tensors, as <index>.<key>
        state.json              step, progress, the optimiser's numbers, checksums
    checkpoints/latest          the name of the newest, for other programs; written last. Only whole folders bear
                                such names, so `restore` looks at those

Nothing is pickled. The last ones stay, so that one damaged on disk leaves another to go on from. Tensors are stored
whole, whatever number of ranks trained them, so any number can go on. That needs room for all of them in the memory of
each rank's host for a moment; sharded files of torch.distributed.checkpoint wouldn't, but would be a second format
with its own ways to break, and not loadable by safetensors.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import xxhash
from torch import Tensor, nn

from smolfast.errors import SmolfastError
from smolfast.files import atomic_path, fingerprint, naming, read_json, remove, write_text

KEEP = 2
LATEST = "latest"
_FORMAT = 2
_FILES = ("model.safetensors", "optimizer.safetensors")
_log = logging.getLogger(__name__)
_Loaded = tuple[dict[str, Any], dict[str, Tensor], dict[str, Tensor]]


@dataclass(frozen=True)
class Snapshot:
    """A moment of a run, whole and on the CPU: what a checkpoint holds.

    Attributes:
        step: optimiser steps done.
        model: parameters by name. optimizer: its tensors, as <index>.<key>.
        numbers: what of the optimiser's state isn't a tensor. progress: JSON values to get back from `restore`.
    """

    step: int
    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    numbers: dict[str, dict[str, Any]]
    progress: dict[str, Any]


def take_snapshot(
    step: int, model: nn.Module, optimizer: torch.optim.Optimizer, progress: Mapping[str, Any]
) -> Snapshot:
    """Copy what a checkpoint holds, so that training can go on while it is written.

    Sharded tensors are gathered: every rank must call this, and each gets the whole.
    """
    tensors, numbers = _split_state(optimizer)
    return Snapshot(
        step,
        whole(model.state_dict()),
        whole(tensors),
        numbers,
        json.loads(json.dumps(dict(progress))),
    )


def write_snapshot(folder: Path, snapshot: Snapshot, *, keep: int = KEEP, keep_every: int = 0) -> Path:
    """Write a checkpoint into a new folder, rename it into place, point `latest` at it, delete old ones.

    Args:
        folder: the folder of checkpoints.
        keep: how many of the last ones stay.
        keep_every: those of a step that this divides stay too; 0 for none.

    Raises:
        SmolfastError: the disk is full or can't be written; earlier checkpoints are untouched.
    """
    final = folder / f"step-{snapshot.step:06}"
    with atomic_path(final) as temporary:
        temporary.mkdir()
        _write_tensors(temporary / "model.safetensors", snapshot.model)
        _write_tensors(temporary / "optimizer.safetensors", snapshot.optimizer)
        state = {
            "format": _FORMAT,
            "step": snapshot.step,
            "progress": snapshot.progress,
            "optimizer": snapshot.numbers,
            "checksums": {name: fingerprint(temporary / name) for name in _FILES},
        }
        state["checksum"] = _checksum(state)
        (temporary / "state.json").write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
    write_text(folder / LATEST, final.name + "\n")
    for old in _checkpoints(folder)[:-keep]:
        if not (keep_every and _step(old) % keep_every == 0):
            remove(old)
    return final


def save(
    folder: Path,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Mapping[str, Any],
    *,
    keep: int = KEEP,
    keep_every: int = 0,
) -> Path:
    """`take_snapshot` and `write_snapshot` at once."""
    snapshot = take_snapshot(step, model, optimizer, progress)
    return write_snapshot(folder, snapshot, keep=keep, keep_every=keep_every)


def restore(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    passing_over: int = 0,
    before: int | None = None,
) -> tuple[int, dict[str, Any]] | None:
    """Load the last sound checkpoint into the model and the optimiser; sharded ones take their shards.

    A damaged one is refused with a warning that names it, and the one before is tried.

    Args:
        passing_over: how many sound ones to leave aside first; the oldest is taken if there aren't so many.
        before: leave aside those of this step and later ones, too.

    Returns:
        the steps done and the progress saved with them, or None if there is no sound checkpoint.
    """
    last: _Loaded | None = None
    for checkpoint in reversed(_checkpoints(folder)):
        try:
            last = _read(checkpoint)
        except SmolfastError as error:
            _log.warning("%s; going on from the checkpoint before it", error)
            continue
        if before is not None and _step(checkpoint) >= before:
            continue
        if passing_over == 0:
            break
        passing_over -= 1
    if last is None:
        return None
    state, weights, tensors = last
    ours = model.state_dict()
    with naming(folder, "choose another output or delete that folder"):
        try:
            model.load_state_dict({name: _shared_out(tensor, ours.get(name)) for name, tensor in weights.items()})
        except RuntimeError as error:  # names or shapes of another model
            raise SmolfastError(
                f"the checkpoint in {folder} is of another model ({' '.join(str(error).split())[:300]}); "
                "choose another output or delete that folder"
            ) from error
        optimizer.load_state_dict(_joined_state(optimizer, tensors, state["optimizer"]))
    return state["step"], state["progress"]


def _read(checkpoint: Path) -> _Loaded:
    with naming(checkpoint / "state.json", "delete that folder"):
        state = read_json(checkpoint / "state.json")
        return _checked(checkpoint, state)


def _checked(checkpoint: Path, state: Any) -> _Loaded:
    if not isinstance(state, dict) or state.pop("checksum", None) != _checksum(state) or state["format"] != _FORMAT:
        raise SmolfastError(f"checkpoint {checkpoint} is damaged: state.json does not match its checksum")
    for name in _FILES:
        if fingerprint(checkpoint / name) != state["checksums"][name]:
            raise SmolfastError(f"checkpoint {checkpoint} is damaged: {name} does not match its checksum")
    try:
        model, optimizer = (safetensors.torch.load_file(checkpoint / name) for name in _FILES)
    except (safetensors.SafetensorError, RuntimeError, OSError, MemoryError) as error:
        raise SmolfastError(f"checkpoint {checkpoint} is damaged: {error}") from error
    return (
        {"step": int(state["step"]), "progress": dict(state["progress"]), "optimizer": state["optimizer"]},
        model,
        optimizer,
    )


def _checkpoints(folder: Path) -> list[Path]:
    """The complete ones (a name of exactly `step-` and digits), oldest first."""
    found = [path for path in folder.glob("step-*") if path.name.removeprefix("step-").isdigit()]
    return sorted(found, key=_step)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step-"))


def whole(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU, gathered where they lie in shards: every rank must call this."""
    gathered = {
        name: tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor for name, tensor in tensors.items()
    }
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in gathered.items()}


def _shared_out(tensor: Tensor, like: Any) -> Tensor:
    """A whole tensor laid out over the ranks like another, if that one is."""
    if not hasattr(like, "placements"):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)


def _split_state(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, dict[str, Any]]]:
    """The optimiser's per-parameter state as tensors by `<index>.<key>`, and everything that isn't a tensor."""
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, dict[str, Any]] = {}
    for index, values in optimizer.state_dict()["state"].items():
        for key, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{key}"] = value
            else:
                numbers.setdefault(str(index), {})[key] = value
    return tensors, numbers


def _joined_state(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], numbers: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    state: dict[int, dict[str, Any]] = {int(index): dict(values) for index, values in numbers.items()}
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        like = parameters[int(index)]
        state.setdefault(int(index), {})[key] = _shared_out(tensor, like if tensor.shape == like.shape else None)
    # The groups hold settings, not state: those of the run's configuration stand.
    return {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}


def _write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    # Written as bytes by us: save_file reports a full disk as its own error type, without the errno.
    path.write_bytes(safetensors.torch.save(tensors))


def _checksum(state: Mapping[str, Any]) -> str:
    text = json.dumps({key: value for key, value in state.items() if key != "checksum"}, sort_keys=True)
    return xxhash.xxh3_128(text.encode()).hexdigest()
