"""Whole matrices for Newton–Schulz out of sharded or replicated parameters.

Newton–Schulz needs whole matrices. Ranks own them in turn: of w same-shaped n × m matrices each rank receives one,
works on it, and sends the shards back. For w matrices a rank receives 2 · (w − 1)/w · nm numbers, where gathering all
of them everywhere takes (w − 1) · nm: 2/w of the bytes, and 1/w of the arithmetic.

- FSDP2 (DTensor, rows sharded over one mesh dimension): one all-to-all of the update's shards, one of the results'.
- Stacks [matrices, n, m] sharded over the stack: matrices are whole where they lie; nothing moves.
- Replicated parameters with a process group (DDP): every rank has the whole update already; an all-gather of results.
- Anything else (tensor parallelism, several sharded mesh dimensions): gathered whole on every rank.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """How the matrices of a bucket lie over the ranks."""

    kind: str
    """"local", "replicated", "rows" or "other"."""
    shape: torch.Size
    group: Any = None
    mesh: Any = None
    placements: Any = None

    @property
    def whole(self) -> bool:
        return self.kind == "local"

    @property
    def key(self) -> tuple[Any, ...]:
        return (self.kind, id(self.group), self.mesh, self.placements)


def is_dtensor(tensor: Tensor) -> bool:
    """Whether a tensor lies over the ranks of a mesh."""
    if not dist.is_available():
        return False
    from torch.distributed.tensor import DTensor

    return isinstance(tensor, DTensor)


def local_tensor(tensor: Tensor) -> Tensor:
    """The local part of a DTensor (a view: writing into it writes into the DTensor), or the tensor itself."""
    if is_dtensor(tensor):
        local: Tensor = tensor.to_local()  # type: ignore[attr-defined]
        return local
    return tensor


def layout_of(parameter: Tensor, process_group: Any) -> Layout:
    """How to get at the whole matrices of a parameter."""
    if not is_dtensor(parameter):
        kind = "local" if process_group is None or dist.get_world_size(process_group) == 1 else "replicated"
        return Layout(kind, parameter.shape, process_group)
    mesh, placements = parameter.device_mesh, tuple(parameter.placements)  # type: ignore[attr-defined]
    sharded = [dimension for dimension, placement in enumerate(placements) if not placement.is_replicate()]
    if not sharded or all(mesh.size(dimension) == 1 for dimension in sharded):
        return Layout("local", parameter.shape)
    if len(sharded) == 1 and type(placements[sharded[0]]).__name__ == "Shard" and placements[sharded[0]].dim == 0:
        if parameter.ndim == 3:
            return Layout("local", parameter.shape)
        return Layout("rows", parameter.shape, mesh.get_group(sharded[0]))
    return Layout("other", parameter.shape, mesh=mesh, placements=placements)


def exchange(layout: Layout, updates: Sequence[Tensor], work: Callable[[list[Tensor]], None]) -> list[Tensor]:
    """Make the matrices whole, let `work` replace them in place; returns the local part of each, like `updates`."""
    if layout.kind == "rows":
        return _by_rows(layout, updates, work)
    if layout.kind == "replicated":
        return _in_turn(layout, updates, work)
    from torch.distributed.tensor import DTensor, Replicate

    whole = [
        DTensor.from_local(update, layout.mesh, layout.placements, shape=layout.shape, stride=_strides(layout.shape))
        .full_tensor()
        .clone()
        for update in updates
    ]
    work(whole)
    everywhere = [Replicate()] * layout.mesh.ndim
    return [
        DTensor.from_local(matrix, layout.mesh, everywhere).redistribute(placements=layout.placements).to_local()
        for matrix in whole
    ]


def _strides(shape: torch.Size) -> tuple[int, ...]:
    return torch.empty(shape, device="meta").stride()


def _by_rows(layout: Layout, updates: Sequence[Tensor], work: Callable[[list[Tensor]], None]) -> list[Tensor]:
    world, rank = dist.get_world_size(layout.group), dist.get_rank(layout.group)
    rows, columns = layout.shape
    shard = -(-rows // world)  # as DTensor shards: equal chunks, the last ones shorter or empty
    turns = -(-len(updates) // world)
    send = updates[0].new_zeros(world, turns, shard, columns)
    for index, update in enumerate(updates):
        send[index % world, index // world, : update.shape[0]] = update
    received = torch.empty_like(send)
    dist.all_to_all_single(received, send, group=layout.group)
    owned = range(rank, len(updates), world)
    whole = received.transpose(0, 1).reshape(turns, world * shard, columns)
    work([whole[turn, :rows] for turn, _ in enumerate(owned)])
    # Of one turn `whole` is a view of `received`, and so is this.
    results = whole.view(turns, world, shard, columns).transpose(0, 1).contiguous()
    dist.all_to_all_single(send, results, group=layout.group)
    return [send[index % world, index // world, : update.shape[0]] for index, update in enumerate(updates)]


def _in_turn(layout: Layout, updates: Sequence[Tensor], work: Callable[[list[Tensor]], None]) -> list[Tensor]:
    world, rank = dist.get_world_size(layout.group), dist.get_rank(layout.group)
    turns = -(-len(updates) // world)
    mine = updates[0].new_zeros(turns, *layout.shape)
    owned = range(rank, len(updates), world)
    for turn, index in enumerate(owned):
        mine[turn] = updates[index]
    work([mine[turn] for turn, _ in enumerate(owned)])
    gathered = [torch.empty_like(mine) for _ in range(world)]
    dist.all_gather(gathered, mine, group=layout.group)
    return [gathered[index % world][index // world] for index in range(len(updates))]


def replicated_like(like: Tensor, value: Tensor) -> Tensor:
    """A value that every rank holds whole, as an operand for a tensor that may be a DTensor."""
    if not is_dtensor(like):
        return value
    from torch.distributed.tensor import DTensor, Replicate

    mesh = like.device_mesh  # type: ignore[attr-defined]
    replicated: Tensor = DTensor.from_local(value, mesh, [Replicate()] * mesh.ndim, run_check=False)
    return replicated
