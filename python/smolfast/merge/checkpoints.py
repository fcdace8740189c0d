"""The average of a run's last checkpoints."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from smolfast.config import ModelConfig
from smolfast.errors import SmolfastError
from smolfast.files import fingerprint, naming, read_json, write_json
from smolfast.io.keep_apart import check_apart
from smolfast.merge.folders import write_merged
from smolfast.merge.methods import linear
from smolfast.merge.tensor_files import Entry, read_entries
from smolfast.model.hub_config import to_hub_config
from smolfast.model.network import SmolLM
from smolfast.model.pretrained import MTP_WEIGHTS, WEIGHTS, gates_of
from smolfast.train.run.record import RUN_FILE

_HEADS = "mtp_heads."


def average_checkpoints(
    run: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    last: int,
    progress: Callable[[int, int, str], None] | None = None,
) -> dict[str, Any]:
    """Write a model folder with the mean of the weights of a run's last checkpoints.

    Over the steady part of a schedule such a mean does what a falling rate does (Sanyal et al. 2023, "Early weight
    averaging"; Li et al. 2025, "Model merging in pre-training"). The run may be under way.

    Args:
        run: the folder that `smolfast train` writes.
        last: how many checkpoints; `train.keep_checkpoints` says how many a run keeps.

    Returns:
        steps (of the checkpoints), tensors, parameters, files.

    Raises:
        SmolfastError: no run, fewer checkpoints, or a damaged one.
    """
    folder, target = Path(run), Path(output)
    check_apart(output, [folder])
    record = folder / RUN_FILE
    if not record.is_file():
        raise SmolfastError(f"{folder} holds no {RUN_FILE}; give the folder that smolfast train writes")
    found = sorted(
        (path for path in (folder / "checkpoints").glob("step-*") if path.name.removeprefix("step-").isdigit()),
        key=lambda path: int(path.name.removeprefix("step-")),
    )
    if last < 1 or len(found) < last:
        raise SmolfastError(
            f"{folder} has {len(found)} checkpoint(s), and {last} are wanted; give a --last that fits, or train with "
            f"train.keep_checkpoints={max(last, 1)}"
        )
    entries = [_entries(path) for path in found[-last:]]
    with naming(record, "train again"):
        values = read_json(record)
        config = ModelConfig.model_validate(values["model"])
        end = values.get("end_of_document")
    if end is None:  # a record that an earlier version wrote
        finished = folder / "model" / "config.json"
        if not finished.is_file():
            raise SmolfastError(f"{record} doesn't say which token ends a document; let the run finish first")
        end = read_json(finished)["eos_token_id"]
    target.mkdir(parents=True, exist_ok=True)
    own = [{name: entry for name, entry in model.items() if not name.startswith(_HEADS)} for model in entries]
    own = [model | {gate: model[up] for gate, up in gates_of(config, model).items()} for model in own]
    heads = [{name: entry for name, entry in model.items() if name.startswith(_HEADS)} for model in entries]
    total, mean = len(entries[0]), linear([1.0] * last)

    def told(before: int) -> Callable[[int, str], object]:
        return lambda done, name: progress(before + done, total, name) if progress is not None else None

    write_merged(target / WEIGHTS, own, mean, None, told(0))
    if heads[0]:
        write_merged(target / MTP_WEIGHTS, heads, mean, None, told(len(own[0])))
    with naming(record, "train again"), torch.device("meta"):
        network = SmolLM(config, own[0]["model.embed_tokens.weight"].shape[0])
    write_json(target / "config.json", to_hub_config(network, end))
    return {
        "steps": [int(path.name.removeprefix("step-")) for path in found[-last:]],
        "tensors": total,
        "parameters": sum(entry.size for entry in own[0].values()),
        "files": sorted(path.name for path in target.iterdir()),
    }


def _entries(checkpoint: Path) -> dict[str, Entry]:
    path = checkpoint / WEIGHTS
    with naming(checkpoint / "state.json", "delete that folder"):
        expected = read_json(checkpoint / "state.json")["checksums"][WEIGHTS]
    if not path.is_file() or fingerprint(path) != expected:
        raise SmolfastError(
            f"checkpoint {checkpoint} is damaged: {WEIGHTS} does not match its checksum; delete that folder"
        )
    entries = read_entries(path)
    if not any(name.startswith("model.model.") for name in entries):
        return entries
    # A student, beside which its projection lies.
    return {name.removeprefix("model."): entry for name, entry in entries.items() if name.startswith("model.")}
