"""Attention by blocks of rows, over lengths of several blocks, against a mask over all pairs in fp64."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from smolfast import ops
from smolfast.reference import blocks


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """On several, sequences without a window go to torch."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def masked(q: Tensor, k: Tensor, v: Tensor, left: int, sinks: Tensor | None) -> tuple[Tensor, Tensor]:
    k, v = (x.repeat_interleave(q.shape[2] // k.shape[2], 2) for x in (k, v))
    row, key = torch.arange(q.shape[1])[:, None], torch.arange(k.shape[1])
    logits = torch.einsum("bshd,bthd->bhst", q, k) * q.shape[-1] ** -0.5
    logits = logits.masked_fill((key > row) | ((key < row - left) & (left >= 0)), -torch.inf)
    lse = torch.logsumexp(logits, -1)
    if sinks is not None:
        lse = torch.logaddexp(lse, sinks[:, None].to(lse))
    return torch.einsum("bhst,bthd->bshd", torch.exp(logits - lse[..., None]), v), lse


@pytest.mark.parametrize("sink", [False, True])
@pytest.mark.parametrize(
    ("batch", "length", "left"), [(1, 320, 64), (2, 291, 50), (1, 215, 1), (1, 193, 63), (2, 300, -1)]
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_values_and_gradients(
    dtype: torch.dtype, batch: int, length: int, left: int, sink: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(length)
    fused = torch.randn(batch, length, 8, 16, generator=generator, dtype=torch.float64)
    leaves = [x.to(dtype).requires_grad_() for x in fused.split([4, 2, 2], 2)]  # strided views
    sinks = torch.randn(4, generator=generator) if sink else None
    grad = torch.randn(batch, length, 4, 16, generator=generator, dtype=torch.float64).to(dtype)
    calls = []
    monkeypatch.setattr(blocks, "backward", lambda *a, f=blocks.backward: calls.append(1) or f(*a))
    out, lse = ops.gqa_attention(*leaves, window_size=(left, 0), sinks=sinks, return_lse=True)
    gradients = torch.autograd.grad(out, leaves, grad)
    assert calls == [1]

    exact = [x.detach().double().requires_grad_() for x in leaves]
    expected, expected_lse = masked(*exact, left, sinks)
    bound = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 3e-2}[dtype]
    torch.testing.assert_close(lse.double(), expected_lse, rtol=1e-4 if dtype != torch.float64 else 1e-12, atol=bound)
    for got, truth in zip(
        [out, *gradients], [expected, *torch.autograd.grad(expected, exact, grad.double())], strict=True
    ):
        torch.testing.assert_close(got.double(), truth, rtol=bound, atol=bound * truth.abs().max().item())


def test_hidden_keys_may_hold_anything() -> None:
    """NaN and ∞ in keys that a row doesn't see change nothing in it."""
    q, k, v = (torch.randn(1, 300, heads, 8, generator=torch.Generator().manual_seed(heads)) for heads in (2, 1, 1))
    expected, expected_max = ops.gqa_attention(q[:, :250], k[:, :250], v[:, :250], return_max_logit=True)
    k[0, 250], k[0, 299] = torch.nan, torch.inf
    out, max_logit = ops.gqa_attention(q, k, v, return_max_logit=True)
    torch.testing.assert_close(out[:, :250], expected)
    assert expected_max.isfinite().all()
    assert max_logit.isnan().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_threads_may_change_before_the_backward_pass(dtype: torch.dtype) -> None:
    """One thread goes over blocks, which leave the LSE out; torch's kernel, which several take, needs it."""
    leaves = [torch.randn(1, 300, heads, 16).to(dtype).requires_grad_() for heads in (4, 2, 2)]
    expected = torch.autograd.grad(ops.gqa_attention(*leaves).square().sum(), leaves)
    out = ops.gqa_attention(*leaves)
    torch.set_num_threads(2)
    for found, gradient in zip(torch.autograd.grad(out.square().sum(), leaves), expected, strict=True):
        torch.testing.assert_close(found, gradient)
