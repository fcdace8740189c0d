"""Part `workers` of bench_pdf.py: two worker processes beside one, and the memory that one takes."""

from __future__ import annotations

import resource
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from smolfast.bench.results import Row, Spread
from smolfast.pdf import extract_pdfs

COPIES = 2
"""Of each file, with a line more behind its end: the start of the workers is to be little of the whole."""


def of_workers(files: Sequence[Path], rounds: int) -> list[Row]:
    """Seconds by the clock with one worker and with two, in turn, and the most memory that one had."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        for number, path in enumerate(files):
            for copy in range(COPIES):
                (folder / "in" / f"{copy}-{number}.pdf").write_bytes(path.read_bytes() + b"\n%%%d\n" % copy)
        wall: dict[int, list[float]] = {1: [], 2: []}
        own: dict[int, list[float]] = {1: [], 2: []}
        peaks: dict[int, int] = {1: 0, 2: 0}
        pages = 0
        for _ in range(rounds):
            for workers in wall:
                with _Watch() as watch:
                    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
                    pages = extract_pdfs([folder / "in"], folder / "out", threads=workers).pages
                    wall[workers].append(time.perf_counter() - began)
                    used = resource.getrusage(resource.RUSAGE_SELF)
                own[workers].append(used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime)
                peaks[workers] = max(peaks[workers], watch.peak)
                shutil.rmtree(folder / "out")
        best = statistics.median(wall[1])
        for workers, seconds in wall.items():
            facts = {
                "pages": pages,
                "pages_a_second": round(pages / statistics.median(seconds), 1),
                "times_one": round(best / statistics.median(seconds), 2),
                "own_cpu_seconds": round(statistics.median(own[workers]), 2),
            }
            rows.append(
                Row(
                    "workers",
                    str(workers),
                    "smolfast",
                    "ours",
                    threads=workers,
                    rounds=rounds,
                    wall=Spread.of(seconds),
                    peak_bytes=peaks[workers],
                    facts=facts,
                )
            )
    return rows


class _Watch:
    """The most memory that a process started by this one had, read while it lives."""

    def __init__(self) -> None:
        self.peak = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._end.wait(0.05):
            for task in Path("/proc/self/task").iterdir():
                try:
                    children = (task / "children").read_text().split()
                    for child in children:
                        status = Path(f"/proc/{child}/status").read_text()
                        if "VmHWM:" in status:
                            self.peak = max(self.peak, int(status.split("VmHWM:")[1].split()[0]) * 1024)
                except OSError:
                    continue  # it ended
