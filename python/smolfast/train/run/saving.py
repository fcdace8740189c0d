"""What a run leaves on disk and takes up again: checkpoints, the finished model, and facts for the model card."""

from __future__ import annotations

from typing import Any

import torch

from smolfast.files import atomic_path
from smolfast.machine import hardware
from smolfast.model.network import SmolLM
from smolfast.model.pretrained import save_pretrained
from smolfast.train.run import checkpoint
from smolfast.train.run.parts import Run


def snapshot(run: Run, step: int) -> checkpoint.Snapshot:
    """The run as it is after a step; every rank must ask."""
    progress = {
        "seconds": run.seconds,
        "tokens": run.tokens,
        "stage": run.stage,
        "events": run.events.count,
        "guard": run.guard.state(),
        "clipper": run.clipper.state(),
        "monitor": run.monitor.state(),
        "monitors": run.monitors.state(),
    }
    return checkpoint.take_snapshot(step, run.objective.trained, run.optimizer, progress)


def restore(run: Run, passing_over: int = 0, before: int | None = None) -> int | None:
    """Load a checkpoint; its step, or None if there is none."""
    run.seconds, run.event_count = 0.0, 0
    found = checkpoint.restore(
        run.output / "checkpoints", run.objective.trained, run.optimizer, passing_over=passing_over, before=before
    )
    if found is None:
        return None
    step, progress = found
    run.seconds, run.event_count = progress["seconds"], progress["events"]
    run.tokens, run.stage = progress["tokens"], progress["stage"]
    run.set_rope()
    run.guard.load(progress["guard"])
    run.clipper.load(progress["clipper"])
    run.monitor.load(progress["monitor"])
    run.monitors.load(progress["monitors"])
    run.apply_clip()
    return step


def save_model(run: Run) -> dict[str, int]:
    """Write the finished model, gathered whole if it lies in shards; on the first rank, the bytes of each file."""
    files: dict[str, int] = {}
    model = run.model
    if run.ranks.sharded:
        weights = checkpoint.whole(run.model.state_dict())
        model = SmolLM(run.model.config, run.vocab_size)
        model.load_state_dict(weights)
    if run.ranks.first:
        with atomic_path(run.output / "model") as temporary:
            save_pretrained(model, temporary, end_of_document=run.end_of_document)
            files = {path.name: path.stat().st_size for path in sorted(temporary.iterdir())}
    run.ranks.wait()
    return files


def facts(run: Run) -> dict[str, Any]:
    """What was trained on, and where, for the model card."""
    device = torch.cuda.get_device_name(run.device) if run.device.type == "cuda" else run.device.type
    return {
        "data": {
            name: {"documents": file.documents, "tokens": len(file.tokens), "utf8_bytes": file.utf8_bytes}
            for name, file in run.sources.items()
        },
        "vocabulary": run.vocabulary,
        "end_of_document": run.end_of_document,
        "hardware": {"device": device, "ranks": run.ranks.world, **hardware()},
    }
