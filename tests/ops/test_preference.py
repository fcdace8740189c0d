"""The losses on pairs: their formulas, gradients in fp64, what is refused."""

from __future__ import annotations

import math
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from smolfast import SmolfastError
from smolfast.preference import PreferenceLoss, preference_losses, sequence_sums


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize("loss", get_args(PreferenceLoss))
def test_formulas(loss: PreferenceLoss) -> None:
    chosen, rejected, reference_chosen, reference_rejected = map(torch.tensor, ([-5.0], [-9.0], [-7.0], [-8.0]))
    lengths = torch.tensor([4]), torch.tensor([5])
    c, r, beta = 2.0, -1.0, 0.3
    if loss.endswith("_norm"):
        c, r = c / 4, r / 5
    wanted = {
        "sigmoid": -math.log(sigmoid(beta * (c - r))),
        "apo_zero": 1 - sigmoid(beta * c) + sigmoid(beta * r),
        "apo_down": sigmoid(beta * c) + 1 - sigmoid(beta * (c - r)),
    }[loss.removesuffix("_norm")]
    found = preference_losses(
        chosen, rejected, reference_chosen, reference_rejected, loss=loss, beta=beta, chosen_lengths=lengths[0],
        rejected_lengths=lengths[1],
    )  # fmt: skip
    assert found.item() == pytest.approx(wanted, rel=1e-6)


def test_label_smoothing_is_the_mean_of_both_ways_round() -> None:
    pair = [torch.tensor([x]) for x in (-5.0, -9.0, -7.0, -8.0)]
    turned = [pair[1], pair[0], pair[3], pair[2]]
    expected = 0.9 * preference_losses(*pair) + 0.1 * preference_losses(*turned)
    torch.testing.assert_close(preference_losses(*pair, label_smoothing=0.1), expected)


@pytest.mark.parametrize("loss", get_args(PreferenceLoss))
def test_gradients_in_fp64(loss: PreferenceLoss) -> None:
    generator = torch.Generator().manual_seed(1)
    given = [torch.randn(6, generator=generator, dtype=torch.float64, requires_grad=i < 2) for i in range(4)]
    lengths = torch.arange(1, 7)

    def function(*x: Tensor) -> Tensor:
        return preference_losses(*x, loss=loss, beta=0.7, chosen_lengths=lengths, rejected_lengths=lengths.flip(0))

    assert torch.autograd.gradcheck(function, given)


def test_a_sum_of_many_tokens_keeps_its_digits() -> None:
    values = torch.full((1_000_001,), 0.1)
    sums = sequence_sums(values, torch.zeros(len(values), dtype=torch.int64), 2)
    assert sums.tolist() == [pytest.approx(float(values[0]) * len(values), rel=1e-7), 0.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "dpo"}, "loss = 'dpo' is unknown; choose sigmoid"),
        ({"beta": 0.0}, "beta must be above 0"),
        ({"label_smoothing": 0.5}, "within \\[0, 0.5\\)"),
        ({"label_smoothing": 0.1, "loss": "apo_zero"}, "belongs to sigmoid"),
        ({"loss": "sigmoid_norm"}, "give those of both answers"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SmolfastError, match=message):
        preference_losses(*(torch.zeros(2) for _ in range(4)), **options)


def test_shapes_must_agree() -> None:
    with pytest.raises(SmolfastError, match=r"chosen is \[2\], rejected \[3\]"):
        preference_losses(torch.zeros(2), torch.zeros(3), torch.zeros(2), torch.zeros(2))
