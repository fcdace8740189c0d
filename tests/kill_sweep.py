"""Kill a sweep at random moments, run it again, and compare its trials and the best model with an undisturbed one's.

    python tests/kill_sweep.py --kills 100 --work /tmp/kills

Each kill has a folder of its own, and ends the sweep with SIGKILL. Exits with 1 at a difference.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

from killing import Verdicts, kill_at_random

OPTIONS = [
    "--param=train.adamw_learning_rate=log:0.0001..0.1",
    "--param=train.optimizer=muon,adamw",
    "--objective=evaluate.bits_per_byte",
    "--trials=5",
    "--startup=2",
]
SETTINGS = [
    f"collect.input={Path(sysconfig.get_path('stdlib')) / 'json'}",
    "tokenizer.vocab_size=300",
    "split.held_out_fraction=0.3",
    "model.hidden_size=32",
    "model.intermediate_size=64",
    "model.head_dim=8",
    "model.num_hidden_layers=2",
    "train.steps=24",
    "train.batch_size=4",
    "train.micro_batch_size=4",
    "train.evaluate_every=4",
    "train.checkpoint_every=6",
    "evaluate.max_bytes=4000",
]


def start(out: Path, jobs: int) -> subprocess.Popen[bytes]:
    words = ["sweep", "quickstart", "-o", str(out), "--quiet", "--jobs", str(jobs), *OPTIONS]
    words += [word for setting in SETTINGS for word in ("--set", setting)]
    return subprocess.Popen([sys.executable, "-m", "smolfast", *words], stdout=subprocess.DEVNULL)


def finish(out: Path, jobs: int) -> None:
    if code := start(out, jobs).wait():
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, required=True, help="an empty folder for the sweeps")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)

    started = time.monotonic()
    finish(arguments.work / "whole", arguments.jobs)
    seconds = time.monotonic() - started
    verdicts = Verdicts(artefacts(arguments.work / "whole"))
    print(f"undisturbed: {seconds:.1f} s, {len(verdicts.expected)} files", flush=True)

    return kill_at_random(
        verdicts,
        kills=arguments.kills,
        seed=arguments.seed,
        seconds=seconds,
        work=arguments.work,
        start=lambda out: start(out, arguments.jobs),
        finish=lambda out: finish(out, arguments.jobs),
        artefacts=artefacts,
        where=lambda out: f"with {len(list((out / 'trials').glob('*.json')))} trials begun",
    )


if __name__ == "__main__":
    sys.exit(main())
