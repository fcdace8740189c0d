"""Kill quickstart with SIGKILL at random moments, run it again, and compare every artefact with an uninterrupted run's.

    python tests/kill_quickstart.py --kills 20 --work /tmp/kills -- --input FOLDER --set train.steps=60

Each kill has a run folder of its own. What follows `--` goes to `smolfast quickstart`. Exits with 1 at a difference.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch._dynamo  # noqa: F401, which torch itself imports as soon as it trains
from killing import Verdicts, without_times

# The commands import what they need when they run; here that is done before the first fork.
from smolfast import dedup, report  # noqa: F401
from smolfast.commands import main as cli
from smolfast.evaluate import bits_per_byte as evaluate  # noqa: F401
from smolfast.model import (
    export,  # noqa: F401
    generate,  # noqa: F401
)
from smolfast.pipeline import (
    collect,  # noqa: F401
    normalize,  # noqa: F401
    split,  # noqa: F401
)
from smolfast.tokens import files as tokens  # noqa: F401
from smolfast.train import loop as train  # noqa: F401

# Everything a user keeps. Not here: stages/, dedup/dedup.json and report.html tell times or paths, and checkpoints
# before the last are pruned.
FOLDERS = ("collect", "normalize", "split", "tokenizer", "tokens", "train/model", "evaluate", "export", "generate")
FILES = ("dedup/kept.parquet", "dedup/removed.parquet")


def start(out: Path, options: Sequence[str]) -> BaseProcess:
    """Quickstart in a fork of this process, which has done the imports: kills fall into the work alone."""
    process = multiprocessing.get_context("fork").Process(target=quickstart, args=(out, options))
    process.start()
    return process


def quickstart(out: Path, options: Sequence[str]) -> None:
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        sys.exit(cli.main(["quickstart", "--quiet", "--out", str(out), *options]))


def finish(out: Path, options: Sequence[str]) -> None:
    process = start(out, options)
    process.join()
    if process.exitcode != 0:
        raise SystemExit(f"quickstart failed by itself, with exit code {process.exitcode}")


def artefacts(out: Path) -> dict[str, bytes]:
    """Relative path to bytes of every artefact file; the metrics without their wall-clock seconds and speed."""
    files = [file for folder in FOLDERS for file in (out / folder).rglob("*") if file.is_file()]
    found = {str(file.relative_to(out)): file.read_bytes() for file in [*files, *(out / name for name in FILES)]}
    found["train/metrics.jsonl"] = without_times((out / "train" / "metrics.jsonl").read_text().splitlines())
    return found


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
    finish(whole, arguments.options)
    seconds = time.monotonic() - started
    verdicts = Verdicts(artefacts(whole))
    print(f"uninterrupted: {seconds:.1f} s, {len(verdicts.expected)} files")

    moments = random.Random(arguments.seed)
    while verdicts.kills < arguments.kills:
        out = arguments.work / f"killed-{verdicts.kills}"
        moment = moments.uniform(0, seconds)
        started = time.monotonic()
        process = start(out, arguments.options)
        process.join(moment)
        process.kill()
        process.join()
        if process.exitcode != -signal.SIGKILL:
            # It ended first (the first run had cold caches), which shows nothing: draw again, from the shorter time.
            if process.exitcode != 0:
                raise SystemExit(f"quickstart failed by itself, with exit code {process.exitcode}")
            seconds = min(seconds, time.monotonic() - started)
            shutil.rmtree(out)
            continue
        where = last_stage(out)
        finish(out, arguments.options)
        verdicts.add(f"at {moment:.1f} s, {where}", artefacts(out))
        shutil.rmtree(out)
    return verdicts.end()


if __name__ == "__main__":
    sys.exit(main())
