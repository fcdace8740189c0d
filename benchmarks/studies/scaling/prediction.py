"""Small runs predict a larger one: real trainings, the fit of their losses, and the held-out run beside it.

    cd benchmarks/studies/scaling
    python ../../real_text.py corpus
    smolfast quickstart --input corpus/real-95.parquet --set collect.max_bytes=100_000_000 \\
        --set tokenizer.vocab_size=1024 --set train.steps=1 --out data      # the text and its tokens
    python prediction.py small --data data --out study
    python prediction.py rehearse --out study --json rehearsal.json         # of the dearest small run so far
    python prediction.py predict --out study                                # reads no held-out run
    python prediction.py held-out --data data --out study
    python prediction.py compare --out study --json prediction.json

Every command goes on where it was stopped: finished runs are kept, begun ones have checkpoints. `small` may be several
processes side by side, each with a `--part`. `predict` may come before or after the held-out run: it reads the small
ones alone, and what it wrote stays. `compare` sets the two beside each other.

All runs have four layers, heads of 16 and no repeated token. The width makes the size, from 50 k to 442 k parameters
without embeddings; the held-out run has 995 k and 20 M tokens. Rates are carried from width 64 by `mup`. Batches grow
with the tokens as the Step Law has it, and rates with the root of a batch, up to the default configuration's. The loss
is the mean over 4,096 held-out windows.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from smolfast import scaling
from smolfast.config import Config, validate_config
from smolfast.errors import SmolfastError
from smolfast.files import read_json, write_json
from smolfast.model.flops import flops_per_token
from smolfast.model.network import PackedBatch
from smolfast.model.pretrained import load_pretrained
from smolfast.scaling.plans.shapes import step_law
from smolfast.tokens.files import PackedWindows, TokenFile
from smolfast.train.loop import train

VOCABULARY, WINDOW, LAYERS, HEAD, BASE_WIDTH = 1024, 64, 4, 16, 64
LEAST_BATCH, MICRO = 16, 64  # windows
MUON_RATE, ADAMW_RATE = 0.05, 0.03
EVALUATED, AT_ONCE = 4096, 256  # windows
LEVEL = 0.9
REHEARSED = 1 / 3


@dataclass(frozen=True)
class Planned:
    """A run: its width, its tokens, its seed."""

    width: int
    tokens: float
    seed: int = 0

    @property
    def params(self) -> int:
        """Without embeddings: four square matrices of attention, and SwiGLU's three."""
        return LAYERS * (4 * self.width**2 + 3 * self.width * _inner(self.width))

    @property
    def name(self) -> str:
        return f"w{self.width}-{self.tokens / self.params:.3g}x-s{self.seed}"


def _inner(width: int) -> int:
    return round(8 * width / 3 / 8) * 8


def _of(width: int, *ratios: float, seed: int = 0) -> list[Planned]:
    return [Planned(width, ratio * Planned(width, 0).params, seed) for ratio in ratios]


HELD_OUT = Planned(144, 20e6)
# The cheapest twice: their seeds say how much of a loss is chance. The dearest last, so that a study that is stopped
# has a whole design.
SMALL = [
    *_of(32, 5, 10, 20, 40), *_of(48, 5, 10, 20, 40), *_of(64, 5, 10, 20), *_of(80, 5, 10), *_of(96, 5, 10),
    *_of(32, 5, 10, 20, 40, seed=1), *_of(64, 40), *_of(80, 20), *_of(96, 20),
]  # fmt: skip


def configured(run: Planned, rate: float = 1.0) -> Config:
    """The settings of a run; `rate` multiplies both rates."""
    windows = run.tokens / WINDOW
    wanted = step_law(run.params, run.tokens)[1] / WINDOW
    step = LEAST_BATCH if wanted < MICRO else MICRO
    batch = max(step, round(wanted / step) * step)
    rate *= min(1.0, (batch / MICRO) ** 0.5)
    heads = run.width // HEAD
    return validate_config(
        {
            "seed": run.seed,
            "tokenizer": {"vocab_size": VOCABULARY},
            "model": {
                "hidden_size": run.width, "intermediate_size": _inner(run.width), "num_hidden_layers": LAYERS,
                "num_attention_heads": heads, "num_key_value_heads": heads, "head_dim": HEAD, "mtp_heads": 1,
                "max_position_embeddings": WINDOW,
            },
            "train": {
                "steps": max(1, round(windows / batch)), "sequence_length": WINDOW, "batch_size": batch,
                "micro_batch_size": min(batch, MICRO), "muon_learning_rate": MUON_RATE * rate,
                "adamw_learning_rate": ADAMW_RATE * rate, "parametrization": "mup", "base_hidden_size": BASE_WIDTH,
                "base_layers": LAYERS, "precision": "bf16", "evaluate_every": 0, "monitor_every": 0,
                "checkpoint_every": 200, "mtp_weights": [1.0],
            },
        }
    )  # fmt: skip


def finished(run: Planned, data: Path, out: Path, rate: float = 1.0) -> dict[str, Any]:
    """The record of a run, which is trained first where it isn't there."""
    name = run.name if rate == 1 else f"{run.name}-rate{rate:g}"
    path = out / f"{name}.json"
    if path.exists():
        return dict(read_json(path))
    config, started = configured(run, rate), time.process_time()
    summary = train(data / "tokens", out / "runs" / name, model=config.model, config=config.train, seed=run.seed,
                    threads=1)  # fmt: skip
    per_token = sum(flops_per_token(config.model, VOCABULARY, WINDOW).values())
    record = {
        "name": name, "params": run.params, "tokens": summary["tokens"], "flops": per_token * summary["tokens"],
        "loss": held_out_loss(out / "runs" / name / "model", data / "tokens"), "width": run.width, "seed": run.seed,
        "rate": rate, "batch_size": config.train.batch_size, "steps": config.train.steps,
        "cpu_seconds": time.process_time() - started,  # of this process: of all of the run where it wasn't stopped
    }  # fmt: skip
    write_json(path, record)
    print(json.dumps(record), flush=True)
    return record


@torch.no_grad()
def held_out_loss(model: Path, tokens: Path, evaluated: int = EVALUATED) -> float:
    """Mean loss in nats a token over the same held-out windows for every model."""
    network = load_pretrained(model)
    windows = PackedWindows(TokenFile.open(tokens, "held_out"), WINDOW, AT_ONCE, seed=0)
    total, count = 0.0, 0
    for step in range(evaluated // AT_ONCE):
        batch = PackedBatch.from_windows(*windows.batch(step))
        items = batch.valid_targets(1)
        total += float(network.loss(batch, (1.0,), items)[0]) * items[0]
        count += items[0]
    return total / count


def fitted(records: list[dict[str, Any]]) -> scaling.Fit:
    columns = [[float(record[name]) for record in records] for name in ("params", "tokens", "loss")]
    return scaling.fit(*columns, names=[record["name"] for record in records], resample="residuals")


def foretold(records: list[dict[str, Any]], params: float, tokens: float, flops: float) -> dict[str, Any]:
    """What runs say of another one."""
    fit = fitted(records)
    # A straight line through logs of loss and operations: what compute alone says.
    spent, losses = (np.log([record[name] for record in records]) for name in ("flops", "loss"))
    line = np.polyfit(spent, losses, 1)
    largest = max(records, key=lambda record: record["flops"])
    return {
        "params": params, "tokens": tokens, "flops": flops,
        "loss": fit.predict(params, tokens, LEVEL).as_dict(),
        "law": fit.law.as_dict(), "objective": fit.objective,
        "intervals": {name: fit.interval(name).as_dict() for name in ("alpha", "beta", "E", "exponent")},
        "residual_deviation": float(fit.residuals.std()),
        "largest_run": {"name": largest["name"], "loss": largest["loss"]},
        "compute_alone": {"slope": float(line[0]), "loss": float(np.exp(np.polyval(line, np.log(flops))))},
        "small_flops": sum(record["flops"] for record in records), "runs": records,
    }  # fmt: skip


def predict(out: Path) -> dict[str, Any]:
    """What the small runs say of the held-out one; written once."""
    path = out / "prediction.json"
    if path.exists():
        return dict(read_json(path))
    missing = [run.name for run in SMALL if not (out / f"{run.name}.json").exists()]
    if missing:
        raise SmolfastError(f"{len(missing)} small runs aren't finished ({missing[0]}, …); run small again to go on")
    records = [dict(read_json(out / f"{run.name}.json")) for run in SMALL]
    config = configured(HELD_OUT)
    tokens = config.train.steps * config.train.batch_size * WINDOW
    flops = sum(flops_per_token(config.model, VOCABULARY, WINDOW).values()) * tokens
    prediction = foretold(records, HELD_OUT.params, tokens, flops)
    write_json(path, prediction)
    return prediction


def compare(out: Path) -> dict[str, Any]:
    """The prediction beside what came."""
    return beside(predict(out), dict(read_json(out / f"{HELD_OUT.name}.json")))


def rehearse(out: Path) -> dict[str, Any]:
    """The dearest small run that is finished, as those of at most a third of its operations foretell it."""
    paths = [path for run in SMALL if (path := out / f"{run.name}.json").exists()]
    records = [dict(read_json(path)) for path in paths]
    if not records:
        raise SmolfastError(f"{out} holds no finished small run; run small first")
    came = max(records, key=lambda record: record["flops"])
    smaller = [record for record in records if record["flops"] <= came["flops"] * REHEARSED]
    return beside(foretold(smaller, *(came[name] for name in ("params", "tokens", "flops"))), came)


def beside(found: dict[str, Any], came: dict[str, Any]) -> dict[str, Any]:
    """A prediction, what came, and how far off it and two plainer guesses are."""
    loss = came["loss"]
    guesses = {"law": found["loss"]["value"], "largest run's loss": found["largest_run"]["loss"],
               "power law in compute": found["compute_alone"]["loss"]}  # fmt: skip
    errors = {name: abs(guess - loss) for name, guess in guesses.items()}
    inside = found["loss"]["low"] <= loss <= found["loss"]["high"]
    print(f"{came['name']}, held out: {loss:.4f}; predicted {found['loss']['value']:.4f}, "
          f"{LEVEL:.0%} interval {found['loss']['low']:.4f} to {found['loss']['high']:.4f}: "
          f"{'inside' if inside else 'outside'}")  # fmt: skip
    for name, error in errors.items():
        print(f"{name}: {guesses[name]:.4f}, {error:.4f} off")
    return {"prediction": found, "held_out": came, "errors": errors, "inside": inside}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("rates", "small", "rehearse", "held-out", "predict", "compare"))
    parser.add_argument("--data", type=Path, help="a run folder of smolfast quickstart")
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument(
        "--part",
        default="0/1",
        metavar="I/N",
        help="of small: every N-th run from number I on, counted from 0, so that N can go side by side",
    )
    parser.add_argument("--json", type=Path, help="of compare and rehearse: also write all of it")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.what in ("rates", "small", "held-out") and options.data is None:
        parser.error(f"{options.what} takes --data")
    if options.what == "rates":  # which rates are good at the base, and at the other ends
        for run in (*_of(32, 5), *_of(64, 5), *_of(48, 20)):
            for rate in (0.5, 1.0, 2.0):
                finished(run, options.data, options.out, rate)
    elif options.what == "small":
        first, every = map(int, options.part.split("/"))
        for run in SMALL[first::every]:
            finished(run, options.data, options.out)
    elif options.what == "held-out":
        finished(HELD_OUT, options.data, options.out)
    elif options.what == "predict":
        print(json.dumps({name: value for name, value in predict(options.out).items() if name != "runs"}, indent=1))
    else:
        result = compare(options.out) if options.what == "compare" else rehearse(options.out)
        if options.json:
            write_json(options.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
