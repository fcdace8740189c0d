"""Which windows of which source each step trains on: a pure function of the settings, the seed and the step.

A run is cut into stages by shares of its steps. A stage has weights of sources, and may have its own sequence length,
rotary base and rates, and may draw a share of its windows from long documents alone. Of each batch every source gets
its share in whole windows; what rounding owes it is made good in the next batches, so that after any number of steps
its count is within one window a source of exact. Since nothing depends on how a run got to a step, it can go on from
any step on any number of ranks, each taking its own rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from smolfast.config import StageConfig, TrainConfig
from smolfast.errors import SmolfastError
from smolfast.tokens.files import PackedWindows, TokenFile
from smolfast.tokens.fitted_windows import windows_of
from smolfast.train.schedule import ramped_batch_size

T = TypeVar("T")


@dataclass(frozen=True)
class Rows:
    """Windows of a step.

    Attributes:
        tokens: int64 [B, S + 1]. document_ids: int32 [B, S + 1], as from `PackedWindows.batch`.
        positions: int64 [B, S + 1], where the tokens stand in their source's token file.
        learned: bool [B, S + 1], which tokens are to be predicted; None for all. What fills a window up is never.
    """

    tokens: npt.NDArray[np.int64]
    document_ids: npt.NDArray[np.int32]
    positions: npt.NDArray[np.int64]
    learned: npt.NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class StepSize:
    """Tokens of a step, and of each of its sequences (on average)."""

    tokens: int
    length: int


@dataclass(frozen=True)
class _Pool:
    """Windows of one length of a source: of all its documents, or of those alone that are as long as a window."""

    source: str
    length: int
    long: bool = False


@dataclass(frozen=True)
class _Share:
    """A pool's windows in a step: `count` from number `first` on."""

    pool: _Pool
    first: int
    count: int


class DataPlan:
    """The windows of every step, and the stage it belongs to.

    Steps here count batches drawn, skipped ones included; those past the last are like it.
    """

    def __init__(self, sources: Mapping[str, TokenFile], config: TrainConfig, steps: int, seed: int) -> None:
        """
        Args:
            sources: the token file of each source by name.
            steps: optimiser steps of the whole run.

        Raises:
            SmolfastError: weights that name no source or don't sum to 1, or too little text.
        """
        self.sources, self.config, self.steps, self.seed = dict(sources), config, steps, seed
        self.stages = config.stages or (StageConfig(fraction=1.0),)
        self.weights = [stage_weights(stage, config, list(sources), index) for index, stage in enumerate(self.stages)]
        # Alone, a source drops what doesn't fill a batch at the end of an epoch; in a mixture there is no such end.
        self._drops = config.batch_size if len(self.sources) == 1 else 1
        self._windows: dict[_Pool, PackedWindows] = {}
        self._pools = [self._pools_of(index) for index in range(len(self.stages))]
        for pool in {pool: None for pools in self._pools for pool in pools}:
            self._source(pool)
        self._shares: list[list[_Share]] = []
        self._taken: dict[_Pool, int] = {}
        self._owed: dict[_Pool, float] = {}

    def stage(self, step: int) -> int:
        """The number of the stage that a step belongs to."""
        end = 0.0
        for index, stage in enumerate(self.stages):
            end += stage.fraction
            if step < round(end * self.steps):
                return index
        return len(self.stages) - 1

    def batch_size(self, step: int) -> int:
        """Windows of a step, of all ranks together."""
        config = self.config
        return ramped_batch_size(
            step,
            self.steps,
            start=config.batch_ramp_start or config.batch_size,
            end=config.batch_size,
            ramp_fraction=config.batch_ramp_fraction,
            multiple=config.batch_ramp_start or config.batch_size,
        )

    def sequence_length(self, step: int) -> int:
        """Inputs of a window of a step."""
        return self._length(self.stages[self.stage(step)])

    def size(self, step: int) -> StepSize:
        """How much a step is trained on."""
        length = self.sequence_length(step)
        return StepSize(self.batch_size(step) * length, length)

    def rows(self, step: int, start: int = 0, end: int | None = None) -> Rows:
        """Rows `start` to `end` of a step's batch; all of them by default."""
        if step < 0:
            raise ValueError(f"step = {step} is negative")
        while len(self._shares) <= step:
            self._shares.append(self._next_shares(len(self._shares)))
        end = self.batch_size(step) if end is None else end
        parts, learned, row, masked = [], [], 0, False
        for share in self._shares[step]:
            low, high = max(start, row), min(end, row + share.count)
            if low < high:
                source = self._source(share.pool)
                parts.append(source.windows(share.first + low - row, high - low))
                mask = source.learned(parts[-1][2])
                masked |= mask is not None
                learned.append(np.ones(parts[-1][2].shape, bool) if mask is None else mask)
            row += share.count
        tokens, document_ids, positions = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return Rows(tokens, document_ids, positions, np.concatenate(learned) if masked else None)

    def counts(self, step: int) -> dict[str, int]:
        """How many windows of a step each source gives."""
        self.rows(step, 0, 1)
        found: dict[str, int] = {}
        for share in self._shares[step]:
            found[share.pool.source] = found.get(share.pool.source, 0) + share.count
        return found

    def _next_shares(self, step: int) -> list[_Share]:
        stage = self.stage(step)
        if step and stage != self.stage(step - 1):
            self._owed = {}
        counts = _apportion(self.batch_size(step), self._pools[stage], self._owed)
        shares = []
        for pool, count in counts.items():
            if count:
                first = self._taken.get(pool, 0)
                shares.append(_Share(pool, first, count))
                self._taken[pool] = first + count
        return shares

    def _length(self, stage: StageConfig) -> int:
        return stage.sequence_length or self.config.sequence_length

    def _pools_of(self, index: int) -> dict[_Pool, float]:
        """What a stage draws windows from, and its weights."""
        stage, found = self.stages[index], dict[_Pool, float]()
        length, share = self._length(stage), stage.long_documents
        for name, weight in self.weights[index].items():
            if share < 1:
                found[_Pool(name, length)] = weight * (1 - share)
            if not share:
                continue
            file = self.sources[name]
            if not len(file.documents_of(length + 1)):
                longest = int(np.diff(file.document_starts).max())
                raise SmolfastError(
                    f"train.stages[{index}].long_documents: the longest document of {file.path} has {longest:,} tokens "
                    f"and a window {length + 1:,}; set it to 0, or give longer documents"
                )
            found[_Pool(name, length, long=True)] = weight * share
        return found

    def _source(self, pool: _Pool) -> PackedWindows:
        if pool not in self._windows:
            # Each further source has an order of its own, or equal files would go in step.
            seed, file = self.seed + list(self.sources).index(pool.source), self.sources[pool.source]
            long = file.documents_of(pool.length + 1) if pool.long else None
            size = 1 if pool.long else self._drops
            self._windows[pool] = windows_of(self.config.packing, file, pool.length, size, seed, long)
        return self._windows[pool]


def stage_weights(stage: StageConfig, config: TrainConfig, sources: Sequence[str], index: int) -> dict[str, float]:
    """A stage's weights by source, summing to 1; those of the run where it has none."""
    weights = dict(stage.weights or config.mixture)
    if not weights:
        if len(sources) > 1:
            raise SmolfastError(
                f"{len(sources)} sources ({', '.join(sources)}) and no weights; set train.mixture, for example "
                f"train.mixture={{{', '.join(f'{name} = {1 / len(sources):.3g}' for name in sources)}}}"
            )
        return {sources[0]: 1.0}
    where = f"train.stages[{index}].weights" if stage.weights else "train.mixture"
    unknown = [name for name in weights if name not in sources]
    if unknown:
        raise SmolfastError(f"{where} names '{unknown[0]}'; the sources are {', '.join(sources)}")
    total = math.fsum(weights.values())
    if abs(total - 1.0) > 1e-6 and not config.normalize_mixture:
        raise SmolfastError(
            f"{where} sums to {total:.6g}; make it 1, or set train.normalize_mixture=true to divide by the sum"
        )
    return {name: weight / total for name, weight in weights.items() if weight > 0}


def check_learnable(file: TokenFile) -> None:
    """Raise SmolfastError for a token file without a token to predict: none is marked as learned, but for tokens that
    begin a document, which nothing predicts."""
    if file.learned is None:
        return
    marked = int(np.count_nonzero(file.learned)) - int(np.count_nonzero(file.learned[file.document_starts[:-1]]))
    if not marked:
        marks = file.path.name.replace(".tokens.", ".learned.")
        raise SmolfastError(
            f"{file.path.with_name(marks)} marks no token as one to learn: its {file.documents:,} conversations have "
            "no answer of an assistant; give some that have and tokenize again"
        )


def _apportion(seats: int, weights: Mapping[T, float], owed: dict[T, float]) -> dict[T, int]:
    """Whole seats by weight, with what each is owed from before; largest remainders first. Updates `owed`."""
    claims = {name: owed.get(name, 0.0) + seats * weight for name, weight in weights.items()}
    given = {name: max(0, math.floor(claim)) for name, claim in claims.items()}
    while (left := seats - sum(given.values())) != 0:
        sign = 1 if left > 0 else -1
        able = [name for name in given if sign > 0 or given[name] > 0]
        name = max(able, key=lambda name: sign * (claims[name] - given[name]))
        given[name] += sign
    for name, claim in claims.items():
        owed[name] = claim - given[name]
    return given
