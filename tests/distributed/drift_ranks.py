"""One rank of tests/train/test_ranks_agree.py: python drift_ranks.py RANK WORLD STORE

Each case makes rank 1 differ from the others; all ranks must say so, and go on with the next case.
"""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from smolfast.errors import SmolfastError
from smolfast.optim import Muon, MuonAdamW
from smolfast.train.process.ranks import Ranks, leave_process_groups, local


def says(error: str, work: Callable[[], Any]) -> None:
    try:
        work()
    except SmolfastError as found:
        assert re.search(error, str(found)), str(found)
        assert "\n" not in str(found)
    else:
        raise AssertionError(f"no error; expected {error}")


def build() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Linear(4, 4) for _ in range(3)))


def with_gradients(model: nn.Module, without: tuple[str, ...] = ()) -> nn.Module:
    for name, parameter in model.named_parameters():
        parameter.grad = None if name in without else torch.ones_like(parameter)
    return model


def missing_gradients(rank: int) -> None:
    """Of Muon's matrices and AdamW's biases: an error everywhere, and nothing has moved."""
    for name in ("1.weight", "2.bias"):
        model = with_gradients(build(), (name,) if rank == 1 else ())
        before = copy.deepcopy(model.state_dict())
        optimizer = MuonAdamW(model, process_group=dist.group.WORLD)
        says(
            rf"^{re.escape(name)} has a gradient on rank 0 of the process group and none on rank 1; give",
            optimizer.step,
        )
        assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
        with_gradients(model)  # the remedy
        optimizer.step()
    model = with_gradients(build(), ("0.weight",) if rank == 0 else ())
    matrices = [(name, p) for name, p in model.named_parameters() if p.ndim == 2]
    says("0.weight has a gradient on rank 1", Muon(matrices, process_group=dist.group.WORLD).step)


def missing_everywhere(rank: int) -> None:
    """A parameter that no rank uses stays as it is, and the ranks stay equal."""
    model = with_gradients(build(), ("1.weight",))
    before = model[1].weight.detach().clone()
    MuonAdamW(model, process_group=dist.group.WORLD).step()
    assert torch.equal(before, model[1].weight)
    for parameter in model.parameters():
        theirs = [torch.empty_like(parameter) for _ in range(dist.get_world_size())]
        dist.all_gather(theirs, parameter.detach())
        assert torch.equal(theirs[0], theirs[1])


def other_parameters(rank: int) -> None:
    model = with_gradients(build())
    if rank == 1:
        model[2].requires_grad_(False)
    says("rank 1 of the process group trains other parameters", MuonAdamW(model, process_group=dist.group.WORLD).step)


def missing_shards(rank: int) -> None:
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    named = []
    for index in range(3):
        parameter = nn.Parameter(distribute_tensor(torch.randn(4, 4), mesh, [Shard(0)]))
        parameter.grad = distribute_tensor(torch.ones(4, 4), mesh, [Shard(0)])
        named.append((f"layer.{index}", parameter))
    if rank == 1:
        named[2][1].grad = None
    says(r"layer\.2 has a gradient on rank 0 .* none on rank 1", MuonAdamW(named).step)


def other_settings(rank: int) -> None:
    ranks = Ranks()
    ranks.rank, ranks.world = rank, dist.get_world_size()
    ranks.agree("run", {"seed": 1, "train": {"steps": 3}})
    says("rank 1 and rank 0 don't agree on the run: seed is 1 on one and 0", lambda: ranks.agree("run", {"seed": rank}))
    mine: dict[str, Any] = {"a": 1} if rank == 0 else {"a": 1, "b": 2}
    says("agree on the checkpoint: b is 2 on one and None", lambda: ranks.agree("checkpoint", mine))


def shards_of_gradients(rank: int) -> None:
    """FSDP: between two micro-batches gradients lie in shards, on no rank whole."""
    ranks = Ranks("fsdp")
    ranks.rank, ranks.world = rank, dist.get_world_size()
    model = build()
    wrapped = ranks.spread(model, torch.device("cpu"))
    parameters = list(model.parameters())  # in a forward pass the model has whole ones instead
    held: list[list[int]] = []

    def part() -> tuple[torch.Tensor, torch.Tensor]:
        held.append([local(p.grad).numel() for p in parameters if p.grad is not None])
        loss = model(torch.ones(2, 4)).square().mean()
        return loss / (3 * ranks.world), loss.detach()[None]

    ranks.backward(wrapped, [part, part, part])
    shards = [local(parameter).numel() for parameter in parameters]
    assert held == [[], shards, shards], held
    whole = build()
    whole(torch.ones(2, 4)).square().mean().backward()
    for ours, expected in zip(model.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(ours.grad.full_tensor(), expected.grad)


if __name__ == "__main__":
    rank, world = int(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=world, store=dist.FileStore(sys.argv[3], world))
    for case in (
        missing_gradients,
        missing_everywhere,
        other_parameters,
        missing_shards,
        other_settings,
        shards_of_gradients,
    ):
        case(rank)
    leave_process_groups()
