"""torchrun with 2 and 4 gloo processes: the losses of one process, and checkpoints that any number can go on from."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist

pytestmark = pytest.mark.skipif(
    not dist.is_available() or not dist.is_gloo_available(), reason="torch has no gloo here"
)

SETTINGS = """
[model]
hidden_size = 32
intermediate_size = 48
num_hidden_layers = 2
num_attention_heads = 4
num_key_value_heads = 1
head_dim = 8
no_rope_layer_interval = 2
[train]
sequence_length = 32
batch_size = 16
micro_batch_size = 2
checkpoint_every = 20
keep_checkpoints = 10
evaluate_every = 25
monitor_every = 25
qk_clip = 30.0
clip = "zclip"
steps = 50
"""


def command(output: str, world: int, *options: str) -> list[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world}"]
    train = ["-m", "smolfast", "train", "tokens", "-o", output, "--config", "config.toml", "--json", *options]
    return [*(launcher if world > 1 else [sys.executable]), *train]


def start(folder: Path, output: str, world: int, *options: str) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        command(output, world, *options),
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def run(folder: Path, output: str, world: int, *options: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Train in `world` processes; the lines of metrics and the summary."""
    process = start(folder, output, world, *options)
    try:
        printed, errors = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    return metrics(folder / output), json.loads(printed)


def metrics(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


def assert_close(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert len(found) == len(expected) == 50
    for ours, theirs in zip(found, expected, strict=True):
        assert ours["tokens"] == theirs["tokens"]
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-5, rel=0)
        assert ours["gradient_norm"] == pytest.approx(theirs["gradient_norm"], rel=1e-4)
        assert ours.keys() == theirs.keys()
        if "held_out_loss" in theirs:
            assert ours["held_out_loss"] == pytest.approx(theirs["held_out_loss"], abs=1e-5, rel=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, write_tokens: Any) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    write_tokens(folder / "tokens")
    (folder / "config.toml").write_text(SETTINGS)
    return folder


@pytest.fixture(scope="module")
def alone(folder: Path) -> list[dict[str, Any]]:
    return run(folder, "alone", 1)[0]


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_equal_one(parallel: str, folder: Path, alone: list[dict[str, Any]]) -> None:
    lines, _ = run(folder, parallel, 2, "--parallel", parallel)
    assert_close(lines, alone)
    assert {"model.safetensors", "config.json"} <= {path.name for path in (folder / parallel / "model").iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_save_on_four_go_on_with_two_and_with_one(
    parallel: str, folder: Path, alone: list[dict[str, Any]], tmp_path: Path
) -> None:
    """SIGTERM saves on all ranks; what was saved by four is gone on from by two, by one and by four."""
    four = tmp_path / "4"
    shutil.copytree(folder, four)
    process = start(four, "run", 4, "--parallel", parallel)
    path = four / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 200
    while process.poll() is None and time.monotonic() < deadline:
        if path.exists() and path.read_bytes().count(b"\n") >= 24:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    done = len(metrics(four / "run"))
    assert 24 <= done < 50, errors
    newest = f"step-{done:06}"
    assert (four / "run" / "checkpoints" / "latest").read_text() == newest + "\n"
    for world in (1, 2):
        shutil.copytree(four, tmp_path / str(world))
    for world in (4, 2, 1):
        lines, summary = run(tmp_path / str(world), "run", world, "--parallel", parallel)
        assert summary["resumed_from_step"] == done
        assert_close(lines, alone)


def test_a_batch_that_does_not_divide_is_named(folder: Path) -> None:
    process = start(folder, "odd", 3)
    _, errors = process.communicate(timeout=100)
    assert process.returncode != 0
    assert "a batch of 16 sequences doesn't divide into micro-batches of 2 on 3 ranks; make train.batch_size" in errors
