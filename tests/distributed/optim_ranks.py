"""One rank of tests/optim/test_distributed.py: python optim_ranks.py RANK WORLD STORE CASE...

Every rank sees its own share of the batch, so that gradients must be reduced; after a few steps whole weights must
equal those of one process that saw everything.
"""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from smolfast.optim import MuonAdamW, MuonClip, qk_clip_
from smolfast.train.process.ranks import leave_process_groups

BATCH, STEPS = 8, 4
OPTIONS: dict[str, Any] = {"lr": 0.05, "adamw_lr": 0.01, "overrides": {"*.fused.weight": {"split_sizes": (5, 2, 3)}}}


class Block(nn.Module):
    """Rows that no world size divides, tall and wide matrices, a stack, a fused projection."""

    def __init__(self) -> None:
        super().__init__()
        self.fused = nn.Linear(6, 10)
        self.down = nn.Linear(10, 6, bias=False)
        self.q_proj = nn.Linear(6, 8, bias=False)
        self.k_proj = nn.Linear(6, 4, bias=False)
        self.stack = nn.Parameter(torch.randn(3, 6, 6) * 0.2)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.down(torch.tanh(self.fused(x)))
        mixed = self.q_proj(x) * self.k_proj(x).repeat(1, 2)
        return x + torch.einsum("bi,sij->bj", x, self.stack) * mixed.mean(1, keepdim=True)


def build() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*(Block() for _ in range(5)))


def inputs(step: int) -> Tensor:
    return torch.randn(BATCH, 6, generator=torch.Generator().manual_seed(step))


def train(
    model: nn.Module, optimizer: torch.optim.Optimizer, share: slice, after: Callable[[], None] = lambda: None
) -> None:
    for step in range(STEPS):
        optimizer.zero_grad()
        model(inputs(step)[share]).square().mean().backward()
        after()
        optimizer.step()


def whole(parameter: Tensor) -> Tensor:
    return parameter.full_tensor() if isinstance(parameter, DTensor) else parameter


def compare(model: nn.Module, expected: nn.Module) -> None:
    names = dict(expected.named_parameters())
    for name, parameter in model.named_parameters():
        want = names[name.removeprefix("module.")].detach()
        torch.testing.assert_close(
            whole(parameter.detach()), want, rtol=1e-9, atol=1e-11, msg=lambda m, n=name: f"{n}: {m}"
        )


def starve_other_threads(rank: int) -> None:
    """Let gloo's threads run only while this one waits, so that they let go of tensors as late as may be."""
    cpus = sorted(os.sched_getaffinity(0))
    for task in Path("/proc/self/task").iterdir():
        thread = int(task.name)
        os.sched_setaffinity(thread, {cpus[rank % len(cpus)]})
        if thread != os.getpid():
            os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))


def main(case: str, rank: int, world: int) -> None:
    if case == "starved":
        starve_other_threads(rank)
        return
    share = slice(rank * BATCH // world, (rank + 1) * BATCH // world)
    alone = build()
    start = copy.deepcopy(alone)
    train(alone, MuonAdamW(alone, **OPTIONS), slice(None))
    model: nn.Module = build()
    if case == "fsdp":
        mesh = init_device_mesh("cpu", (world,))
        for block in model.children():
            fully_shard(block, mesh=mesh)
        fully_shard(model, mesh=mesh)
        optimizer = MuonAdamW(model, **OPTIONS)
        train(model, optimizer, share)
        moved = build()
        for block in moved.children():
            fully_shard(block, mesh=mesh)
        fully_shard(moved, mesh=mesh)
        resumed = MuonAdamW(moved, **OPTIONS)
        resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        moved.load_state_dict(model.state_dict())
        train(moved, resumed, share)
        compare(model, alone)
        train(model, optimizer, share)
        for a, b in zip(model.parameters(), moved.parameters(), strict=True):
            assert torch.equal(a.to_local(), b.to_local())
        return
    if case == "hsdp":
        mesh = init_device_mesh("cpu", (2, world // 2), mesh_dim_names=("replicate", "shard"))
        fully_shard(model, mesh=mesh)
        train(model, MuonAdamW(model, **OPTIONS), share)
    elif case == "ddp":
        replica = DistributedDataParallel(model)
        train(replica, MuonAdamW(model, **OPTIONS, process_group=dist.group.WORLD), share)
    elif case == "columns":
        mesh = init_device_mesh("cpu", (world,))
        for module in model.modules():
            for name, parameter in list(module.named_parameters(recurse=False)):
                placement = Shard(1) if parameter.ndim == 2 else Replicate()
                sharded = nn.Parameter(distribute_tensor(parameter.detach(), mesh, [placement]))
                module.register_parameter(name, sharded)
        optimizer = MuonAdamW(model, **OPTIONS)
        twin = copy.deepcopy(start)
        for step in range(STEPS):
            twin.zero_grad()
            for mine, theirs in zip(model.parameters(), twin.parameters(), strict=True):
                theirs.data.copy_(whole(mine.detach()))
            twin(inputs(step)).square().mean().backward()
            for mine, theirs in zip(model.parameters(), twin.parameters(), strict=True):
                assert theirs.grad is not None
                mine.grad = distribute_tensor(theirs.grad, mesh, mine.placements)  # type: ignore[attr-defined]
            optimizer.step()
    elif case == "clip":
        mesh = init_device_mesh("cpu", (world,))
        fully_shard(model, mesh=mesh)
        alone = build()
        largest = [torch.tensor([50.0, 400.0]), *[torch.tensor([1.0, 2.0])] * 4]
        qk_clip_(alone, largest, tau=100.0)
        seen = [value if rank == world - 1 else value / 9 for value in largest]  # only one rank saw the largest
        clip = MuonClip(model, tau=100.0, process_group=dist.group.WORLD)
        clip.step(max_logit=seen)
        assert not torch.equal(whole(model.get_parameter("0.q_proj.weight")), start.get_parameter("0.q_proj.weight"))
    else:
        raise ValueError(case)
    compare(model, alone)


if __name__ == "__main__":
    rank, world, store = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)  # so that another order of summing gradients is all but invisible
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    try:
        for name in sys.argv[4:]:
            main(name, rank, world)
    finally:
        leave_process_groups()
