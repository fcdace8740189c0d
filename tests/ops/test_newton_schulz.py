"""The Newton–Schulz operation against the singular values themselves, its documented ranges, gradcheck and opcheck."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.library import opcheck

from smolfast import SmolfastError, ops
from smolfast.ops import orthogonalize as newton_schulz_ops
from smolfast.reference import orthogonalize

OPCHECKS = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic")


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def brute_newton_schulz(G: Tensor, coefficients: list[tuple[float, float, float]]) -> Tensor:
    """The polynomials on the singular values themselves."""
    u, s, vh = torch.linalg.svd(G, full_matrices=False)
    s = s / torch.linalg.matrix_norm(G, keepdim=True)[..., 0]
    for a, b, c in coefficients:
        s = a * s + b * s**3 + c * s**5
    return u @ (s[..., None] * vh)


@pytest.mark.parametrize("shape", [(1, 1), (5, 5), (3, 17), (17, 3), (2, 6, 9), (2, 3, 12, 4), (1, 40)], ids=str)
@pytest.mark.parametrize("form", ["auto", "plain", "gram"])
def test_newton_schulz_is_the_polynomial_of_the_singular_values(shape: tuple[int, ...], form: Any) -> None:
    G = randn(*shape)
    for coefficients in ("muon", "polar_express", "taylor", (2.0, -1.5, 0.5), [(3.0, -3.0, 1.0), (1.5, -0.5, 0.0)]):
        triples = list(newton_schulz_ops.reference.resolve_coefficients(coefficients, 5))
        got = ops.newton_schulz(G, 5, coefficients, form)
        torch.testing.assert_close(got, brute_newton_schulz(G, triples), rtol=1e-7, atol=1e-7)


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize(
    "shape", [(1, 1), (16, 16), (5, 7), (33, 17), (3, 40, 9), (5, 70, 130), (2, 130, 70), (2, 2, 64, 64)], ids=str
)
@pytest.mark.parametrize("form", ["plain", "gram"])
def test_native_is_the_reference_whatever_the_instructions_and_threads(shape: tuple[int, ...], form: Any) -> None:
    G = randn(*shape, dtype=torch.float32)
    threads = torch.get_num_threads()
    for name in ("muon", "polar_express"):
        results = []
        triples = newton_schulz_ops.reference.resolve_coefficients(name, 5)
        expected = newton_schulz_ops.reference.newton_schulz(G.double(), triples, "plain")
        try:
            for count in (1, 2, 3, 7):
                torch.set_num_threads(count)
                results.append(ops.newton_schulz(G, 5, name, form))
        finally:
            torch.set_num_threads(threads)
        torch.testing.assert_close(results[-1].double(), expected, rtol=2e-4, atol=2e-4)
        assert all(torch.equal(result, results[0]) for result in results)


def test_native_leaves_its_input_alone_and_takes_any_layout() -> None:
    G = randn(3, 20, 30, dtype=torch.float32)
    kept = G.clone()
    want = ops.newton_schulz(G)
    assert torch.equal(G, kept)
    for other in (G.mT.contiguous().mT, torch.stack([G, G], -1)[..., 0]):
        assert torch.equal(ops.newton_schulz(other), want)
    torch.testing.assert_close(ops.newton_schulz(G.mT), want.mT, rtol=1e-4, atol=1e-4)
    assert ops.newton_schulz(G.bfloat16()).dtype == torch.bfloat16
    assert ops.newton_schulz(G[:0]).shape == (0, 20, 30)
    torch.testing.assert_close(ops.newton_schulz(G, 0), G / G.norm(dim=(1, 2), keepdim=True))


def with_singular_values(values: Tensor, columns: int) -> Tensor:
    n = values.shape[0]
    u, v = torch.linalg.qr(randn(n, n))[0], torch.linalg.qr(randn(columns, n, seed=1))[0]
    return (u * values) @ v.T


@pytest.mark.parametrize(("name", "low", "high"), [("muon", 0.67, 1.3), ("polar_express", 0.88, 1.12)])
@pytest.mark.parametrize("form", ["plain", "gram"])
def test_newton_schulz_in_fp32_ends_in_the_documented_range(name: str, low: float, high: float, form: Any) -> None:
    """Singular values from 0.02 to 0.9 of the norm."""
    values = torch.cat([torch.tensor([1.0], dtype=torch.float64), torch.logspace(-1.63, -0.9, 60, dtype=torch.float64)])
    G = with_singular_values(values, 90)
    assert 0.02 <= values.min() / G.norm() < 0.023
    spectrum = torch.linalg.svdvals(ops.newton_schulz(G.float(), 5, name, form).double())
    assert low <= spectrum.min()
    assert spectrum.max() <= high


def compose(name: str, steps: int, values: Tensor) -> Tensor:
    for a, b, c in newton_schulz_ops.reference.resolve_coefficients(name, steps):
        values = a * values + b * values**3 + c * values**5
    return values


@pytest.mark.parametrize(
    ("name", "steps", "smallest", "low", "high"),
    [
        ("muon", 5, 0.02, 0.67, 1.3),
        ("muon", 5, 1e-3, 0.46, 1.21),
        ("muon", 5, 1e-4, 0.047, 1.21),
        ("polar_express", 5, 0.02, 0.88, 1.12),
        ("polar_express", 5, 2e-3, 0.91, 1.081),
        ("polar_express", 5, 1e-3, 0.76, 1.081),
        ("polar_express", 5, 1e-4, 0.085, 1.081),
        ("polar_express", 8, 1e-3, 0.999, 1.001),
        ("polar_express", 8, 1e-4, 0.5, 1.001),
    ],
)
def test_ranges_in_the_documents(name: str, steps: int, smallest: float, low: float, high: float) -> None:
    values = torch.logspace(math.log10(smallest), 0, 200_001, dtype=torch.float64)
    spectrum = compose(name, steps, values)
    assert low <= spectrum.min()
    assert spectrum.max() <= high


def test_polar_express_is_its_algorithm() -> None:
    """Each step, less its safety factor, is the minimax quintic, by Chebyshev's alternation: an odd quintic with 3 free
    coefficients is the nearest to 1 on an interval if its error takes its largest value 4 times with alternating sign.
    Where the interval is wider than the cushion allows, the fit starts at the cushion and is scaled back to the middle.
    """
    low, high = orthogonalize.POLAR_EXPRESS_LOWER, 1.0
    safety = orthogonalize.POLAR_EXPRESS_SAFETY
    for a, b, c in newton_schulz_ops.reference.resolve_coefficients("polar_express", 6):
        coefficients = torch.tensor([a * safety, b * safety**3, c * safety**5], dtype=torch.float64)

        def step(x: Tensor, weights: Tensor = coefficients) -> Tensor:
            return weights[0] * x + weights[1] * x**3 + weights[2] * x**5

        start = max(low, orthogonalize.POLAR_EXPRESS_CUSHION * high)
        at = torch.linspace(start, high, 400_001, dtype=torch.float64)
        values = step(at)
        middle = (values.min() + values.max()) / 2  # scaled back, the fit is to this instead of to 1
        error, largest = values / middle - 1, float((values / middle - 1).abs().max())
        touches = error[error.abs() > largest * (1 - 1e-4)].sign()
        assert 1 + int((touches[1:] != touches[:-1]).sum()) == 4
        ends = step(torch.tensor([low, high], dtype=torch.float64))
        low, high = float(ends[0]), 2 - float(ends[0])
        reached = float(step(at).max())
        assert reached == pytest.approx(high, abs=1e-9)
    assert high < 1 + 1e-2


@pytest.mark.parametrize("name", ["muon", "polar_express"])
@pytest.mark.parametrize("steps", [5, 8])
@pytest.mark.parametrize("shape", [(100, 300), (400, 900)], ids=str)  # whole products and mirrored ones
def test_gram_is_plain_within_a_thousandth(name: str, steps: int, shape: tuple[int, int]) -> None:
    n, m = shape
    for values in (
        torch.logspace(-6, 0, n, dtype=torch.float64),
        torch.cat([torch.ones(1), torch.full((n - 1,), 2e-3)]).double(),
        torch.cat([torch.ones(20), torch.zeros(n - 20)]).double(),
    ):
        G = with_singular_values(values, m).float()
        plain, gram = (ops.newton_schulz(G, steps, name, form) for form in ("plain", "gram"))
        assert (plain - gram).abs().max() < 1e-3


def test_newton_schulz_on_zeros_nan_infinity_and_tiny_norms() -> None:
    G = randn(5, 4, 6, dtype=torch.float32)
    G[0], G[1, 2, 3], G[2, 0, 0], G[3] = 0, torch.nan, torch.inf, G[3] * 1e-30
    for form in ("plain", "gram"):
        got = ops.newton_schulz(G, form=form)  # type: ignore[arg-type]
        assert not got[0].any()
        assert got[1].isnan().all()
        assert got[2].isnan().all()
        assert got[3].abs().max() < 1e-15
        torch.testing.assert_close(got[4], ops.newton_schulz(G[4], form=form))  # type: ignore[arg-type]


def test_newton_schulz_gradcheck() -> None:
    for shape in ((3, 5), (5, 3), (2, 3, 3)):
        G = randn(*shape).requires_grad_()
        torch.autograd.gradcheck(lambda x: ops.newton_schulz(x, 3), (G,))


def test_opcheck_newton_schulz() -> None:
    for shape in ((3, 5), (2, 7, 2)):
        G = randn(*shape).requires_grad_()
        opcheck(newton_schulz_ops._newton_schulz, (G, [3.0, -3.0, 1.0] * 3, "auto", None, 1e-7), test_utils=OPCHECKS)
        opcheck(
            newton_schulz_ops._newton_schulz_backward,
            (G.detach(), G.detach(), [3.0, -3.0, 1.0], 1e-7),
            test_utils=OPCHECKS,
        )


def test_newton_schulz_refuses() -> None:
    with pytest.raises(SmolfastError, match=r"expected floating-point matrices"):
        ops.newton_schulz(torch.zeros(3))
    with pytest.raises(SmolfastError, match="choose auto, plain or gram"):
        ops.newton_schulz(torch.zeros(3, 3), form="fast")  # type: ignore[arg-type]
    with pytest.raises(SmolfastError, match="choose one of muon"):
        ops.newton_schulz(torch.zeros(3, 3), coefficients="moun")
    with pytest.raises(SmolfastError, match="list of triples"):
        ops.newton_schulz(torch.zeros(3, 3), coefficients=[(1.0, 2.0)])  # type: ignore[list-item]
    with pytest.raises(SmolfastError, match="0 to 99"):
        ops.newton_schulz(torch.zeros(3, 3), steps=100)
    with pytest.raises(SmolfastError, match="can't be computed in"):
        ops.newton_schulz(torch.zeros(3, 3), dtype=torch.int8)
