"""How the numbers of several models become those of one, by tensor.

A method looks at the pieces of a tensor as often as it needs, and gives a function that makes a piece of the result of
the models' pieces. Sums are taken in fp64, so a result is rounded once.

Sources: Wortsman et al. 2022, "Model soups" (linear); Shoemake 1985 (SLERP); Yadav et al. 2023, "TIES-Merging"; Jang et
al. 2024, "Model Stock". What these leave open is done as mergekit does it: vectors that are nearly on a line are
averaged instead of SLERP; of several angles Model Stock takes the mean cosine; TIES takes + where signs are even.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

Pieces = Callable[[], Iterator[list[Tensor]]]
"""Walks once over a tensor: lists of equally long 1-D fp64 pieces, of the base first if there is one."""
Combine = Callable[[list[Tensor]], Tensor]
Method = Callable[[Pieces], Combine]

METHODS = ("linear", "slerp", "ties", "model-stock")
NEEDS_BASE = ("ties", "model-stock")
_ON_A_LINE = 0.9995
_LOW_BITS = 16


def linear(weights: Sequence[float]) -> Method:
    """The weighted mean."""
    total = math.fsum(weights)

    def combine(models: list[Tensor]) -> Tensor:
        result = models[0] * (weights[0] / total)
        for model, weight in zip(models[1:], weights[1:], strict=True):
            result.add_(model, alpha=weight / total)
        return result

    return lambda pieces: combine


def slerp(t: float) -> Method:
    """The point at a share `t` of the arc from the first to the second, each tensor taken as one vector."""

    def of_tensor(pieces: Pieces) -> Combine:
        first = second = product = 0.0
        for one, other in pieces():
            first += float(one @ one)
            second += float(other @ other)
            product += float(one @ other)
        cosine = product / math.sqrt(first * second) if first * second else 0.0
        share, other_share = 1 - t, t
        if abs(cosine) <= _ON_A_LINE:
            angle = math.acos(cosine)
            share, other_share = (math.sin(angle * part) / math.sin(angle) for part in (1 - t, t))
        return lambda models: models[0] * share + models[1] * other_share

    return of_tensor


def ties(weights: Sequence[float], density: float) -> Method:
    """The base, and of each model's differences from it the largest: at each place the mean of those of the sign that
    weighs more.

    Args:
        density: the share of each tensor's differences that stays.
    """

    def of_tensor(pieces: Pieces) -> Combine:
        trims = _trims(pieces, len(weights), density)

        def combine(models: list[Tensor]) -> Tensor:
            base = models[0]
            kept = [
                trim(_bits(difference)) * difference.double() * weight
                for trim, difference, weight in zip(trims, _differences(models), weights, strict=True)
            ]
            positive = torch.stack(kept).sum(0) >= 0
            result, divisor = torch.zeros_like(base), torch.zeros_like(base)
            for one, weight in zip(kept, weights, strict=True):
                agrees = torch.where(positive, one > 0, one < 0)
                result += one * agrees
                divisor += weight * agrees
            return base + result / divisor.masked_fill_(divisor == 0, 1)

        return combine

    return of_tensor


def model_stock(pieces: Pieces) -> Combine:
    """The models' mean, drawn towards the base as far as the angles between their differences from it say."""
    gram: Tensor | None = None
    for base, *models in pieces():
        differences = torch.stack(models) - base
        products = differences @ differences.T
        gram = products if gram is None else gram + products
    count = 0 if gram is None else len(gram)
    cosines = [
        float(gram[i, j] / torch.sqrt(gram[i, i] * gram[j, j])) if gram[i, i] * gram[j, j] > 0 else 0.0
        for i in range(count)
        for j in range(i + 1, count)
        if gram is not None
    ]
    cosine = math.fsum(cosines) / len(cosines) if cosines else 0.0
    # Differences that cancel each other leave the base.
    below = 1 + (count - 1) * cosine
    share = count * cosine / below if below > 1e-6 else 0.0
    return lambda found: torch.stack(found[1:]).mean(0) * share + found[0] * (1 - share)


def _differences(models: list[Tensor]) -> list[Tensor]:
    """Of each model from the base, in fp32: by its bits a magnitude is found without sorting."""
    base = models[0].float()
    return [model.float() - base for model in models[1:]]


def _bits(difference: Tensor) -> Tensor:
    """Integers in the order of the magnitudes."""
    return difference.abs().view(torch.int32)


def _trims(pieces: Pieces, count: int, density: float) -> list[Callable[[Tensor], Tensor]]:
    """Of each model, what says of the next piece which differences are among its largest.

    Found in two walks, by the upper and then by the lower half of the bits: no copy of the tensor is made.
    """
    upper = torch.zeros(count, 1 << _LOW_BITS, dtype=torch.int64)
    size = 0
    for models in pieces():
        size += len(models[0])
        for counts, difference in zip(upper, _differences(models), strict=True):
            counts += torch.bincount(_bits(difference) >> _LOW_BITS, minlength=1 << _LOW_BITS)
    keep = max(1, int(density * size)) if size else 0
    chosen = [_last(counts, keep) for counts in upper]
    lower = torch.zeros_like(upper)
    for models in pieces():
        for counts, difference, (high, _) in zip(lower, _differences(models), chosen, strict=True):
            bits = _bits(difference)
            inside = bits[bits >> _LOW_BITS == high] & ((1 << _LOW_BITS) - 1)
            counts += torch.bincount(inside, minlength=1 << _LOW_BITS)
    trims = []
    for counts, (high, left) in zip(lower, chosen, strict=True):
        low, equal = _last(counts, left)
        trims.append(_Trim(high << _LOW_BITS | low, equal))
    return list(trims)


def _last(counts: Tensor, keep: int) -> tuple[int, int]:
    """The lowest bin that the `keep` highest numbers reach, and how many of it they take."""
    above = counts.flip(0).cumsum(0).flip(0)  # in this bin and higher ones
    bin_ = int((above >= keep).nonzero().max()) if keep else len(counts) - 1
    return bin_, keep - int(above[bin_] - counts[bin_])


class _Trim:
    """Which numbers lie above a limit; of those that equal it, the first few."""

    def __init__(self, limit: int, equal: int) -> None:
        self._limit, self._equal = limit, equal

    def __call__(self, bits: Tensor) -> Tensor:
        above, at = bits > self._limit, bits == self._limit
        at &= at.cumsum(0) <= self._equal
        self._equal -= int(at.sum())
        return above | at
