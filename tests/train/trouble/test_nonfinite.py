"""The first module that made a number that is none is named, wherever it is planted."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from smolfast.train.trouble.nonfinite import first_nonfinite


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def loss_of(model: nn.Module) -> Tensor:
    return model(torch.ones(5, 3)).square().mean()


def test_a_sound_model_has_none() -> None:
    model = network()
    assert first_nonfinite(model, lambda: loss_of(model)) is None
    assert not model[0]._forward_hooks and not model[0].weight._backward_hooks


def test_a_weight() -> None:
    model = network()
    with torch.no_grad():
        model[2].weight[0, 1] = torch.inf
    assert first_nonfinite(model, lambda: loss_of(model)) == "the weight 2.weight"


@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_output(place: int) -> None:
    model = network()
    model[place].register_forward_hook(lambda module, inputs, output: output / 0.0)
    assert first_nonfinite(model, lambda: loss_of(model)) == f"the output of {place}"


def test_the_loss() -> None:
    model = network()
    assert first_nonfinite(model, lambda: loss_of(model) * torch.nan) == "the loss"


def test_a_gradient_on_the_way_back() -> None:
    class Root(nn.Module):
        """Its gradient at 0 is infinite, and its value isn't."""

        def forward(self, x: Tensor) -> Tensor:
            return (x * 0).sqrt()

    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), Root(), nn.Linear(4, 2))
    assert first_nonfinite(model, lambda: loss_of(model)) == "the gradient of 1's output"
