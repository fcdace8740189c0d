"""Kill `smolfast train` with SIGKILL at random steps, run it again, and compare every loss and weight with an
uninterrupted run's, bit for bit.

    python tests/kill_train.py --kills 10 --seed 1 --work /tmp/kills
    python tests/kill_train.py --kills 10 --seed 1 --work /tmp/kills --tokens FOLDER -- --set train.steps=200

Each kill has a run of its own. A process is killed once its metrics tell of the chosen step, so at a moment within the
one after it, or while a checkpoint is being written. What follows `--` goes to `smolfast train`. Exits with 1 at a
difference.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from killing import Verdicts, without_times
from synthetic_tokens import write_tokens

SMALL = (
    "model.hidden_size=32", "model.intermediate_size=48", "model.num_hidden_layers=2", "model.head_dim=8",
    "train.sequence_length=32", "train.batch_size=8", "train.micro_batch_size=4", "train.steps=60",
    "train.checkpoint_every=7", "train.evaluate_every=10", "train.monitor_every=9", "train.clip=zclip",
)  # fmt: skip


def command(tokens: Path, output: Path, options: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "smolfast", "train", str(tokens), "-o", str(output), "--quiet", *options]


def lines(output: Path) -> list[str]:
    path = output / "metrics.jsonl"
    return path.read_text().splitlines() if path.exists() else []


def artefacts(output: Path) -> dict[str, bytes]:
    """The metrics without times, and every file of the model."""
    files = {path.name: path.read_bytes() for path in sorted((output / "model").iterdir())}
    return {**files, "metrics.jsonl": without_times(lines(output))}


def kill_at(process: subprocess.Popen[bytes], output: Path, step: int) -> bool:
    """Kill a run once it has done a step; whether it was still there."""
    while process.poll() is None and len(lines(output)) < step:
        time.sleep(0.002)
    process.kill()
    return process.wait() == -signal.SIGKILL


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, required=True, help="an empty folder for the runs")
    parser.add_argument("--tokens", type=Path, help="a folder of tokens; synthetic ones by default, and a small model")
    parser.add_argument("options", nargs="*", help="options of smolfast train, after --")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    tokens = arguments.tokens or write_tokens(arguments.work / "tokens")
    options = [*arguments.options]
    if arguments.tokens is None:
        options += [word for setting in SMALL for word in ("--set", setting)]
    whole = arguments.work / "whole"
    subprocess.run(command(tokens, whole, options), check=True, stdout=subprocess.DEVNULL)
    verdicts = Verdicts(artefacts(whole))
    steps = len(lines(whole))
    draw = random.Random(arguments.seed)
    while verdicts.kills < arguments.kills:
        output = arguments.work / f"killed-{verdicts.kills}"
        step = draw.randrange(1, steps)
        process = subprocess.Popen(command(tokens, output, options), stdout=subprocess.DEVNULL)
        if not kill_at(process, output, step):
            shutil.rmtree(output)  # it ended first, which shows nothing
            continue
        done = len(lines(output))
        subprocess.run(command(tokens, output, options), check=True, stdout=subprocess.DEVNULL)
        resumed = json.loads((output / "run.json").read_text())["summary"]["resumed_from_step"]
        verdicts.add(f"after step {done} of {steps}, resumed from {resumed}", artefacts(output))
        shutil.rmtree(output)
    return verdicts.end()


if __name__ == "__main__":
    sys.exit(main())
