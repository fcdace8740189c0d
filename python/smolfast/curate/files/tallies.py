"""What a run counts: documents and bytes by reason, how each measured number is spread, and the nearest misses."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

EXAMPLES = 5
"""Documents just beyond a threshold that are remembered for each reason."""

EDGES = np.array([0.0, *(float(f"{digits}e{power}") for power in range(-7, 12) for digits in range(10, 100))])
"""Where bins of measured numbers begin: 0, and every number of two digits, so that a threshold of two digits is one."""


def bin_name(place: int) -> str:
    """`0.3` for the documents at an edge, `0.3+` for those between it and the next."""
    return f"{EDGES[place // 2]:.2g}{'+' * (place % 2)}"


@dataclass
class Tallies:
    """Counts of a stretch of documents; those of two stretches add up to those of both."""

    documents_in: int = 0
    bytes_in: int = 0
    documents_out: int = 0
    bytes_out: int = 0
    rewritten: int = 0
    """Documents that are kept with another text than they came with."""
    languages: dict[str, list[int]] = field(default_factory=dict)
    """For each language the documents that came, and those that stay."""
    reasons: dict[str, list[Any]] = field(default_factory=dict)
    """For each reason its filter, the documents that went for it and their bytes."""
    signals: dict[str, dict[int, int]] = field(default_factory=dict)
    """For each measured number how many documents lie at edge i of EDGES (bin 2i) or before the next (bin 2i + 1)."""
    nearest: dict[str, list[list[float]]] = field(default_factory=dict)
    """For each reason the removed documents nearest to its threshold: distance, document, part and row there."""

    def add(self, other: Tallies) -> None:
        """Count another stretch too."""
        for name in ("documents_in", "bytes_in", "documents_out", "bytes_out", "rewritten"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for language, counts in other.languages.items():
            before = self.languages.get(language, [0, 0])
            self.languages[language] = [before[0] + counts[0], before[1] + counts[1]]
        for reason, (filter_, documents, size) in other.reasons.items():
            self.remove(reason, filter_, documents, size)
        for name, bins in other.signals.items():
            mine = self.signals.setdefault(name, {})
            for place, count in bins.items():
                mine[place] = mine.get(place, 0) + count
        for reason, found in other.nearest.items():
            self.nearest[reason] = heapq.nsmallest(EXAMPLES, [*self.nearest.get(reason, []), *found])

    def remove(self, reason: str, filter_: str, documents: int, size: int) -> None:
        """Count documents that go for a reason."""
        known = self.reasons.setdefault(reason, [filter_, 0, 0])
        known[1] += documents
        known[2] += size

    def measure(self, name: str, values: npt.NDArray[np.float64]) -> None:
        """Count one number of some documents; NaN, and what lies below 0, is one that wasn't measured."""
        values = values[values >= 0]
        edge = np.searchsorted(EDGES, values, side="right") - 1
        places = 2 * edge + (EDGES[edge] != values)  # a threshold decides otherwise on what equals it
        mine = self.signals.setdefault(name, {})
        for place, count in zip(*(part.tolist() for part in np.unique(places, return_counts=True)), strict=True):
            mine[place] = mine.get(place, 0) + count

    def as_json(self) -> dict[str, Any]:
        """For the journal; `from_json` reads it."""
        return {
            **{name: getattr(self, name) for name in ("documents_in", "bytes_in", "documents_out", "bytes_out")},
            "rewritten": self.rewritten,
            "languages": self.languages,
            "reasons": self.reasons,
            "signals": {name: sorted(bins.items()) for name, bins in self.signals.items()},
            "nearest": self.nearest,
        }

    @staticmethod
    def from_json(found: Mapping[str, Any]) -> Tallies:
        """The inverse of `as_json`.

        Raises:
            KeyError, TypeError, ValueError: it isn't such JSON.
        """
        return Tallies(
            **{name: int(found[name]) for name in ("documents_in", "bytes_in", "documents_out", "bytes_out")},
            rewritten=int(found["rewritten"]),
            languages={str(name): [int(came), int(stays)] for name, (came, stays) in found["languages"].items()},
            reasons={str(name): [str(f), int(d), int(b)] for name, (f, d, b) in found["reasons"].items()},
            signals={str(name): {int(p): int(c) for p, c in bins} for name, bins in found["signals"].items()},
            nearest={str(name): [list(one) for one in rows] for name, rows in found["nearest"].items()},
        )
