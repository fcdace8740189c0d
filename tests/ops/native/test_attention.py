"""Attention in C++ beside the reference in fp64, under every instruction set; and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from smolfast import SmolfastError, _native, ops, reference
from smolfast.ops.native import attention as native_attention


@pytest.fixture
def set_threads() -> Iterator[Any]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def randn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def cumulative(lengths: list[int]) -> Tensor:
    return torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)


#       query lengths, key lengths, query heads, key heads, width, rotated pairs, options
CASES: dict[str, tuple[list[int], list[int], int, int, int, int, dict[str, Any]]] = {
    "documents": ([260, 17, 1], [260, 17, 1], 4, 1, 32, 16, {}),
    "empty ones, partly rotated": ([1, 0, 17, 33, 70], [1, 3, 17, 40, 90], 6, 2, 21, 5, {}),
    "without keys": ([5, 40, 0, 3], [2, 18, 5, 0], 3, 1, 40, 0, {}),
    "window": ([300, 65], [300, 65], 5, 5, 64, 32, {"window_left": 50}),
    "both sides": ([100, 65], [90, 70], 8, 2, 96, 0, {"causal": False, "window_left": 5, "window_right": 9}),
    "right only": ([70], [70], 2, 1, 128, 0, {"causal": False, "window_right": 3}),
    "left only, widest": ([33], [100], 2, 1, 256, 0, {"causal": False, "window_left": 4}),
    "in full": ([64], [64], 8, 1, 80, 1, {"causal": False}),
    "one number": ([9], [9], 1, 1, 1, 0, {}),
    "several parts": ([600, 30], [600, 30], 10, 1, 8, 0, {}),  # more than 2²⁰ pairs of rows and keys
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("sink", [False, True], ids=["", "sinks"])
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients(implementation: str, case: str, sink: bool, dtype: torch.dtype) -> None:
    query_lengths, key_lengths, heads, key_heads, width, rotary, chosen = CASES[case]
    options = reference.AttentionOptions(**{"causal": True, "softmax_scale": width**-0.5, **chosen})
    lengths = cumulative(query_lengths), cumulative(key_lengths)
    queries, keys = sum(query_lengths), sum(key_lengths)
    q, grad = (randn(queries, heads, width, seed=seed).to(dtype) for seed in (0, 1))
    k, v = randn(keys, 2 * key_heads, width, seed=2).to(dtype).split(key_heads, 1)  # rows that lie apart
    cos, sin = (randn(keys, rotary, seed=seed) if rotary else None for seed in (3, 4))
    sinks = randn(heads, seed=5) if sink else None
    grad_lse = randn(heads, queries, seed=6)

    def exact(x: Tensor | None) -> Any:
        return None if x is None else x.double()

    given = (exact(q), exact(k), exact(v), *lengths, exact(cos), exact(sin), exact(sinks), options)
    expected = reference.attention_forward(*given, True, True)
    found = native_attention.forward(q, k, v, lengths, cos, sin, sinks, options, True)
    nothing = expected[1] == -torch.inf
    assert torch.equal(found[1] == -torch.inf, nothing)
    grad_lse.masked_fill_(nothing, 0.0)
    slopes = reference.attention_backward(
        exact(grad), exact(grad_lse), *given[:3], *expected[:2], *given[3:]
    )  # fmt: skip
    ours = native_attention.backward(
        grad, grad_lse, q, k, v, found[0], found[1], lengths, cos, sin, sinks, options
    )  # fmt: skip
    bound = 2e-6 if dtype == torch.float32 else 3e-3  # half a unit in bf16's last place is 2⁻⁹ of the number at most
    # The sinks' gradients are sums over rows, from outputs that were rounded.
    bounds = [bound] * 6 + [2e-6 if dtype == torch.float32 else 3e-2]
    for one, other, most in zip((*found, *ours), (*expected, *slopes), bounds, strict=True):
        there = other.isfinite()
        assert (one.double() - other)[there].norm() <= most * other[there].norm()


def test_the_threads_change_nothing(set_threads: Any) -> None:
    """Nor does their number when it changes between the passes."""
    leaves = [randn(2, 700, heads, 16, seed=heads).requires_grad_() for heads in (8, 2, 1)]
    leaves[2] = leaves[2].expand(2, 700, 2, 16).detach().requires_grad_()
    results = []
    for forward, backward in ((1, 1), (2, 2), (5, 5), (1, 3)):
        set_threads(forward)
        out, lse, max_logit = ops.gqa_attention(*leaves, return_lse=True, return_max_logit=True)
        set_threads(backward)
        results.append([out, lse, max_logit, *torch.autograd.grad(out.square().sum() + lse.sum(), leaves)])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_batches_and_any_strides(implementation: str) -> None:
    q, k, v = (randn(3, heads, 70, 24, seed=heads).transpose(1, 2) for heads in (4, 2, 1))
    v = v.expand(3, 70, 2, 24)
    tables = [randn(3, 70, 12, seed=seed) for seed in (7, 8)]
    for rope in (tables, [table[0] for table in tables]):
        out = ops.gqa_attention(q, k, v, rope=tuple(rope))
        for b in range(3):
            own = tuple(table[b] if table.ndim == 3 else table for table in rope)
            alone = ops.gqa_attention(*(x[b : b + 1].contiguous() for x in (q, k, v)), rope=own)
            assert torch.equal(out[b], alone[0])


def test_numbers_that_are_none_stay_in_their_rows(implementation: str) -> None:
    q, k, v = (randn(1, 90, heads, 16, seed=heads).requires_grad_() for heads in (2, 1, 1))
    clean, _ = ops.gqa_attention(q, k, v, return_lse=True)
    with torch.no_grad():
        q[0, 40, 1, 3], k[0, 80, 0, 0] = torch.nan, torch.nan
    out, lse, max_logit = ops.gqa_attention(q, k, v, return_lse=True, return_max_logit=True)
    poisoned = torch.zeros(1, 90, 2, dtype=torch.bool)
    poisoned[0, 40, 1], poisoned[0, 80:] = True, True
    assert torch.equal(out.isnan().all(-1), poisoned)
    assert torch.equal(lse.isnan(), poisoned.transpose(1, 2))
    assert torch.equal(out[~poisoned], clean[~poisoned])
    assert max_logit.isnan().all()
    (dq,) = torch.autograd.grad(out, q, torch.ones_like(out))
    assert torch.equal(dq.isnan().all(-1), poisoned)


def arguments(**change: Any) -> dict[str, Any]:
    q, k = np.zeros((1, 6, 4, 8), np.float32), np.zeros((1, 6, 2, 8), np.float32)
    names = ("query_starts", "key_starts", "cos", "sin", "sinks")
    return {"q": q, "k": k, "v": k, **dict.fromkeys(names), "scale": 1.0, "left": -1, "right": 0, **change}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"q": np.zeros((1, 6, 4, 300), np.float32)}, "fp32 or the bits of bf16"),
        ({"q": np.zeros((1, 6, 3, 8), np.float32)}, "whole groups"),
        ({"v": np.zeros((1, 5, 2, 8), np.float32)}, "fit together"),
        ({"v": np.zeros((1, 6, 2, 8), np.uint16)}, "fit together"),
        ({"k": np.zeros((1, 6, 2, 16), np.float32)[..., ::2]}, "fit together"),
        ({"sinks": np.zeros(2, np.float32)}, "sinks must be"),
        ({"cos": np.zeros((5, 2), np.float32), "sin": np.zeros((5, 2), np.float32)}, "rotary tables"),
        ({"cos": np.zeros((6, 5), np.float32), "sin": np.zeros((6, 5), np.float32)}, "rotary tables"),
        ({"query_starts": np.array([0, 7]), "key_starts": np.array([0, 6])}, "lengths must rise"),
        ({"query_starts": np.array([0, 4, 3, 6]), "key_starts": np.array([0, 4, 4, 6])}, "lengths must rise"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], message: str) -> None:
    inputs = _native.AttentionInputs(**arguments(**change))
    out, lse = np.zeros((1, 6, 4, 8), np.float32), np.zeros((1, 4, 6), np.float32)
    with pytest.raises(SmolfastError, match=message):
        _native.attention_forward(inputs, out, lse, None, 1)


def test_outputs_that_do_not_fit_are_refused() -> None:
    inputs = _native.AttentionInputs(**arguments())
    out, lse = np.zeros((1, 6, 4, 8), np.float32), np.zeros((1, 4, 6), np.float32)
    with pytest.raises(SmolfastError, match="statistics"):
        _native.attention_forward(inputs, out, lse[:, :3], None, 1)
    with pytest.raises(SmolfastError, match="max_logit"):
        _native.attention_forward(inputs, out, lse, np.zeros(3, np.float32), 1)
    with pytest.raises(SmolfastError, match="fit together"):
        _native.attention_backward(inputs, out, lse, None, out, out, out, 1)
    two_keys, table = np.zeros((1, 2, 2, 8), np.float32), np.zeros((2, 2), np.float32)
    rotated = _native.AttentionInputs(**arguments(k=two_keys, v=two_keys, cos=table, sin=table))
    with pytest.raises(SmolfastError, match="at least as many keys"):
        _native.attention_forward(rotated, out, lse, None, 1)
