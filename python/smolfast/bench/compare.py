"""Whether ours became slower, by ratios: machines and days differ, but a peer and the floor differ with them."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from smolfast.bench.results import Results, Row, Spread, read_results
from smolfast.errors import SmolfastError

Key = tuple[str, str, str, int | None, object]


@dataclass(frozen=True)
class Change:
    """How much faster one of our rows became, beside the same references then and now.

    Attributes:
        factor: geometric mean over the references of (ours / reference now) / (ours / reference then), of rates.
        noise: the share below 1 that is put down to chance: what was asked for, or the spread of our own rounds (median
            to fastest, by the median, then or now) where that is more.
        references: the peers and floors that it rests on.
    """

    row: Row
    factor: float
    noise: float
    references: tuple[str, ...]

    @property
    def regressed(self) -> bool:
        return self.factor < 1 - self.noise


def compare(then: Results, now: Results, noise: float) -> list[Change]:
    """Every row of ours that both have, with a reference that both have in the same case."""
    before = {_key(row): row for row in then.rows}
    changes = []
    for row in now.rows:
        old = before.get(_key(row))
        if row.role != "ours" or old is None or (rate := row.rate()) is None or (old_rate := old.rate()) is None:
            continue
        ratios: dict[str, float] = {}
        for other in now.rows:
            if other.role == "ours" or (other.part, other.case) != (row.part, row.case):
                continue
            old_other = before.get(_key(other))
            if old_other is None or (other_rate := other.rate()) is None or (other_then := old_other.rate()) is None:
                continue
            ratios[other.name] = (rate.median / other_rate.median) / (old_rate.median / other_then.median)
        if ratios:
            factor = math.exp(sum(map(math.log, ratios.values())) / len(ratios))
            allowance = max(noise, *(_spread(one.seconds()) for one in (row, old)))
            changes.append(Change(row, factor, allowance, tuple(ratios)))
    return changes


def last_on_this_hardware(folder: Path, now: Results) -> tuple[Path, Results] | None:
    """The newest committed result of the same benchmark, hardware and size; outside a git checkout, the newest."""
    found = []
    for path in _committed(folder):
        try:
            old = read_results(path)
        except SmolfastError:
            continue  # another benchmark's own form
        same = (old.benchmark, old.hardware(), _size(old.settings)) == (
            now.benchmark,
            now.hardware(),
            _size(now.settings),
        )
        if same:
            found.append((old.date, path.name, path, old))
    if not found:
        return None
    *_, path, old = max(found, key=lambda entry: entry[:2])
    return path, old


def _committed(folder: Path) -> Iterable[Path]:
    try:
        done = subprocess.run(
            ["git", "ls-files", "-z", "*.json"], cwd=folder, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return sorted(folder.glob("*.json"))
    return [folder / name for name in done.stdout.split("\0") if name and (folder / name).exists()]


def _size(settings: Mapping[str, object]) -> bool:
    return bool(settings.get("quick"))


def _key(row: Row) -> Key:
    return row.part, row.case, row.name, row.threads, row.facts.get("size")


def _spread(seconds: Spread | None) -> float:
    return 0.0 if seconds is None or seconds.median <= 0 else (seconds.median - seconds.least) / seconds.median
