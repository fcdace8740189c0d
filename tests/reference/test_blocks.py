"""Attention by blocks of rows, over lengths of several blocks, against a mask over all pairs in fp64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from smolfast import ops
from smolfast.reference import AttentionOptions, blocks


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
def test_values_and_gradients(dtype: torch.dtype, batch: int, length: int, left: int, sink: bool) -> None:
    generator = torch.Generator().manual_seed(length)
    fused = torch.randn(batch, length, 8, 16, generator=generator, dtype=torch.float64)
    leaves = [x.to(dtype) for x in fused.split([4, 2, 2], 2)]  # strided views
    sinks = torch.randn(4, generator=generator) if sink else None
    grad = torch.randn(batch, length, 4, 16, generator=generator, dtype=torch.float64).to(dtype)
    options = AttentionOptions(causal=True, softmax_scale=16**-0.5, window_left=left, window_right=0)
    out, lse = blocks.forward(*leaves, sinks, options, None, want_lse=True)
    gradients = blocks.backward(grad, None, *leaves, lse, sink, options)

    exact = [x.detach().double().requires_grad_() for x in leaves]
    expected, expected_lse = masked(*exact, left, sinks)
    bound = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 3e-2}[dtype]
    torch.testing.assert_close(lse.double(), expected_lse, rtol=1e-4 if dtype != torch.float64 else 1e-12, atol=bound)
    for got, truth in zip(
        [out, *gradients], [expected, *torch.autograd.grad(expected, exact, grad.double())], strict=True
    ):
        torch.testing.assert_close(got.double(), truth, rtol=bound, atol=bound * truth.abs().max().item())


@pytest.mark.parametrize("softcap", [0.0, 50.0])
def test_hidden_keys_may_hold_anything(softcap: float) -> None:
    """NaN and ∞ in keys that a row doesn't see change nothing in it. Without a soft cap it's the native one."""
    q, k, v = (torch.randn(1, 300, heads, 8, generator=torch.Generator().manual_seed(heads)) for heads in (2, 1, 1))
    expected, expected_max = ops.gqa_attention(
        q[:, :250], k[:, :250], v[:, :250], softcap=softcap, return_max_logit=True
    )
    k[0, 250], k[0, 299] = torch.nan, torch.inf
    out, max_logit = ops.gqa_attention(q, k, v, softcap=softcap, return_max_logit=True)
    torch.testing.assert_close(out[:, :250], expected)
    assert expected_max.isfinite().all()
    assert max_logit.isnan().all()
