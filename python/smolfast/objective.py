"""What a step minimises: a batch in micro-batches, their losses and gradients added up, on one process or on many."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from smolfast.compiled import CompiledLayers
from smolfast.config import TrainConfig
from smolfast.data_plan import Rows
from smolfast.model import PackedBatch, SmolLM
from smolfast.ranks import Ranks
from smolfast.teaching import Teaching
from smolfast.tokens import PackedWindows
from smolfast.workers import Workers

Unit = Callable[[], tuple[Tensor, Tensor]]
"""Computes a micro-batch's part of the loss, and of the heads' losses [K]."""


class Objective:
    """A model, or what a teacher makes of it, to be minimised.

    Attributes:
        trained: what is optimised: the model, and a projection if learning from a teacher needs one.
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
        if teaching is not None and teaching.projection is not None:
            teaching.reset_projection()
            self.trained = nn.ModuleDict({"model": model, "projection": teaching.projection})
        self.dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
        self.compiled = CompiledLayers(model, False if config.qk_clip else config.compile, device)
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

    def units(self, rows: Rows) -> list[Unit]:
        """The micro-batches of this rank's rows of a step; divided by the whole batch's counts of targets."""
        batches = self.batches(rows.tokens, rows.document_ids, rows.learned)
        counts = torch.tensor([batch.valid_targets(len(self.config.mtp_weights)) for batch in batches]).sum(0)
        num_items = [max(1, count) for count in self.ranks.sum(counts.to(self.device)).tolist()]
        size = self.config.micro_batch_size
        return [
            partial(self._loss, batch, rows.positions[index * size : (index + 1) * size], num_items)
            for index, batch in enumerate(batches)
        ]

    def gradients(self, units: Sequence[Unit]) -> tuple[Tensor, list[Tensor]]:
        """The heads' losses [K] over the step's whole batch, and the gradients of what is minimised."""
        if self.ranks.world > 1:
            losses = self.ranks.backward(self._wrapped, units)
            found = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
            for parameter in self.parameters:
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

    def held_out_losses(self, sources: Mapping[str, PackedWindows]) -> dict[str, float]:
        """Mean next-token loss in nats over the first batch of each source's windows."""
        losses = {}
        for name, windows in sources.items():
            tokens, document_ids, positions = windows.windows(0, windows.batch_size)
            batches = self.batches(tokens, document_ids, windows.learned(positions))
            items = max(1, sum(batch.valid_targets(1)[0] for batch in batches))

            @torch.no_grad()
            def work(batch: PackedBatch, items: int = items) -> float:
                with self.precision():
                    return float(self.run(lambda: self.model.loss(batch, (1.0,), [items])[0]))

            with self.compiled.eager():
                losses[name] = sum(self.workers.map(work, batches) if self.ranks.world == 1 else map(work, batches))
        return losses

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
