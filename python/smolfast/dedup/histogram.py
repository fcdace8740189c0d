"""How alike what was removed is to what was kept for it, as counts."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import numpy.typing as npt

_BINS = 10
_WIDTH = 30


def count_by_jaccard(jaccard: npt.NDArray[np.float64]) -> dict[str, int]:
    """Counts in ten bins from 0.5 to 1, and of what lies below; each bin holds its lower edge, the last one also 1."""
    at = np.clip(np.floor((jaccard + 1e-9) * 2 * _BINS) - _BINS, -1, _BINS - 1).astype(np.int64)
    counts = np.bincount(at + 1, minlength=_BINS + 1)
    edges = [f"{0.5 + i / (2 * _BINS):.2f}" for i in range(_BINS + 1)]
    names = ["0.00-0.50", *(f"{low}-{high}" for low, high in pairwise(edges))]
    return dict(zip(names, counts.tolist(), strict=True))


def draw(counts: Mapping[str, int]) -> list[str]:
    """For people: a line for each bin from the first that isn't empty; none if all are."""
    most = max(counts.values(), default=0)
    first = next((i for i, count in enumerate(counts.values()) if count), len(counts))
    return [
        f"{name}  {'█' * -(-_WIDTH * count // max(1, most)):<{_WIDTH}} {count:,}"
        for name, count in list(counts.items())[first:]
    ]
