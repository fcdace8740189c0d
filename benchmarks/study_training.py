"""What multi-token prediction and distillation do for a small model: runs of the trainer on several seeds, as a table.

    smolfast quickstart --out data --set collect.max_bytes=8_000_000 --set train.steps=20     # the text and its tokens
    python benchmarks/study_training.py mtp --data data --out study
    python benchmarks/study_training.py distill --data data --out study

`mtp` trains with 1 and with 4 prediction heads: bits per byte of held-out text (the next-token head alone, as
`smolfast evaluate` counts them) and how often each head's first choice is right on held-out windows.

`distill` trains a larger teacher on the same tokens, then the student without it for --steps steps and with it for 0.8
and 0.6 times as many, each with its own whole schedule.

Finished runs are kept in --out and not repeated; `--new 2` stops after two new ones, so that a study can be done in
parts. Bits per byte are over the first 200 kB of the held-out documents by hash.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from smolfast import ops
from smolfast.config import Config, DistillConfig, EvaluateConfig, validate_config
from smolfast.evaluate.bits_per_byte import evaluate
from smolfast.files import read_json, write_json
from smolfast.model.network import PackedBatch
from smolfast.model.pretrained import load_pretrained
from smolfast.tokens.files import PackedWindows, TokenFile
from smolfast.train.loop import train

EVALUATED = EvaluateConfig(max_bytes=200_000)
ACCURACY_WINDOWS = 256


class Enough(Exception):
    """As many new runs were made as were asked for."""


@dataclass
class Study:
    """Runs by name in one folder."""

    data: Path
    out: Path
    new: int
    made: list[str] = field(default_factory=list)

    def run(self, name: str, config: Config, **teacher: Any) -> dict[str, Any]:
        """Train and evaluate, unless that was done: bits_per_byte, accuracy of each head, seconds, steps."""
        path = self.out / f"{name}.json"
        if path.exists():
            return dict(read_json(path))
        if len(self.made) == self.new:
            raise Enough
        summary = train(
            self.data / "tokens", self.out / name, model=config.model, config=config.train, seed=config.seed, **teacher
        )
        model = self.out / name / "model"
        found = evaluate(
            model, self.data / "tokens", self.out / name / "evaluate", EVALUATED,
            held_out_documents=self.data / "split" / "held_out.parquet",
        )  # fmt: skip
        record = {
            "bits_per_byte": found["bits_per_byte"],
            "held_out_loss": summary["held_out_loss"],
            "accuracy": accuracy(model, self.data / "tokens", config),
            "seconds": summary["seconds"],
            "steps": summary["steps"],
            "parameters": summary["parameters"],
        }
        write_json(path, record)
        self.made.append(name)
        print(name, json.dumps(record), flush=True)
        return record


@torch.no_grad()
def accuracy(model: Path, tokens: Path, config: Config) -> list[float]:
    """How often each head's likeliest token is right, over fixed windows of held-out text."""
    network, heads = load_pretrained(model), config.model.mtp_heads
    file = TokenFile.open(tokens, "held_out")
    size = min(ACCURACY_WINDOWS, (len(file.tokens) - 1) // config.train.sequence_length)
    windows, ids = PackedWindows(file, config.train.sequence_length, size, seed=0).batch(0)
    right, count = torch.zeros(heads), torch.zeros(heads)
    for start in range(0, size, 32):
        batch = PackedBatch.from_windows(windows[start : start + 32], ids[start : start + 32])
        _, metrics = ops.mtp_loss(
            network.hidden_states(batch), network.unembedding, batch.targets, head_weights=(1.0,) * heads,
            document_ids=batch.document_ids, return_metrics=True,
        )  # fmt: skip
        right += metrics["accuracy"] * metrics["count"]
        count += metrics["count"]
    return [round(float(x), 4) for x in right / count]


def configured(seed: int, steps: int, settings: list[str], **model: Any) -> Config:
    tree: dict[str, Any] = {
        "seed": seed,
        "model": dict(model),
        "train": {"steps": steps, "evaluate_every": 0, "batch_size": 32},
    }
    heads = model.get("mtp_heads", 1)
    tree["model"]["mtp_heads"] = heads
    tree["train"]["mtp_weights"] = (1.0, *(0.2,) * (heads - 1))
    for setting in settings:
        section, _, rest = setting.partition(".")
        key, _, value = rest.partition("=")
        tree[section][key] = json.loads(value)
    return validate_config(tree)


def mtp(study: Study, options: argparse.Namespace) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    for heads in (1, 4):
        yield (
            f"{heads} head{'s' if heads > 1 else ''}",
            [
                study.run(f"heads{heads}-seed{seed}", configured(seed, options.steps, options.set, mtp_heads=heads))
                for seed in range(options.seeds)
            ],
        )


TEACHER = {
    "hidden_size": 192,
    "intermediate_size": 576,
    "num_hidden_layers": 6,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
}
TEACHER_STEPS = 3  # times the student's


def distill(study: Study, options: argparse.Namespace) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    seeds = range(options.seeds)
    yield "without", [study.run(f"heads1-seed{seed}", configured(seed, options.steps, options.set)) for seed in seeds]
    steps = TEACHER_STEPS * options.steps
    yield "teacher", [study.run("teacher", configured(0, steps, options.set, **TEACHER))]
    teacher = study.out / "teacher" / "model"
    weights = DistillConfig(ce_weight=options.ce_weight, kl_weight=1 - options.ce_weight)
    for share in options.shares:
        runs = [
            study.run(
                f"distilled{share}-ce{options.ce_weight}-seed{seed}",
                configured(seed, round(share * options.steps), options.set),
                teacher=teacher,
                distill=weights,
            )
            for seed in seeds
        ]
        yield f"distilled, {share} ×", runs


STUDIES: dict[str, Callable[[Study, argparse.Namespace], Iterator[tuple[str, list[dict[str, Any]]]]]] = {
    "mtp": mtp,
    "distill": distill,
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--data", type=Path, required=True, help="a run folder of smolfast quickstart")
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--new", type=int, default=-1, help="stop after so many new runs")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=JSON")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.8, 0.6], help="of --steps, with a teacher")
    parser.add_argument("--ce-weight", type=float, default=0.2, help="of the text, beside 1 − that of the teacher")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    study = Study(options.data, options.out, options.new)
    rows: dict[str, list[dict[str, Any]]] = {}
    try:
        for name, runs in STUDIES[options.study](study, options):
            rows[name] = runs
            bits = [run["bits_per_byte"] for run in runs]
            accuracies = [statistics.mean(x) for x in zip(*(run["accuracy"] for run in runs), strict=True)]
            print(
                f"{name:22} {runs[0]['steps']:5} steps  bits per byte {statistics.mean(bits):.4f} "
                f"({', '.join(f'{x:.4f}' for x in bits)})  accuracy at depths 1… "
                f"{', '.join(f'{x:.3f}' for x in accuracies)}  {statistics.mean(r['seconds'] for r in runs):.0f} s",
                flush=True,
            )
    except Enough:
        print("stopped: run the same command again to go on")
        return 1
    if options.json:
        write_json(options.json, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
