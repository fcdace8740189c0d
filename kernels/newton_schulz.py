"""Newton–Schulz orthogonalisation in Triton: NVIDIA and AMD, needs torch and triton only.

``newton_schulz(G, coefficients)`` puts the singular values of every matrix of a batch through odd quintic polynomials
that drive them to about 1 (Jordan et al., "Muon", 2024). Its products go to two kernels:

- ``symmetric``: α ABᵀ + β C + γ I where the result is known to be symmetric (XXᵀ, bR + cR², PRP). Only tiles on and
  below the diagonal are computed; the rest are stored mirrored.
- ``multiply``: AX + a X.

The Gram form works on R = XXᵀ alone: with P = aI + bR + cR² a step X ← PX is R ← PRP and Q ← PQ, and X ← QX comes once
at the end. In 16 bits R is computed afresh from X after two steps, before its rounding errors grow (Dao AI Lab, "Gram
Newton–Schulz"). For n ≤ m and five steps that is 6n²m + 17n³ operations, where the plain form takes 15n²m + 5n³.

Q is symmetric too, but PQ is computed whole: mirroring it mixes PQ with QP, which puts the late, noisy factors under
the large gains of the early ones (33 × 33 in fp32, smallest singular value 3e-4 of the norm: error 3e-3 against 2e-5).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

INTERPRETED = os.environ.get("TRITON_INTERPRET", "0") == "1"
# Triton's interpreter returns garbage for a bfloat16 dot, so operands are widened there (after rounding).
_WIDEN = tl.constexpr(INTERPRETED)

Triple = tuple[float, float, float]
MUON: Triple = (3.4445, -4.7750, 2.0315)

VENDOR_ROWS = 256
"""Matrices of at most this many rows go to the vendor's batched GEMM: few tiles are left to save."""

MAX_ROWS = 46_340
"""n² must stay below 2³¹."""

RESTART_STEPS = 2
"""In 16 bits the Gram form takes R = XXᵀ afresh after this many steps, once."""


class Blocks(NamedTuple):
    """How a kernel is cut: tile rows, tile columns, depth of a step, warps, pipeline stages."""

    m: int
    n: int
    k: int
    warps: int
    stages: int


# family → kernel → bytes of an element → blocks, by ahead-of-time figures: no spills, within the shared memory. fp32
# runs without matrix units (ieee).
BLOCKS: dict[str, dict[str, dict[int, Blocks]]] = {
    "interpreter": {
        name: {2: Blocks(32, 32, 32, 4, 1), 4: Blocks(32, 32, 32, 4, 1)} for name in ("symmetric", "multiply")
    },
    "sm_80": {
        "symmetric": {2: Blocks(128, 128, 32, 8, 4), 4: Blocks(64, 64, 16, 8, 3)},
        "multiply": {2: Blocks(128, 128, 32, 8, 4), 4: Blocks(64, 64, 16, 8, 3)},
    },
    "sm_90": {
        "symmetric": {2: Blocks(128, 128, 64, 8, 4), 4: Blocks(64, 64, 16, 8, 3)},
        "multiply": {2: Blocks(128, 128, 64, 8, 4), 4: Blocks(64, 64, 16, 8, 3)},
    },
    "sm_100": {
        "symmetric": {2: Blocks(128, 128, 64, 8, 4), 4: Blocks(64, 64, 16, 8, 3)},
        "multiply": {2: Blocks(128, 128, 64, 8, 4), 4: Blocks(64, 64, 16, 8, 3)},
    },
    "gfx942": {
        "symmetric": {2: Blocks(128, 128, 32, 8, 2), 4: Blocks(64, 64, 16, 8, 2)},
        "multiply": {2: Blocks(128, 128, 32, 8, 2), 4: Blocks(64, 64, 16, 8, 2)},
    },
}


def device_family(device: torch.device) -> str:
    """The row of BLOCKS that serves a device."""
    if INTERPRETED:
        return "interpreter"
    if torch.version.hip:
        return "gfx942"
    major = torch.cuda.get_device_capability(device)[0]
    return {9: "sm_90", 10: "sm_100"}.get(major, "sm_80")  # sm_12x has sm_8x's shared memory and no wgmma


@triton.jit
def _dot(a, b, acc, PRECISION: tl.constexpr):
    if _WIDEN:
        return tl.dot(a.to(tl.float32), b.to(tl.float32), acc, input_precision="ieee")
    return tl.dot(a, b, acc, input_precision=PRECISION)


@triton.jit
def symmetric_kernel(
    A, B, C, OUT, n, k, a_batch, a_row, a_column, b_batch, b_row, b_column, alpha, beta, gamma,
    HAS_C: tl.constexpr, PRECISION: tl.constexpr, BLOCK: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """OUT = alpha · A Bᵀ + beta · C + gamma · I; A, B [batch, n, k]; C, OUT contiguous [batch, n, n], symmetric."""
    tile, batch = tl.program_id(0), tl.program_id(1).to(tl.int64)
    # Row i of a triangle starts at tile i (i + 1) / 2; the square root may be off by one.
    i = ((tl.sqrt(8.0 * tile.to(tl.float32) + 1.0) - 1.0) * 0.5).to(tl.int32)
    i = tl.where(i * (i + 1) // 2 > tile, i - 1, i)
    i = tl.where((i + 1) * (i + 2) // 2 <= tile, i + 1, i)
    j = tile - i * (i + 1) // 2
    rows, columns = i * BLOCK + tl.arange(0, BLOCK), j * BLOCK + tl.arange(0, BLOCK)
    depth = tl.arange(0, BLOCK_K)
    a = A + batch * a_batch + rows.to(tl.int64)[:, None] * a_row + depth[None, :] * a_column
    b = B + batch * b_batch + columns.to(tl.int64)[None, :] * b_row + depth[:, None] * b_column
    acc = tl.zeros((BLOCK, BLOCK), dtype=tl.float32)
    for start in range(0, k, BLOCK_K):
        left = tl.load(a, mask=(rows[:, None] < n) & (start + depth[None, :] < k), other=0.0)
        right = tl.load(b, mask=(columns[None, :] < n) & (start + depth[:, None] < k), other=0.0)
        acc = _dot(left, right, acc, PRECISION)
        a += BLOCK_K * a_column
        b += BLOCK_K * b_column
    acc *= alpha
    square = n.to(tl.int64) * n
    at = rows[:, None] * n + columns[None, :]  # 32 bits: addresses of 64 cost registers
    inside = (rows[:, None] < n) & (columns[None, :] < n)
    if HAS_C:
        acc += beta * tl.load(C + batch * square + at, mask=inside, other=0.0).to(tl.float32)
    acc += tl.where(rows[:, None] == columns[None, :], gamma, 0.0)
    result = acc.to(OUT.dtype.element_ty)
    flipped = tl.trans(result)
    if i == j:
        result = tl.where(rows[:, None] >= columns[None, :], result, flipped)  # symmetric to the last bit
    else:
        mirrored = columns[:, None] * n + rows[None, :]
        tl.store(OUT + batch * square + mirrored, flipped, mask=(columns[:, None] < n) & (rows[None, :] < n))
    tl.store(OUT + batch * square + at, result, mask=inside)


@triton.jit
def multiply_kernel(
    A, X, OUT, n, m, x_batch, x_row, x_column, out_batch, out_row, out_column, scale,
    ADD: tl.constexpr, PRECISION: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
    GROUP: tl.constexpr,
):  # fmt: skip
    """OUT = A X + scale · X; A contiguous [batch, n, n], X and OUT [batch, n, m]."""
    tile, batch = tl.program_id(0), tl.program_id(1).to(tl.int64)
    # Tiles go down in strips of GROUP rows, so that programs running together share A's rows and X's columns in the L2.
    tall, wide = tl.cdiv(n, BLOCK_M), tl.cdiv(m, BLOCK_N)
    strip = tile // (GROUP * wide)
    height = tl.minimum(tall - strip * GROUP, GROUP)
    within = tile % (GROUP * wide)
    i, j = strip * GROUP + within % height, within // height
    rows, columns = i * BLOCK_M + tl.arange(0, BLOCK_M), j * BLOCK_N + tl.arange(0, BLOCK_N)
    depth = tl.arange(0, BLOCK_K)
    square = n.to(tl.int64) * n
    a = A + batch * square + rows.to(tl.int64)[:, None] * n + depth[None, :]
    x = X + batch * x_batch + depth.to(tl.int64)[:, None] * x_row + columns.to(tl.int64)[None, :] * x_column
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, n, BLOCK_K):
        left = tl.load(a, mask=(rows[:, None] < n) & (start + depth[None, :] < n), other=0.0)
        right = tl.load(x, mask=(start + depth[:, None] < n) & (columns[None, :] < m), other=0.0)
        acc = _dot(left, right, acc, PRECISION)
        a += BLOCK_K
        x += BLOCK_K * x_row
    inside = (rows[:, None] < n) & (columns[None, :] < m)
    if ADD:
        at = rows.to(tl.int64)[:, None] * x_row + columns.to(tl.int64)[None, :] * x_column
        acc += scale * tl.load(X + batch * x_batch + at, mask=inside, other=0.0).to(tl.float32)
    at = rows.to(tl.int64)[:, None] * out_row + columns.to(tl.int64)[None, :] * out_column
    tl.store(OUT + batch * out_batch + at, acc.to(OUT.dtype.element_ty), mask=inside)


def _precision(dtype: torch.dtype) -> str:
    return "ieee" if dtype == torch.float32 else "tf32"  # only fp32 looks at it


def symmetric(
    A: Tensor, B: Tensor, C: Tensor | None = None, alpha: float = 1.0, beta: float = 0.0, gamma: float = 0.0
) -> Tensor:
    """alpha · A Bᵀ + beta · C + gamma · I for a result known to be symmetric: half the products, mirrored.

    Args:
        A, B: [batch, n, k], any strides. C: contiguous [batch, n, n], symmetric, or None.

    Returns:
        contiguous [batch, n, n] in A's dtype; products accumulate in fp32.
    """
    batch, n, k = A.shape
    if n > MAX_ROWS:
        raise ValueError(f"newton_schulz: {n} rows on the shorter side; at most {MAX_ROWS} can be indexed in 32 bits")
    out = torch.empty((batch, n, n), dtype=A.dtype, device=A.device)
    blocks = BLOCKS[device_family(A.device)]["symmetric"][A.element_size()]
    tiles = triton.cdiv(n, blocks.m)
    symmetric_kernel[(tiles * (tiles + 1) // 2, batch)](
        A, B, C if C is not None else A, out, n, k, *A.stride(), *B.stride(), alpha, beta, gamma,
        HAS_C=C is not None, PRECISION=_precision(A.dtype), BLOCK=blocks.m, BLOCK_K=blocks.k,
        num_warps=blocks.warps, num_stages=blocks.stages,
    )  # fmt: skip
    return out


def multiply(A: Tensor, X: Tensor, scale: float = 0.0) -> Tensor:
    """A X + scale · X.

    Args:
        A: contiguous [batch, n, n]. X: [batch, n, m], any strides; the result has the same.
    """
    batch, n, m = X.shape
    out = torch.empty_like(X)
    blocks = BLOCKS[device_family(A.device)]["multiply"][A.element_size()]
    multiply_kernel[(triton.cdiv(n, blocks.m) * triton.cdiv(m, blocks.n), batch)](
        A, X, out, n, m, *X.stride(), *out.stride(), scale,
        ADD=scale != 0.0, PRECISION=_precision(A.dtype), BLOCK_M=blocks.m, BLOCK_N=blocks.n, BLOCK_K=blocks.k, GROUP=8,
        num_warps=blocks.warps, num_stages=blocks.stages,
    )  # fmt: skip
    return out


class _Triton:
    """The products of an iteration, by the kernels above."""

    symmetric = staticmethod(symmetric)
    multiply = staticmethod(multiply)


class _Vendor:
    """The same products by the vendor's batched GEMM, for matrices too small for a triangle of tiles."""

    @staticmethod
    def symmetric(
        A: Tensor, B: Tensor, C: Tensor | None = None, alpha: float = 1.0, beta: float = 0.0, gamma: float = 0.0
    ) -> Tensor:
        if C is not None:
            out = torch.baddbmm(C, A, B.mT, beta=beta, alpha=alpha)
        else:
            out = torch.bmm(A, B.mT)
            if alpha != 1.0:
                out.mul_(alpha)
        if gamma:
            out.diagonal(dim1=-2, dim2=-1).add_(gamma)
        return out

    @staticmethod
    def multiply(A: Tensor, X: Tensor, scale: float = 0.0) -> Tensor:
        return torch.baddbmm(X, A, X, beta=scale) if scale else torch.bmm(A, X)


def gram_pays(n: int, m: int, steps: int, restarts: int) -> bool:
    """Whether the Gram form takes fewer operations for n ≤ m; symmetric products count half."""
    plain = steps * (3 * n * n * m + n**3)
    parts = 1 + restarts
    gram = parts * 3 * n * n * m + (5 * steps - 4 * parts) * n**3
    return gram < plain


def newton_schulz(
    G: Tensor,
    coefficients: Sequence[Triple] = (MUON,) * 5,
    form: str = "auto",
    dtype: torch.dtype | None = None,
    eps: float = 1e-7,
) -> Tensor:
    """Orthogonalise the matrices of G: singular values of G / max(‖G‖_F, eps) go through one polynomial a step.

    Args:
        G: [..., n, m] on a GPU, any strides. Tall matrices are read transposed where they lie.
        coefficients: (a, b, c) of each step σ → aσ + bσ³ + cσ⁵.
        form: "plain", "gram", or "auto" for the one with fewer operations.
        dtype: bfloat16 (default), float16 or float32.
        eps: smallest norm divided by; zeros stay zeros. A matrix with NaN or infinity becomes all NaN.

    Returns:
        the shape and dtype of G, contiguous.
    """
    if G.numel() == 0:
        return torch.empty_like(G, memory_format=torch.contiguous_format)
    compute = dtype or torch.bfloat16
    steps = list(coefficients)
    X = G.reshape(-1, *G.shape[-2:])
    norm = torch.linalg.vector_norm(X, dim=(-2, -1), keepdim=True, dtype=torch.float32).clamp(min=eps)
    X = (X / norm).to(compute)
    tall = X.shape[-2] > X.shape[-1]
    if tall:
        X = X.mT
    n, m = X.shape[-2:]
    products = _Vendor if n <= VENDOR_ROWS and not INTERPRETED else _Triton
    half = compute != torch.float32
    cuts = [steps[:RESTART_STEPS], steps[RESTART_STEPS:]] if half and len(steps) > RESTART_STEPS else [steps]
    if steps and (form == "gram" or (form == "auto" and gram_pays(n, m, len(steps), len(cuts) - 1))):
        for cut in cuts:
            X = _gram(X, cut, products)
    else:
        for a, b, c in steps:
            A = products.symmetric(X, X)
            X = products.multiply(products.symmetric(A, A, A, alpha=c, beta=b), X, scale=a)
    X = X.mT if tall else X
    return X.to(G.dtype).reshape(G.shape).contiguous()


def _gram(X: Tensor, steps: Sequence[Triple], products: type[_Triton] | type[_Vendor]) -> Tensor:
    """All factors are polynomials in R: they commute, but for rounding."""
    R = products.symmetric(X, X)
    Q: Tensor | None = None
    for index, (a, b, c) in enumerate(steps):
        P = products.symmetric(R, R, R, alpha=c, beta=b, gamma=a)
        Q = P if Q is None else products.multiply(P, Q)
        if index + 1 < len(steps):
            R = products.symmetric(P, products.symmetric(R, P))
    assert Q is not None
    return products.multiply(Q, X)


def aot_launches() -> Iterator[tuple[str, Callable[[], object]]]:
    """What benchmarks/aot.py compiles: a whole iteration on wide and on tall matrices, and bR + cR² + aI."""
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        name = str(dtype).removeprefix("torch.")
        wide, tall = (torch.empty(shape, dtype=dtype, device="meta") for shape in ((8, 2048, 11008), (8, 11008, 2048)))
        yield f"{name} wide gram", functools.partial(newton_schulz, wide, (MUON,) * 3, "gram", dtype)
        yield f"{name} tall plain", functools.partial(newton_schulz, tall, (MUON,) * 3, "plain", dtype)
        square = torch.empty(8, 2048, 2048, dtype=dtype, device="meta")
        yield f"{name} polynomial", functools.partial(symmetric, square, square, square, 2.0, 3.0, 4.0)
