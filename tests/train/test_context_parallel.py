"""Sequences shared over ranks: gradients of one process, room, and what is refused.

The losses of 50 steps and checkpoints between different numbers of ranks are in test_resumed_ranks.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

from smolfast.commands.main import main
from smolfast.config import TrainConfig, load_config
from smolfast.errors import SmolfastError
from smolfast.model.context_parallel import ContextGroup, RunPart
from smolfast.model.network import PackedBatch
from smolfast.train.dry_run import estimate
from smolfast.train.loop import train
from smolfast.train.preferences.align import align
from smolfast.train.process.ranks import Ranks

gloo = pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="torch has no gloo here")
DISTRIBUTED = Path(__file__).parents[1] / "distributed"


@gloo
@pytest.mark.parametrize("world", [2, pytest.param(3, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.slow)])
def test_losses_and_gradients_are_one_process_s(world: int, run_ranks: Callable[..., None]) -> None:
    run_ranks(DISTRIBUTED / "context_ranks.py", world)


# Long windows: activations outweigh weights, gradients and moments.
LONG = """
[model]
hidden_size = 96
intermediate_size = 256
num_hidden_layers = 6
num_attention_heads = 4
num_key_value_heads = 2
head_dim = 24
max_position_embeddings = 3072
mtp_heads = 1
[tokenizer]
vocab_size = 258
[train]
steps = 2
sequence_length = 3072
batch_size = 2
micro_batch_size = 1
evaluate_every = 0
monitor_every = 0
mtp_weights = [1.0]
"""
KINDS: dict[str, list[str]] = {"ddp": [], "fsdp": ["--parallel", "fsdp"]}
MODES = ("none", "selective")


def most_bytes(folder: Path, world: int, trainings: dict[str, list[str]]) -> dict[str, int]:
    """Of trainings on so many ranks: what torch's allocator had given out at most, by distributed/memory_ranks.py."""
    lines = [
        ["train", "tokens", "-o", f"{world}-{name.replace(' ', '-')}", "--config", "config.toml", "--quiet", *options]
        for name, options in trainings.items()
    ]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world}",
         DISTRIBUTED / "memory_ranks.py", json.dumps([(str(folder), line) for line in lines])],
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}, capture_output=True, text=True,
        timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    found = [json.loads(line)["most"] for line in done.stdout.splitlines()]
    return dict(zip(trainings, found, strict=True))


@gloo
@pytest.mark.slow
def test_two_ranks_take_six_tenths_of_the_room_at_most(write_tokens: Any, tmp_path: Path) -> None:
    index = write_tokens(tmp_path / "tokens") / "tokens.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "vocab_size": 258}))
    (tmp_path / "config.toml").write_text(LONG)
    modes = {mode: ["--set", f"train.recompute={mode}"] for mode in MODES}
    # The profiler looks at the main thread.
    alone = most_bytes(tmp_path, 1, {mode: ["--threads", "1", *options] for mode, options in modes.items()})
    ways = {
        f"{kind} {mode}": [*options, "--context-parallel", "2", *modes[mode]]
        for kind, options in KINDS.items()
        for mode in MODES
    }
    found = most_bytes(tmp_path, 2, ways)
    print({name: most / 2**20 for name, most in {**alone, **found}.items()})
    for name, most in found.items():
        kind, _, mode = name.partition(" ")
        assert most <= (0.6 if mode == "none" else 0.65) * alone[mode], name
        config = load_config(tmp_path / "config.toml", [f"train.recompute={mode}"])
        said = estimate(config, gpus=2, context=2)["memory_per_rank"][kind]["total"]
        assert said == pytest.approx(most, rel=0.1), (name, said / 2**20, most / 2**20)


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 8])
def test_every_position_is_one_rank_s_and_work_is_equal(ranks: int) -> None:
    """Of one document: the pairs of queries and keys, which are what attention costs."""
    tokens = 16 * 997 + 5
    found, pairs = [], []
    for rank in range(ranks):
        part = RunPart([0, tokens], ContextGroup(rank, ranks), torch.device("cpu"))
        positions = part.of(torch.arange(tokens))
        assert len(positions) == part.tokens
        found.append(positions)
        pairs.append(int((positions + 1).sum()))
    assert torch.equal(torch.cat(found).sort().values, torch.arange(tokens))
    assert max(map(len, found)) - min(map(len, found)) < 2 * ranks
    assert max(pairs) <= 1.02 * min(pairs)


def test_targets_further_ahead_lie_on_other_ranks() -> None:
    tokens = np.arange(24).reshape(2, 12)
    whole = PackedBatch.from_windows(tokens, tokens // 5)
    parts = [whole.shared_over(ContextGroup(rank, 3)) for rank in range(3)]
    expected = whole.head_targets(3)
    for part in parts:
        assert part.part is not None
        assert torch.equal(part.head_targets(3), part.part.of(expected, 1))
    assert [sum(counts) for counts in zip(*(part.valid_targets(3) for part in parts), strict=True)] == (
        whole.valid_targets(3)
    )


def test_ranks_that_do_not_divide_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SmolfastError, match="--context-parallel 2: this process is the only one; start it on 2 ranks"):
        Ranks(context=2)
    monkeypatch.setenv("WORLD_SIZE", "6")
    with pytest.raises(
        SmolfastError, match="--context-parallel 4: 6 ranks don't divide into such groups; give one of 1, 2, 3, 6"
    ):
        Ranks(context=4)
    with pytest.raises(
        SmolfastError, match="a batch of 8 sequences doesn't divide into micro-batches of 2 on 3 groups"
    ):
        Ranks(context=2).share(8, 2)
    monkeypatch.setenv("RANK", "3")
    assert Ranks(context=2).share(12, 2) == (4, 8)
    assert Ranks("fsdp", shards=3, context=6).share(12, 2) == (0, 12)


@pytest.mark.parametrize(
    ("settings", "given", "said"),
    [
        ({"sequence_length": 8}, {}, "sequences of 8 tokens have fewer than 12; raise train.sequence_length, or share"),
        (
            {"stages": [{"fraction": 0.5, "sequence_length": 10}, {"fraction": 0.5}]},
            {},
            "sequences of 10 tokens have fewer than 12; raise train.sequence_length, or share them over at most 5 ",
        ),
        ({"compile": True}, {}, "train.compile = true can't hold what layers exchange"),
        (
            {},
            {"teacher": "teacher"},
            "doesn't go with --teacher, which needs whole windows on each rank; leave one out",
        ),
        ({}, {"teacher_cache": "cache"}, "doesn't go with --teacher-cache, which needs whole windows on each rank"),
    ],
)
def test_what_does_not_go_together_is_said_before_anything_runs(
    settings: dict[str, Any], given: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "6")
    config = TrainConfig.model_validate(settings)
    with pytest.raises(SmolfastError, match=said) as found:
        train("tokens", tmp_path / "out", model=load_config().model, config=config, ranks=Ranks(context=6), **given)
    assert str(found.value).startswith("--context-parallel 6") and "\n" not in str(found.value)
    assert not (tmp_path / "out").exists()


def test_preferences_are_whole_on_each_rank(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    config = load_config()
    with pytest.raises(SmolfastError, match="--context-parallel 2 doesn't go with --preferences, which needs whole"):
        align(
            "pairs.jsonl",
            tmp_path / "out",
            init="model",
            tokenizer="tokenizer",
            model=config.model,
            config=config.train,
            ranks=Ranks(context=2),
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--gpus", "6", "--context-parallel", "4"], "--context-parallel 4: 6 GPUs don't divide into such groups"),
        (["--gpus", "64", "--context-parallel", "64"], "sequences of 64 tokens have fewer than 128"),
        (
            ["--gpus", "6", "--context-parallel", "2"],
            "16 on 3 groups of 2 GPUs; make train.batch_size (and ",
        ),
        (["--context-parallel", "0"], "argument --context-parallel"),
    ],
)
def test_the_dry_run_refuses_the_same(options: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main(["train", "--dry-run", *options])
    except SystemExit as left:
        code = left.code
    assert code == 2
    assert said in capsys.readouterr().err


def test_one_process_is_told_to_start_more(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["train", "tokens", "-o", str(tmp_path / "out"), "--context-parallel", "2"]) == 2
    assert "start it on 2 ranks with torchrun --nproc-per-node 2 -m smolfast train" in capsys.readouterr().err


def test_the_dry_run_reckons_with_parts(capsys: pytest.CaptureFixture[str]) -> None:
    """What activations take is shared; parameters are as before."""
    settings = ["train.sequence_length=1024", "model.max_position_embeddings=1024", "train.micro_batch_size=1"]
    config = load_config(None, settings)
    alone, shared = (estimate(config, gpus=4, context=size)["memory_per_rank"]["fsdp"] for size in (1, 4))
    assert shared["weights"] == alone["weights"]
    assert shared["activations"] < 0.27 * alone["activations"]
    assert shared["total"] < 0.45 * alone["total"]
    line = ["train", "--dry-run", "--gpus", "4", "--context-parallel", "4"]
    assert main([*line, *(word for setting in settings for word in ("--set", setting))]) == 0
    assert "4 ranks share the tokens of each micro-batch" in capsys.readouterr().out
