"""Scores made probabilities, and how far from probabilities they are."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_BINS = 15  # of the calibration error, as in Guo et al. 2017
_LEAST_SCORE = 1e-5  # what fastText adds to every score
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """A score made a probability: 1 / (1 + exp(−slope · logit(score) − offset)), by Platt's method (1999)."""

    slope: float
    offset: float

    def __call__(self, scores: Floats) -> Floats:
        """The probability that a document is good, where good and bad ones are as frequent as in what was judged by."""
        return np.asarray(1 / (1 + np.exp(-(self.slope * _logit(scores) + self.offset))), np.float64)

    @staticmethod
    def fit(good: Floats, bad: Floats) -> Calibration:
        """The most likely slope and offset, by Newton's method with Platt's targets, which keep them finite."""
        x = _logit(np.concatenate([good, bad]))
        target = np.concatenate(
            [np.full(len(good), (len(good) + 1) / (len(good) + 2)), np.full(len(bad), 1 / (len(bad) + 2))]
        )
        design = np.stack([x, np.ones_like(x)], axis=1)

        def loss(at: Floats) -> float:
            z = design @ at
            return float((np.logaddexp(0, z) - target * z).sum())

        found = np.array([0.0, math.log((len(good) + 1) / (len(bad) + 1))])
        for _ in range(100):
            p = 1 / (1 + np.exp(-(design @ found)))
            gradient = design.T @ (p - target)
            if np.abs(gradient).max() < 1e-8 * len(x):
                break
            curvature = design.T @ (design * (p * (1 - p))[:, None]) + 1e-12 * np.eye(2)
            step, length = np.linalg.solve(curvature, gradient), 1.0
            while loss(found - length * step) > loss(found) and length > 1e-10:
                length /= 2
            found = found - length * step
        return Calibration(float(found[0]), float(found[1]))


def _logit(scores: Floats) -> Floats:
    clipped = np.clip(scores, _LEAST_SCORE, 1 - _LEAST_SCORE)
    return np.asarray(np.log(clipped) - np.log1p(-clipped), np.float64)


def calibration_error(scores: Floats, is_good: npt.NDArray[np.bool_]) -> float:
    """The expected calibration error (Guo et al. 2017): over 15 equal bins of scores, by how many documents are there.

    In each bin the mean score is compared with the share of good documents.
    """
    bins = np.minimum((np.clip(scores, 0, 1) * _BINS).astype(np.int64), _BINS - 1)
    apart = np.bincount(bins, scores - is_good, minlength=_BINS)
    return float(np.abs(apart).sum() / len(scores))
