"""One rank of tests/train/test_context_parallel.py: python context_ranks.py RANK WORLD STORE

Each rank computes a batch whole and its part of it. Losses and gradients of the parts must sum up to the whole's.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from smolfast.config import ModelConfig
from smolfast.model.context_parallel import ContextGroup, RunPart
from smolfast.model.network import PackedBatch, SmolLM
from smolfast.train.process.ranks import leave_process_groups
from smolfast.train.watch.attention_logits import LargestLogits

VOCABULARY = 97
SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "no_rope_layer_interval": 2,
    "max_position_embeddings": 64,
}
WEIGHTS = (1.0, 0.5, 0.25)
CASES: list[dict[str, Any]] = [
    {"mtp_heads": 1},
    {"mtp_heads": 3},
    {"mtp_heads": 3, "mtp_kind": "sequential"},
    {"mtp_heads": 3, "mtp_kind": "shared", "qk_norm": True},
    {"mtp_heads": 1, "yarn_factor": 2.0},
]


def batch(windows: int, length: int, document: int) -> PackedBatch:
    """Windows of documents of so many tokens, the last one shorter."""
    tokens = torch.randint(0, VOCABULARY, (windows, length), generator=torch.Generator().manual_seed(windows)).numpy()
    return PackedBatch.from_windows(tokens, np.broadcast_to(np.arange(length) // document, tokens.shape))


def passed(model: SmolLM, run: PackedBatch, items: list[int], bf16: bool) -> tuple[list[torch.Tensor], torch.Tensor]:
    """The loss, the heads' losses and the gradients; and the largest logits of all layers."""
    heads = model.config.mtp_heads
    model.zero_grad(set_to_none=True)
    with LargestLogits(model) as watch, torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss, head_losses = model.loss(run, WEIGHTS[:heads], items, z_loss=1e-3)
    loss.backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    return [loss.detach(), head_losses, *gradients], torch.stack(list(watch.by_module.values()))


def compare(model: SmolLM, run: PackedBatch, bf16: bool = False) -> None:
    heads = model.config.mtp_heads
    items = run.valid_targets(heads)
    expected, largest = passed(model, run, items, bf16)
    mine = run.shared_over(ContextGroup(dist.get_rank(), dist.get_world_size(), dist.group.WORLD))
    counts = torch.tensor(mine.valid_targets(heads))
    dist.all_reduce(counts)
    assert counts.tolist() == items
    found, largest_found = passed(model, mine, items, bf16)
    dist.all_reduce(largest_found, dist.ReduceOp.MAX)
    torch.testing.assert_close(largest_found, largest, rtol=1e-5 if not bf16 else 1e-2, atol=0)
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        dist.all_reduce(ours)
        error = float((ours - theirs).norm() / theirs.norm().clamp(min=1e-30))
        assert error < (2e-2 if bf16 else 3e-6), (error, ours.shape)


def every_kind_of_head() -> None:
    for changes in CASES:
        model = SmolLM(ModelConfig(**SHAPE | changes), VOCABULARY)
        compare(model, batch(2, 33, 13))
        compare(model, batch(1, 61, 99))  # one document, which the stretches don't divide


def recomputed_and_in_16_bits() -> None:
    for mode in ("selective", "full"):
        model = SmolLM(ModelConfig(**SHAPE | {"mtp_heads": 2}), VOCABULARY)
        model.set_recompute(mode)  # type: ignore[arg-type]
        compare(model, batch(2, 33, 13))
        compare(model, batch(2, 33, 13), bf16=True)


def few_tokens() -> None:
    """As few as there are stretches, and some ranks with one more."""
    ranks = dist.get_world_size()
    model = SmolLM(ModelConfig(**SHAPE | {"mtp_heads": 2}), VOCABULARY)
    for length in range(2 * ranks, 2 * ranks + 4):
        compare(model, batch(1, length, 3))


def no_target_on_a_rank() -> None:
    run = batch(1, 40, 40)
    run.targets[:10], run.targets[30:] = -100, -100  # the stretches of rank 0, where two share it
    compare(SmolLM(ModelConfig(**SHAPE | {"mtp_heads": 1}), VOCABULARY), run)


def keys_gathered_keep_their_order() -> None:
    rank, ranks = dist.get_rank(), dist.get_world_size()
    group = ContextGroup(rank, ranks, dist.group.WORLD)
    run = torch.arange(2 * ranks * 3, dtype=torch.float64)[:, None]
    part = RunPart([0, len(run)], group, torch.device("cpu"))
    assert torch.equal(group.gather(part.of(run)), run)
    assert torch.equal(group.scatter_sum(run * (rank + 1)), part.of(run) * sum(range(1, ranks + 1)))


if __name__ == "__main__":
    rank, world = int(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=world, store=dist.FileStore(sys.argv[3], world))
    for case in (
        keys_gathered_keep_their_order,
        every_kind_of_head,
        recomputed_and_in_16_bits,
        few_tokens,
        no_target_on_a_rank,
    ):
        case()
    leave_process_groups()
