"""Log-probabilities of targets, whose gradients differ from target to target: against fp64, and without the softmax."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from smolfast import SmolfastError
from smolfast.ops import log_probabilities


def plain(hidden: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None) -> Tensor:
    logits = hidden.double() @ weight.double().t() + (0.0 if bias is None else bias.double())
    found = torch.log_softmax(logits, -1).gather(-1, targets.clamp(min=0)[..., None])[..., 0]
    return found.masked_fill(targets < 0, 0.0)


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize(("vocabulary", "dtype"), [(37, torch.float32), (5003, torch.float32), (37, torch.float64)])
def test_values_and_gradients(vocabulary: int, dtype: torch.dtype, biased: bool) -> None:
    """5,003 columns are enough for the sweep in C++."""
    generator = torch.Generator().manual_seed(vocabulary)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=dtype).mul_(0.5).requires_grad_()

    hidden, weight, bias = drawn(3, 50, 16), drawn(vocabulary, 16), drawn(vocabulary) if biased else None
    targets = torch.randint(0, vocabulary, (3, 50), generator=generator)
    targets[:, ::3] = -100
    upstream = torch.randn(3, 50, generator=generator, dtype=dtype)
    inputs = [x for x in (hidden, weight, bias) if x is not None]
    found, wanted = log_probabilities(hidden, weight, targets, bias=bias), plain(hidden, weight, targets, bias)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)
    for one, other in zip(
        torch.autograd.grad((found * upstream).sum(), inputs),
        torch.autograd.grad((wanted * upstream.double()).sum(), inputs), strict=True,
    ):  # fmt: skip
        assert float((one - other).abs().max()) < 2e-6 * float(other.abs().max()) + 1e-6


def test_no_target_at_all() -> None:
    hidden, weight = torch.randn(4, 8, requires_grad=True), torch.randn(5000, 8, requires_grad=True)
    found = log_probabilities(hidden, weight, torch.full((4,), -100))
    assert not found.any()
    assert not any(x.any() for x in torch.autograd.grad(found.sum(), (hidden, weight)))


def test_gradcheck_and_transforms() -> None:
    hidden, weight = (torch.randn(n, 3, dtype=torch.float64, requires_grad=True) for n in (5, 7))
    targets = torch.tensor([0, 6, -100, 2, 3])
    assert torch.autograd.gradcheck(lambda *x: log_probabilities(*x, targets), (hidden, weight))
    per_sample = torch.func.grad(lambda x: log_probabilities(x, weight, targets).sum())(hidden)
    (whole,) = torch.autograd.grad(log_probabilities(hidden, weight, targets).sum(), hidden)
    torch.testing.assert_close(per_sample, whole)


def test_keeps_nothing_of_the_vocabularys_size() -> None:
    """What the graph holds for the backward pass: the inputs, and numbers by row."""
    hidden, weight = torch.randn(64, 8, requires_grad=True), torch.randn(600, 8, requires_grad=True)
    held: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: held.append(x.numel()) or x, lambda x: x):
        log_probabilities(hidden, weight, torch.zeros(64, dtype=torch.int64))
    assert max(held) == weight.numel()


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(SmolfastError, match="outside the vocabulary of 7"):
        log_probabilities(torch.randn(2, 3), torch.randn(7, 3), torch.tensor([0, 7]))
    with pytest.raises(SmolfastError, match="hidden has shape"):
        log_probabilities(torch.randn(2, 3), torch.randn(7, 3), torch.tensor([0, 1, 2]))
