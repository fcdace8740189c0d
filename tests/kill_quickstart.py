"""Kill quickstart with SIGKILL at random moments, run it again, and compare every artefact with an uninterrupted run's.

    python tests/kill_quickstart.py --kills 20 --work /tmp/kills -- --input FOLDER --set train.steps=60

Each kill has a run folder of its own. What follows `--` goes to `smolfast quickstart`. Exits with 1 at a difference.
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
from typing import Any

# Everything a user keeps. Not here: stages/, dedup/dedup.json and report.html tell times or paths, and checkpoints
# before the last are pruned.
FOLDERS = ("collect", "normalize", "split", "tokenizer", "tokens", "train/model", "evaluate", "export", "generate")
FILES = ("dedup/kept.parquet", "dedup/removed.parquet")


def command(out: Path, options: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "smolfast", "quickstart", "--quiet", "--out", str(out), *options]


def artefacts(out: Path) -> dict[str, bytes]:
    """Relative path to bytes of every artefact file; the metrics without their wall-clock seconds and speed."""
    files = [file for folder in FOLDERS for file in (out / folder).rglob("*") if file.is_file()]
    found = {str(file.relative_to(out)): file.read_bytes() for file in [*files, *(out / name for name in FILES)]}
    rows = [json.loads(line) for line in (out / "train" / "metrics.jsonl").read_text().splitlines()]
    found["train/metrics.jsonl"] = json.dumps([_timeless(row) for row in rows]).encode()
    return found


def _timeless(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in ("seconds", "speed")}


def differences(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    return [name for name in sorted({*one, *other}) if one.get(name) != other.get(name)]


def last_stage(out: Path) -> str:
    """The stage a killed run was in, as far as its folder tells."""
    done = sorted((out / "stages").glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    return f"after {done[-1].stem}" if done else "before the first stage ended"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, required=True, help="an empty folder for the runs")
    parser.add_argument("options", nargs="*", help="options of smolfast quickstart, after --")
    arguments = parser.parse_args()

    whole = arguments.work / "whole"
    started = time.monotonic()
    subprocess.run(command(whole, arguments.options), check=True, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - started
    expected = artefacts(whole)
    print(f"uninterrupted: {seconds:.1f} s, {len(expected)} files")

    moments = random.Random(arguments.seed)
    kills = failures = 0
    while kills < arguments.kills:
        out = arguments.work / f"killed-{kills}"
        moment = moments.uniform(0, seconds)
        started = time.monotonic()
        process = subprocess.Popen(command(out, arguments.options), stdout=subprocess.DEVNULL)
        try:
            process.wait(moment)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        if process.returncode != -signal.SIGKILL:
            # It ended first (the first run had cold caches), which shows nothing: draw again, from the shorter time.
            if process.returncode != 0:
                raise SystemExit(f"quickstart failed by itself, with exit code {process.returncode}")
            seconds = min(seconds, time.monotonic() - started)
            shutil.rmtree(out)
            continue
        kills += 1
        where = last_stage(out)
        subprocess.run(command(out, arguments.options), check=True, stdout=subprocess.DEVNULL)
        differing = differences(expected, artefacts(out))
        failures += bool(differing)
        verdict = f"DIFFERENT: {', '.join(differing)}" if differing else "identical"
        print(f"kill {kills}: at {moment:.1f} s, {where}: {verdict}", flush=True)
        shutil.rmtree(out)
    print(f"{kills} kills, {failures} with a difference")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
