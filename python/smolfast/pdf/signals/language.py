"""A document's language, page by page."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa

from smolfast.classify import Model

LEAST_BYTES = 50
"""FinePDFs' rule: a text of fewer alphabetic bytes has no language that could be told,"""
LEAST_SHARE = 0.2
"""nor one of which they are a smaller share."""
_LABELS = 5
"""Of each page: what comes behind them is close to nothing."""
_OTHER = re.compile(r"[\W\d_]+")


class Language(NamedTuple):
    """A document's language."""

    name: str | None
    """The model's label; None where it can't be told."""
    score: float | None
    """The mean over the pages, weighted by their bytes."""
    pages: list[str | None]
    """The best label of each page."""


def language_of(pages: Sequence[str], model: Model, threads: int = 1) -> Language:
    """The language that has the highest mean score over the pages that are long enough to tell.

    Where none is, all pages together are heard as one.
    """
    heard = [number for number, page in enumerate(pages) if _can_be_told(page)]
    texts = [pages[number] for number in heard]
    if not heard:
        whole = "\n".join(pages)
        if not _can_be_told(whole):
            return Language(None, None, [None] * len(pages))
        texts = [whole]
    found = model.predict(pa.array(texts, pa.large_string()), k=_LABELS, threads=threads).to_pydict()
    of_pages: list[str | None] = [None] * len(pages)
    scores: dict[str, float] = defaultdict(float)
    total = 0
    for at, (labels, values) in enumerate(zip(found["label"], found["score"], strict=True)):
        weight = len(texts[at].encode())
        total += weight
        for label, value in zip(labels, values, strict=True):
            scores[label] += weight * value
        if heard and labels:
            of_pages[heard[at]] = labels[0]
    if not scores:
        return Language(None, None, of_pages)
    best = min(scores, key=lambda label: (-scores[label], label))
    return Language(best, scores[best] / total, of_pages)


def _can_be_told(text: str) -> bool:
    alphabetic = len(_OTHER.sub("", text).encode())
    return alphabetic >= LEAST_BYTES and alphabetic >= LEAST_SHARE * len(text.encode())
