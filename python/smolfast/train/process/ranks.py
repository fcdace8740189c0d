"""The processes of a run: one, or those that torchrun started, with whole (DDP) or sharded (FSDP2) parameters;
sharded over all ranks, or within groups that are replicas of each other (hybrid sharding). Each can have micro-batches
of its own, or share them with its neighbours (context parallelism).

Everything that the loop asks of other processes is asked here. With one process every answer is the caller's own, so
the loop has one shape.
"""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from smolfast.config import TrainConfig
from smolfast.errors import SmolfastError
from smolfast.model.context_parallel import ContextGroup
from smolfast.model.network import DecoderLayer, PackedBatch

Parallel = Literal["ddp", "fsdp"]
T = TypeVar("T")


class Ranks:
    """This process among those of the run.

    Attributes:
        rank: its number, 0 for the one that writes files. world: how many there are.
        context: how many share each micro-batch.
    """

    def __init__(self, parallel: Parallel = "ddp", *, shards: int = 0, context: int = 1) -> None:
        """
        Args:
            shards: hybrid sharding: so many neighbouring ranks share a model's parameters, and each such group has all
                of them; 0 for one group of all ranks. A node's ranks are best: only gradients go between groups.
            context: context parallelism: so many neighbouring ranks share the tokens of each micro-batch, for sequences
                that are too long for one.

        Raises:
            SmolfastError: groups for whole parameters, or ranks that don't divide into them.
        """
        self.parallel = parallel
        self.rank, self.world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        if shards and parallel != "fsdp":
            raise SmolfastError(f"--shards {shards} is for sharded parameters; add --parallel fsdp")
        if context > 1 and self.world == 1:
            raise SmolfastError(
                f"--context-parallel {context}: this process is the only one; start it on {context} ranks with "
                f"torchrun --nproc-per-node {context} -m smolfast train, or leave the option out"
            )
        for option, size in (("--shards", shards or 1), ("--context-parallel", context)):
            if self.world % size:
                fits = ", ".join(str(count) for count in range(1, self.world + 1) if self.world % count == 0)
                raise SmolfastError(
                    f"{option} {size}: {self.world} ranks don't divide into such groups; give one of {fits}"
                )
        self.shards, self.context = shards or self.world, context
        self._shard_group: Any = None
        self._context_group: Any = None
        self._settled: nn.Module | None = None
        self._started = False

    def __enter__(self) -> Self:
        """Join the others, where torchrun's environment says that there are any."""
        if self.world > 1 and not dist.is_initialized():
            backend = "nccl" if torch.cuda.is_available() else "gloo"
            if backend == "nccl":
                torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
            dist.init_process_group(backend, timeout=datetime.timedelta(minutes=30))
            self._started = True
        if self.context > 1:
            from torch.distributed.device_mesh import init_device_mesh

            device = "cuda" if dist.get_backend() == "nccl" else "cpu"
            groups = (self.world // self.context, self.context)
            mesh = init_device_mesh(device, groups, mesh_dim_names=("data", "context"))
            self._context_group = mesh.get_group("context")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._started:
            leave_process_groups()

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files."""
        return self.rank == 0

    @property
    def sharded(self) -> bool:
        """Whether parameters lie in shards."""
        return self.world > 1 and self.parallel == "fsdp"

    @property
    def group(self) -> Any:
        """The process group for the optimiser's replicated parameters; None where it needs none."""
        return dist.group.WORLD if self.world > 1 and not self.sharded else None

    def device(self, chosen: str) -> torch.device:
        """The device of that name; "auto" takes this rank's accelerator if there is one."""
        if chosen != "auto":
            return torch.device(chosen)
        return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")

    def share(self, rows: int, micro_batch_size: int) -> tuple[int, int]:
        """This rank's first row of a step's batch, and its last + 1; those of a context group have the same.

        Raises:
            SmolfastError: the batch doesn't divide into equal numbers of micro-batches.
        """
        groups, mine = self.world // self.context, self.rank // self.context
        if rows % (groups * micro_batch_size):
            takers = f"{self.world} ranks" if self.context == 1 else f"{groups} groups of {self.context} ranks"
            raise SmolfastError(
                f"a batch of {rows} sequences doesn't divide into micro-batches of {micro_batch_size} on {takers}; "
                f"make train.batch_size (and batch_ramp_start) a multiple of {groups * micro_batch_size}"
            )
        return mine * rows // groups, (mine + 1) * rows // groups

    def parts(self, batches: Sequence[PackedBatch]) -> list[PackedBatch]:
        """What this rank computes of micro-batches: all, or its part of their tokens."""
        if self.context == 1:
            return list(batches)
        group = ContextGroup(self.rank % self.context, self.context, self._context_group)
        return [batch.shared_over(group) for batch in batches]

    def sum_of_parts(self, mine: float, device: torch.device) -> float:
        """The sum over the ranks that share micro-batches."""
        if self.context == 1:
            return mine
        total = torch.tensor(mine, dtype=torch.float64, device=device)
        dist.all_reduce(total, group=self._context_group)
        return float(total)

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over ranks, in place."""
        if self.world > 1:
            dist.all_reduce(tensor)
        return tensor

    def largest(self, tensor: Tensor) -> Tensor:
        """The largest of each element over ranks."""
        if self.world > 1:
            tensor = tensor.clone()
            dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return tensor

    def first_of(self, mine: str | None) -> str | None:
        """The text of the first rank that has one."""
        if self.world == 1:
            return mine
        everyone: list[str | None] = [None] * self.world
        dist.all_gather_object(everyone, mine)
        return next((text for text in everyone if text is not None), None)

    def any(self, mine: bool, device: torch.device) -> bool:
        """Whether it is so on any rank."""
        if self.world == 1:
            return mine
        flag = torch.tensor(int(mine), device=device)
        dist.all_reduce(flag, dist.ReduceOp.MAX)
        return bool(flag)

    def tell(self, value: T) -> T:
        """The first rank's value, a JSON-like one, on every rank."""
        if self.world == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    def agree(self, what: str, mine: Mapping[str, Any]) -> None:
        """Make sure that all ranks say the same, before one goes where the others don't follow.

        Args:
            what: what is said, for the error. mine: JSON-like values by name.

        Raises:
            SmolfastError: on every rank, where one says something else than the first.
        """
        if self.world == 1:
            return
        everyone: list[Any] = [None] * self.world
        dist.all_gather_object(everyone, dict(mine))
        for rank, theirs in enumerate(everyone):
            if theirs != everyone[0]:
                first = everyone[0]
                name = next(key for key in {**first, **theirs} if theirs.get(key) != first.get(key))
                raise SmolfastError(
                    f"rank {rank} and rank 0 don't agree on the {what}: {name} is "
                    f"{str(theirs.get(name))[:200]} on one and {str(first.get(name))[:200]} on the other; give all "
                    "ranks the same settings, and the same files in one shared output folder"
                )

    def wait(self) -> None:
        """Wait for all ranks."""
        if self.world > 1:
            dist.barrier()

    def spread(self, trained: nn.Module, device: torch.device) -> nn.Module:
        """Shard a module's parameters or have their gradients averaged; call before the optimiser is made.

        Returns:
            a module to call with a function of no arguments in which `trained` computes a loss.
        """
        objective = _Objective(trained)
        if self.world == 1:
            return objective
        if self.sharded:
            from torch.distributed.device_mesh import init_device_mesh
            from torch.distributed.fsdp import fully_shard

            if self.shards == self.world:
                mesh = init_device_mesh(device.type, (self.world,))
            else:
                groups = (self.world // self.shards, self.shards)
                mesh = init_device_mesh(device.type, groups, mesh_dim_names=("replicas", "shards"))
                self._shard_group = mesh.get_group("shards")
            for module in trained.modules():
                if isinstance(module, DecoderLayer):
                    fully_shard(module, mesh=mesh)
            fully_shard(objective, mesh=mesh)
            return objective
        return nn.parallel.DistributedDataParallel(objective)

    def backward(self, objective: nn.Module, losses: Sequence[Callable[[], tuple[Tensor, Tensor]]]) -> Tensor:
        """Add up the gradients of all ranks' micro-batches in the parameters' `grad`.

        Args:
            objective: from `spread`. losses: what gives this rank's micro-batches' parts of the loss, and of the
                heads' losses [K].

        Returns:
            the heads' losses over all ranks [K].
        """
        if isinstance(objective, nn.parallel.DistributedDataParallel) and self._settled is not objective:
            self._settle(objective, losses[0])
        total: Tensor | None = None
        for index, part in enumerate(losses):
            # Shards are what gradients have room for: they are scattered after each micro-batch, not after the last.
            if isinstance(objective, nn.parallel.DistributedDataParallel):
                objective.require_backward_grad_sync = index == len(losses) - 1
            loss, head_losses = objective(part)
            (loss * self.world).backward()  # both ways average over ranks
            total = head_losses if total is None else total + head_losses
        assert total is not None
        return self.sum(total)

    def _settle(
        self, objective: nn.parallel.DistributedDataParallel, loss: Callable[[], tuple[Tensor, Tensor]]
    ) -> None:
        """Have DDP lay out its buckets for good, by a backward pass that is thrown away.

        It takes the order in which the first pass gives gradients. The order of a sum over three ranks or more depends
        on where in a bucket a number lies, so a resumed run's first step would differ from the undisturbed run's.
        """
        self._settled = objective
        if self.world > 2:
            objective(loss)[0].backward()
            for parameter in objective.parameters():
                parameter.grad = None

    def norms(self, gradients: Sequence[Tensor]) -> Tensor:
        """Each gradient's Euclidean norm [parameters], over all of its shards."""
        norms = torch.stack(torch._foreach_norm([local(gradient) for gradient in gradients]))
        if not self.sharded:
            return norms
        squares = norms.square()
        dist.all_reduce(squares, group=self._shard_group)  # other groups hold the same shards
        return squares.sqrt()


def check_context(context: int, config: TrainConfig, beside: str = "") -> None:
    """Raise SmolfastError where settings don't go with so many ranks that share tokens.

    Args:
        beside: what else is asked for that looks at whole windows, by its option's name; nothing where it is "".
    """
    if context == 1:
        return
    said = f"--context-parallel {context}"
    if beside:
        raise SmolfastError(f"{said} doesn't go with {beside}, which needs whole windows on each rank; leave one out")
    if config.compile is True:
        raise SmolfastError(
            f"{said}: train.compile = true can't hold what layers exchange between ranks; set it to auto or false"
        )
    lengths = [config.sequence_length, *(stage.sequence_length for stage in config.stages if stage.sequence_length)]
    if min(lengths) < 2 * context:
        raise SmolfastError(
            f"{said}: each rank computes two stretches, and sequences of {min(lengths)} tokens have fewer than "
            f"{2 * context}; raise train.sequence_length, or share them over at most {min(lengths) // 2} ranks"
        )


def leave_process_groups() -> None:
    """Destroy all process groups so that the process may end at once.

    Gloo's threads let go of a collective's tensors after those who waited for it have gone on, torch has nothing to
    wait for that with, and a thread that frees a tensor while Python shuts down aborts the process (pytorch/pytorch
    #179291). A group's destructor would join them, but a sharded model keeps its group. So this gives them several
    turns.
    """
    dist.destroy_process_group()
    for _ in range(20):
        time.sleep(0.01)


def local(tensor: Tensor) -> Tensor:
    """This rank's part of a tensor; writing into it writes into the tensor."""
    part: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return part


class _Objective(nn.Module):
    """Runs a function inside a forward pass, where wrappers have the parameters ready."""

    def __init__(self, trained: nn.Module) -> None:
        super().__init__()
        self.trained = trained

    def forward(self, function: Callable[[], Any]) -> Any:
        return function()
