"""Training beside its peers: tokens a second, and the time to a held-out loss. The peers are in `train_peers.py`.

    python benchmarks/bench_train.py prepare                        # 26 MB of real text, a tokenizer, token files
    python benchmarks/bench_train.py speed --rounds 5               # tokens a second of all three, in turn
    python benchmarks/bench_train.py time-to-loss --minutes 5       # tunes the peers, then trains ours for less
    python benchmarks/bench_train.py table                          # what is there so far

Every run is a process of its own with the same number of threads, and leaves a file in the work folder: a benchmark
that was killed goes on with the runs that are missing. All runs of a shape see the same windows in the same order.

`speed`: each round trains every loop for a few seconds; the first steps are left out. MFU is the model's operations
(`smolfast.model.flops`) over the machine's peak, measured after the run as large matrix products on as many threads.

`time-to-loss`: `Trainer` trains at each of several peak rates, for as many steps as its measured speed makes in
the given time. The target is the final held-out loss of the best of these runs. Ours trains for shares of that time and
has reached the target at its first evaluation that is no higher. Times are wall seconds of training, evaluation left
out; `Trainer`'s is the given time, so its runs need no quiet machine.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LOOPS = ("smolfast", "trainer", "torch")
RATES = {"trainer": (2e-3, 4e-3, 8e-3, 16e-3), "torch": (2e-3,), "smolfast": (0.03, 0.05)}
SHARES = (0.5, 0.25)
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
    from smolfast.pipeline.split import split_documents
    from smolfast.tokens.files import tokenize
    from smolfast.tokens.tokenizer import train_tokenizer

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

    from smolfast.model.flops import flops_per_token
    from smolfast.train.watch.speed import peak_flops
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
        for loop in ("trainer", "smolfast"):
            record = run(options.work, f"speed-{shape}-{loop}-0", shape, loop, options.steps, RATES[loop][0], threads)
            steps[loop] = options.minutes * 60 * rate_of(record)[0] / record["tokens_a_step"]
        for loop in ("trainer", "smolfast"):
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
    from smolfast.bench.results import Results, machine, versions, write_results

    rows: list[Any] = []
    for shape in SHAPES:
        found: dict[str, list[dict[str, Any]]] = {}
        for parts, record in records(options.work, f"speed-{shape}-*"):
            found.setdefault(parts[2], []).append(record)
        if found:
            rows += speed_rows(shape, found, options.threads)
            print_speed(shape, rows)
        runs = {"-".join(parts[2:]): record for parts, record in records(options.work, f"loss-{shape}-*")}
        if runs:
            rows += loss_rows(shape, runs, options)
    settings = {"minutes": options.minutes, "steps": options.steps}
    about, packages = machine(options.threads), versions(("torch", "transformers", "accelerate"))
    write_results(options.json, Results("train", rows, machine=about, versions=packages, settings=settings))


def speed_rows(shape: str, found: dict[str, list[dict[str, Any]]], threads: int) -> Iterator[Any]:
    """A row for each loop: seconds of a step over the rounds, and the matrix product beside them."""
    from smolfast.bench.results import Row, Spread

    first = next(iter(found.values()))[0]
    work = first["tokens_a_step"] * first["flops_a_token"]
    peak = statistics.median(record["gemm_flops"] for runs in found.values() for record in runs)
    for loop, runs in found.items():
        rates = [rate_of(record) for record in runs]
        facts = {
            "tokens_a_second": statistics.median(wall for wall, _ in rates),
            "tokens_a_cpu_second": statistics.median(cpu for _, cpu in rates),
        }
        seconds = Spread.of(first["tokens_a_step"] / wall for wall, _ in rates)
        facts["share_of_the_matrix_product"] = work / seconds.median / peak
        memory = round(statistics.median(record["peak_rss_bytes"] for record in runs))
        yield Row("training step", shape, loop, role_of(loop), operations=work, threads=threads, rounds=len(runs),
                  wall=seconds, peak_bytes=memory, facts=facts)  # fmt: skip
    yield Row("training step", shape, "matrix product", "floor", operations=work, wall=Spread.of([work / peak]))


def role_of(loop: str) -> str:
    return "ours" if loop == "smolfast" else "peer"


def print_speed(shape: str, rows: list[Any]) -> None:
    print(f"\n{shape}: median (least–most)")
    print("| loop | ms a step | tokens/s | ours ÷ its | tokens/CPU s | ours ÷ its | MFU | peak RSS, MB |")
    print("|---|---|---|---|---|---|---|---|")
    loops = [row for row in rows if row.part == "training step" and row.case == shape and row.role != "floor"]
    ours = next((row.facts for row in loops if row.role == "ours"), None)
    for row in loops:
        cells = [row.name, f"{1e3 * row.wall.median:,.0f} ({1e3 * row.wall.least:,.0f}–{1e3 * row.wall.most:,.0f})"]
        for key in ("tokens_a_second", "tokens_a_cpu_second"):
            cells += [f"{row.facts[key]:,.0f}", f"{ours[key] / row.facts[key]:.2f}" if ours else ""]
        cells += [f"{row.facts['share_of_the_matrix_product']:.2f}", f"{row.peak_bytes / 1e6:,.0f}"]
        print(f"| {' | '.join(cells)} |")


def loss_rows(shape: str, runs: dict[str, dict[str, Any]], options: argparse.Namespace) -> Iterator[Any]:
    """A row for each run: seconds until the held-out loss at which the best `Trainer` run ended."""
    from smolfast.bench.results import Row, Spread

    finals = [(run["curve"][-1]["held_out_loss"], name) for name, run in runs.items() if "-trainer-" in f"-{name}"]
    if not finals:
        return
    target, best = min(finals)
    budget = 60 * options.minutes
    print(f"\n{shape}: target {target:.4f} nats, of {best} after {budget:.0f} s")
    print("| run | final held-out loss | seconds | CPU s | at the target: seconds | share |\n|---|---|---|---|---|---|")
    for name, run in runs.items():
        loop, last = name.split("-")[1], run["curve"][-1]
        first = next((point["wall"] for point in run["curve"] if point["held_out_loss"] <= target), None)
        if loop == "trainer":
            first = budget if name == best else None
        cells = f"{first:.0f} | {first / budget:.2f}" if first is not None else "– | –"
        print(f"| {name} | {last['held_out_loss']:.4f} | {last['wall']:.0f} | {last['cpu']:.0f} | {cells} |")
        facts = {"held_out_loss": last["held_out_loss"], "target": target, "seconds": last["wall"]}
        reached = None if first is None else Spread.of([first])
        failed = "" if reached else "ended above the target"
        yield Row("time to loss", shape, name, role_of(loop), threads=options.threads, rounds=1, wall=reached,
                  peak_bytes=run["peak_rss_bytes"], facts=facts, failed=failed)  # fmt: skip


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
