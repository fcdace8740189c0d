"""What a part of the page is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from smolfast.report.markup import Markup


@dataclass(frozen=True)
class Section:
    """A titled part of the page.

    Attributes:
        key: its anchor.
        missing: what the run lacks for it, as sentences for the reader.
        examples: near-duplicate pairs shown.
    """

    key: str
    title: str
    body: Markup
    missing: list[str] = field(default_factory=list)
    examples: int = 0


def numeric(value: Any) -> float | None:
    """`value` as a float when it is a number (not a truth value), else None."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def words(key: str) -> str:
    """`near_duplicates` as `near duplicates`."""
    return key.replace("_", " ")


def counted(value: float, one: str, many: str = "") -> str:
    """A whole number of things: `1 event`, `2,000 events`; the plural takes an s unless it is given."""
    return f"{value:,.0f} {one if value == 1 else many or one + 's'}"


def count(value: Any) -> str:
    """A whole number with its thousands set apart, or an en dash for none."""
    found = numeric(value)
    return "–" if found is None else f"{found:,.0f}"


def share(part: float, whole: float) -> str:
    """A share in per cent: `12.3%`; what is there but would round to nothing is `<0.1%`; of nothing an en dash."""
    if not whole:
        return "–"
    return "<0.1%" if 0 < part / whole < 0.0005 else f"{part / whole:.1%}"
