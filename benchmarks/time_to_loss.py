"""How long MuonAdamW takes to the loss that AdamW alone reaches, on the quickstart's own data, model and loop.

    smolfast quickstart --out run
    python benchmarks/time_to_loss.py run/tokens --out rates               # every run; those that are finished stay
    python benchmarks/time_to_loss.py run/tokens --out rates --run muon:0.05:150
    python benchmarks/time_to_loss.py run/tokens --out rates --time --table --json benchmarks/results/time_to_loss.json

Each run is `smolfast.train.train` with the default configuration, but for the optimiser, its peak learning rate, the
number of steps and an evaluation every 10 steps. "adamw" gives every parameter to AdamW at that rate; "muon" gives
matrices to Muon at that rate and the rest to AdamW at the default rate. The target is the final held-out loss of the
best AdamW-only run, at the end of its schedule; a Muon run has reached it at the first evaluation that is no higher,
whatever is left of its own schedule. The numbers of a run don't depend on the machine; only the time of a step does, so
it is measured apart (--time): short runs of both optimisers in turn, evaluation left out. A time is steps × that.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import math
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from smolfast.bench.results import machine, versions
from smolfast.config import load_config
from smolfast.progress import Console
from smolfast.train.loop import train

STEPS = 150
RUNS = (
    *(f"adamw:{rate}:{STEPS}" for rate in ("0.0015", "0.003", "0.006", "0.012", "0.02")),
    *(f"muon:{rate}:{STEPS}" for rate in ("0.02", "0.035", "0.05", "0.1")),
)
TIMED_STEPS = 12


def overrides(run: str, evaluate_every: int) -> list[str]:
    """The settings of a run OPTIMISER:RATE[:STEPS]."""
    optimizer, rate, *steps = run.split(":")
    settings = [
        f"train.optimizer={optimizer}", f"train.{optimizer}_learning_rate={rate}",
        f"train.evaluate_every={evaluate_every}", "train.checkpoint_every=100",
    ]  # fmt: skip
    return settings + [f"train.steps={count}" for count in steps]


def read(folder: Path) -> dict[str, Any]:
    """A finished run: its steps, what it ended with, and [step, held-out loss] along the way."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    curve = [(line["step"], line["held_out_loss"]) for line in lines if "held_out_loss" in line]
    return {"steps": len(lines), "held_out_loss": lines[-1]["held_out_loss"], "curve": curve}


def time_steps(tokens: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds of a step by optimiser: the median of each round's steps, the first two left out."""
    seconds: dict[str, list[float]] = {"adamw": [], "muon": []}
    for _ in range(rounds):
        for optimizer, medians in seconds.items():
            config = load_config(overrides=overrides(f"{optimizer}:0.006:{TIMED_STEPS}", 0))
            with tempfile.TemporaryDirectory() as folder:
                train(tokens, Path(folder) / "run", model=config.model, config=config.train, seed=config.seed)
                lines = (Path(folder) / "run" / "metrics.jsonl").read_text().splitlines()
            times = [json.loads(line)["seconds"] for line in lines]
            medians.append(statistics.median(after - before for before, after in itertools.pairwise(times[1:])))
    return seconds


def table(runs: dict[str, dict[str, Any]], seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Print every run; return the claim."""
    target = min(run["held_out_loss"] for name, run in runs.items() if name.startswith("adamw"))
    each = {optimizer: statistics.median(times) if times else math.nan for optimizer, times in seconds.items()}
    print(f"target: {target:.4f} nats a token, the best AdamW-only run's final held-out loss")
    print(", ".join(f"{name}: {value:.3f} s a step" for name, value in each.items()))
    print("| optimiser | learning rate | steps | final held-out loss | first at the target: step | seconds |")
    print("|---|---|---|---|---|---|")
    reached: dict[str, list[tuple[float, str]]] = {"adamw": [], "muon": []}
    for name, run in runs.items():
        optimizer, rate = name.split(":")[:2]
        step = next((step for step, loss in run["curve"] if loss <= target), None)
        cells = "– | –"
        if step is not None:
            reached[optimizer].append((step * each[optimizer], name))
            cells = f"{step} | {step * each[optimizer]:.0f}"
        print(f"| {optimizer} | {rate} | {run['steps']} | {run['held_out_loss']:.4f} | {cells} |")
    claim: dict[str, Any] = {"target": target, "seconds_a_step": seconds}
    if reached["muon"]:
        (muon, muon_run), (adamw, adamw_run) = min(reached["muon"]), min(reached["adamw"])
        claim |= {"muon": muon_run, "adamw": adamw_run, "ratio": muon / adamw}
        print(f"{muon_run} takes {muon / adamw:.2f} × the time of {adamw_run}")
    return claim


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokens", type=Path, help="the tokens folder of a run folder")
    parser.add_argument("--out", type=Path, required=True, help="where the runs go, a folder each")
    parser.add_argument("--run", action="append", metavar="OPTIMISER:RATE[:STEPS]", help="only this one (repeatable)")
    parser.add_argument("--evaluate-every", type=int, default=10)
    parser.add_argument("--table", action="store_true", help="train nothing, show what is finished in --out")
    parser.add_argument("--time", action="store_true", help="measure the time of a step of both optimisers")
    parser.add_argument("--rounds", type=int, default=5, help="of --time")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    console = Console()
    for name in () if options.table else options.run or RUNS:
        config = load_config(overrides=overrides(name, options.evaluate_every))
        folder = options.out / name.replace(":", "_")
        progress = console.progress(name)
        train(options.tokens, folder, model=config.model, config=config.train, seed=config.seed, progress=progress)
        console.clear()
    folders = sorted(path.parent for path in options.out.glob("*/model"))
    runs = {folder.name.replace("_", ":"): read(folder) for folder in folders}
    seconds: dict[str, list[float]] = {"adamw": [], "muon": []}
    if options.time:
        seconds = time_steps(options.tokens, options.rounds)
    if not any(name.startswith("adamw") for name in runs):
        return 0
    claim = table(runs, seconds)
    if options.json:
        about = {"date": datetime.date.today().isoformat(), "machine": machine(), "versions": versions(("torch",))}
        options.json.write_text(json.dumps({**about, **claim, "runs": runs}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
