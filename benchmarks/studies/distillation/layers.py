"""Is a teacher worth more with what goes on inside it? Students by logits alone, with features, with attention maps.

    smolfast quickstart --out data --set collect.max_bytes=4_000_000 --set train.steps=20   # the text and its tokens
    python benchmarks/studies/distillation/layers.py --data data --out study

A teacher of four layers is trained first. Students of two layers and half its width then learn from it: from logits
alone; with the outputs of layers 2 and 4; with these layers' attention maps. All see the same tokens in the same order
and begin with the same weights, by seed; so they are compared in pairs. Finished runs are kept in --out and not
repeated. Losses are of held-out text, in nats a token.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

import torch

from smolfast.config import DistillConfig, ModelConfig, TrainConfig
from smolfast.files import read_json, write_json
from smolfast.train.loop import train

TEACHER = ModelConfig(
    hidden_size=128, intermediate_size=384, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=1,
    head_dim=32, mtp_heads=1, max_position_embeddings=64,
)  # fmt: skip
STUDENT = TEACHER.model_copy(
    update={"hidden_size": 64, "intermediate_size": 192, "num_hidden_layers": 2, "num_attention_heads": 2}
)
MAP = {1: 2, 2: 4}
ARMS: dict[str, dict[str, Any]] = {
    "logits alone": {},
    "logits and features": {"layers": MAP, "layer_weight": 0.1},
    "logits and attention": {"layers": MAP, "layer_attention_weight": 0.1},
}


def trained(out: Path, name: str, tokens: Path, model: ModelConfig, steps: int, seed: int, **teacher: Any) -> float:
    """The held-out loss of a run, which is made unless it was."""
    config = TrainConfig(
        steps=steps,
        batch_size=16,
        micro_batch_size=8,
        mtp_weights=(1.0,),
        evaluate_every=0,
        monitor_every=0,
        muon_learning_rate=0.02,
        adamw_learning_rate=0.01,
    )
    record = out / name / "run.json"
    if not (record.exists() and "summary" in read_json(record)):
        train(tokens, out / name, model=model, config=config, seed=seed, **teacher)
    loss: float = read_json(record)["summary"]["held_out_loss"]
    print(f"{name}: {loss:.4f}", flush=True)
    return loss


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of a quickstart")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--teacher-steps", type=int, default=240)
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    tokens = options.data / "tokens"
    found: dict[str, Any] = {
        "teacher": trained(options.out, "teacher", tokens, TEACHER, options.teacher_steps, 0),
        "steps": options.steps,
        "teacher_steps": options.teacher_steps,
        "arms": {},
    }
    for seed in range(1, options.seeds + 1):  # seed by seed: a study that is stopped has whole pairs
        for arm, settings in ARMS.items():
            name = f"{arm.replace(' ', '-')}-{seed}"
            given = {"teacher": options.out / "teacher" / "model", "distill": DistillConfig(**settings)}
            loss = trained(options.out, name, tokens, STUDENT, options.steps, seed, **given)
            found["arms"].setdefault(arm, []).append(loss)
    write_json(options.out / "layers.json", {**found, "torch": torch.__version__})
    print(table(found))
    return 0


def table(found: dict[str, Any]) -> str:
    """Markdown: the mean loss of each arm, and its differences from the first, by seed and on average."""
    base, lines = (
        found["arms"]["logits alone"],
        ["| from the teacher | loss | less than logits alone, by seed | mean ± standard error |", "|---|--:|--:|--:|"],
    )
    for arm, losses in found["arms"].items():
        gains = [one - other for one, other in zip(base, losses, strict=True)]
        error = statistics.stdev(gains) / len(gains) ** 0.5 if len(gains) > 1 else float("nan")
        shown = ", ".join(f"{gain:+.4f}" for gain in gains) if arm != "logits alone" else ""
        mean = f"{statistics.mean(gains):+.4f} ± {error:.4f}" if shown else ""
        lines.append(f"| {arm} | {statistics.mean(losses):.4f} | {shown} | {mean} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
