"""Whether all ranks are about to take the same step: the same parameters, and gradients of the same ones.

Ranks exchange updates in the order of the parameters that have gradients. With one missing on a rank, that order is
another one there: updates would go to the wrong matrices, or a rank would wait for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
import xxhash
from torch import Tensor

from smolfast.errors import SmolfastError
from smolfast.optim.sharding import is_dtensor


def check_agreement(named: Sequence[tuple[str, Tensor]], process_group: Any) -> None:
    """Compare with the other ranks of the process group, and of each mesh that parameters are sharded over.

    Two numbers a group and step cross the ranks, whatever the number of parameters.

    Raises:
        SmolfastError: on every rank, where one lacks a gradient that another has, or has other parameters.
    """
    if not dist.is_available() or not dist.is_initialized():
        return
    over: dict[Any, list[tuple[str, Tensor]]] = {}
    for name, parameter in named:
        for group in _groups_of(parameter, process_group):
            over.setdefault(group, []).append((name, parameter))
    for group, members in over.items():
        if dist.get_world_size(group) > 1:
            _compare(members, group)


def _groups_of(parameter: Tensor, process_group: Any) -> list[Any]:
    if is_dtensor(parameter):
        mesh = parameter.device_mesh  # type: ignore[attr-defined]
        return [mesh.get_group(dimension) for dimension in range(mesh.ndim)]
    return [] if process_group is None else [process_group]


def _compare(members: Sequence[tuple[str, Tensor]], group: Any) -> None:
    said = [(name, list(parameter.shape), parameter.grad is not None) for name, parameter in members]
    mine = xxhash.xxh3_64_intdigest(repr(said).encode()) >> 2  # and its negative fits, too
    ends = torch.tensor([mine, -mine], device=members[0][1].device)
    dist.all_reduce(ends, dist.ReduceOp.MAX, group=group)
    highest, lowest = ends.tolist()
    if highest == -lowest:
        return
    everyone: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(everyone, said, group=group)
    for rank, theirs in enumerate(everyone):
        if [entry[:2] for entry in theirs] != [entry[:2] for entry in everyone[0]]:
            raise SmolfastError(
                f"rank {rank} of the process group trains other parameters than rank 0 ({len(theirs)} and "
                f"{len(everyone[0])}); build the same model, with the same ones frozen, on every rank"
            )
    for index, (name, _, _) in enumerate(said):
        has = [bool(theirs[index][2]) for theirs in everyone]
        if any(has) and not all(has):
            raise SmolfastError(
                f"{name} has a gradient on rank {has.index(True)} of the process group and none on rank "
                f"{has.index(False)}; give it one on every rank (DistributedDataParallel: "
                "find_unused_parameters=True; otherwise zeros where it wasn't used), or on none"
            )
