"""Two gloo processes act on rules as one does, though their tokens a second differ."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist

from smolfast.commands.main import main

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
batch_size = 8
micro_batch_size = 2
checkpoint_every = 10
evaluate_every = 10
monitor_every = 10
steps = 30
[[train.monitors]]
metric = "loss"
change_below = -1e-3
window = 5
rest = 8
reaction = "lower rate"
[[train.monitors]]
metric = "attention.max_logit"
above = 1e-3
rest = 7
reaction = "tighten clip"
[[train.monitors]]
metric = "held_out_loss"
above = 1e-3
rest = 1000
reaction = "roll back"
[[train.monitors]]
metric = "features.effective_rank"
above = 1.0
reaction = "command"
command = ["sh", "-c", "cat >> $PWD/told"]
"""
BY_TIME = """
[[train.monitors]]
metric = "tokens_per_second"
change_above = 0.0
rest = 2
reaction = "lower rate"
factor = 0.9
"""


def arguments(output: str, config: str, parallel: str) -> list[str]:
    return ["train", "tokens", "-o", output, "--config", config, "--json", "--parallel", parallel]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_two_processes_act_as_one(tmp_path: Path, write_tokens: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tokens(tmp_path / "tokens")
    (tmp_path / "config.toml").write_text(SETTINGS)
    (tmp_path / "time.toml").write_text(SETTINGS + BY_TIME)
    monkeypatch.chdir(tmp_path)
    assert main(arguments("one", "config.toml", "ddp")) == 0
    told = (tmp_path / "told").read_text()
    trainings = [
        (str(tmp_path), arguments(name, config, parallel))
        for name, config, parallel in (
            ("ddp", "config.toml", "ddp"), ("fsdp", "config.toml", "fsdp"), ("time", "time.toml", "ddp")
        )
    ]  # fmt: skip
    script = Path(__file__).parents[1] / "distributed" / "train_ranks.py"
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", script,
         json.dumps(trainings)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr

    def acted(name: str) -> list[tuple[Any, ...]]:
        keys = ("step", "event", "reaction", "rate", "gradient_clip", "back_to", "layer")
        return [tuple(event.get(key) for key in keys) for event in lines(tmp_path / name / "events.jsonl")]

    assert {event[2] for event in acted("one")} == {"lower rate", "tighten clip", "roll back", "command", None}
    for name in ("ddp", "fsdp"):
        assert acted(name) == acted("one")
        ours, theirs = lines(tmp_path / name / "metrics.jsonl"), lines(tmp_path / "one" / "metrics.jsonl")
        assert [line["loss"] for line in ours] == pytest.approx([line["loss"] for line in theirs], abs=1e-4)
        assert ours[-1]["muon_learning_rate"] == theirs[-1]["muon_learning_rate"]
    # Each run told the program as often as one process did: the first rank alone tells.
    assert (tmp_path / "told").read_text().count("\n") == 4 * told.count("\n")
    assert any(event["metric"] == "tokens_per_second" for event in lines(tmp_path / "time" / "events.jsonl")
               if event["event"] == "monitor")  # fmt: skip
