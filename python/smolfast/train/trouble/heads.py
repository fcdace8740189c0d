"""Rates and clipping of single heads: the rows of its queries, and of the keys that it shares with its group.

Keys take the smallest factor of their group. Without a factor nothing is touched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from smolfast.model.network import Attention
from smolfast.optim.sharding import replicated_like
from smolfast.train.trouble.monitors import Monitors


@contextmanager
def each_head_apart(model: nn.Module, monitors: Monitors, largest_norm: float) -> Iterator[None]:
    """Take the optimiser's step inside as the rules say that speak of single heads."""
    clip_heads(model, monitors.of_heads("tighten clip"), largest_norm)
    with slowed_heads(model, monitors.of_heads("lower rate")):
        yield


@contextmanager
def slowed_heads(model: nn.Module, factors: Mapping[str, float]) -> Iterator[None]:
    """A step inside moves these heads by so much less, as a lower rate would.

    Args:
        factors: by "LAYER.HEAD", both counted from 0, further heads' layers behind the model's.
    """
    slowed = [(weight, each, weight.detach().clone()) for weight, each in _factors(model, factors)]
    yield
    with torch.no_grad():
        for weight, each, before in slowed:
            rows = _rows(weight, each)
            # Heads of the same layer that no rule slows keep their step to the bit.
            weight.copy_(torch.where(rows < 1, before + rows * (weight - before), weight))


@torch.no_grad()
def clip_heads(model: nn.Module, factors: Mapping[str, float], largest_norm: float) -> None:
    """Scale these heads' gradients to a norm of at most factor · `largest_norm`, queries and keys each."""
    for weight, each in _factors(model, factors):
        if weight.grad is None:
            continue
        squares = weight.grad.float().square().sum(1)
        squares = squares.full_tensor() if hasattr(squares, "full_tensor") else squares
        norms = squares.view(len(each), -1).sum(1).sqrt()
        limits = each.to(norms) * largest_norm
        scale = torch.where((each.to(norms) < 1) & (norms > limits), limits / norms, 1.0)
        weight.grad.mul_(_rows(weight.grad, scale))


def _factors(model: nn.Module, factors: Mapping[str, float]) -> Iterator[tuple[Tensor, Tensor]]:
    """Each weight that has heads among these, and the factor of each of its heads."""
    layers = [module for module in model.modules() if isinstance(module, Attention)] if factors else []
    for index, layer in enumerate(layers):
        mine = {int(part.partition(".")[2]): factor for part, factor in factors.items() if part.startswith(f"{index}.")}
        if not mine:
            continue
        heads = layer.q_proj.weight.shape[0] // layer.head_dim
        groups = layer.k_proj.weight.shape[0] // layer.head_dim
        each = torch.tensor([mine.get(head, 1.0) for head in range(heads)])
        yield layer.q_proj.weight, each
        yield layer.k_proj.weight, each.view(groups, -1).amin(1)


def _rows(weight: Tensor, each: Tensor) -> Tensor:
    """A factor for each row of a weight, from one for each of its heads."""
    rows = each.repeat_interleave(weight.shape[0] // len(each))[:, None].to(weight.device, weight.dtype)
    return replicated_like(weight, rows)
