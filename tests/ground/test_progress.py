"""Progress on a terminal and elsewhere."""

from __future__ import annotations

import io
import re

import pytest

from smolfast.progress import Console, format_bytes, format_seconds


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (7.25, "7.2 s"), (42, "42 s"), (125, "2:05"), (3725, "1:02:05")]
)
def test_seconds(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(("size", "text"), [(812, "812 B"), (24_000_000, "24.0 MB"), (3e15, "3000.0 TB")])
def test_bytes(size: float, text: str) -> None:
    assert format_bytes(size) == text


def test_a_bar_on_a_terminal_is_cleared_before_a_line() -> None:
    stream = Terminal()
    console = Console(stream)
    console.progress("dedup")(1, 2, "half")
    console.line("dedup done")
    out = stream.getvalue()
    assert " 50%" in out and "half" in out and "█" in out
    assert out.endswith("\r\x1b[Kdedup done\n")


def test_plain_lines_elsewhere_are_rare_and_have_no_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("smolfast.progress.time.monotonic", lambda: now[0])
    stream = io.StringIO()
    show = Console(stream).progress("train")
    for second in range(40):
        now[0] = float(second)
        show(second, 40, f"step {second}")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("train") and "25 s left" in lines[0] and "step 15" in lines[0]
    assert "\x1b" not in stream.getvalue()


def test_quiet_says_nothing() -> None:
    stream = Terminal()
    console = Console(stream, quiet=True)
    console.line("x")
    console.progress("x")(1, 2, "")
    assert stream.getvalue() == ""


@pytest.mark.parametrize("began_at", [0, 600], ids=["from the start", "resumed"])
def test_the_first_time_left_is_near_the_truth(began_at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Setting up takes 20 s and the first step 6 s, others half a second; a resumed run finds most steps taken."""
    now = [0.0]
    monkeypatch.setattr("smolfast.progress.time.monotonic", lambda: now[0])
    stream, steps = Terminal(), 1000
    show = Console(stream).progress("train")
    show(0, 1, "")
    now[0] += 20.0
    shown: list[tuple[float, float]] = []
    for step in range(began_at + 1, steps + 1):
        now[0] += 6.0 if step == began_at + 1 else 0.5
        stream.truncate(0)
        show(step, steps, f"step {step}")
        if left := re.search(r"(?:(\d+):)?([\d.]+) (?:s )?left", stream.getvalue()):
            shown.append((60 * int(left[1] or 0) + float(left[2]), (steps - step) * 0.5))
    assert len(shown) == steps - began_at - 1
    assert all(abs(said - truth) <= 0.5 + 0.01 * truth for said, truth in shown)
