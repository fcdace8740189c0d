"""What Muon and MuonAdamW share as optimisers: a step is one group after another, and a bad group is refused whole."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, overload

import torch
from torch import Tensor

from smolfast.errors import SmolfastError
from smolfast.optim.agreement import check_agreement

# What torch's wrappers put into the names of parameters.
_WRAPPERS = ("_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")


class GroupedOptimizer(torch.optim.Optimizer, ABC):
    """Subclasses say what a group's step is, and what is wrong with a group."""

    _process_group: Any = None
    essential_options: tuple[str, ...] = ()
    """Options without which a group of a saved state can't be understood."""

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

    def load_state_dict(self, state_dict: Any) -> None:
        """As torch's, but what belongs to a parameter goes to the one of its name, where both sides have names.

        Raises:
            SmolfastError: the state is another optimiser's, or groups other parameters together.
        """
        state = dict(state_dict)
        saved, ours = list(state["param_groups"]), self.param_groups
        needed = {"params", *self.essential_options}
        if missing := next((needed - set(group) for group in saved if not needed <= set(group)), None):
            raise SmolfastError(
                f"{type(self).__name__}: the state has groups without {', '.join(sorted(missing))}, so another "
                f"optimiser saved it; load one of {type(self).__name__}"
            )
        if all(group.get("param_names") for group in (*saved, *ours)):
            state["param_groups"] = in_order_of(ours, saved, type(self).__name__)
        elif [len(group["params"]) for group in saved] != [len(group["params"]) for group in ours]:
            raise SmolfastError(
                f"{type(self).__name__}: the state is of groups of {_sizes(saved)} parameters, and these are of "
                f"{_sizes(ours)}; make the optimiser as it was made when the state was saved"
            )
        super().load_state_dict(state)

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


def in_order_of(ours: list[dict[str, Any]], saved: list[dict[str, Any]], optimizer: str) -> list[dict[str, Any]]:
    """Saved groups, and the parameters in each, in the order of ours, by name.

    Wrappers' parts of names (torch.compile's, DistributedDataParallel's) don't count. Parameters that were all renamed
    stay in their order, as torch has it.

    Raises:
        SmolfastError: the same names, and not the same groups of them, or only some of the names.
    """
    theirs = [dict(zip(map(_plain, group["param_names"]), group["params"], strict=True)) for group in saved]
    mine = [[_plain(name) for name in group["param_names"]] for group in ours]
    known, wanted = {name for group in theirs for name in group}, {name for names in mine for name in names}
    if not known & wanted and [len(group) for group in theirs] == [len(names) for names in mine]:
        return [{**group, "param_names": own["param_names"]} for group, own in zip(saved, ours, strict=True)]
    found = []
    for names, own in zip(mine, ours, strict=True):
        index = next((index for index, group in enumerate(theirs) if group.keys() == set(names)), None)
        if index is None:
            strange = sorted(known ^ wanted)
            what = f"{strange[0]} is in one alone" if strange else f"{names[0]} is in a group of others there"
            raise SmolfastError(
                f"{optimizer}: the state is of other groups of parameters than these: {what}; make the optimiser as it "
                "was made when the state was saved"
            )
        params = [theirs[index][name] for name in names]
        found.append({**saved[index], "params": params, "param_names": own["param_names"]})
    return found


def _plain(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _sizes(groups: list[dict[str, Any]]) -> str:
    return ", ".join(str(len(group["params"])) for group in groups)


def check_numbers(name: str, values: dict[str, Any]) -> None:
    """Raise SmolfastError for options that aren't numbers of at least 0, or tensors of one."""
    for option, value in values.items():
        if isinstance(value, Tensor) and value.numel() != 1:
            raise SmolfastError(f"{name}: {option} is a tensor of shape {list(value.shape)}; give one number")
        if not isinstance(value, (int, float, Tensor)):
            raise SmolfastError(f"{name}: {option} = {value!r} is no number; give one of at least 0")
        if not float(value) >= 0.0:
            raise SmolfastError(f"{name}: {option} = {value} must be at least 0")
