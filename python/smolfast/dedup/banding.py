"""Locality-sensitive banding: how likely two documents meet, and how many bands a threshold asks for."""

from __future__ import annotations

import numpy as np

from smolfast.errors import SmolfastError


def band_probability(similarity: float, bands: int, rows: int) -> float:
    """The chance 1 − (1 − sʳ)ᵇ that two documents of Jaccard similarity s agree on all rows of some band.

    Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, section 3.4.2.
    """
    return float(1.0 - (1.0 - similarity**rows) ** bands)


def band_threshold(bands: int, rows: int) -> float:
    """The similarity (1/b)^(1/r) around which `band_probability` rises from 0 to 1: 0.72 at 14 bands of 8 rows.

    At it two documents meet with a probability of 1 − (1 − 1/b)ᵇ, between 0.63 and 1. The same book's section.
    """
    return float((1.0 / bands) ** (1.0 / rows))


def choose_bands(num_perm: int, threshold: float) -> tuple[int, int]:
    """Bands and rows for a similarity threshold, bands × rows ≤ num_perm.

    The most selective split that still finds a pair at the threshold with probability 0.95 or more, so that
    verification has little to do and little to miss; the split with the highest such probability if none reaches 0.95.

    Raises:
        SmolfastError: the threshold is not between 0 and 1.
    """
    if not 0.0 < threshold <= 1.0:
        raise SmolfastError(f"threshold = {threshold}: expected a Jaccard similarity above 0, up to 1")
    rows = np.arange(1, num_perm + 1)
    bands = num_perm // rows
    found = 1.0 - (1.0 - threshold ** rows.astype(float)) ** bands
    good = np.nonzero(found >= 0.95)[0]
    best = int(good[-1]) if good.size else int(np.argmax(found))
    return int(bands[best]), int(rows[best])
