"""What Muon and MuonAdamW share as optimisers: a step is one group after another, and a bad group is refused whole."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, overload

import torch
from torch import Tensor

from smolfast.errors import SmolfastError
from smolfast.optim.agreement import check_agreement


class GroupedOptimizer(torch.optim.Optimizer, ABC):
    """Subclasses say what a group's step is, and what is wrong with a group."""

    _process_group: Any = None

    @abstractmethod
    def step_group(self, group: dict[str, Any]) -> None:
        """Update the parameters of one group."""

    @abstractmethod
    def check_group(self, group: dict[str, Any]) -> None:
        """Raise a SmolfastError for options or parameters that don't fit; the group then isn't added."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        super().add_param_group(param_group)
        try:
            self.check_group(self.param_groups[-1])
        except SmolfastError:
            self.param_groups.pop()
            raise

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._check_gradients()
        for group in self.param_groups:
            self.step_group(group)
        return loss

    def _check_gradients(self) -> None:
        """Before anything is changed: no gradient is sparse, and all ranks have the same ones."""
        named = [pair for group in self.param_groups for pair in named_parameters(group)]
        check_agreement(named, self._process_group)
        for name, parameter in named:
            if parameter.grad is not None and parameter.grad.layout != torch.strided:
                raise SmolfastError(
                    f"{type(self).__name__}: {name} has a sparse gradient; make its embedding with sparse=False, or "
                    "set requires_grad=False for it here and give it to torch.optim.SparseAdam"
                )


def named_parameters(group: dict[str, Any]) -> list[tuple[str, Tensor]]:
    """A group's parameters with their names, or numbers where they have none."""
    names = group.get("param_names") or [f"parameter {index}" for index in range(len(group["params"]))]
    return list(zip(names, group["params"], strict=True))


def check_numbers(name: str, values: dict[str, Any]) -> None:
    """Raise SmolfastError for options that aren't numbers of at least 0, or tensors of one."""
    for option, value in values.items():
        if isinstance(value, Tensor) and value.numel() != 1:
            raise SmolfastError(f"{name}: {option} is a tensor of shape {list(value.shape)}; give one number")
        if not isinstance(value, (int, float, Tensor)):
            raise SmolfastError(f"{name}: {option} = {value!r} is no number; give one of at least 0")
        if not float(value) >= 0.0:
            raise SmolfastError(f"{name}: {option} = {value} must be at least 0")
