"""What models decide beside the rules: whether a document is in its language, and whether its quality is enough."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from smolfast.classify import Model
from smolfast.curate.languages import codes_of
from smolfast.errors import SmolfastError

LANGUAGE, QUALITY = "language", "quality"
"""The filters' names, and their reasons."""
DATATROVE_SCORE = 0.65
"""The score that datatrove's and FineWeb's language filter asks for."""
_GLOTLID = re.compile("[a-z]{3}_[A-Z][a-z]{3}")
"""GlotLID's labels name the script too: `slk_Latn`."""
_GOOD = ("good", "hq")
"""What smolfast and DCLM call the better label."""


def opened(path: str) -> Model:
    """A model's file, opened once as long as it is the same."""
    try:
        found = Path(path).stat()
    except OSError:
        return Model(path)  # which says what is wrong
    return _opened(path, found.st_mtime_ns, found.st_size)


@functools.lru_cache(4)
def _opened(path: str, changed: int, size: int) -> Model:
    return Model(path)


@dataclass(frozen=True)
class ScoreCheck:
    """Documents that a model's label gives a score below the threshold go."""

    name: str
    model: str
    label: str
    threshold: float

    @property
    def signal(self) -> str:
        """The column of the score."""
        return f"{self.name}_score"

    def scores(self, strings: Any, threads: int) -> npt.NDArray[np.float64]:
        """Of each string."""
        table = opened(self.model).scores(strings, [self.label], threads=threads)
        return np.asarray(table.column(0).cast(pa.float64()))


def label_of_language(model: str, language: str) -> str:
    """What a model calls a language: lid.176 says `en`, GlotLID `eng_Latn`.

    Raises:
        SmolfastError: it has no such label.
    """
    labels = opened(model).labels
    for name in codes_of(language):
        if name in labels:
            return name
    raise SmolfastError(
        f"{model} has no label for the language {language!r}; it has {_some(labels)}; give the language as it does"
    )


def least_of_language(label: str, of_rules: float | None) -> float:
    """The score that a language must have: the rules' own, which is meant for GlotLID's scores; or else datatrove's."""
    return of_rules if of_rules is not None and _GLOTLID.fullmatch(label) else DATATROVE_SCORE


def label_of_quality(model: str, label: str | None) -> str:
    """The label whose score says how good a document is: the one named, `good`, or DCLM's `hq`.

    Raises:
        SmolfastError: the model has no such label.
    """
    labels = opened(model).labels
    for name in _GOOD if label is None else (label,):
        if name in labels:
            return name
    wanted = "good or hq" if label is None else repr(label)
    raise SmolfastError(f"{model} has no label {wanted}; name one of its own with --quality-label: {_some(labels)}")


def least_quality(model: str) -> float:
    """The threshold that training wrote into a model's file.

    Raises:
        SmolfastError: there is none.
    """
    found = opened(model).notes.get("threshold")
    if found is None:
        raise SmolfastError(
            f"{model} names no threshold of its own; give the least score of what stays: --quality-score"
        )
    return float(found)


def _some(labels: Sequence[str]) -> str:
    return ", ".join(labels[:8]) + (", …" if len(labels) > 8 else "")


def apply(
    table: pa.Table, strings: Any, before: Sequence[ScoreCheck], after: Sequence[ScoreCheck], threads: int
) -> pa.Table:
    """The verdicts of rules with those of models: of `before` on texts as they came, of `after` as the rules left them.

    A column of scores is added for each, before and after the rules' numbers.
    """
    columns = dict(zip(table.column_names, (column.combine_chunks() for column in table.columns), strict=True))
    reason, keep = columns["reason"].cast(pa.string()), columns["keep"]
    scored: list[dict[str, pa.Array]] = []
    for checks, texts in ((before, strings), (after, columns.get("text", strings))):
        found = {}
        for check in checks:
            score = check.scores(texts, threads)
            found[check.signal] = pa.array(score)
            goes = pa.array(score < check.threshold)
            # The first to remove a document gives the reason.
            decides = goes if checks is before else pc.and_(goes, keep)
            reason = pc.if_else(decides, check.name, reason)
            keep = pc.and_(keep, pc.invert(goes))
        scored.append(found)
    ours = {"keep": keep, "reason": reason.dictionary_encode()}
    if "text" in columns:
        ours["text"] = columns["text"]
    rest = {name: column for name, column in columns.items() if name not in ours}
    return pa.table({**ours, **scored[0], **rest, **scored[1]})
