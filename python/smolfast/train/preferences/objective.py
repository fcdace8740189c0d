"""What a step minimises where it learns from pairs: `preference_losses`, and what is told of a batch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from smolfast.config import AlignConfig
from smolfast.model.network import SmolLM
from smolfast.ops import log_probabilities
from smolfast.preference import preference_losses, sequence_sums
from smolfast.train.micro_batches import Objective, Unit
from smolfast.train.preferences.pairs import PairBatch, Pairs
from smolfast.train.preferences.reference import Reference

# Held-out pairs that are looked at, at most.
_HELD_OUT_PAIRS = 256
PARTS = ("loss", "chosen", "rejected", "margin", "accuracy", "chosen_log_probability", "rejected_log_probability")
"""What is told of pairs, each a mean over them: the loss; the rewards, β times the log-ratio of model and reference
(of a token, where the loss is by token); chosen less rejected; how often that is above 0; and what the model says."""


@dataclass(frozen=True)
class Preferences:
    """Pairs with what the reference says of them."""

    pairs: Pairs
    reference: Reference


class PreferenceObjective(Objective):
    """Of pairs instead of windows of text.

    Attributes:
        align: the settings of the loss. preferences: the pairs trained on. kept: those held out; None for none.
    """

    align: AlignConfig
    preferences: Preferences
    kept: Preferences | None = None

    def units_of(self, numbers: npt.NDArray[np.int64], total: int) -> tuple[list[Unit], list[int]]:
        """The micro-batches of this rank's pairs of a step, and the whole batch's pairs, by which they are divided."""
        size = self.config.micro_batch_size
        parts = [numbers[start : start + size] for start in range(0, len(numbers), size)]
        return [partial(self._unit, part, total) for part in parts], [total]

    def describe(self, parts: Tensor | None, counts: Sequence[int]) -> dict[str, Any]:
        values = [math.nan] * len(PARTS) if parts is None else (parts / counts[0]).tolist()
        return {"loss": values[0], "preferences": dict(zip(PARTS[1:], values[1:], strict=True))}

    def summary(self, line: Mapping[str, Any]) -> dict[str, Any]:
        """Margin and accuracy of the last step, and of what is held out."""
        found = {"": line.get("preferences", {}), "held_out_": line.get("held_out_preferences", {})}
        return {f"{of}{name}": found[of].get(name) for of in found for name in ("margin", "accuracy")}

    @torch.no_grad()
    def held_out_further(self) -> dict[str, Any]:
        """Of the first held-out pairs the same figures, and the loss of the next token of the chosen answers."""
        if self.kept is None:
            return {}
        kept, size = self.kept, self.config.micro_batch_size
        count = min(len(kept.pairs), _HELD_OUT_PAIRS)
        numbers = np.arange(count)

        def work(part: npt.NDArray[np.int64]) -> Tensor:
            with self.precision():
                found: Tensor = self.run(lambda: self._parts(kept, part, count)[1])
            return found

        parts = [numbers[start : start + size] for start in range(0, count, size)]
        with self.compiled.eager():
            sums = sum(self.workers.map(work, parts) if self.ranks.world == 1 else map(work, parts))
        assert isinstance(sums, Tensor)
        figures = dict(zip(PARTS, (sums / count).tolist(), strict=True))
        tokens = int(kept.pairs.lengths[: 2 * count : 2].sum()) / count
        return {"held_out_preferences": figures, "held_out_loss": -figures["chosen_log_probability"] / tokens}

    def _unit(self, numbers: npt.NDArray[np.int64], total: int) -> tuple[Tensor, Tensor]:
        with self.precision():
            return self._parts(self.preferences, numbers, total)

    def _parts(self, from_: Preferences, numbers: npt.NDArray[np.int64], total: int) -> tuple[Tensor, Tensor]:
        """The pairs' share of the mean loss over `total` pairs, and their sums of `PARTS` (detached, fp64)."""
        align = self.align
        pairs = from_.pairs.batch(numbers, self.device, align.ld_alpha)
        said = torch.from_numpy(from_.reference.at(numbers)).to(self.device)
        losses, rewards, whole = pair_losses(self.model, pairs, said, align)
        (chosen, rejected), margin = rewards, rewards[0] - rewards[1]
        told = [losses, chosen, rejected, margin, (margin > 0).float(), *whole]
        return losses.sum() / total, torch.stack([each.detach().double().sum() for each in told])


def pair_losses(
    model: SmolLM, pairs: PairBatch, reference: Tensor, align: AlignConfig
) -> tuple[Tensor, Tensor, Tensor]:
    """The losses [P] of pairs, the rewards [2, P] of their answers, and the answers' log-probabilities [2, P].

    Args:
        reference: fp32 [targets], what the reference says of each target.
    """
    batch = pairs.batch
    values = log_probabilities(model.hidden_states(batch, 1)[0], model.unembedding, batch.targets)
    learned = batch.targets >= 0
    values, weights, documents = values[learned], pairs.weights[learned], batch.document_ids[learned].long()
    count = len(pairs.lengths)
    sums = sequence_sums(values * weights, documents, count).view(2, -1)
    taken = sequence_sums(reference * weights, documents, count).view(2, -1)
    lengths = pairs.lengths.view(2, -1)
    losses = preference_losses(
        *sums, *taken, loss=align.loss, beta=align.beta, label_smoothing=align.label_smoothing,
        chosen_lengths=lengths[0], rejected_lengths=lengths[1],
    )  # fmt: skip
    rewards = align.beta * (sums - taken)
    if align.loss.endswith("_norm"):
        rewards = rewards / lengths.clamp(min=1)
    return losses, rewards, sequence_sums(values.detach(), documents, count).view(2, -1)
