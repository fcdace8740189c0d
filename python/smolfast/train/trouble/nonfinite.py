"""Where the first NaN or infinity of a step was made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def first_nonfinite(model: nn.Module, loss: Callable[[], Tensor]) -> str | None:
    """The first module or parameter, in the order of the computation, that isn't finite; None if all are.

    Looks at the weights, then at each innermost module's output on the way forward, then at the gradient of each such
    output and of each weight on the way back. Call with one process's whole parameters.

    Args:
        loss: computes the step's loss with the model, as it was computed when something went wrong.
    """
    for name, parameter in model.named_parameters():
        if not _finite(parameter):
            return f"the weight {name}"
    found: list[str] = []
    handles: list[Any] = []

    def watch(name: str, module: nn.Module) -> None:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if not isinstance(output, Tensor) or found:
                return
            if not _finite(output):
                found.append(f"the output of {name}")
            elif output.requires_grad:
                watch_gradient(output, f"the gradient of {name}'s output")

        handles.append(module.register_forward_hook(hook))

    def watch_gradient(tensor: Tensor, what: str) -> None:
        def hook(gradient: Tensor) -> None:
            if not found and not _finite(gradient):
                found.append(what)

        handles.append(tensor.register_hook(hook))  # type: ignore[no-untyped-call]

    for name, module in model.named_modules():
        if not any(True for _ in module.children()):
            watch(name, module)
    for name, parameter in model.named_parameters():
        watch_gradient(parameter, f"the gradient of {name}")
    try:
        value = loss()
        if not found and not _finite(value):
            found.append("the loss")
        if not found:
            torch.autograd.grad(value, [p for p in model.parameters() if p.requires_grad], allow_unused=True)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else None


def _finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor.detach()).all())
