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

from smolfast.commands.main import main
from smolfast.errors import SmolfastError
from smolfast.train.process.ranks import Ranks

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


TRAININGS = Path(__file__).parents[1] / "distributed" / "train_ranks.py"
PARALLEL = ("ddp", "fsdp")


def arguments(output: str, parallel: str = "ddp") -> list[str]:
    return ["train", "tokens", "-o", output, "--config", "config.toml", "--json", "--parallel", parallel]


def start(folder: Path, world: int, *program: str | Path) -> subprocess.Popen[str]:
    """torchrun, in `folder`."""
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world}", *program],
        cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def train_each(world: int, trainings: list[tuple[Path, list[str]]]) -> list[dict[str, Any]]:
    """One training after the other, each in its folder, in the same `world` processes; their summaries."""
    process = start(trainings[0][0], world, TRAININGS, json.dumps([(str(path), line) for path, line in trainings]))
    try:
        printed, errors = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    return [json.loads(line) for line in printed.splitlines()]


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
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(arguments("alone")) == 0
    return metrics(folder / "alone")


@pytest.fixture(scope="module")
def saved(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, int]]:
    """For each way to be parallel: what four processes left after SIGTERM, and how many steps they had done."""
    left = {}
    for parallel in PARALLEL:
        four = tmp_path_factory.mktemp("saved") / "4"
        shutil.copytree(folder, four)
        process = start(four, 4, "-m", "smolfast", *arguments("run", parallel))
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
        assert (four / "run" / "checkpoints" / "latest").read_text() == f"step-{done:06}\n"
        for world in (1, 2):
            shutil.copytree(four, four.parent / str(world))
        left[parallel] = four.parent, done
    return left


@pytest.fixture(scope="module")
def two_processes(folder: Path, saved: dict[str, tuple[Path, int]]) -> list[dict[str, Any]]:
    """Summaries of two processes that train from the start, then go on from what four saved."""
    fresh = [(folder, arguments(parallel, parallel)) for parallel in PARALLEL]
    return train_each(2, fresh + [(saved[parallel][0] / "2", arguments("run", parallel)) for parallel in PARALLEL])


@pytest.fixture(scope="module")
def four_processes(folder: Path, saved: dict[str, tuple[Path, int]]) -> list[dict[str, Any]]:
    resumed = [(saved[parallel][0] / "4", arguments("run", parallel)) for parallel in PARALLEL]
    # Groups of two that each hold the whole model, whose layers are computed again.
    hybrid = [*arguments("hybrid", "fsdp"), "--shards", "2", "--set", "train.recompute=full"]
    return train_each(4, [*resumed, (folder, hybrid)])


@pytest.mark.slow
@pytest.mark.usefixtures("two_processes")
@pytest.mark.parametrize("parallel", PARALLEL)
def test_two_processes_equal_one(parallel: str, folder: Path, alone: list[dict[str, Any]]) -> None:
    assert_close(metrics(folder / parallel), alone)
    assert {"model.safetensors", "config.json"} <= {path.name for path in (folder / parallel / "model").iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("parallel", PARALLEL)
def test_save_on_four_go_on_with_two_and_with_one(
    parallel: str,
    saved: dict[str, tuple[Path, int]],
    alone: list[dict[str, Any]],
    two_processes: list[dict[str, Any]],
    four_processes: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """SIGTERM saves on all ranks; what was saved by four is gone on from by two, by one and by four."""
    left, done = saved[parallel]
    monkeypatch.chdir(left / "1")
    assert main(arguments("run", parallel)) == 0
    index = PARALLEL.index(parallel)
    summaries = {1: json.loads(capsys.readouterr().out), 2: two_processes[2 + index], 4: four_processes[index]}
    for world, summary in summaries.items():
        assert summary["resumed_from_step"] == done
        assert_close(metrics(left / str(world) / "run"), alone)


@pytest.mark.slow
@pytest.mark.usefixtures("four_processes")
def test_groups_of_shards_equal_one_process(folder: Path, alone: list[dict[str, Any]]) -> None:
    assert_close(metrics(folder / "hybrid"), alone)


@pytest.mark.slow
@pytest.mark.parametrize("world", [2, 4])
def test_parametrizations_on_ranks_equal_one_process(world: int, folder: Path, tmp_path: Path) -> None:
    """The rates, decays and epsilons by shape are those of sharded and of replicated parameters alike."""
    shape = ["--set", "train.base_hidden_size=16", "--set", "train.base_layers=1", "--set", "train.steps=8"]
    shutil.copytree(folder / "tokens", tmp_path / "tokens")
    shutil.copy(folder / "config.toml", tmp_path)
    trainings = {
        (kind, parallel): [*shape, "--set", f"train.parametrization={kind}", "--set", f"model.mtp_kind={heads}"]
        for kind, heads in (("standard", "sequential"), ("mup", "independent"), ("completep", "sequential"))
        for parallel in PARALLEL
    }
    train_each(
        world,
        [(tmp_path, [*arguments(f"{kind}-{parallel}", parallel), *settings])
         for (kind, parallel), settings in trainings.items()],
    )  # fmt: skip
    for (kind, parallel), settings in trainings.items():
        alone = tmp_path / f"{kind}-alone"
        if not alone.exists():
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(tmp_path)
                assert main([*arguments(alone.name), *settings]) == 0
        expected = [line["loss"] for line in metrics(alone)]
        assert len(expected) == 8
        found = [line["loss"] for line in metrics(tmp_path / f"{kind}-{parallel}")]
        assert found == pytest.approx(expected, abs=1e-5), (kind, parallel)


def test_groups_that_ranks_do_not_divide_into(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "6")
    assert Ranks("fsdp", shards=3).shards == 3 and Ranks("fsdp").shards == 6
    with pytest.raises(
        SmolfastError, match="--shards 4: 6 ranks don't divide into such groups; give one of 1, 2, 3, 6"
    ):
        Ranks("fsdp", shards=4)
    with pytest.raises(SmolfastError, match="--shards 2 is for sharded parameters; add --parallel fsdp"):
        Ranks("ddp", shards=2)


def test_a_batch_that_does_not_divide_is_named(folder: Path) -> None:
    process = start(folder, 3, "-m", "smolfast", *arguments("odd"))
    _, errors = process.communicate(timeout=100)
    assert process.returncode != 0
    assert "a batch of 16 sequences doesn't divide into micro-batches of 2 on 3 ranks; make train.batch_size" in errors
