"""Newton–Schulz orthogonalisation in plain torch: the quintic iteration on X, or on the small Gram matrix XXᵀ.

Sources: Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024) for the iteration and its
`muon` coefficients; Amsel et al., "The Polar Express" (arXiv 2505.16932, Algorithm 1) for `polar_express`; the Gram
form computes the same polynomial from R = XXᵀ alone (Dao AI Lab, "Gram Newton–Schulz").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from smolfast.errors import SmolfastError

Triple = tuple[float, float, float]
Coefficients = str | Triple | Sequence[Triple]


POLAR_EXPRESS_LOWER = 1.25e-3
POLAR_EXPRESS_CUSHION = 0.02407
POLAR_EXPRESS_SAFETY = 1.01

COEFFICIENTS: dict[str, tuple[Triple, ...]] = {
    # The steepest stable slope at zero: singular values end in about [0.68, 1.13], not at 1.
    "muon": ((3.4445, -4.7750, 2.0315),),
    # Converges to 1 for every singular value, but needs more steps for small ones.
    "taylor": ((15 / 8, -10 / 8, 3 / 8),),
    # Algorithm 1 of arXiv 2505.16932 by its own recipe (cushion, safety), for singular values in [1.25e-3, 1] of the
    # norm. Each step is the quintic nearest to 1 on what the steps before made of that interval. The paper's table is
    # for [1e-3, 1], and leaves [0.87, 1.124] of it after five steps; this one leaves [0.914, 1.080] of [2e-3, 1].
    "polar_express": (
        (8.278662327906641, -23.57167999283248, 17.282669383054337),
        (4.093911981652787, -2.9445216122744133, 0.5453570217185625),
        (3.900200914788297, -2.8976934411218136, 0.5543803310922039),
        (3.161150944960536, -2.3702327676620505, 0.49667440501335164),
        (2.180339096907322, -1.558691703491976, 0.4069779544211945),
        (1.8817249930043098, -1.2574520864110206, 0.37574598676784127),
        (15 / 8, -10 / 8, 3 / 8),
    ),
}


def _with_safety(triples: Sequence[Triple], factor: float) -> tuple[Triple, ...]:
    """Shrink the argument of each polynomial, so that rounding can't push singular values past its interval."""
    return tuple((a / factor, b / factor**3, c / factor**5) for a, b, c in triples)


_polar = COEFFICIENTS["polar_express"]
COEFFICIENTS["polar_express"] = (*_with_safety(_polar[:-1], POLAR_EXPRESS_SAFETY), _polar[-1])


def resolve_coefficients(coefficients: Coefficients, steps: int) -> tuple[Triple, ...]:
    """One (a, b, c) per step: a name of `COEFFICIENTS`, one triple for every step, or a list whose last one repeats.

    Raises:
        SmolfastError: an unknown name, or something that isn't made of triples of numbers.
    """
    if steps < 0 or steps >= 100:
        raise SmolfastError(f"steps = {steps}: Newton–Schulz takes 0 to 99 steps; 5 is usual")
    if isinstance(coefficients, str):
        if coefficients not in COEFFICIENTS:
            raise SmolfastError(f"coefficients = '{coefficients}' is unknown; choose one of {', '.join(COEFFICIENTS)}")
        triples: Sequence[Triple] = COEFFICIENTS[coefficients]
    else:
        items: list[Any] = list(coefficients)
        try:
            rows = [items] if items and isinstance(items[0], int | float) else items
            triples = [(float(a), float(b), float(c)) for a, b, c in rows]
        except (TypeError, ValueError) as error:
            raise SmolfastError(
                f"coefficients = {coefficients!r}: expected a name, a triple (a, b, c), or a list of triples"
            ) from error
    if not triples:
        raise SmolfastError("coefficients is empty; give at least one triple (a, b, c)")
    return tuple(triples[min(step, len(triples) - 1)] for step in range(steps))


# A step multiplies the error of a small eigenvalue of R by up to a². Where these factors pass this, R is taken afresh
# from X: five "muon" steps (2e4) go unbroken, five "polar_express" ones (2e5) don't: their error would pass 1e-3.
_GRAM_GROWTH = 5e4


def gram_parts(coefficients: Sequence[Triple]) -> list[Sequence[Triple]]:
    """The steps in as few equal parts as keep the Gram form's error small, each of which starts from X."""
    steps = len(coefficients)
    parts: list[Sequence[Triple]] = []
    for count in range(1, steps + 1):
        parts = [coefficients[steps * part // count : steps * (part + 1) // count] for part in range(count)]
        if all(math.prod(a * a for a, _, _ in part[:-1]) <= _GRAM_GROWTH for part in parts):
            break
    return parts


def gram_pays(rows: int, columns: int, steps: int, parts: int) -> bool:
    """Whether the Gram form takes fewer operations for rows ≤ columns, symmetric products at half price.

    Plain takes XXᵀ, A² and BX each step. Gram takes XXᵀ and QX once for each part, R² each step, and PR, PRP and
    PQ in all of a part's steps but one.
    """
    n, m = rows, columns
    return parts * 3 * n * n * m + (5 * steps - 4 * parts) * n**3 < steps * (3 * n * n * m + n**3)


def newton_schulz(
    G: Tensor, coefficients: Sequence[Triple], form: str = "auto", dtype: torch.dtype | None = None, eps: float = 1e-7
) -> Tensor:
    """Orthogonalise matrices: put the singular values of each G / max(‖G‖_F, eps) through polynomials that drive them
    to 1.

    Args:
        G: [..., n, m]. Matrices are independent: a NaN or infinity in one makes that one's result NaN, no other's.
        coefficients: one (a, b, c) per step; a step maps each singular value σ to aσ + bσ³ + cσ⁵.
        form: "plain" iterates on X, "gram" on XXᵀ (cheaper when m is well above n), "auto" takes the cheaper.
        dtype: what to compute in; by default fp32, or fp64 for fp64 input.
        eps: smallest norm divided by. A zero matrix gives zeros; one of norm below eps shrinks with its norm.

    Returns:
        the shape and dtype of G, contiguous.
    """
    compute = dtype or (torch.float64 if G.dtype == torch.float64 else torch.float32)
    if G.numel() == 0:
        return torch.empty_like(G, memory_format=torch.contiguous_format)
    tall = G.shape[-2] > G.shape[-1]
    X = (G.mT if tall else G).to(compute).reshape(-1, *((G.mT if tall else G).shape[-2:]))
    norm = torch.linalg.vector_norm(X, dim=(-2, -1), keepdim=True).clamp(min=eps)
    X = _iterate(X / norm, coefficients, form)
    X = X.mT if tall else X
    return X.reshape(G.shape).to(G.dtype).contiguous()


def cut_steps(n: int, m: int, coefficients: Sequence[Triple], form: str) -> list[Sequence[Triple]]:
    """The parts of the Gram form for matrices with n ≤ m, none where the plain form is asked for or is cheaper."""
    parts = gram_parts(coefficients)
    if form == "gram" or (form == "auto" and gram_pays(n, m, len(coefficients), len(parts))):
        return parts
    return []


def _iterate(X: Tensor, coefficients: Sequence[Triple], form: str) -> Tensor:
    """X [batch, n, m] of norm 1, n ≤ m."""
    parts = cut_steps(X.shape[-2], X.shape[-1], coefficients, form)
    for part in parts:
        X = _gram_iterations(X, part)
    for a, b, c in () if parts else coefficients:
        A = X @ X.mT
        X = torch.baddbmm(X, torch.baddbmm(A, A, A, beta=b, alpha=c), X, beta=a)
    return X


def _gram_iterations(X: Tensor, coefficients: Sequence[Triple]) -> Tensor:
    """Each step is X ← PX with P = aI + bR + cR², R = XXᵀ; P commutes with R, so R ← PRP without touching X.

    Q is symmetric too, but for rounding, which mirroring would spread: it is multiplied out whole, P from the left.
    """
    R = X @ X.mT
    Q: Tensor | None = None
    for step, (a, b, c) in enumerate(coefficients):
        P = torch.baddbmm(R, R, R, beta=b, alpha=c)
        P.diagonal(dim1=-2, dim2=-1).add_(a)
        Q = P if Q is None else P @ Q
        if step + 1 < len(coefficients):
            R = P @ R @ P
    assert Q is not None
    return Q @ X


def newton_schulz_backward(grad: Tensor, G: Tensor, coefficients: Sequence[Triple], eps: float) -> Tensor:
    """Gradient of the plain iteration with respect to G; keeps one X per step."""
    compute = torch.float64 if G.dtype == torch.float64 else torch.float32
    G_, dX = G.to(compute), grad.to(compute)
    norm = torch.linalg.vector_norm(G_, dim=(-2, -1), keepdim=True)
    scale = norm.clamp(min=eps)
    iterates = [G_ / scale]
    for a, b, c in coefficients:
        X = iterates[-1]
        A = X @ X.mT
        iterates.append(a * X + (b * A + c * (A @ A)) @ X)
    for (a, b, c), X in zip(reversed(coefficients), reversed(iterates[:-1]), strict=True):
        A = X @ X.mT
        B = b * A + c * (A @ A)
        dB = dX @ X.mT
        dA = b * dB + c * (dB @ A + A @ dB)
        dX = a * dX + B @ dX + (dA + dA.mT) @ X
    X = iterates[0]
    radial = torch.where(norm > eps, (X * dX).sum((-2, -1), keepdim=True), 0.0)
    gradient: Tensor = ((dX - X * radial) / scale).to(G.dtype)
    return gradient
