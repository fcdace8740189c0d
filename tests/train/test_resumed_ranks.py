"""50 steps on 2 and 4 gloo processes, however they share the work, and runs that go on from any checkpoint on others.

What is shared: the batch (ddp), the parameters too (fsdp; hybrid: within groups), a micro-batch's tokens (context).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist

from smolfast.commands.main import main
from smolfast.train.run.files import RUN_FILES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="torch has no gloo here"),
]

# Windows of a document or two, and their beginnings and ends: the text's are of 100 tokens.
SETTINGS = """
[model]
hidden_size = 32
intermediate_size = 48
num_hidden_layers = 3
num_attention_heads = 4
num_key_value_heads = 2
head_dim = 8
no_rope_layer_interval = 2
max_position_embeddings = 128
mtp_kind = "sequential"
[train]
sequence_length = 90
batch_size = 8
micro_batch_size = 2
checkpoint_every = 14
keep_checkpoints = 10
evaluate_every = 25
monitor_every = 25
qk_clip = 30.0
clip = "zclip"
z_loss = 1e-4
steps = 50
"""
STEPS, SAVED = 50, (14, 28, 42)
TRAININGS = Path(__file__).parents[1] / "distributed" / "train_ranks.py"
FSDP, CONTEXT = ["--parallel", "fsdp"], "--context-parallel"
WAYS: dict[int, dict[str, list[str]]] = {
    2: {"ddp": [], "fsdp": FSDP, "context": [CONTEXT, "2"]},
    4: {
        "ddp": [],
        "fsdp": FSDP,
        "hybrid": [*FSDP, "--shards", "2"],
        "context": [CONTEXT, "4"],
        # Pairs share tokens, all share parameters; and other pairs share parameters than share a batch.
        "context-fsdp": [*FSDP, CONTEXT, "2", "--set", "train.recompute=full"],
        "context-hybrid": [*FSDP, "--shards", "2", CONTEXT, "4", "--set", "train.recompute=selective"],
    },
}
# From which run after how many steps, and on how many ranks in which way.
OTHERS = [
    ("2-context", 14, 1, ""),
    ("2-context", 28, 4, "context-fsdp"),
    ("2-context", 42, 4, "context"),
    ("4-context", 28, 2, "context"),
    ("4-context-fsdp", 42, 2, "fsdp"),
    ("4-hybrid", 42, 2, "context"),
    ("2-ddp", 42, 4, "hybrid"),
    ("2-fsdp", 42, 4, "ddp"),
    ("4-ddp", 42, 2, "fsdp"),
    ("4-fsdp", 42, 1, ""),
]
if os.environ.get("CI"):  # where ten minutes are too many: a third of the ways, and what goes on between these
    FEW = {2: ("fsdp", "context"), 4: ("context-fsdp",)}
    WAYS = {world: {way: WAYS[world][way] for way in few} for world, few in FEW.items()}
    RUNS = {"1-", *(f"{world}-{way}" for world, ways in WAYS.items() for way in ways)}
    OTHERS = [other for other in OTHERS if {other[0], f"{other[2]}-{other[3]}"} <= RUNS]


def arguments(output: str, options: list[str]) -> list[str]:
    return ["train", "tokens", "-o", output, "--config", "config.toml", "--json", "--quiet", *options]


def train_each(folder: Path, world: int, trainings: list[list[str]]) -> None:
    """One training after the other in the same `world` processes."""
    process = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world}", TRAININGS,
         json.dumps([(str(folder), line) for line in trainings])],
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}, capture_output=True, text=True,
        timeout=1500, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr[-8000:]


def metrics(output: Path) -> list[dict[str, Any]]:
    """Lines of a run, without what a clock says."""
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in ("seconds", "speed")} for line in lines]


def assert_close(output: Path, undisturbed: Path) -> None:
    found, expected = metrics(output), metrics(undisturbed)
    assert len(found) == len(expected) == STEPS, output.name
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.keys() == theirs.keys()
        assert ours["tokens"] == theirs["tokens"]
        for name in ("loss", "held_out_loss"):
            if name in theirs:
                assert ours[name] == pytest.approx(theirs[name], abs=1e-5, rel=0), (output.name, ours["step"], name)
        assert ours["gradient_norm"] == pytest.approx(theirs["gradient_norm"], rel=1e-4), (output.name, ours["step"])


def as_if_killed(run: Path, step: int, copy: Path) -> None:
    """A copy of a finished run as it was some steps after the checkpoint of `step`, and before the next."""
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("model"))
    for checkpoint in (copy / "checkpoints").glob("step-*"):
        if int(checkpoint.name.removeprefix("step-")) > step:
            shutil.rmtree(checkpoint)
    lines = (copy / "metrics.jsonl").read_text().splitlines(keepends=True)
    (copy / "metrics.jsonl").write_text("".join(lines[: step + 5]))
    record = json.loads((copy / "run.json").read_text())
    del record["summary"], record["model_files"]
    (copy / "run.json").write_text(json.dumps(record))
    records = run.parent / ".smolfast"
    made = json.loads((records / f"{run.name}.json").read_text())
    begun = {"stage": "train", "key": made["key"], "output": copy.name, "files": [], "writes": list(RUN_FILES)}
    (records / f"{copy.name}.started.json").write_text(json.dumps(begun))


def resumed_from(folder: Path, run: str, step: int, world: int, way: str) -> str:
    """A folder to go on in: what a run had after a step, for so many ranks."""
    name = f"{run}-{step}-on-{world}-{way}"
    as_if_killed(folder / run, step, folder / name)
    return name


def undisturbed(folder: Path) -> None:
    """One process's run, `1`, and all ways to share it."""
    assert main(arguments("1", [])) == 0
    for world, ways in WAYS.items():
        train_each(folder, world, [arguments(f"{world}-{way}", options) for way, options in ways.items()])


def gone_on_with(folder: Path) -> list[tuple[str, int, str]]:
    """Every run gone on with in its own way, from one of its checkpoints, and in others'. Gives run, step and folder of
    the first kind."""
    own = [("1", SAVED[1], resumed_from(folder, "1", SAVED[1], 1, ""))]
    for world, ways in WAYS.items():
        trainings = []
        for number, (way, options) in enumerate(ways.items()):
            run, step = f"{world}-{way}", SAVED[number % 3]
            own.append((run, step, resumed_from(folder, run, step, world, way)))
            trainings.append(arguments(own[-1][2], options))
        for run, step, goes_on, way in OTHERS:
            if goes_on == world:
                trainings.append(arguments(resumed_from(folder, run, step, world, way), ways[way]))
        train_each(folder, world, trainings)
    for run, step, goes_on, way in OTHERS:
        if goes_on == 1:
            assert main(arguments(resumed_from(folder, run, step, 1, way), [])) == 0
    assert main(arguments(own[0][2], [])) == 0
    return own


# One test: trainings take minutes, and tests that share them would be spread over processes, each with its own.
def test_losses_and_runs_that_go_on(tmp_path: Path, write_tokens: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path
    write_tokens(folder / "tokens")
    (folder / "config.toml").write_text(SETTINGS)
    monkeypatch.chdir(folder)
    undisturbed(folder)
    for run in (f"{world}-{way}" for world, ways in WAYS.items() for way in ways):
        assert_close(folder / run, folder / "1")
    for run, step, again in gone_on_with(folder):  # in the same way: to the bit
        assert metrics(folder / again) == metrics(folder / run), (run, step)
        for name in ("model.safetensors", "mtp_heads.safetensors"):
            made = [(folder / output / "model" / name).read_bytes() for output in (again, run)]
            assert made[0] == made[1], (run, step, name)
    for run, step, world, way in OTHERS:
        again = folder / f"{run}-{step}-on-{world}-{way}"
        assert metrics(again)[:step] == metrics(folder / run)[:step], again.name
        assert_close(again, folder / run)
    # Two ranks, then four, then the two again.
    back = resumed_from(folder, "2-context-28-on-4-context-fsdp", 42, 2, "context")
    train_each(folder, 2, [arguments(back, WAYS[2]["context"])])
    assert_close(folder / back, folder / "1")
