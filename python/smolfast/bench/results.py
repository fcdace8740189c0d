"""The one form of every benchmark's results: what ran where, and a row for each contender of each case.

A file holds `{"schema": 1, "benchmark", "date", "machine", "versions", "settings", "rows"}`. Times are seconds of one
call that does the row's work (`bytes` or `operations`), so a rate is work over time and a claim a ratio of two rows of
one case.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from smolfast.errors import SmolfastError
from smolfast.files import read_json, write_json

SCHEMA = 1


@dataclass(frozen=True)
class Spread:
    """Seconds over the rounds."""

    median: float
    least: float
    most: float

    @staticmethod
    def of(seconds: Iterable[float]) -> Spread:
        values = sorted(seconds)
        return Spread(statistics.median(values), values[0], values[-1])


@dataclass(frozen=True)
class Row:
    """One contender in one case.

    Attributes:
        part: the job ("NFC", "signatures", "forward"). case: its input ("ascii", "causal 1k fp32").
        name: who did it. role: "ours", "peer" or "floor" (memcpy, a matrix product: what no implementation can beat).
        bytes: of the input, or operations: floating-point, that one call takes care of; at most one of them.
        wall, cpu: seconds of a call; cpu counts every thread of the process. On a GPU wall is between events, cpu None.
        peak_bytes: the most memory, resident or the device's.
        facts: whatever else was found out (recall, errors, a ratio).
        failed: why there are no figures.
    """

    part: str
    case: str
    name: str
    role: str
    bytes: int | None = None
    operations: float | None = None
    threads: int | None = None
    rounds: int = 0
    wall: Spread | None = None
    cpu: Spread | None = None
    peak_bytes: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    failed: str = ""

    def seconds(self) -> Spread | None:
        """CPU time on one thread, which a busy machine disturbs least, where it was taken; wall time on several."""
        if self.wall is not None and (self.threads or 1) > 1:
            return self.wall
        return self.cpu or self.wall

    def rate(self) -> Spread | None:
        """Bytes or operations a second, of `seconds`; None without work or times."""
        work, seconds = self.bytes or self.operations, self.seconds()
        if not work or seconds is None or seconds.least <= 0:
            return None
        return Spread(work / seconds.median, work / seconds.most, work / seconds.least)


@dataclass(frozen=True)
class Results:
    """What a benchmark found."""

    benchmark: str
    rows: Sequence[Row]
    date: str = ""
    machine: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def hardware(self) -> tuple[Any, ...]:
        """What must be equal for two results to be compared."""
        return tuple(self.machine.get(key) for key in ("processor", "processors", "instructions", "device"))


def machine(threads: int | None = None, device: str = "") -> dict[str, Any]:
    """The hardware that this process sees. `device` is the accelerator's name."""
    from smolfast import _native

    found = {
        "processor": _processor(),
        "processors": available_processors(),
        "instructions": _native.implementation(),
        "memory_bytes": _memory(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
    if threads is not None:
        found["threads"] = threads
    if device:
        found["device"] = device
    return found


def available_processors() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def peak_resident() -> int | None:
    """Bytes of this process at its largest."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Of those that are installed, smolfast first."""
    found = {}
    for name in ("smolfast", *packages):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def write_results(path: str | os.PathLike[str], results: Results) -> None:
    """Write the file, dated today unless the results have a date."""
    date = results.date or datetime.date.today().isoformat()
    rows = [{key: value for key, value in asdict(row).items() if value not in (None, "", {})} for row in results.rows]
    content = {"schema": SCHEMA, **asdict(results), "date": date, "rows": rows}
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_json(path, content)


def read_results(path: str | os.PathLike[str]) -> Results:
    """Read what `write_results` wrote.

    Raises:
        SmolfastError: the file is missing, no JSON, or of another form.
    """
    content = read_json(path)
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise SmolfastError(f"{path}: not a benchmark's results of schema {SCHEMA}; run `smolfast bench` to make some")
    try:
        rows = [row_of(row) for row in content.pop("rows")]
        content.pop("schema")
        return Results(rows=rows, **content)
    except (TypeError, KeyError, AttributeError) as error:
        raise SmolfastError(f"{path}: broken results ({error}); run `smolfast bench` to make new ones") from None


def row_of(found: Mapping[str, Any]) -> Row:
    """A row that `dataclasses.asdict` made plain."""
    spreads = {key: Spread(**found[key]) for key in ("wall", "cpu") if found.get(key)}
    return Row(**{**found, **spreads})


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
