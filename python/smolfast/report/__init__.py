"""One self-contained HTML page about a quickstart run, made from the files of its folder alone."""

from __future__ import annotations

from smolfast.report.page import write_report

__all__ = ["write_report"]
