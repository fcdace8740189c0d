"""Progress for people: a bar on a terminal, a plain line now and then elsewhere. Everything goes to stderr."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TextIO

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


def describe_end(summary: Mapping[str, Any], seconds: float) -> str:
    """The end of a piece of work in a line: its time, its rate, and what became of documents or tokens."""
    said = f"done in {format_seconds(seconds)}"
    seconds = max(seconds, 1e-3)
    if {"documents_in", "documents_out", "bytes_in", "bytes_out"} <= summary.keys():
        before, after = summary["documents_in"], summary["documents_out"]
        removed = f" ({1 - after / before:.1%} removed)" if after < before else ""
        return (
            f"{said}, {format_bytes(summary['bytes_in'] / seconds)}/s: {before:,} → {after:,} documents{removed}, "
            f"{format_bytes(summary['bytes_in'])} → {format_bytes(summary['bytes_out'])}"
        )
    if {"tokens", "steps", "seconds"} <= summary.keys():
        rate = summary["tokens"] / max(summary["seconds"], 1e-3)
        return f"{said}: {summary['steps']:,} steps, {summary['tokens']:,} tokens, {rate:,.0f} tokens/s"
    return said


def red(text: str, stream: TextIO) -> str:
    """The text in red, where the stream is a terminal that has colours and NO_COLOR isn't set."""
    return f"\x1b[31m{text}\x1b[0m" if has_colours(stream) else text


def bold(text: str, stream: TextIO) -> str:
    """The text in bold letters, where `red` would be red."""
    return f"\x1b[1m{text}\x1b[0m" if has_colours(stream) else text


def has_colours(stream: TextIO) -> bool:
    """Whether escape codes are for a person's eyes there (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class Watch:
    """The progress of one piece of work, which says whether anything was left to do."""

    def __init__(self, show: ProgressCallback) -> None:
        self._show = show
        self._began = time.monotonic()
        self._worked = False

    def __call__(self, done: float, total: float, note: str) -> None:
        """Is a ProgressCallback."""
        self._worked = True
        self._show(done, total, note)

    @property
    def seconds(self) -> float | None:
        """Since it began; None if the work was done already."""
        return time.monotonic() - self._began if self._worked else None


_KNOWN_AS: dict[str, str] = {}


@contextlib.contextmanager
def names_as(known: Mapping[str, str]) -> Iterator[None]:
    """Say other names in lines while the block runs: those by which users know what is made elsewhere."""
    _KNOWN_AS.update(known)
    try:
        yield
    finally:
        for name in known:
            _KNOWN_AS.pop(name, None)


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
            for name, known in _KNOWN_AS.items():
                text = text.replace(name, known)
            # Names of files need not be UTF-8.
            print(text.encode("utf-8", "replace").decode(), file=self._stream, flush=True)

    def clear(self) -> None:
        """Take the bar off the terminal."""
        if self._bar_shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._bar_shown = False

    @contextlib.contextmanager
    def watch(self, label: str) -> Iterator[Watch]:
        """The progress of a piece of work; its bar is taken off however that ends."""
        try:
            yield Watch(self.progress(label))
        finally:
            self.clear()

    def progress(self, label: str) -> ProgressCallback:
        """A callback for one stage, `label` before its bar or lines."""
        last = time.monotonic() if not self._bar else 0.0
        first: tuple[float, float] | None = None

        def show(done: float, total: float, note: str = "") -> None:
            nonlocal last, first
            now = time.monotonic()
            # What came before the first piece of work was setting up, and that piece itself is slow: neither is rate.
            if first is None and done > 0:
                first = (now, done)
            if self._quiet or now - last < (_BAR_SECONDS if self._bar else _LINE_SECONDS):
                return
            last = now
            share = min(1.0, done / total) if total > 0 else 0.0
            parts = [f"{share:4.0%}"] if share > 0 else []
            if first is not None and done > first[1] and total > 0:
                left = (now - first[0]) * max(0.0, total - done) / (done - first[1])
                parts.append(f"{format_seconds(left)} left")
            tail = "  ".join([*parts, note])
            if not self._bar:
                print(f"{label:<11} {tail}".rstrip(), file=self._stream, flush=True)
                return
            columns = shutil.get_terminal_size().columns
            width = max(10, min(40, columns - len(label) - len(tail) - 8))
            filled = round(width * share)
            line = f"{label:<11} {'█' * filled}{'░' * (width - filled)} {tail}"
            self._stream.write("\r\x1b[K" + line[: columns - 1])
            self._stream.flush()
            self._bar_shown = True

        return show
