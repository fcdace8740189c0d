"""Counts the inputs that the hostile tests tried, and prints them by entry point at the end of the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

Tried = Callable[[str, str, int], None]
_KEY = "hostile inputs tried"


@pytest.fixture
def tried(record_property: Callable[[str, object], None]) -> Tried:
    """Note that an entry point was given `count` inputs that ended as `outcome`: "refused" or "exact"."""

    def note(entry_point: str, outcome: str, count: int = 1) -> None:
        record_property(_KEY, (entry_point, outcome, count))

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    # From the reports, since only these come back from the workers of pytest-xdist.
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    counts: dict[str, Counter[str]] = {}
    for report in reports:
        for key, value in report.user_properties:
            if key == _KEY:
                entry_point, outcome, count = value
                counts.setdefault(entry_point, Counter())[outcome] += count
    if not counts:
        return
    terminalreporter.section("hostile inputs")
    width = max(map(len, counts))
    terminalreporter.write_line(f"{'entry point':<{width}}  {'tried':>9}  {'exact':>9}  {'refused':>9}")
    for entry_point, outcomes in sorted(counts.items()):
        terminalreporter.write_line(
            f"{entry_point:<{width}}  {outcomes.total():>9,}  {outcomes['exact']:>9,}  {outcomes['refused']:>9,}"
        )
    total = sum((outcomes for outcomes in counts.values()), Counter())
    terminalreporter.write_line(f"{'all':<{width}}  {total.total():>9,}  {total['exact']:>9,}  {total['refused']:>9,}")
