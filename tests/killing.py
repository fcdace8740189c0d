"""What the scripts that kill runs have in common: comparing what the run that went on has made."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path


def without_times(lines: Iterable[str]) -> bytes:
    """Metrics without what a clock decides."""
    rows = [json.loads(line) for line in lines]
    return json.dumps([{k: v for k, v in row.items() if k not in ("seconds", "speed")} for row in rows]).encode()


def differences(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    return [name for name in sorted({*one, *other}) if one.get(name) != other.get(name)]


class Verdicts:
    """Counts the kills, and the runs in which a file differs afterwards."""

    def __init__(self, expected: dict[str, bytes]) -> None:
        self.expected = expected
        self.kills = self.failures = 0

    def add(self, where: str, found: dict[str, bytes], kills: int = 1) -> None:
        """Compare what a run made that was killed so often."""
        differing = differences(self.expected, found)
        self.kills += kills
        self.failures += bool(differing)
        verdict = f"DIFFERENT: {', '.join(differing)}" if differing else "identical"
        print(f"kill {self.kills}: {where}: {verdict}", flush=True)

    def end(self) -> int:
        """Print the sum; the exit status."""
        print(f"{self.kills} kills, {self.failures} with a difference")
        return 1 if self.failures else 0


def kill_at_random(
    verdicts: Verdicts,
    *,
    kills: int,
    seed: int,
    seconds: float,
    work: Path,
    start: Callable[[Path], subprocess.Popen[bytes]],
    finish: Callable[[Path], None],
    artefacts: Callable[[Path], dict[str, bytes]],
    where: Callable[[Path], str],
) -> int:
    """Kill runs within their first `seconds`, each in a folder of its own; finish and compare. The exit status."""
    moments = random.Random(seed)
    while verdicts.kills < kills:
        out = work / f"killed-{verdicts.kills}"
        moment = moments.uniform(0, seconds)
        process = start(out)
        try:
            process.wait(moment)
        except subprocess.TimeoutExpired:
            process.kill()
        if process.wait() != -signal.SIGKILL:
            shutil.rmtree(out)  # it ended first, which shows nothing
            seconds = min(seconds, moment)
            continue
        said = where(out)
        finish(out)
        verdicts.add(f"at {moment:.1f} s, {said}", artefacts(out))
        shutil.rmtree(out)
    return verdicts.end()
