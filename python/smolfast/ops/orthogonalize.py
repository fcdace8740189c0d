"""`newton_schulz`: the orthogonalisation inside Muon, batched."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from smolfast import _native, reference
from smolfast.errors import SmolfastError
from smolfast.ops.differentiation import is_transformed
from smolfast.ops.precision import without_autocast
from smolfast.reference import Coefficients

_DTYPES: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


def newton_schulz(
    G: Tensor,
    steps: int = 5,
    coefficients: Coefficients = "muon",
    form: Literal["auto", "plain", "gram"] = "auto",
    dtype: torch.dtype | None = None,
    *,
    eps: float = 1e-7,
) -> Tensor:
    """Drive the singular values of every matrix to about 1, keeping its singular vectors.

    G / max(‖G‖_F, eps) goes through `steps` odd quintic polynomials σ → aσ + bσ³ + cσ⁵. It approximates the orthogonal
    factor UVᵀ of the singular value decomposition; it is not a Hessian approximation.

    Args:
        G: [n, m] or [..., n, m], each matrix on its own. Tall ones are worked on transposed.
        steps: polynomials applied, 0 to 99.
        coefficients: "muon" (Jordan et al. 2024; singular values of at least 0.02 of the norm end in [0.68, 1.14] after
            5 steps), "polar_express" (arXiv 2505.16932, for singular values of at least 1.25e-3 of the norm: those from
            2e-3 on end in [0.914, 1.080]), "taylor", a triple for every step, or a list of triples whose last one
            repeats.
        form: "plain" iterates on the matrix, "gram" on the small XXᵀ with one multiplication at the end; "auto" takes
            the one with fewer operations.
        dtype: what to compute in. By default fp32 (fp64 for fp64) on a CPU, bf16 in the GPU kernels.
        eps: smallest norm divided by: zeros stay zeros.

    Returns:
        the shape and dtype of G. A matrix with a NaN or an infinity becomes all NaN; the others of the batch are
        untouched.

    Raises:
        SmolfastError: fewer than 2 dimensions, not floating point, unknown coefficients, form or dtype, bad steps.
    """
    if G.ndim < 2 or not G.is_floating_point():
        raise SmolfastError(
            f"newton_schulz: G is {G.dtype} {list(G.shape)}; expected floating-point matrices [..., n, m]"
        )
    if form not in ("auto", "plain", "gram"):
        raise SmolfastError(f"newton_schulz: form = '{form}' is unknown; choose auto, plain or gram")
    if dtype is not None and dtype not in _NAMES:
        raise SmolfastError(f"newton_schulz: dtype = {dtype} can't be computed in; choose one of {', '.join(_DTYPES)}")
    triples = reference.resolve_coefficients(coefficients, steps)
    flat = [number for triple in triples for number in triple]
    if is_transformed():
        compute = dtype or (torch.float64 if G.dtype == torch.float64 else torch.float32)
        return reference.newton_schulz(G, triples, form, compute, eps)
    result: Tensor = _newton_schulz(G, flat, form, None if dtype is None else _NAMES[dtype], eps)
    return result


def _kernels() -> Any:
    """The Triton kernels, or None where Triton has no build."""
    try:
        return importlib.import_module("smolfast.kernels.newton_schulz")
    except ModuleNotFoundError as error:
        if error.name != "triton":
            raise
        return None


def _triples(flat: list[float]) -> list[tuple[float, float, float]]:
    return list(zip(flat[0::3], flat[1::3], flat[2::3], strict=True))


def newton_schulz_parts(
    rows: int, columns: int, triples: Sequence[tuple[float, float, float]], form: str = "auto"
) -> list[int]:
    """How the native code cuts the steps for the Gram form; nothing for the plain form."""
    n, m = sorted((rows, columns))
    return [len(part) for part in reference.cut_steps(n, m, triples, form)]


@torch.library.custom_op("smolfast::newton_schulz", mutates_args=())
def _newton_schulz(G: Tensor, coefficients: list[float], form: str, dtype: str | None, eps: float) -> Tensor:
    compute = None if dtype is None else _DTYPES[dtype]
    with without_autocast(G):
        return reference.newton_schulz(G, _triples(coefficients), form, compute, eps)


@_newton_schulz.register_kernel("cpu")
def _(G: Tensor, coefficients: list[float], form: str, dtype: str | None, eps: float) -> Tensor:
    triples, compute = _triples(coefficients), None if dtype is None else _DTYPES[dtype]
    if compute not in (None, torch.float32) or G.dtype == torch.float64:
        with without_autocast(G):
            return reference.newton_schulz(G, triples, form, compute, eps)
    source = G.to(torch.float32).contiguous()
    result = torch.empty_like(source)
    if result.numel():
        stack = (-1, *G.shape[-2:])
        parts = newton_schulz_parts(G.shape[-2], G.shape[-1], triples, form)
        threads = torch.get_num_threads()
        _native.newton_schulz(source.view(stack).numpy(), result.view(stack).numpy(), triples, parts, eps, threads)
    return result.to(G.dtype)


@_newton_schulz.register_kernel("cuda")
def _(G: Tensor, coefficients: list[float], form: str, dtype: str | None, eps: float) -> Tensor:
    kernels, compute = _kernels(), None if dtype is None else _DTYPES[dtype]
    # Triton has no fp64 matrix product, and fp64 input asks for more than 16 bits.
    implementation = reference if kernels is None or torch.float64 in (compute, G.dtype) else kernels
    with without_autocast(G):
        result: Tensor = implementation.newton_schulz(G, _triples(coefficients), form, compute, eps)
    return result


@_newton_schulz.register_fake
def _(G: Tensor, *_: Any) -> Tensor:
    return G.new_empty(G.shape)


@torch.library.custom_op("smolfast::newton_schulz_backward", mutates_args=())
def _newton_schulz_backward(grad: Tensor, G: Tensor, coefficients: list[float], eps: float) -> Tensor:
    with without_autocast(G):
        return reference.newton_schulz_backward(grad, G, _triples(coefficients), eps).contiguous()


@_newton_schulz_backward.register_fake
def _(grad: Tensor, G: Tensor, *_: Any) -> Tensor:
    return G.new_empty(G.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0])
    ctx.coefficients, ctx.eps = inputs[1], inputs[4]


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    if torch.is_grad_enabled():  # gradients of gradients are wanted
        with without_autocast(grad):
            dG = reference.newton_schulz_backward(grad, ctx.saved_tensors[0], _triples(ctx.coefficients), ctx.eps)
        return dG, None, None, None, None
    return _newton_schulz_backward(grad, ctx.saved_tensors[0], ctx.coefficients, ctx.eps), None, None, None, None


_newton_schulz.register_autograd(_backward, setup_context=_setup_context)
