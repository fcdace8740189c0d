"""Kill a sweep at random moments, run it again, and compare its trials and the best model with an undisturbed one's.

    python tests/kill_sweep.py --kills 100 --work /tmp/kills

Each sweep is ended with SIGKILL several times, at moments drawn over all that it writes, files and training steps
alike; then it comes to its end and is compared. So a busy machine kills as late as an idle one does. What is killed is
forked from this process, which has loaded the libraries; what comes to its end is a process of its own. Exits with 1 at
a difference.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

# Loaded here, so that a forked sweep has them.
import optuna  # noqa: F401
from killing import Verdicts
from shared.small_sweeps import SMALL

import smolfast.commands.main
import smolfast.pipeline.sweeps
import smolfast.train.loop

OPTIONS = [
    "--param=train.adamw_learning_rate=log:0.0001..0.1",
    "--param=train.optimizer=muon,adamw",
    "--objective=evaluate.bits_per_byte",
    "--trials=5",
    "--startup=2",
]
SETTINGS = [*SMALL, "train.checkpoint_every=6"]


def words(out: Path, jobs: int) -> list[str]:
    found = ["sweep", "quickstart", "-o", str(out), "--quiet", "--jobs", str(jobs), *OPTIONS]
    return found + [word for setting in SETTINGS for word in ("--set", setting)]


def start(out: Path, jobs: int) -> BaseProcess:
    """A sweep without the seconds that importing takes."""
    process = multiprocessing.get_context("fork").Process(target=_sweep, args=(words(out, jobs),))
    process.start()
    return process


def _sweep(said: list[str]) -> None:
    with Path(os.devnull).open("w") as nothing, contextlib.redirect_stdout(nothing):
        sys.exit(smolfast.commands.main.main(said))


def finish(out: Path, jobs: int) -> None:
    command = [sys.executable, "-m", "smolfast", *words(out, jobs)]
    if code := subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode:
        raise SystemExit(f"the sweep failed by itself, with exit code {code}")


def artefacts(out: Path) -> dict[str, bytes]:
    """The trials without their times, what is said to be best, and the best trial's model."""
    found = {}
    for path in sorted((out / "trials").glob("*.json")):
        trial = json.loads(path.read_text())
        # How far a trial went on after it was told to end, and how long it took, is the clock's.
        kept = {key: value for key, value in trial.items() if key not in ("seconds", "attributes", "steps")}
        found[path.name] = json.dumps(kept).encode()
    found["best.toml"] = (out / "best.toml").read_bytes()
    best = json.loads((out / "sweep.json").read_text())["best"]
    stages = json.loads((out / "trials" / f"{best:04}.json").read_text())["stages"]
    for name in ("train", "evaluate", "tokenize"):
        folder = out / "run" / stages[name].replace("tokenize", "tokens")
        for path in (folder / "model" if name == "train" else folder).rglob("*"):
            if path.is_file():
                found[f"{name}/{path.name}"] = path.read_bytes()
    return found


def progress(out: Path) -> int:
    """What a sweep has written so far: its files, and the steps that its trainings told."""
    found = 0
    with contextlib.suppress(FileNotFoundError):  # renamed meanwhile: it is counted the next time
        for path in out.rglob("*"):
            found += 1
            if path.name == "metrics.jsonl":
                found += path.read_bytes().count(b"\n")
    return found


def kill_at(process: BaseProcess, out: Path, mark: int, later: float) -> bool:
    """Kill a sweep some seconds after it has written so much; whether it was still there."""
    while process.is_alive() and progress(out) < mark:
        time.sleep(0.03)
    process.join(later)
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--each", type=int, default=10, help="kills of a sweep before it is compared")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, required=True, help="an empty folder for the sweeps")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)

    whole = arguments.work / "whole"
    finish(whole, arguments.jobs)
    verdicts = Verdicts(artefacts(whole))
    most = progress(whole)
    print(f"undisturbed: {most} marks, {len(verdicts.expected)} files compared", flush=True)

    draw = random.Random(arguments.seed)
    while verdicts.kills < arguments.kills:
        out = arguments.work / f"killed-{verdicts.kills}"
        said = []
        for mark in sorted(draw.randrange(most) for _ in range(arguments.each)):
            if kill_at(start(out, arguments.jobs), out, mark, draw.uniform(0, 0.3)):
                said.append(f"{progress(out)} ({len(list((out / 'trials').glob('*.json')))} trials begun)")
        if said:  # otherwise it ended first each time, which shows nothing
            finish(out, arguments.jobs)
            verdicts.add(f"at marks {', '.join(said)}", artefacts(out), kills=len(said))
        shutil.rmtree(out)
    return verdicts.end()


if __name__ == "__main__":
    sys.exit(main())
