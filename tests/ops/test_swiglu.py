"""silu(gate) · up beside torch's, values and gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from smolfast import _native
from smolfast.errors import SmolfastError
from smolfast.ops.swiglu import swiglu


@pytest.mark.parametrize("shape", [(1,), (7, 13), (3, 5, 17), (400, 416), (0, 4)])
def test_values_and_gradients(implementation: str, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    gate, up, grad = (5 * torch.randn(shape, generator=generator) for _ in range(3))
    ours = [gate.requires_grad_(), up.requires_grad_()]
    out = swiglu(*ours)
    exact = [tensor.detach().double().requires_grad_() for tensor in ours]
    expected = F.silu(exact[0]) * exact[1]
    torch.testing.assert_close(out.double(), expected, rtol=1e-6, atol=1e-6)
    slopes = zip(torch.autograd.grad(out, ours, grad), torch.autograd.grad(expected, exact, grad.double()), strict=True)
    for found, slope in slopes:
        torch.testing.assert_close(found.double(), slope, rtol=2e-6, atol=4e-6)


def test_extremes(implementation: str) -> None:
    gate = torch.tensor([0.0, -0.0, 88.0, -88.0, 1e4, -1e4, torch.inf, torch.nan, -3e38, 3e38], requires_grad=True)
    up = torch.full_like(gate, 2.0).requires_grad_()
    out = swiglu(gate, up)
    torch.testing.assert_close(out, F.silu(gate) * up, equal_nan=True, rtol=1e-6, atol=1e-35)
    found, expected = (torch.autograd.grad(y.sum(), (gate, up)) for y in (out, F.silu(gate) * up))
    finite = gate.isfinite()
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one[finite], other[finite], rtol=1e-6, atol=1e-35)
        assert one[gate.isnan()].isnan().all()


def test_inputs_that_lie_apart_other_dtypes_and_gradients_of_gradients() -> None:
    wide = torch.randn(2, 6, 20)
    torch.testing.assert_close(swiglu(wide[0, :, ::2], wide[1].t()[::2].t()), F.silu(wide[0, :, ::2]) * wide[1, :, ::2])
    for dtype in (torch.bfloat16, torch.float64):
        gate, up = (half.to(dtype).requires_grad_() for half in wide)
        out, expected = swiglu(gate, up), F.silu(gate) * up
        torch.testing.assert_close(out, expected)
        found, slopes = (torch.autograd.grad(y.sum(), (gate, up)) for y in (out, expected))
        torch.testing.assert_close(found, slopes)
    leaves = [wide[0].clone().requires_grad_(), wide[1].clone().requires_grad_()]
    second = []
    for function in (swiglu, lambda gate, up: F.silu(gate) * up):
        slopes = torch.autograd.grad(function(*leaves).square().sum(), leaves, create_graph=True)
        second.append(torch.autograd.grad(sum(slope.sum() for slope in slopes), leaves))
    for found, expected in zip(*second, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_sizes_that_do_not_fit_are_refused() -> None:
    two, three = torch.zeros(2).numpy(), torch.zeros(3).numpy()
    with pytest.raises(SmolfastError, match="sizes don't fit"):
        _native.swiglu(two, three, two, 1)
    with pytest.raises(SmolfastError, match="sizes don't fit"):
        _native.swiglu_backward(two, two, two, two, three, 1)
