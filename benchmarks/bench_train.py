"""Training beside its peers: tokens a second, and the time to a held-out loss. The peers are in `train_peers.py`.

    python benchmarks/bench_train.py prepare                        # 26 MB of real text, a tokenizer, token files
    python benchmarks/bench_train.py speed --rounds 5               # tokens a second of all three, in turn
    python benchmarks/bench_train.py time-to-loss --minutes 5       # tunes the peers, then trains ours for less
    python benchmarks/bench_train.py table                          # what is there so far

Every run is a process of its own with the same number of threads, and leaves a file in the work folder: a benchmark
that was killed goes on with the runs that are missing. All runs of a shape see the same windows in the same order.

`speed`: each round trains every loop for a few seconds; the first steps are left out. MFU is the model's operations
(`smolfast.flops`) over the machine's peak, measured after the run as large matrix products on as many threads.

`time-to-loss`: `Trainer` and the plain loop train for the given time, by the speed that was measured, at each of
several peak rates. The target is the final held-out loss of the best `Trainer` run. Ours trains for shares of that time
and has reached the target at its first evaluation that is no higher. Times are wall seconds of training, evaluation
left out.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

LOOPS = ("smolfast", "trainer", "torch")
RATES = {"trainer": (1e-3, 2e-3, 4e-3, 8e-3), "torch": (1e-3, 2e-3, 4e-3, 8e-3), "smolfast": (0.03, 0.05)}
SHARES = (0.5, 0.35, 0.25)
WARM_UP = 3
MEGABYTES = 26
CACHE = Path("~/.cache/smolfast-corpus").expanduser()
RESULTS = Path(__file__).parent / "results" / "train.json"

# One head, as the peers have it. `compact` is the quickstart's shape; `small` has the proportions of larger ones.
SHAPES: dict[str, dict[str, Any]] = {
    "compact": {"model": {"mtp_heads": 1}, "train": {}},
    "small": {
        "model": {
            "hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 6, "num_attention_heads": 4,
            "num_key_value_heads": 1, "head_dim": 64, "max_position_embeddings": 256, "mtp_heads": 1,
        },
        "train": {"sequence_length": 256, "batch_size": 16, "micro_batch_size": 4},
    },
}  # fmt: skip


def prepare(work: Path) -> Path:
    """The token files; made if they aren't there."""
    import pyarrow.parquet as pq
    from real_text import build_corpus

    from smolfast.config import TokenizerConfig
    from smolfast.split import split_documents
    from smolfast.tokenizer import train_tokenizer
    from smolfast.tokens import tokenize

    tokens = work / "tokens"
    if (tokens / "tokens.json").exists():
        return tokens
    table = pq.read_table(build_corpus(CACHE))
    sizes = [len(text.as_py().encode()) for text in table["text"]]
    rows, size = 0, 0
    while size < MEGABYTES * 1_000_000:
        size += sizes[rows]
        rows += 1
    work.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.slice(0, rows), work / "text.parquet")
    split_documents(work / "text.parquet", work / "split", held_out_fraction=0.05, seed=0)
    train_tokenizer([work / "split" / "train.parquet"], work / "tokenizer", TokenizerConfig(vocab_size=4096))
    sides = {name: work / "split" / f"{name}.parquet" for name in ("train", "held_out")}
    print(json.dumps(tokenize(sides, work / "tokenizer", tokens)))
    return tokens


def settings(shape: str, steps: int) -> tuple[Any, Any]:
    from smolfast.config import ModelConfig, TrainConfig

    chosen = SHAPES[shape]
    train = TrainConfig(steps=steps, mtp_weights=(1.0,), **chosen["train"])
    return ModelConfig(**chosen["model"]), train


def child(options: argparse.Namespace) -> None:
    """Train once and write the record."""
    import torch
    from train_peers import RUNS

    from smolfast.flops import flops_per_token
    from smolfast.speed import peak_flops
    from smolfast.workers import Workers

    torch.set_num_threads(options.threads)
    model, config = settings(options.shape, options.steps)
    with tempfile.TemporaryDirectory() as folder:
        record = RUNS[options.loop](options.tokens, Path(folder), model, config, options.rate)
    with Workers(options.threads) as workers:
        record["gemm_flops"] = peak_flops(workers, torch.device("cpu"))
    record["tokens_a_step"] = config.batch_size * config.sequence_length
    record["flops_a_token"] = sum(flops_per_token(model, 4096, config.sequence_length).values())
    temporary = options.record.with_suffix(".new")
    temporary.write_text(json.dumps(record) + "\n")
    temporary.rename(options.record)


def run(work: Path, name: str, shape: str, loop: str, steps: int, rate: float, threads: int) -> dict[str, Any]:
    """A run's record; trains it if there is none."""
    path = work / "runs" / f"{name}.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable, __file__, "child", "--tokens", str(work / "tokens"), "--shape", shape, "--loop", loop,
            "--steps", str(steps), "--rate", str(rate), "--threads", str(threads), "--record", str(path),
        ]  # fmt: skip
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return dict(json.loads(path.read_text()))


def rate_of(record: dict[str, Any]) -> tuple[float, float]:
    """Tokens a second of wall time (median step after the first few), and of the process's CPU time (all steps)."""
    times = record["steps"][WARM_UP - 1 :]
    each = statistics.median(after - before for before, after in itertools.pairwise(times))
    return record["tokens_a_step"] / each, record["tokens_a_step"] * len(record["steps"]) / record["cpu"]


def speed(options: argparse.Namespace) -> None:
    prepare(options.work)
    for shape in options.shapes:
        for turn in range(options.rounds):
            for loop in LOOPS[turn % 3 :] + LOOPS[: turn % 3]:
                name = f"speed-{shape}-{loop}-{turn}"
                record = run(options.work, name, shape, loop, options.steps, RATES[loop][0], options.threads)
                wall, cpu = rate_of(record)
                print(f"{shape} {loop}: {wall:,.0f} tokens/s, {cpu:,.0f} a CPU second", flush=True)


def time_to_loss(options: argparse.Namespace) -> None:
    prepare(options.work)
    threads = options.threads
    for shape in options.shapes:
        steps = {}
        for loop in LOOPS:
            record = run(options.work, f"speed-{shape}-{loop}-0", shape, loop, options.steps, RATES[loop][0], threads)
            steps[loop] = options.minutes * 60 * rate_of(record)[0] / record["tokens_a_step"]
        for loop in ("trainer", "torch", "smolfast"):
            for share in SHARES if loop == "smolfast" else (1.0,):
                for rate in RATES[loop]:
                    count = max(20, round(share * steps[loop]))
                    name = f"loss-{shape}-{options.minutes:g}-{loop}-{share:g}-{rate:g}"
                    record = run(options.work, name, shape, loop, count, rate, threads)
                    last = record["curve"][-1]
                    print(f"{name}: {last['held_out_loss']:.4f} after {last['wall']:.0f} s", flush=True)


def records(work: Path, pattern: str) -> Iterator[tuple[list[str], dict[str, Any]]]:
    for path in sorted((work / "runs").glob(f"{pattern}.json")):
        yield path.stem.split("-"), json.loads(path.read_text())


def table(options: argparse.Namespace) -> None:
    """Print every figure that can be made from the runs that are there, and write them down."""
    from bench_optim import cpu_model

    result: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "processor": cpu_model(),
        "threads": options.threads,
        "versions": {name: metadata.version(name) for name in ("smolfast", "torch", "transformers", "accelerate")},
        "shapes": SHAPES,
        "speed": {},
        "time_to_loss": {},
    }
    for shape in SHAPES:
        found: dict[str, dict[str, list[float]]] = {}
        for parts, record in records(options.work, f"speed-{shape}-*"):
            wall, cpu = rate_of(record)
            figures = found.setdefault(parts[2], {})
            for key, value in (
                ("tokens_a_second", wall), ("tokens_a_cpu_second", cpu),
                ("mfu", wall * record["flops_a_token"] / record["gemm_flops"]),
                ("gemm_flops", record["gemm_flops"]), ("peak_rss_bytes", record["peak_rss_bytes"]),
            ):  # fmt: skip
                figures.setdefault(key, []).append(value)
        if found:
            result["speed"][shape] = found
            print_speed(shape, found)
        curves = {}
        for parts, record in records(options.work, f"loss-{shape}-*"):
            minutes, loop, share, rate = float(parts[2]), *parts[3:5], "-".join(parts[5:])
            curves["-".join(parts[2:])] = {
                "minutes": minutes, "loop": loop, "share": float(share), "rate": float(rate), "curve": record["curve"],
                "peak_rss_bytes": record["peak_rss_bytes"],
            }  # fmt: skip
        if curves:
            result["time_to_loss"][shape] = {**claim(shape, curves), "runs": curves}
    options.json.write_text(json.dumps(result, indent=1) + "\n")


def print_speed(shape: str, found: dict[str, dict[str, list[float]]]) -> None:
    print(f"\n{shape}: median (least–most)")
    print("| loop | tokens/s | ours ÷ its | tokens/CPU s | ours ÷ its | MFU | peak RSS, MB |")
    print("|---|---|---|---|---|---|---|")
    ours = {key: statistics.median(values) for key, values in found.get("smolfast", {}).items()}
    for loop, figures in found.items():
        cells = [loop]
        for key in ("tokens_a_second", "tokens_a_cpu_second"):
            middle = statistics.median(figures[key])
            cells.append(f"{middle:,.0f} ({min(figures[key]):,.0f}–{max(figures[key]):,.0f})")
            cells.append(f"{ours[key] / middle:.2f}" if ours else "")
        cells.append(f"{statistics.median(figures['mfu']):.2f}")
        cells.append(f"{statistics.median(figures['peak_rss_bytes']) / 1e6:,.0f}")
        print(f"| {' | '.join(cells)} |")


def claim(shape: str, curves: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The target, and when each run reached it."""
    finals = [(run["curve"][-1]["held_out_loss"], name) for name, run in curves.items() if run["loop"] == "trainer"]
    if not finals:
        return {}
    target, best = min(finals)
    budget = curves[best]["curve"][-1]["wall"]
    print(f"\n{shape}: target {target:.4f} nats, of {best} after {budget:.0f} s")
    print("| run | final held-out loss | seconds | CPU s | at the target: seconds | share |\n|---|---|---|---|---|---|")
    reached = {}
    for name, run in curves.items():
        last = run["curve"][-1]
        first = next((point["wall"] for point in run["curve"] if point["held_out_loss"] <= target), None)
        if first is not None:
            reached[name] = first
        cells = f"{first:.0f} | {first / budget:.2f}" if first is not None else "– | –"
        print(f"| {name} | {last['held_out_loss']:.4f} | {last['wall']:.0f} | {last['cpu']:.0f} | {cells} |")
    ours = [seconds for name, seconds in reached.items() if curves[name]["loop"] == "smolfast"]
    return {"target": target, "seconds": budget, "reached": reached, "ratio": min(ours) / budget if ours else None}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("prepare", "speed", "time-to-loss", "table"):
        command = commands.add_parser(name)
        command.add_argument("--work", type=Path, default=CACHE / "train")
        command.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
        command.add_argument("--threads", type=int, default=2)
        command.add_argument("--rounds", type=int, default=5)
        command.add_argument("--steps", type=int, default=30, help="of a run of speed")
        command.add_argument("--minutes", type=float, default=5.0)
        command.add_argument("--json", type=Path, default=RESULTS)
    command = commands.add_parser("child", help="one run, as this program starts it")
    for name in ("--tokens", "--record"):
        command.add_argument(name, type=Path, required=True)
    command.add_argument("--shape", choices=SHAPES, required=True)
    command.add_argument("--loop", choices=LOOPS, required=True)
    for name, kind in (("--steps", int), ("--rate", float), ("--threads", int)):
        command.add_argument(name, type=kind, required=True)
    options = parser.parse_args(arguments)
    if options.command == "child":
        child(options)
        return 0
    started = time.perf_counter()
    {"prepare": lambda chosen: print(prepare(chosen.work)), "speed": speed, "time-to-loss": time_to_loss,
     "table": table}[options.command](options)  # fmt: skip
    if options.command in ("speed", "time-to-loss"):
        table(options)
    print(f"{time.perf_counter() - started:.0f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
