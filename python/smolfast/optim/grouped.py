"""What Muon and MuonAdamW share as optimisers: a step is one group after another, and a bad group is refused whole."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, overload

import torch

from smolfast.errors import SmolfastError


class GroupedOptimizer(torch.optim.Optimizer, ABC):
    """Subclasses say what a group's step is, and what is wrong with a group."""

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
        for group in self.param_groups:
            self.step_group(group)
        return loss
