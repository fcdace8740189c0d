"""What a classifier of good and bad documents is worth on documents that it hasn't seen, and what it goes by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from smolfast.classify.calibration import Calibration, Floats, calibration_error
from smolfast.classify.model import Model
from smolfast.strings import Strings

GOOD, BAD = "good", "bad"
LEAST_DOCUMENTS = 5  # that hold a phrase, for it to be listed
MOST_READ = 4000  # documents of a side that are searched for phrases
_LEAST_TO_CALIBRATE = 10  # documents of either side


@dataclass
class Quality:
    """What a model of two labels does with documents that it wasn't trained on."""

    documents: int
    auc: float | None
    """How probable it is that a good document scores above a bad one."""
    threshold: float | None
    """The score that the best `keep` of the bad side's documents reach."""
    precision: float | None
    """Of the documents that reach the threshold, the share of good ones."""
    recall: float | None
    """Of the good documents, the share that reaches it."""
    accuracy: float | None
    """The share of documents whose better label is right."""
    calibration: Calibration | None = None
    """Fitted to every second document."""
    ece: float | None = None
    """On the other half: how far scores are from the share of good documents, on average over 15 bins of scores."""
    ece_calibrated: float | None = None
    """The same of calibrated scores."""
    phrases: dict[str, list[str]] = field(default_factory=dict)
    """For each label the words and n-grams that weigh most, heaviest first."""

    def notes(self, keep: float) -> dict[str, Any]:
        """What is kept in the model's file."""
        return {
            "threshold": self.threshold,
            "keep": keep,
            "auc": self.auc,
            "calibration": None if self.calibration is None else [self.calibration.slope, self.calibration.offset],
        }


def judge(model: Model, unseen: Mapping[str, Strings], *, keep: float = 0.1, threads: int = 0) -> Quality:
    """What a model of the labels good and bad does with documents of both; figures are None where a side has none."""
    good, bad = (
        np.asarray(model.scores(unseen[label], [GOOD], threads=threads)[GOOD].drop_null(), np.float64)
        for label in (GOOD, BAD)
    )
    total = len(good) + len(bad)
    if not len(good) or not len(bad):
        return Quality(total, None, None, None, None, None)
    threshold = float(np.quantile(bad, 1 - keep, method="higher"))
    passed_good, passed_bad = int((good >= threshold).sum()), int((bad >= threshold).sum())
    right = sum(
        pc.sum(pc.equal(model.predict(unseen[label], threads=threads)["label"].cast(pa.string()), label)).as_py() or 0
        for label in (GOOD, BAD)
    )
    quality = Quality(
        documents=total,
        auc=area(good, bad),
        threshold=threshold,
        precision=passed_good / max(1, passed_good + passed_bad),
        recall=passed_good / len(good),
        accuracy=right / total,
    )
    if min(len(good), len(bad)) >= _LEAST_TO_CALIBRATE:
        quality.calibration = Calibration.fit(good[::2], bad[::2])
        scores = np.concatenate([good[1::2], bad[1::2]])
        is_good = np.arange(len(scores)) < len(good[1::2])
        quality.ece = calibration_error(scores, is_good)
        quality.ece_calibrated = calibration_error(quality.calibration(scores), is_good)
    return quality


def area(good: Floats, bad: Floats) -> float:
    """The area under the ROC curve: by ranks (Mann and Whitney 1947), equal scores counting half."""
    ordered = np.sort(bad)
    below = np.searchsorted(ordered, good, "left") + np.searchsorted(ordered, good, "right")
    return float(below.mean() / (2 * len(bad)))


def heaviest(model: Model, texts: Mapping[str, Strings], count: int = 15) -> dict[str, list[str]]:
    """For each label the words and n-grams of words that raise its logit most above the others' mean.

    Looked for among the phrases of the first documents of each label, `MOST_READ` of them; a phrase must stand in
    `LEAST_DOCUMENTS`.
    """
    found: Counter[str] = Counter()
    for column in texts.values():
        for text in column[:MOST_READ]:
            words = (str(text) if isinstance(text, pa.Scalar) else text or "").split()[:2000]
            of_text = {
                " ".join(words[i : i + n])
                for n in range(1, min(3, model.settings["wordNgrams"]) + 1)
                for i in range(len(words) - n + 1)
            }
            found.update(of_text)
    phrases = sorted(phrase for phrase, documents in found.items() if documents >= LEAST_DOCUMENTS)
    if not phrases:
        return {label: [] for label in model.labels}
    weights = model.weights(phrases)
    others = (weights.sum(axis=1, keepdims=True) - weights) / max(1, weights.shape[1] - 1)
    by_label = np.argsort(others - weights, axis=0, kind="stable")
    return {label: [phrases[row] for row in by_label[:count, i]] for i, label in enumerate(model.labels)}
