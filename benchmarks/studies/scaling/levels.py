"""How level activations are over widths and depths, and which initial weights set shapes apart.

    python benchmarks/studies/scaling/levels.py     # writes levels.json beside it; two minutes of one core

Models of width 64 and two layers at the base, of which either the width or the depth changes. Three steps on made-up
tokens; squares are averaged over seeds, of which narrow models take more. `outputs` are the last matrices of branches
and an untied output layer: drawn, or zero at the beginning (`train.zero_init_outputs`). A spread is the largest change
of an activation over the smallest, less 1. Its chance is the largest standard error of these changes, by seeds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from smolfast.config import Config, ModelConfig, load_config
from smolfast.files import write_json
from smolfast.train.parametrization.coordinate_check import at_depth, at_width, coordinate_check

STEPS = 3
RATES = {"muon": 0.02, "adamw": 0.003}  # of AdamW, beside Muon and alone
BASE = [
    "model.hidden_size=64", "model.intermediate_size=192", "model.num_hidden_layers=2", "model.num_attention_heads=8",
    "model.num_key_value_heads=2", "model.head_dim=8", "model.mtp_heads=1", "model.tie_word_embeddings=false",
    "train.mtp_weights=[1.0]", "tokenizer.vocab_size=300", "train.base_hidden_size=64", "train.base_layers=2",
    "train.steps=100",
]  # fmt: skip
WAYS: dict[str, tuple[dict[int, int], Callable[[ModelConfig, int], ModelConfig]]] = {
    "width": ({32: 32, 64: 20, 128: 12, 256: 6}, at_width),  # with the seeds of each
    "depth": ({2: 12, 4: 12, 8: 12}, at_depth),
}


def configured(kind: str, optimizer: str, outputs: str) -> Config:
    return load_config(
        None,
        [*BASE, f"train.parametrization={kind}", f"train.optimizer={optimizer}",
         f"train.adamw_learning_rate={RATES[optimizer]}", f"train.zero_init_outputs={str(outputs == 'zero').lower()}"],
    )  # fmt: skip


def measured(kind: str, way: str, optimizer: str, outputs: str) -> dict[str, Any]:
    places, at = WAYS[way]
    config = configured(kind, optimizer, outputs)
    seeds = [2] * len(places) if kind == "standard" else list(places.values())
    found = coordinate_check(config, [at(config.model, place) for place in places], steps=STEPS, seeds=seeds)
    return {
        "parametrization": kind, "way": way, "shapes": list(places), "seeds": seeds,
        "optimizer": optimizer, "outputs": outputs,
        "spread": {one.kind: round(one.spread, 4) for one in found},
        "chance": {one.kind: max(one.chance) for one in found},
        "change": {one.kind: [shape[-1] for shape in one.change] for one in found},
    }  # fmt: skip


def line(row: dict[str, Any]) -> str:
    """A row of the table in docs/scaling.md."""
    places = "widths 32 to 256" if row["way"] == "width" else "2 to 8 layers"
    optimizer = {"muon": "Muon", "adamw": "AdamW"}[row["optimizer"]]
    outputs = {"drawn": "drawn", "zero": "at zero"}[row["outputs"]]
    spreads = " | ".join(f"{100 * row['spread'][kind]:.0f} %" for kind in ("attention", "mlp", "stream", "logits"))
    return f"| {places} | `{row['parametrization']}` | {optimizer} | {outputs} | {spreads} |"


def main() -> int:
    torch.set_num_threads(1)
    started, rows = time.process_time(), []
    for way, right in (("width", "mup"), ("depth", "completep")):
        for optimizer in ("muon", "adamw"):
            for kind, outputs in ((right, "drawn"), (right, "zero"), ("standard", "zero")):
                rows.append(measured(kind, way, optimizer, outputs))
                spread = "  ".join(f"{name} {value:.0%}" for name, value in rows[-1]["spread"].items())
                print(f"{way} {optimizer:5} {kind:9} {outputs:5}  {spread}", flush=True)
    write_json(
        Path(__file__).with_name("levels.json"),
        {"base": [64, 2], "steps": STEPS, "cpu_seconds": time.process_time() - started, "rows": rows},
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
