"""What a step minimises: a batch in micro-batches, their losses and gradients added up, on one process or on many."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from smolfast.config import TrainConfig
from smolfast.errors import SmolfastError
from smolfast.model.network import PackedBatch, SmolLM
from smolfast.tokens.files import PackedWindows
from smolfast.train.data_plan import Rows
from smolfast.train.distillation.teaching import Teaching
from smolfast.train.process.compiled import CompiledLayers
from smolfast.train.process.ranks import Ranks
from smolfast.workers import Workers

Unit = Callable[[], tuple[Tensor, Tensor]]
"""Computes a micro-batch's part of the loss, and of what is told of it: first the heads' losses [K]."""


class Objective:
    """A model, or what a teacher makes of it, to be minimised.

    Attributes:
        trained: what is optimised: the model, and the projections that learning from a teacher needs.
        parameters: of `trained`, in shards where the ranks shard them.
        dtype: of the products. compiled: the model's layers, as the gradients go through them.
    """

    def __init__(
        self,
        model: SmolLM,
        config: TrainConfig,
        teaching: Teaching | None,
        device: torch.device,
        workers: Workers,
        ranks: Ranks,
    ) -> None:
        self.model, self.config, self.teaching = model, config, teaching
        self.device, self.workers, self.ranks = device, workers, ranks
        self.trained: nn.Module = model
        if teaching is not None and teaching.projections:
            teaching.reset_projections()
            self.trained = nn.ModuleDict({"model": model, **teaching.projections})
        self.dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
        model.set_recompute(config.recompute)
        # Between ranks that share tokens, layers exchange keys and values, which no graph of the compiler holds.
        eager = bool(config.qk_clip) or ranks.context > 1
        self.compiled = CompiledLayers(model, False if eager else config.compile, device)
        self._wrapped = ranks.spread(self.trained, device)
        self.parameters = list(self.trained.parameters())

    def precision(self) -> torch.autocast:
        """A block in which products are in the precision of the settings."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16)

    def run(self, function: Callable[[], Any]) -> Any:
        """Call a function that uses the model, where its parameters are whole; every rank must."""
        result = self._wrapped(function)
        if self.ranks.sharded:
            # Without a backward pass the root keeps its whole parameters, which an update would leave behind.
            self._wrapped.reshard()  # type: ignore[operator]
        return result

    def units(self, rows: Rows) -> tuple[list[Unit], list[int]]:
        """The micro-batches of this rank's rows of a step, and the whole batch's counts of targets, by which they are
        divided: one for each head."""
        batches = self.ranks.parts(self.batches(rows.tokens, rows.document_ids, rows.learned))
        counts = torch.tensor([batch.valid_targets(len(self.config.mtp_weights)) for batch in batches]).sum(0)
        totals: list[int] = self.ranks.sum(counts.to(self.device)).tolist()
        num_items = [max(1, count) for count in totals]
        size = self.config.micro_batch_size
        return [
            partial(self._loss, batch, rows.positions[index * size : (index + 1) * size], num_items)
            for index, batch in enumerate(batches)
        ], totals

    def describe(self, parts: Tensor | None, counts: Sequence[int]) -> dict[str, Any]:
        """The loss of a step and its parts, as metrics; all of them no numbers without `parts`.

        Args:
            parts: what `gradients` gave. counts: what `units` gave.
        """
        # A head without a target in the batch has no loss.
        losses = [math.nan if parts is None or not count else float(parts[at]) for at, count in enumerate(counts)]
        weights = self.config.mtp_weights
        loss = (
            sum(w * head for w, head, n in zip(weights, losses, counts, strict=True) if n) if any(counts) else math.nan
        )
        line: dict[str, Any] = {"loss": loss, "head_losses": losses}
        if self.teaching is not None:
            names = self.teaching.parts
            told = [math.nan] * len(names) if parts is None else parts[len(counts) :].tolist()
            line["distillation"] = dict(zip(names, told, strict=True))
        return line

    def gradients(self, units: Sequence[Unit]) -> tuple[Tensor, list[Tensor]]:
        """What is told of the step's whole batch, summed over its units, and the gradients of what is minimised."""
        if self.ranks.world > 1:
            losses = self.ranks.backward(self._wrapped, units)
            found = []
            for name, parameter in self.trained.named_parameters():
                if parameter.grad is None:
                    raise SmolfastError(
                        f"{name} got no gradient on rank {self.ranks.rank}; ranks can't be averaged unless all of them "
                        "use every parameter in each step"
                    )
                found.append(parameter.grad)
                parameter.grad = None
            return losses, found

        def work(unit: Unit) -> tuple[Tensor, tuple[Tensor, ...]]:
            loss, head_losses = unit()
            return head_losses, torch.autograd.grad(loss, self.parameters)

        total: tuple[Tensor, list[Tensor]] | None = None
        for head_losses, gradients in self.workers.map(work, units):
            if total is None:
                total = head_losses.clone(), list(gradients)
            else:
                total[0].add_(head_losses)
                torch._foreach_add_(total[1], list(gradients))
        assert total is not None
        return total

    def held_out_losses(self, sources: Mapping[str, PackedWindows]) -> dict[str, float | None]:
        """Mean next-token loss in nats over the first batch of each source's windows; None where these hold no token
        that is to be predicted."""
        losses: dict[str, float | None] = {}
        for name, windows in sources.items():
            tokens, document_ids, positions = windows.windows(0, windows.batch_size)
            batches = self.batches(tokens, document_ids, windows.learned(positions))
            items = sum(batch.valid_targets(1)[0] for batch in batches)
            if not items:
                losses[name] = None
                continue

            @torch.no_grad()
            def work(batch: PackedBatch, items: int = items) -> float:
                with self.precision():
                    return float(self.run(lambda: self.model.loss(batch, (1.0,), [items])[0]))

            batches = self.ranks.parts(batches)
            with self.compiled.eager():
                loss = sum(self.workers.map(work, batches) if self.ranks.world == 1 else map(work, batches))
            losses[name] = self.ranks.sum_of_parts(loss, self.device)
        return losses

    def held_out_further(self) -> dict[str, Any]:
        """Metrics of what is held out beside text; none here."""
        return {}

    def summary(self, line: Mapping[str, Any]) -> dict[str, Any]:
        """What the summary of a run says beside the losses, of its last step's metrics; nothing here."""
        return {}

    def batches(self, tokens: Any, document_ids: Any, learned: Any = None) -> list[PackedBatch]:
        """Windows [B, S + 1] in micro-batches."""
        size = self.config.micro_batch_size
        parts = [slice(start, start + size) for start in range(0, len(tokens), size)]
        return [
            PackedBatch.from_windows(
                tokens[part], document_ids[part], self.device, None if learned is None else learned[part]
            )
            for part in parts
        ]

    def _loss(self, batch: PackedBatch, positions: Any, num_items: Sequence[int]) -> tuple[Tensor, Tensor]:
        config = self.config
        with self.precision():
            if self.teaching is not None:
                return self.teaching.loss(self.model, batch, positions, config.mtp_weights, num_items)
            return self.model.loss(batch, config.mtp_weights, num_items, config.z_loss)
