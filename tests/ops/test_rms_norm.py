"""RMSNorm against the written-out formula and its automatic gradients."""

from __future__ import annotations

import pytest
import torch

from smolfast import _native
from smolfast.errors import SmolfastError
from smolfast.ops.rms_norm import RMSNorm


@pytest.mark.parametrize("shape", [(1, 3), (42, 123), (2, 5, 64), (300, 33), (0, 4)])
def test_values_and_gradients(implementation: str, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator) * 3
    grad = torch.randn(shape, generator=generator)
    norm = RMSNorm(shape[-1], 1e-6)
    with torch.no_grad():
        norm.weight.normal_(generator=generator)
    ours = x.clone().requires_grad_()
    out = norm(ours)
    found = torch.autograd.grad(out, [ours, norm.weight], grad)
    plain = x.double().requires_grad_()
    weight = norm.weight.detach().double().requires_grad_()
    expected = plain / (plain.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight
    torch.testing.assert_close(out.double(), expected, rtol=1e-6, atol=1e-6)
    for one, other in zip(found, torch.autograd.grad(expected, [plain, weight], grad.double()), strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-5)


def test_gradients_do_not_depend_on_threads_and_have_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(700, 12, generator=generator).t().contiguous().t().requires_grad_()  # rows that lie apart
    norm, threads = RMSNorm(12, 1e-6), torch.get_num_threads()
    found = []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            found.append(torch.autograd.grad(norm(x).pow(3).sum(), [x, norm.weight]))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    second = []
    for function in (norm, lambda x: x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * norm.weight):
        leaves = [x, norm.weight]
        slopes = torch.autograd.grad(function(x).pow(3).sum(), leaves, create_graph=True)
        second.append(torch.autograd.grad(sum(slope.square().sum() for slope in slopes), leaves))
    for one, other in zip(*second, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_arrays_that_do_not_fit_are_refused() -> None:
    two, three = torch.zeros(2).numpy(), torch.zeros(3).numpy()
    with pytest.raises(SmolfastError, match="sizes don't fit"):
        _native.rms_norm_backward(two, two, two, two, three, 1)


def test_rows_of_zeros_are_finite() -> None:
    x = torch.zeros(4, 8, requires_grad=True)
    (grad,) = torch.autograd.grad(RMSNorm(8, 1e-6)(x).sum(), x)
    torch.testing.assert_close(grad, torch.full((4, 8), 1e3))


def test_sixteen_bits_are_normalised_in_thirty_two() -> None:
    x = torch.full((1, 512), 300.0, dtype=torch.float16, requires_grad=True)  # its square is beyond fp16
    norm = RMSNorm(512, 1e-6)
    out = norm(x)
    torch.testing.assert_close(out, torch.ones(1, 512))
    (grad,) = torch.autograd.grad(out.sum(), x)
    assert grad.dtype == torch.float16
    assert bool(grad.isfinite().all())
