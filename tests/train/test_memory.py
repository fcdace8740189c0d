"""The dry run's table beside what torch's allocator gives out on 2 and 4 ranks, by what is computed again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist

from smolfast.config import load_config
from smolfast.train.dry_run import estimate

pytestmark = pytest.mark.skipif(
    not dist.is_available() or not dist.is_gloo_available(), reason="torch has no gloo here"
)
# Wide enough that tensors outweigh what a process has beside them, and so deep that modes differ.
SETTINGS = """
[model]
hidden_size = 96
intermediate_size = 256
num_hidden_layers = 6
num_attention_heads = 4
num_key_value_heads = 2
head_dim = 24
max_position_embeddings = 256
mtp_heads = 1
[tokenizer]
vocab_size = 258
[train]
steps = 2
sequence_length = 256
batch_size = 16
micro_batch_size = 2
evaluate_every = 0
monitor_every = 0
mtp_weights = [1.0]
"""
MODES = ("none", "selective", "full")
RANKS = Path(__file__).parents[1] / "distributed" / "memory_ranks.py"


def cases(world: int) -> list[tuple[str, list[str]]]:
    """Kinds of the dry run's table, and options."""
    found = [("ddp", ["--parallel", "ddp"]), ("fsdp", ["--parallel", "fsdp"])]
    return [*found, ("hybrid", ["--parallel", "fsdp", "--shards", "2"])] if world == 4 else found


@pytest.mark.parametrize("world", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_the_table_is_what_ranks_take(world: int, write_tokens: Any, tmp_path: Path) -> None:
    index = write_tokens(tmp_path / "tokens") / "tokens.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "vocab_size": 258}))
    (tmp_path / "config.toml").write_text(SETTINGS)
    trainings, expected = [], []
    for kind, options in cases(world):
        for mode in MODES:
            settings = ["--set", f"train.recompute={mode}"]
            line = [
                "train",
                "tokens",
                "-o",
                f"{kind}-{mode}",
                "--config",
                "config.toml",
                "--quiet",
                *options,
                *settings,
            ]
            trainings.append((str(tmp_path), line))
            figures = estimate(load_config(tmp_path / "config.toml", [settings[1]]), gpus=world, shards=world // 2)
            expected.append((f"{kind} {mode}", figures["memory_per_rank"][kind]["total"]))
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world}", str(RANKS)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([*line, json.dumps(trainings)], env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line)["most"] for line in done.stdout.splitlines()]
    table = {name: (most / 2**20, said / 2**20) for most, (name, said) in zip(found, expected, strict=True)}
    print(table)
    for name, (most, said) in table.items():
        assert said == pytest.approx(most, rel=0.1), (name, table)
