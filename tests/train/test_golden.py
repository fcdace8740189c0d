"""The losses of a 200-step run against recorded ones, so that no change to the arithmetic goes unseen.

Another CPU or another torch adds up in another order. Such a difference grows as training goes on: a run with other
micro-batches, which changes nothing but rounding, drifts by up to 8.3e-5 of the loss in 200 steps, and by 1.1e-7 in the
first ten. The tolerance leaves room around that: 2e-6 in the first ten steps, 5e-4 after. Any change of the optimiser,
the schedule, the data's order or the initial weights is far outside.

`python tests/train/test_golden.py` records them anew.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from smolfast.config import ModelConfig, TrainConfig
from smolfast.train.loop import train

GOLDEN = Path(__file__).parents[1] / "golden" / "train_losses.json"
# Written out here: the recorded losses are those of this very shape, whatever other tests come to share.
MODEL = ModelConfig(
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=1,
    head_dim=8,
    no_rope_layer_interval=4,
)


def losses(write_tokens: Any, folder: Path, micro_batch_size: int = 4) -> list[float]:
    """Of each step, then the held-out loss at the end."""
    config = TrainConfig(
        steps=200, sequence_length=32, batch_size=8, micro_batch_size=micro_batch_size, evaluate_every=200,
        checkpoint_every=200, clip="zclip", z_loss=1e-4, decay_shape="1-sqrt", batch_ramp_fraction=0.2,
        batch_ramp_start=4, qk_clip=50.0,
    )  # fmt: skip
    summary = train(
        write_tokens(folder / "tokens"), folder / "run", model=MODEL, config=config, device="cpu", threads=1
    )
    lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    return [*(line["loss"] for line in lines), summary["held_out_loss"]]


def test_losses_are_the_recorded_ones(write_tokens: Any, tmp_path: Path) -> None:
    recorded = json.loads(GOLDEN.read_text())
    assert len(recorded) == 201
    found = losses(write_tokens, tmp_path)
    assert found[:10] == pytest.approx(recorded[:10], rel=2e-6)
    assert found == pytest.approx(recorded, rel=5e-4)


if __name__ == "__main__":
    spec = importlib.util.spec_from_file_location("synthetic_tokens", Path(__file__).parents[1] / "synthetic_tokens.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with tempfile.TemporaryDirectory() as folder:
        if "--drift" in sys.argv:  # what rounding alone does
            pairs = zip(losses(module.write_tokens, Path(folder), 2), json.loads(GOLDEN.read_text()), strict=True)
            drift = [abs(ours - theirs) / theirs for ours, theirs in pairs]
            print(f"first ten steps {max(drift[:10]):.1e}, all {max(drift):.1e}")
        else:
            GOLDEN.write_text(json.dumps(losses(module.write_tokens, Path(folder))) + "\n")
