"""The Newton–Schulz kernels under Triton's interpreter, on shapes that fit no block."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton has no build for this platform")

import torch
from torch import Tensor

from smolfast.kernels import newton_schulz as kernel
from smolfast.reference import newton_schulz as reference
from smolfast.reference import resolve_coefficients

interpreted = pytest.mark.skipif(not kernel.INTERPRETED, reason="runs in the subprocess of test_under_the_interpreter")

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
SHAPES = [(1, 1, 1), (1, 5, 7), (3, 16, 16), (2, 17, 33), (1, 35, 35), (1, 50, 3)]


def test_under_the_interpreter() -> None:
    """Triton decides at import whether it interprets, so the tests below run in a process of their own."""
    if kernel.INTERPRETED:
        pytest.skip("this is that process")
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-n",
        "0",
        "--no-cov",
        str(Path(__file__)),
    ]
    if not _has_plugin("pytest_cov"):
        command.remove("--no-cov")
    run = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert " passed" in run.stdout


def _has_plugin(name: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(name) is not None


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def tolerance(dtype: torch.dtype) -> float:
    return {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}[dtype]


@interpreted
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_symmetric_product(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    X = randn(*shape, dtype=dtype)
    exact = X.double() @ X.double().mT
    for source in (X, X.mT.contiguous().mT):  # rows or columns contiguous
        got = kernel.symmetric(source, source)
        torch.testing.assert_close(
            got.double(), exact, rtol=tolerance(dtype), atol=tolerance(dtype) * exact.abs().max()
        )
        assert torch.equal(got, got.mT)
    C = (exact / exact.abs().max()).to(dtype)
    got = kernel.symmetric(X, X, C, alpha=0.5, beta=-2.0, gamma=3.0)
    expected = 0.5 * exact - 2 * C.double() + 3 * torch.eye(shape[1], dtype=torch.float64)
    torch.testing.assert_close(got.double(), expected, rtol=tolerance(dtype), atol=tolerance(dtype) * exact.abs().max())


@interpreted
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_multiply_and_add(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    X, A = randn(*shape, dtype=dtype), randn(shape[0], shape[1], shape[1], seed=1, dtype=dtype)
    for scale in (0.0, 3.5):
        exact = A.double() @ X.double() + scale * X.double()
        for source in (X, X.mT.contiguous().mT):
            got = kernel.multiply(A, source, scale)
            assert got.stride() == source.stride() or 1 in shape
            torch.testing.assert_close(
                got.double(), exact, rtol=tolerance(dtype), atol=tolerance(dtype) * exact.abs().max()
            )


@interpreted
@pytest.mark.parametrize("form", ["plain", "gram"])
@pytest.mark.parametrize("shape", [(9, 40), (40, 9), (33, 33), (2, 1, 7, 12)], ids=str)
@pytest.mark.parametrize("name", ["muon", "polar_express"])
def test_whole_iteration_in_fp32_is_the_reference(shape: tuple[int, ...], form: str, name: str) -> None:
    G, triples = randn(*shape), resolve_coefficients(name, 5)
    got = kernel.newton_schulz(G, triples, form, torch.float32)
    torch.testing.assert_close(got, reference(G.double(), triples, "plain").float(), rtol=1e-3, atol=1e-3)


@interpreted
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_restart_keeps_16_bits_stable(dtype: torch.dtype) -> None:
    """The Gram form with its restart errs no more than twice as much as the plain form in the same precision."""
    G, triples = randn(24, 150, seed=3), resolve_coefficients("polar_express", 5)
    exact = reference(G.double(), triples, "plain")
    error = {
        form: (kernel.newton_schulz(G, triples, form, dtype) - exact).norm() / exact.norm()
        for form in ("plain", "gram")
    }
    assert error["gram"] <= 2 * error["plain"]
    assert error["gram"] < 0.05


@interpreted
def test_defined_on_zeros_nan_and_rank_deficient() -> None:
    G = randn(4, 6, 8)
    G[0] = 0
    G[1, 2, 3] = torch.nan
    G[2, 1:] = G[2, :1]
    triples = resolve_coefficients("muon", 5)
    for form in ("plain", "gram"):
        got = kernel.newton_schulz(G, triples, form)
        assert not got[0].any()
        assert got[1].isnan().all()
        assert torch.linalg.svdvals(got[2])[1] < 0.05
        torch.testing.assert_close(got[3], kernel.newton_schulz(G[3], triples, form))


def test_blocks_fit_every_family() -> None:
    for family, kernels in kernel.BLOCKS.items():
        for name, by_size in kernels.items():
            for size, blocks in by_size.items():
                assert name != "symmetric" or blocks.m == blocks.n, (family, size)  # a triangle of square tiles
                assert blocks.k * size >= 32


def test_gram_pays_for_wide_matrices_only() -> None:
    assert kernel.gram_pays(512, 2752, 5, 1)
    assert kernel.gram_pays(2048, 11008, 5, 1)
    assert not kernel.gram_pays(2048, 2048, 5, 1)


def test_small_matrices_take_the_vendors_products() -> None:
    X, C = randn(2, 5, 7), randn(2, 5, 5, seed=1)
    got = kernel._Vendor.symmetric(X, X, C, alpha=0.5, beta=2.0, gamma=1.0)
    torch.testing.assert_close(got, 0.5 * X @ X.mT + 2 * C + torch.eye(5))
    torch.testing.assert_close(kernel._Vendor.symmetric(X, X, alpha=0.5), 0.5 * X @ X.mT)
    torch.testing.assert_close(kernel._Vendor.multiply(C, X, 2.0), C @ X + 2 * X)
    torch.testing.assert_close(kernel._Vendor.multiply(C, X), C @ X)
