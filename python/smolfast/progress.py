"""Progress for people: a bar on a terminal, a plain line now and then elsewhere. Everything goes to stderr."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from typing import TextIO

ProgressCallback = Callable[[float, float, str], None]
"""Called with work done, work in all (same unit) and a short note."""

_BAR_SECONDS = 0.1
_LINE_SECONDS = 15.0


def format_seconds(seconds: float) -> str:
    """`7 s`, `2:05` (minutes) or `1:02:05` (hours)."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    minutes, left = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def format_bytes(size: float) -> str:
    """Decimal units: `812 B`, `24.0 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


class Console:
    """Where a command says what it is doing."""

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._quiet = quiet
        self._bar = not quiet and self._stream.isatty()
        self._bar_shown = False

    def line(self, text: str) -> None:
        """Print a line of its own, above the bar if there is one."""
        if not self._quiet:
            self.clear()
            # Names of files need not be UTF-8.
            print(text.encode("utf-8", "replace").decode(), file=self._stream, flush=True)

    def clear(self) -> None:
        """Take the bar off the terminal."""
        if self._bar_shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._bar_shown = False

    def progress(self, label: str) -> ProgressCallback:
        """A callback for one stage, `label` before its bar or lines."""
        started = time.monotonic()
        last = started if not self._bar else 0.0

        def show(done: float, total: float, note: str = "") -> None:
            nonlocal last
            now = time.monotonic()
            if self._quiet or now - last < (_BAR_SECONDS if self._bar else _LINE_SECONDS):
                return
            last = now
            share = min(1.0, done / total) if total > 0 else 0.0
            left = (now - started) * (1 - share) / share if share > 0 else 0.0
            tail = f"{share:4.0%}  {format_seconds(left)} left  {note}" if share > 0 else note
            if not self._bar:
                print(f"{label:<11} {tail}".rstrip(), file=self._stream, flush=True)
                return
            width = max(10, min(40, shutil.get_terminal_size().columns - len(label) - len(tail) - 8))
            filled = round(width * share)
            line = f"{label:<11} {'█' * filled}{'░' * (width - filled)} {tail}"
            self._stream.write("\r\x1b[K" + line[: shutil.get_terminal_size().columns - 1])
            self._stream.flush()
            self._bar_shown = True

        return show
