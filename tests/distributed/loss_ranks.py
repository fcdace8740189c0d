"""One rank of the vocabulary-parallel loss, beside the loss over the whole vocabulary in the same process.

python loss_ranks.py RANK WORLD STORE
"""

from __future__ import annotations

import itertools
import os
import sys
from typing import Any

os.environ.setdefault("TRITON_INTERPRET", "1")

import torch
import torch.distributed as dist

from smolfast import SmolfastError, ops
from smolfast.ops import loss as loss_ops
from smolfast.train.process.ranks import leave_process_groups

DTYPES = {torch.float64: 1e-12, torch.float32: 2e-5, torch.bfloat16: 2e-2}


def check(dtype: torch.dtype, options: dict[str, Any], shared: bool, with_bias: bool, trained: str) -> None:
    """Loss, metrics and gradients; the slices differ in height and fit no block."""
    rank, world = dist.get_rank(), dist.get_world_size()
    generator = torch.Generator().manual_seed(5)
    depths, positions, width = 3, 37, 12
    heights = [101, 58, 7, 33][:world]
    vocabulary, first = sum(heights), sum(heights[:rank])
    own = slice(first, first + heights[rank])
    hidden = torch.randn((positions, width) if shared else (depths, positions, width), generator=generator).to(dtype)
    weight = (torch.randn(vocabulary, width, generator=generator) / 2).to(dtype)
    bias = torch.randn(vocabulary, generator=generator).to(dtype) if with_bias else None
    targets = torch.randint(0, vocabulary, (positions,), generator=generator)
    targets[::5] = -100
    options = {"head_weights": (1.0, 0.5, 0.2), "document_ids": torch.arange(positions) // 9} | options

    def leaves(rows: slice) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        made = hidden.clone(), weight[rows].clone(), None if bias is None else bias[rows].clone()
        for name, leaf in zip(("hidden", "weight", "bias"), made, strict=True):
            if leaf is not None and name in trained:
                leaf.requires_grad_()
        return made

    whole, part = leaves(slice(None)), leaves(own)
    expected, expected_metrics = ops.mtp_loss(
        whole[0], whole[1], targets, bias=whole[2], return_metrics=True, **options
    )  # fmt: skip
    loss, metrics = ops.vocab_parallel_mtp_loss(
        part[0], part[1], targets, bias=part[2], return_metrics=True, **options
    )  # fmt: skip
    close = DTYPES[dtype]
    torch.testing.assert_close(loss, expected, rtol=close, atol=close)
    for name in ("loss", "log_partition", "count"):
        torch.testing.assert_close(metrics[name], expected_metrics[name], rtol=close, atol=close)
    if dtype != torch.bfloat16:  # rounding makes ties
        torch.testing.assert_close(metrics["accuracy"], expected_metrics["accuracy"])
    upstream = torch.linspace(0.5, 2, loss.numel(), dtype=loss.dtype).view(loss.shape)
    expected.backward(upstream)
    loss.backward(upstream)
    for index, (got, want) in enumerate(zip(part, whole, strict=True)):
        if want is None or want.grad is None:
            assert got is None or got.grad is None
            continue
        assert got is not None
        wanted = want.grad if index == 0 else want.grad[own]
        torch.testing.assert_close(got.grad, wanted, rtol=0, atol=close * max(1.0, float(want.grad.abs().max())))


def main(rank: int, world: int, store: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=world, store=dist.FileStore(store, world))
    options: list[dict[str, Any]] = [
        {},
        {"z_loss": 1e-2, "softcap": 4.0, "label_smoothing": 0.1},
        {"reduction": "none", "label_smoothing": 0.2},
        {"reduction": "sum"},
        {"num_items": 50.0, "z_loss": 1e-3},
    ]
    for dtype, chosen, shared in itertools.product(DTYPES, options, (False, True)):
        check(dtype, chosen, shared, with_bias=shared, trained="hidden weight bias")
    for trained in ("hidden", "weight", "bias"):
        check(torch.float64, options[1], True, True, trained)
    loss_ops._USE_KERNEL_ON.add("cpu")
    for chosen in options:
        check(torch.float32, chosen, False, True, trained="hidden weight bias")
    loss_ops._USE_KERNEL_ON.remove("cpu")
    for height, message in ((0 if rank else 5, "each needs at least one"), (5, "outside the vocabulary")):
        try:
            ops.vocab_parallel_mtp_loss(
                torch.randn(3, 4), torch.randn(height, 4), torch.tensor([1, 2, 5 * world]), head_weights=(1.0,)
            )
        except SmolfastError as error:
            assert message in str(error), error
        else:
            raise AssertionError(message)
    leave_process_groups()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
