"""Pairs of answers in token files, and which of them each step learns from: a function of seed and step alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from smolfast.config import StageConfig, TrainConfig
from smolfast.errors import SmolfastError
from smolfast.model.network import PackedBatch
from smolfast.tokens.files import TokenFile, shuffled
from smolfast.train.data_plan import DataPlan, StepSize


@dataclass(frozen=True)
class PairBatch:
    """P pairs laid end to end: their chosen documents, then their rejected ones.

    Attributes:
        numbers: int64 [P], of the pairs in their file.
        batch: the flat run, [T] tokens in 2 P documents; targets are answers' tokens alone.
        weights: fp32 [T], of each target in its answer's log-probability.
        lengths: int64 [2 P], targets of each answer.
    """

    numbers: npt.NDArray[np.int64]
    batch: PackedBatch
    weights: Tensor
    lengths: Tensor


class Pairs:
    """The pairs of a token file that `smolfast.tokens.preferences` wrote.

    Attributes:
        lengths: int64 [2 P], how many tokens of each document are to be predicted.
    """

    def __init__(self, file: TokenFile) -> None:
        """
        Raises:
            SmolfastError: the file is none of pairs.
        """
        if file.learned is None or file.documents % 2:
            raise SmolfastError(f"{file.path} holds no pairs of answers; give preferences to smolfast train")
        self.file, self.learned = file, np.array(file.learned)
        self.learned[file.document_starts[:-1]] = False  # nothing predicts them
        self.lengths = np.add.reduceat(self.learned, file.document_starts[:-1], dtype=np.int64)

    def __len__(self) -> int:
        return self.file.documents // 2

    def document(self, number: int) -> slice:
        """Where a document stands in the file."""
        return slice(*self.file.document_starts[number : number + 2].tolist())

    def tokens_of(self, numbers: npt.NDArray[np.int64]) -> int:
        """Tokens of both documents of these pairs."""
        starts = self.file.document_starts
        return int((starts[2 * numbers + 2] - starts[2 * numbers]).sum())

    def batch(
        self, numbers: npt.NDArray[np.int64], device: torch.device | str = "cpu", ld_alpha: float = 1.0
    ) -> PairBatch:
        """Some pairs as a batch.

        Args:
            ld_alpha: weight of the targets by which an answer is longer than the other (arXiv 2409.06411).

        Raises:
            SmolfastError: an id that is not in the vocabulary, in a file that was altered.
        """
        places = [self.document(2 * number + side) for side in (0, 1) for number in numbers.tolist()]
        documents = [self.file.tokens[place].astype(np.int64) for place in places]
        if max(int(document.max()) for document in documents) >= self.file.vocab_size:
            raise SmolfastError(f"{self.file.path} has a token beyond its vocabulary; delete that folder")
        learned = [np.append(self.learned[place][1:], False) for place in places]
        lengths = self.lengths[np.concatenate([2 * numbers, 2 * numbers + 1])]
        shared = np.tile(np.minimum(*lengths.reshape(2, -1)), 2)
        weights = np.concatenate(
            [np.where(mask, np.where(np.cumsum(mask) <= most, 1.0, ld_alpha), 0.0)
             for mask, most in zip(learned, shared, strict=True)]
        )  # fmt: skip
        return PairBatch(
            numbers,
            PackedBatch.from_documents(documents, device, [self.learned[place] for place in places]),
            torch.from_numpy(weights.astype(np.float32)).to(device),
            torch.from_numpy(lengths).to(device),
        )


class PairPlan(DataPlan):
    """Which pairs a step takes: each epoch all of them, in an order of its own; batches go on over its end."""

    def __init__(self, pairs: Pairs, config: TrainConfig, steps: int, seed: int) -> None:
        """
        Args:
            steps: optimiser steps of the whole run.
        """
        self.pairs, self.config, self.steps, self.seed = pairs, config, steps, seed
        self.sources = {"pairs": pairs.file}
        self.stages = (StageConfig(fraction=1.0),)
        self.weights = [{"pairs": 1.0}]
        self._starts = [0]
        self._epoch: tuple[int, npt.NDArray[np.int64]] = (-1, np.empty(0, np.int64))

    def numbers(self, step: int, start: int = 0, end: int | None = None) -> npt.NDArray[np.int64]:
        """The pairs of rows `start` to `end` of a step's batch, int64."""
        while len(self._starts) <= step:
            self._starts.append(self._starts[-1] + self.batch_size(len(self._starts) - 1))
        end = self.batch_size(step) if end is None else end
        places = self._starts[step] + np.arange(start, end)
        count = len(self.pairs)
        found = np.empty(len(places), np.int64)
        for epoch in np.unique(places // count).tolist():
            of_epoch = places // count == epoch
            found[of_epoch] = self._order(epoch)[places[of_epoch] % count]
        return found

    def _order(self, epoch: int) -> npt.NDArray[np.int64]:
        if self._epoch[0] != epoch:
            self._epoch = (epoch, shuffled(len(self.pairs), self.seed, epoch))
        return self._epoch[1]

    def size(self, step: int) -> StepSize:
        """Tokens of a step, and of a document on average."""
        numbers = self.numbers(step)
        tokens = self.pairs.tokens_of(numbers)
        return StepSize(tokens, max(1, round(tokens / (2 * len(numbers)))))
