"""Kill a recipe with fan-out at random moments, run it again, and compare every output with an undisturbed run's.

    python tests/kill_recipe.py --kills 100 --jobs 2 --work /tmp/kills

Each kill has a folder of its own, and ends the run with SIGKILL, whatever its processes do. Exits with 1 at a
difference.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

from killing import Verdicts, kill_at_random, without_times

RECIPE = """
[each]
source = ["email", "json", "asyncio"]

[train]
steps = 12
batch_size = 4
micro_batch_size = 2
checkpoint_every = 3
evaluate_every = 6

[model]
hidden_size = 32
intermediate_size = 64
head_dim = 8

[stages.collect]
each = "source"
input = "{library}/${{each.source}}"

[stages.normalize]
each = "source"
needs = "collect"

[stages.dedup]
each = "source"
needs = "normalize"

[stages.split]
each = "source"
needs = "dedup"
held_out_fraction = 0.25

[stages.count]
each = "source"
needs = "split"
command = ["sh", "-c", "sleep 0.2; wc -c < ${{split.train}} > $OUTPUT/size; sleep 0.1; echo done >> $OUTPUT/size"]

[stages.tokenizer]
needs = "split"
vocab_size = 400

[stages.tokenize]
each = "source"
needs = ["split", "tokenizer"]

[stages.mix]
needs = "tokenize"
temperature = 2.0

[stages.train]
needs = ["tokenize", "mix"]

[stages.evaluate]
each = "source"
needs = ["train", "tokenize", "split"]
max_bytes = 5000
"""
TIMES = ("run.json", "recipe.json", "recipe.html")


def start(recipe: Path, out: Path, jobs: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "smolfast", "run", str(recipe), "-o", str(out), "--quiet", "--jobs", str(jobs)],
        stdout=subprocess.DEVNULL,
    )


def finish(recipe: Path, out: Path, jobs: int) -> None:
    if code := start(recipe, out, jobs).wait():
        raise SystemExit(f"the run failed by itself, with exit code {code}")


def artefacts(out: Path) -> dict[str, bytes]:
    """Every output's bytes, without times and paths, and without what a run may leave or not."""
    found = {}
    for path in (path for path in out.rglob("*") if path.is_file()):
        name = path.relative_to(out)
        if (
            name.parts[0] in ("stages", *TIMES)
            or "checkpoints" in name.parts
            or name.name in ("dedup.json", "run.json")
        ):
            continue
        lines = path.name == "metrics.jsonl"
        found[str(name)] = without_times(path.read_text().splitlines()) if lines else path.read_bytes()
    found["summaries"] = json.dumps(sorted(path.stem for path in (out / "stages").glob("*.json"))).encode()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, required=True, help="an empty folder for the runs")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    recipe = arguments.work / "fan-out.toml"
    recipe.write_text(RECIPE.format(library=sysconfig.get_path("stdlib")))

    started = time.monotonic()
    finish(recipe, arguments.work / "whole", arguments.jobs)
    seconds = time.monotonic() - started
    verdicts = Verdicts(artefacts(arguments.work / "whole"))
    print(f"undisturbed: {seconds:.1f} s, {len(verdicts.expected)} files", flush=True)

    return kill_at_random(
        verdicts,
        kills=arguments.kills,
        seed=arguments.seed,
        seconds=seconds,
        work=arguments.work,
        start=lambda out: start(recipe, out, arguments.jobs),
        finish=lambda out: finish(recipe, out, arguments.jobs),
        artefacts=artefacts,
        where=lambda out: f"with {len(list((out / 'stages').glob('*.json')))} records",
    )


if __name__ == "__main__":
    sys.exit(main())
