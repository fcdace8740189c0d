"""What the scripts that kill runs have in common: comparing what the run that went on has made."""

from __future__ import annotations

import json
from collections.abc import Iterable


def without_times(lines: Iterable[str]) -> bytes:
    """Metrics without what a clock decides."""
    rows = [json.loads(line) for line in lines]
    return json.dumps([{k: v for k, v in row.items() if k not in ("seconds", "speed")} for row in rows]).encode()


def differences(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    return [name for name in sorted({*one, *other}) if one.get(name) != other.get(name)]


class Verdicts:
    """Counts the kills, and those after which a file differs."""

    def __init__(self, expected: dict[str, bytes]) -> None:
        self.expected = expected
        self.kills = self.failures = 0

    def add(self, where: str, found: dict[str, bytes]) -> None:
        differing = differences(self.expected, found)
        self.kills += 1
        self.failures += bool(differing)
        verdict = f"DIFFERENT: {', '.join(differing)}" if differing else "identical"
        print(f"kill {self.kills}: {where}: {verdict}", flush=True)

    def end(self) -> int:
        """Print the sum; the exit status."""
        print(f"{self.kills} kills, {self.failures} with a difference")
        return 1 if self.failures else 0
