"""Muon: momentum, orthogonalised, for the matrices of a network (Jordan et al. 2024; Liu et al., arXiv 2502.16982).

Newton–Schulz orthogonalises the momentum matrix; it is not a Hessian approximation.

On a CPU, fp32 matrices that lie in one piece take their step natively: momentum while they are read, the weights
while they are written, each thread a matrix of its own, the costliest first. Others form buckets of one shape, cut into
units of fixed size. A matrix's result depends on nothing else, so neither threads nor the `map` argument change a bit
of the outcome.

Beside the state the native step takes nm + 2 n² or nm + 4 n² numbers for each thread, of the largest matrix n × m
(n ≤ m). A unit of a bucket takes 2 nm for each of its matrices, and as much again as the native step for each thread
that orthogonalises one; it is one matrix, or up to 131,072 numbers.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from smolfast import _native, ops
from smolfast.errors import SmolfastError
from smolfast.ops.orthogonalize import newton_schulz_parts
from smolfast.optim.grouped import GroupedOptimizer, check_numbers, named_parameters
from smolfast.optim.sharding import Layout, exchange, layout_of, local_tensor
from smolfast.reference import Coefficients, resolve_coefficients

Unit = Callable[[], None]
Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
"""Like `map` or `Executor.map`: calls a function on each item, in any order, and yields the results in order."""

# A unit has up to this many numbers: enough to make a call's overhead small (64 matrices of 128 × 128 in 8 calls),
# small enough that units spread over threads and take little memory.
_CPU_UNIT = 1 << 17
_GPU_UNIT = 1 << 26

MUON_DEFAULTS: dict[str, Any] = {
    "lr": 1e-3,
    "weight_decay": 0.1,
    "momentum": 0.95,
    "nesterov": True,
    "ns_coefficients": (3.4445, -4.7750, 2.0315),
    "eps": 1e-7,
    "ns_steps": 5,
    "adjust_lr_fn": None,
    "coefficients": None,
    "split_sizes": None,
    "split_heads": None,
    "cautious_weight_decay": False,
}


class Muon(GroupedOptimizer):
    """`torch.optim.Muon` with batches, 3-D parameters, fused projections, better coefficients and sharded parameters.

    One step on a matrix W with gradient g:
        buffer ← momentum · buffer + (1 − momentum) · g
        u = (1 − momentum) · g + momentum · buffer if nesterov, else buffer
        W ← (1 − lr · weight_decay) · W − lr · ratio · newton_schulz(u)

    Args:
        params: 2-D [n, m] or 3-D [matrices, n, m] parameters, or groups of them.
        lr, weight_decay, momentum, nesterov, ns_coefficients, eps, ns_steps: as in `torch.optim.Muon`.
        adjust_lr_fn: ratio of the update's size: "original" (or None) is √max(1, n / m); "match_rms_adamw" is
            0.2 · √max(n, m), which lets learning rates and weight decay tuned for AdamW stay (arXiv 2502.16982 §2.2).
        coefficients: "muon", "polar_express", "taylor" or triples, as in `smolfast.ops.newton_schulz`; instead of
            ns_coefficients where given.
        split_sizes: rows of the matrices that one parameter holds stacked, for example (q, k, v) of a fused projection;
            each is orthogonalised alone.
        split_heads: this many equal blocks of rows instead.
        cautious_weight_decay: decay only where the update and the weight have the same sign (arXiv 2510.12402).
        map: runs the units of work, each on as many threads as torch has where it runs. By default a step on a CPU is
            one unit; given a map, it is as many as there are matrices, small ones together, the costliest first. With a
            pool of threads whose own torch thread count is 1, any number of threads gives identical bits.
        process_group: replicated parameters (DDP): ranks take matrices in turn and gather the results, instead of
            each doing all the work. Sharded parameters (FSDP2) need nothing: they carry their mesh.

    `state_dict` loads into `torch.optim.Muon`, and the other way round.

    Raises:
        SmolfastError: parameters that aren't matrices, options out of range, splits that don't add up.
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = MUON_DEFAULTS["ns_coefficients"],
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
        *,
        coefficients: Coefficients | None = None,
        split_sizes: Sequence[int] | None = None,
        split_heads: int | None = None,
        cautious_weight_decay: bool = False,
        map: Map = map,
        process_group: Any = None,
    ) -> None:
        self._map = map
        self._process_group = process_group
        super().__init__(
            params,
            {
                "lr": lr,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "nesterov": nesterov,
                "ns_coefficients": ns_coefficients,
                "eps": eps,
                "ns_steps": ns_steps,
                "adjust_lr_fn": adjust_lr_fn,
                "coefficients": coefficients,
                "split_sizes": split_sizes,
                "split_heads": split_heads,
                "cautious_weight_decay": cautious_weight_decay,
            },
        )

    def check_group(self, group: dict[str, Any]) -> None:
        check_muon_group(group)

    def step_group(self, group: dict[str, Any]) -> None:
        muon_step(group, self.state, self._map, self._process_group)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for name, value in MUON_DEFAULTS.items():
                group.setdefault(name, value)


def check_muon_group(group: dict[str, Any]) -> None:
    """Raise SmolfastError for options out of range and parameters that aren't matrices."""
    check_numbers("Muon", {name: group[name] for name in ("lr", "weight_decay", "momentum", "eps")})
    if group["adjust_lr_fn"] not in (None, "original", "match_rms_adamw"):
        raise SmolfastError(f"Muon: adjust_lr_fn = '{group['adjust_lr_fn']}'; choose original or match_rms_adamw")
    resolve_coefficients(_coefficients(group), group["ns_steps"])
    if group["split_sizes"] is not None and group["split_heads"] is not None:
        raise SmolfastError("Muon: split_sizes and split_heads exclude each other; give one")
    for name, parameter in named_parameters(group):
        if parameter.ndim not in (2, 3) or not parameter.is_floating_point():
            raise SmolfastError(
                f"Muon: {name} is {parameter.dtype} {list(parameter.shape)}; Muon takes matrices [n, m] and "
                "stacks of them, give the rest to AdamW (MuonAdamW does)"
            )
        split_rows(group, parameter.shape[-2], name)


def split_rows(group: dict[str, Any], rows: int, name: str = "a parameter") -> list[int]:
    """Row counts of the matrices that a parameter of this many rows holds."""
    if group["split_heads"] is not None:
        heads = int(group["split_heads"])
        if heads < 1 or rows % heads:
            raise SmolfastError(f"Muon: {rows} rows of {name} don't divide into split_heads = {heads}")
        return [rows // heads] * heads
    if group["split_sizes"] is not None:
        sizes = [int(size) for size in group["split_sizes"]]
        if min(sizes, default=0) < 1 or sum(sizes) != rows:
            raise SmolfastError(f"Muon: split_sizes = {sizes} must be positive and add up to the {rows} rows of {name}")
        return sizes
    return [rows]


def _coefficients(group: dict[str, Any]) -> Coefficients:
    chosen: Coefficients = group["ns_coefficients"] if group["coefficients"] is None else group["coefficients"]
    return chosen


@dataclass(frozen=True)
class _Item:
    """A parameter with a gradient: the local pieces that this process updates."""

    parameter: Tensor
    grad: Tensor
    buffer: Tensor

    @property
    def native(self) -> bool:
        """Whether the native step takes it: plain fp32 on a CPU, in one piece."""
        return all(
            type(tensor) in (Tensor, nn.Parameter)
            and tensor.dtype == torch.float32
            and tensor.device.type == "cpu"
            and tensor.is_contiguous()
            for tensor in (self.parameter, self.grad, self.buffer)
        )


def muon_step(group: dict[str, Any], state: Any, map: Map, process_group: Any = None) -> None:
    """One step for the parameters of a group; call under `torch.no_grad()`."""
    native: list[_Item] = []
    buckets: dict[tuple[Any, ...], tuple[Layout, list[_Item]]] = {}
    for parameter in group["params"]:
        grad = parameter.grad
        if grad is None:
            continue
        if "momentum_buffer" not in state[parameter]:
            state[parameter]["momentum_buffer"] = torch.zeros_like(grad, memory_format=torch.preserve_format)
        layout = layout_of(parameter, process_group)
        item = _Item(local_tensor(parameter), local_tensor(grad), local_tensor(state[parameter]["momentum_buffer"]))
        if layout.whole and item.native:
            native.append(item)
            continue
        key = (parameter.shape, parameter.dtype, grad.dtype, parameter.device, layout.key)
        buckets.setdefault(key, (layout, []))[1].append(item)
    if native:
        _step_native(group, native, map)
    for layout, items in buckets.values():
        if layout.whole:
            run_units(map, [_Whole(group, chunk) for chunk in _chunks(items)])
        else:
            _step_sharded(group, layout, items, map)


def run_units(map: Map, units: Sequence[Unit]) -> None:
    for _ in map(_call, units):
        pass


def _call(unit: Unit) -> None:
    with torch.no_grad():  # grad mode is per thread
        unit()


def _chunks(items: Sequence[_Item]) -> Iterator[list[_Item]]:
    most = _CPU_UNIT if items[0].parameter.device.type == "cpu" else _GPU_UNIT
    chunk: list[_Item] = []
    size = 0
    for item in items:
        if chunk and size + item.parameter.numel() > most:
            yield chunk
            chunk, size = [], 0
        chunk.append(item)
        size += item.parameter.numel()
    yield chunk


def _step_native(group: dict[str, Any], items: list[_Item], map: Map) -> None:
    """Matrices of all shapes in one call, where nobody else is to run them."""
    if map is builtins.map:
        units = [_Native(group, items)]
    else:
        items = sorted(items, key=lambda item: -item.parameter.numel() * min(item.parameter.shape[-2:]))
        units = [_Native(group, chunk) for chunk in _chunks(items)]
    run_units(map, units)
    torch.autograd.graph.increment_version([tensor for item in items for tensor in (item.parameter, item.buffer)])


@dataclass(frozen=True)
class _Native:
    """A unit: whole fp32 matrices on a CPU."""

    group: dict[str, Any]
    items: Sequence[_Item]

    def __call__(self) -> None:
        group = self.group
        triples = resolve_coefficients(_coefficients(group), group["ns_steps"])
        blocks: dict[torch.Size, list[tuple[int, float, list[int]]]] = {}
        parameters = []
        for item in self.items:
            shape = item.parameter.shape
            if shape not in blocks:
                blocks[shape] = [
                    (rows, _ratio(group, rows, shape[-1]), newton_schulz_parts(rows, shape[-1], triples))
                    for rows in split_rows(group, shape[-2])
                ]
            parameters.append((_stacked(item.parameter), _stacked(item.grad), _stacked(item.buffer), blocks[shape]))
        lr, decay = float(group["lr"]), float(group["weight_decay"])
        _native.muon_step(
            parameters, triples, group["eps"], threads=torch.get_num_threads(),
            momentum=float(group["momentum"]), blend=1 - float(group["momentum"]), nesterov=bool(group["nesterov"]),
            rate=lr, keep=1 - lr * decay, cautious=bool(decay and group["cautious_weight_decay"]),
        )  # fmt: skip


def _stacked(tensor: Tensor) -> Any:
    tensor = tensor.detach()
    return (tensor if tensor.ndim == 3 else tensor[None]).numpy()


@dataclass(frozen=True)
class _Whole:
    """A unit: whole matrices of one shape, from gradient to new weight."""

    group: dict[str, Any]
    items: Sequence[_Item]

    def __call__(self) -> None:
        _apply(self.group, self.items, list(orthogonalize(self.group, _stack(_momentum(self.group, self.items)))))


def _stack(matrices: list[Tensor]) -> Tensor:
    return matrices[0][None] if len(matrices) == 1 else torch.stack(matrices)


def _momentum(group: dict[str, Any], items: Sequence[_Item]) -> list[Tensor]:
    buffers, grads = [item.buffer for item in items], [item.grad for item in items]
    torch._foreach_lerp_(buffers, grads, 1 - group["momentum"])
    return list(torch._foreach_lerp(grads, buffers, group["momentum"])) if group["nesterov"] else buffers


def orthogonalize(group: dict[str, Any], update: Tensor) -> Tensor:
    """[..., n, m] → the step to subtract, but for the learning rate: each split orthogonalised, times its ratio."""
    rows = split_rows(group, update.shape[-2])
    if len(set(rows)) == 1 and len(rows) > 1:
        split = update.reshape(*update.shape[:-2], len(rows), rows[0], update.shape[-1])
        return _newton_schulz(group, split).reshape(update.shape)
    pieces = [_newton_schulz(group, piece) for piece in torch.split(update, rows, -2)]
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, -2)


def _ratio(group: dict[str, Any], rows: int, columns: int) -> float:
    if group["adjust_lr_fn"] == "match_rms_adamw":
        return 0.2 * math.sqrt(max(rows, columns))
    return math.sqrt(max(1.0, rows / max(columns, 1)))


def _newton_schulz(group: dict[str, Any], update: Tensor) -> Tensor:
    ratio = _ratio(group, *update.shape[-2:])
    result = ops.newton_schulz(update, group["ns_steps"], _coefficients(group), eps=group["eps"])
    return result if ratio == 1.0 else result.mul_(ratio)


def _apply(group: dict[str, Any], items: Sequence[_Item], steps: Sequence[Tensor]) -> None:
    parameters = [item.parameter for item in items]
    lr, decay = float(group["lr"]), float(group["weight_decay"])
    if decay and group["cautious_weight_decay"]:
        for parameter, step in zip(parameters, steps, strict=True):
            agrees = parameter * step > 0
            parameter.mul_(1 - lr * decay * agrees)
    elif decay:
        torch._foreach_mul_(parameters, 1 - lr * decay)
    torch._foreach_add_(parameters, list(steps), alpha=-lr)


def _step_sharded(group: dict[str, Any], layout: Layout, items: Sequence[_Item], map: Map) -> None:
    """Momentum and weights stay sharded; whole updates meet on one rank each, in turn, and go back as shards."""
    updates = _momentum(group, items)

    def work(matrices: list[Tensor]) -> None:
        def unit(matrix: Tensor) -> Unit:
            def run() -> None:
                matrix.copy_(orthogonalize(group, matrix))

            return run

        run_units(map, [unit(matrix) for matrix in matrices])

    _apply(group, items, exchange(layout, updates, work))
