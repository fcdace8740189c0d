"""Where the best rate lies, by width and depth, under each parametrisation: trainings on a grid of rates.

    cd benchmarks/studies/scaling
    python transfer.py run --data data --out transfer --seeds 1     # coarse
    python transfer.py run --data data --out transfer               # three seeds
    python transfer.py table --out transfer --json transfer.json

`--data` is the folder of `prediction.py`. Finished runs are kept, so the command goes on where it was stopped, and
`--part 0/2` with `--part 1/2` go side by side. Both rates, of Muon and of AdamW, are multiplied with powers of √2. The
base has a width of 64 and 4 layers. There all parametrisations are the same, as are `mup` and `completep` at the base's
depth, and `standard` and `mup` at its width: runs that are the same are made once.

The best rate is the lowest point of a parabola through the three rates around the least mean loss. A run's loss is the
mean over 1,024 held-out windows; one that diverged counts as the loss of a uniform guess.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from prediction import HEAD, VOCABULARY, WINDOW, held_out_loss

from smolfast.config import Config, validate_config
from smolfast.errors import SmolfastError
from smolfast.files import read_json, write_json
from smolfast.train.loop import train

Kind = Literal["standard", "mup", "completep"]
KINDS: tuple[Kind, ...] = ("standard", "mup", "completep")
WIDTHS, DEPTHS = (32, 64, 128, 256), (2, 4, 8)
BASE_WIDTH, BASE_DEPTH = 64, 4
RATES = tuple(range(-4, 5))  # powers of √2 over the rates of `prediction.py`
MUON_RATE, ADAMW_RATE = 0.05, 0.03
BATCH, EVALUATED = 16, 1024  # windows


@dataclass(frozen=True)
class Trial:
    """A training: shape, parametrisation, rate, seed."""

    kind: Kind
    width: int
    depth: int
    power: int
    seed: int
    tokens: int
    optimizer: Literal["muon", "adamw"]
    outputs: Literal["drawn", "zero"] = "drawn"

    @property
    def name(self) -> str:
        """The same for trials that are the same training."""
        kind = self.kind
        if self.depth == BASE_DEPTH and kind == "completep":
            kind = "mup"
        if self.width == BASE_WIDTH and kind == "mup":
            kind = "standard"
        size = f"w{self.width}-l{self.depth}-r{self.power:+d}-s{self.seed}-{self.tokens // 1000}k"
        return f"{kind}-{self.optimizer}-{size}" + ("-zero" if self.outputs == "zero" else "")


def configured(trial: Trial) -> Config:
    heads = trial.width // HEAD
    rate = 2 ** (trial.power / 2)
    return validate_config(
        {
            "seed": trial.seed,
            "tokenizer": {"vocab_size": VOCABULARY},
            "model": {
                "hidden_size": trial.width, "intermediate_size": round(8 * trial.width / 24) * 8,
                "num_hidden_layers": trial.depth, "num_attention_heads": heads, "num_key_value_heads": heads,
                "head_dim": HEAD, "mtp_heads": 1, "max_position_embeddings": WINDOW,
            },
            "train": {
                "steps": trial.tokens // WINDOW // BATCH, "sequence_length": WINDOW, "batch_size": BATCH,
                "micro_batch_size": BATCH, "muon_learning_rate": MUON_RATE * rate,
                "adamw_learning_rate": ADAMW_RATE * rate, "optimizer": trial.optimizer, "parametrization": trial.kind,
                "base_hidden_size": BASE_WIDTH, "base_layers": BASE_DEPTH, "precision": "bf16", "evaluate_every": 0,
                "monitor_every": 0, "checkpoint_every": 1000, "mtp_weights": [1.0],
                "zero_init_outputs": trial.outputs == "zero",
            },
        }
    )  # fmt: skip


def shapes() -> list[tuple[int, int]]:
    """Widths at the base's depth, and depths at the base's width."""
    return [(width, BASE_DEPTH) for width in WIDTHS] + [(BASE_WIDTH, depth) for depth in DEPTHS if depth != BASE_DEPTH]


def trials(
    seeds: Sequence[int],
    tokens: int,
    optimizer: Literal["muon", "adamw"],
    outputs: Literal["drawn", "zero"] = "drawn",
) -> Iterator[Trial]:
    """All, the coarse ones first: every other rate, then the rest, seed by seed, cheap shapes before dear ones."""
    seen = set()
    for seed in seeds:
        for powers in (RATES[::2], RATES[1::2]):
            for width, depth in sorted(shapes(), key=lambda shape: shape[0] ** 2 * shape[1]):
                for power in powers:
                    for kind in KINDS:
                        trial = Trial(kind, width, depth, power, seed, tokens, optimizer, outputs)
                        if trial.name not in seen:
                            seen.add(trial.name)
                            yield trial


def finished(trial: Trial, data: Path, out: Path) -> None:
    """Train and evaluate, unless that was done."""
    path, folder = out / f"{trial.name}.json", out / "runs" / trial.name
    if path.exists():
        return
    config, started = configured(trial), time.process_time()
    try:
        train(data / "tokens", folder, model=config.model, config=config.train, seed=trial.seed, threads=1)
        loss = held_out_loss(folder / "model", data / "tokens", EVALUATED)
    except SmolfastError as error:  # the loss is no longer finite
        print(trial.name, error, flush=True)
        loss = math.log(VOCABULARY)
    seconds = time.process_time() - started
    write_json(path, {"loss": min(loss, math.log(VOCABULARY)), "cpu_seconds": seconds})
    print(trial.name, f"{loss:.4f}", f"{seconds:.0f} s", flush=True)


def best_rate(losses: dict[int, float]) -> float:
    """The power of √2 of the least loss, by a parabola through its neighbours; NaN where it lies at an end."""
    powers = sorted(losses)
    place = min(range(len(powers)), key=lambda index: losses[powers[index]])
    if not 0 < place < len(powers) - 1:
        return math.nan
    x = powers[place - 1 : place + 2]
    a, b, _ = np.polyfit(x, [losses[power] for power in x], 2)
    return float(-b / (2 * a)) if a > 0 else float(x[1])  # all three alike


def table(
    out: Path,
    seeds: Sequence[int],
    tokens: int,
    optimizer: Literal["muon", "adamw"],
    outputs: Literal["drawn", "zero"] = "drawn",
) -> dict[str, Any]:
    """Mean losses by parametrisation, shape and rate; the best rates, and how far they move."""
    result: dict[str, Any] = {
        "tokens": tokens, "optimizer": optimizer, "outputs": outputs, "base": [BASE_WIDTH, BASE_DEPTH], "kinds": {},
    }  # fmt: skip
    for kind in KINDS:
        rows = []
        for width, depth in shapes():
            losses, counts = {}, {}
            for power in RATES:
                names = [Trial(kind, width, depth, power, seed, tokens, optimizer, outputs).name for seed in seeds]
                found = [read_json(path)["loss"] for name in names if (path := out / f"{name}.json").exists()]
                if found:
                    losses[power], counts[power] = statistics.mean(found), len(found)
            if losses:
                rows.append({"width": width, "depth": depth, "losses": losses, "seeds": counts,
                             "best": best_rate(losses)})  # fmt: skip
        moves = {}
        for name, chosen in (("width", [row for row in rows if row["depth"] == BASE_DEPTH]),
                             ("depth", [row for row in rows if row["width"] == BASE_WIDTH])):  # fmt: skip
            best = [row["best"] for row in chosen if not math.isnan(row["best"])]
            moves[name] = max(best) - min(best) if len(best) > 1 else math.nan
        result["kinds"][kind] = {"rows": rows, "moves": moves}
    return result


def show(result: dict[str, Any]) -> None:
    for kind, found in result["kinds"].items():
        for row in found["rows"]:
            losses = " ".join(f"{power:+d}:{loss:.3f}" for power, loss in sorted(row["losses"].items()))
            print(f"{kind:10} {row['width']:4} x {row['depth']}  best {row['best']:+.2f}  {losses}")
        print(f"{kind:10} the best rate moves by {found['moves']['width']:.2f} steps of √2 over widths, "
              f"{found['moves']['depth']:.2f} over depths")  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("--data", type=Path, help="a run folder of smolfast quickstart")
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=131_072, help="of a run (default: 131072)")
    parser.add_argument("--optimizer", choices=("muon", "adamw"), default="muon")
    parser.add_argument(
        "--outputs", choices=("drawn", "zero"), default="drawn", help="what train.zero_init_outputs is (default: drawn)"
    )
    parser.add_argument("--part", default="0/1", metavar="I/N", help="every N-th run from number I on, counted from 0")
    parser.add_argument("--json", type=Path, help="of table: also write it here")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    seeds = range(options.seeds)
    if options.what == "run":
        if options.data is None:
            parser.error("run takes --data")
        first, every = map(int, options.part.split("/"))
        for trial in list(trials(seeds, options.tokens, options.optimizer, options.outputs))[first::every]:
            finished(trial, options.data, options.out)
        return 0
    result = table(options.out, seeds, options.tokens, options.optimizer, options.outputs)
    show(result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1).replace("NaN", "null") + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
