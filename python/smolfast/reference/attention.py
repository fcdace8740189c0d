"""Grouped-query attention in plain torch: forward and backward with memory linear in the sequence length.

Whole sequences, where nothing but a softmax is asked, go to torch's own fused CPU kernel; everything else goes over
blocks of query rows. Packed sequences take one call for each run of equally long documents.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from smolfast.reference import blocks
from smolfast.reference.attention_options import AttentionOptions
from smolfast.reference.blocks import accumulator_dtype

_flash_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
_flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default


@dataclass(frozen=True)
class _Run:
    """`count` neighbouring sequences of the same lengths, as row offsets into the packed queries and keys."""

    count: int
    query_start: int
    query_length: int
    key_start: int
    key_length: int

    def is_all(self, q: Tensor, k: Tensor) -> bool:
        return self.count * self.query_length == q.shape[0] and self.count * self.key_length == k.shape[0]

    def queries(self, packed: Tensor) -> Tensor:
        """[T, H, …] → [count, length, H, …], a view."""
        rows = packed.narrow(0, self.query_start, self.count * self.query_length)
        return rows.view(self.count, self.query_length, *packed.shape[1:])

    def keys(self, packed: Tensor) -> Tensor:
        rows = packed.narrow(0, self.key_start, self.count * self.key_length)
        return rows.view(self.count, self.key_length, *packed.shape[1:])

    def statistics(self, packed: Tensor) -> Tensor:
        """[H, T] → [count, H, length], a view."""
        rows = packed.narrow(1, self.query_start, self.count * self.query_length)
        return rows.view(packed.shape[0], self.count, self.query_length).transpose(0, 1)


def _runs(cu_seqlens_q: Tensor, cu_seqlens_k: Tensor) -> Iterator[_Run]:
    """Sequences without queries are left out: they have no output, and their keys no gradient."""
    query_starts, key_starts = cu_seqlens_q.tolist(), cu_seqlens_k.tolist()
    run: _Run | None = None
    for index in range(len(query_starts) - 1):
        query_length = query_starts[index + 1] - query_starts[index]
        key_length = key_starts[index + 1] - key_starts[index]
        if run and (run.query_length, run.key_length) == (query_length, key_length):
            run = _Run(run.count + 1, run.query_start, query_length, run.key_start, key_length)
            continue
        if run and run.query_length:
            yield run
        run = _Run(1, query_starts[index], query_length, key_starts[index], key_length)
    if run and run.query_length:
        yield run


def torch_is_fastest(q: Tensor, options: AttentionOptions, query_length: int, key_length: int) -> bool:
    """Whether torch's fused CPU kernel computes it (it aligns a causal mask top-left), and faster than blocks do.

    Its causal backward takes nine times as long as theirs in fp16 over 1,024 tokens.
    """
    return not (
        q.device.type != "cpu"
        or options.softcap
        or options.window_left >= 0
        or not (options.causal or options.window_right < 0)
        or (options.causal and query_length not in (1, key_length))
        or (options.causal and q.dtype == torch.float16)
        or key_length == 0
        or q.numel() == 0
    )


def attention_forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens_q: Tensor | None,
    cu_seqlens_k: Tensor | None,
    cos: Tensor | None,
    sin: Tensor | None,
    sinks: Tensor | None,
    options: AttentionOptions,
    want_max_logit: bool,
    want_lse: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Attention over [B, S, H, D], or over packed [T, H, D] with cumulative lengths.

    Returns:
        the output (contiguous, like q), the fp32 (fp64 for fp64 inputs) log-sum-exp [B, Hq, S] or [Hq, T], and the
        largest visible scaled logit of each query head [Hq] (−inf if it wasn't asked for or nothing is visible).
    """
    if cos is not None and sin is not None:
        q, k = _rotate_queries_and_keys(q, k, cu_seqlens_q, cu_seqlens_k, cos, sin)
    statistics = accumulator_dtype(q.dtype)
    max_logit = torch.full((q.shape[-2],), -torch.inf, dtype=statistics, device=q.device)
    wanted = max_logit if want_max_logit else None
    if cu_seqlens_q is None or cu_seqlens_k is None:
        out, lse = _dense_forward(q, k, v, sinks, options, wanted, want_lse)
        return out.contiguous(), lse.contiguous(), max_logit
    out = torch.empty_like(q, memory_format=torch.contiguous_format)
    lse = torch.empty(q.shape[1], q.shape[0], dtype=statistics, device=q.device)
    for run in _runs(cu_seqlens_q, cu_seqlens_k):
        run_out, run_lse = _dense_forward(run.queries(q), run.keys(k), run.keys(v), sinks, options, wanted, want_lse)
        if run.is_all(q, k):
            return run_out.flatten(0, 1).contiguous(), run_lse.transpose(0, 1).flatten(1).contiguous(), max_logit
        run.queries(out).copy_(run_out)
        run.statistics(lse).copy_(run_lse)
    return out, lse, max_logit


def attention_backward(
    grad_out: Tensor,
    grad_lse: Tensor | None,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    cu_seqlens_q: Tensor | None,
    cu_seqlens_k: Tensor | None,
    cos: Tensor | None,
    sin: Tensor | None,
    sinks: Tensor | None,
    options: AttentionOptions,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of q, k, v (each contiguous, in its dtype) and of the sinks ([0] without sinks)."""
    rotated_q, rotated_k = q, k
    if cos is not None and sin is not None:
        rotated_q, rotated_k = _rotate_queries_and_keys(q, k, cu_seqlens_q, cu_seqlens_k, cos, sin)
    grad_sinks = torch.zeros_like(sinks) if sinks is not None else q.new_zeros(0)
    if cu_seqlens_q is None or cu_seqlens_k is None:
        dq, dk, dv = _dense_backward(grad_out, grad_lse, rotated_q, rotated_k, v, out, lse, sinks, grad_sinks, options)
    else:
        dq = torch.empty_like(q, memory_format=torch.contiguous_format)
        dk, dv = (torch.zeros_like(x, memory_format=torch.contiguous_format) for x in (k, v))
        for run in _runs(cu_seqlens_q, cu_seqlens_k):
            gradients = _dense_backward(
                run.queries(grad_out),
                None if grad_lse is None else run.statistics(grad_lse),
                run.queries(rotated_q),
                run.keys(rotated_k),
                run.keys(v),
                run.queries(out),
                run.statistics(lse),
                sinks,
                grad_sinks,
                options,
            )
            if run.is_all(q, k):
                dq, dk, dv = (x.flatten(0, 1) for x in gradients)
                break
            run.queries(dq).copy_(gradients[0])
            run.keys(dk).copy_(gradients[1])
            run.keys(dv).copy_(gradients[2])
    if cos is not None and sin is not None:
        dq, dk = _rotate_queries_and_keys(dq, dk, cu_seqlens_q, cu_seqlens_k, cos, -sin)
    return dq.contiguous(), dk.contiguous(), dv.contiguous(), grad_sinks


# Rotary embedding


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the first 2R channels of x in half-split pairs (i, i + R); cos and sin broadcast as [..., 1, R]."""
    rotary = cos.shape[-1]
    compute = accumulator_dtype(x.dtype)
    cos, sin = cos.to(compute).unsqueeze(-2), sin.to(compute).unsqueeze(-2)
    rotated = torch.empty(x.shape, dtype=compute, device=x.device)
    first, second = x[..., :rotary].to(compute), x[..., rotary : 2 * rotary].to(compute)
    torch.mul(first, cos, out=rotated[..., :rotary]).addcmul_(second, sin, value=-1)
    torch.mul(second, cos, out=rotated[..., rotary : 2 * rotary]).addcmul_(first, sin)
    rotated[..., 2 * rotary :] = x[..., 2 * rotary :]
    return rotated.to(x.dtype)


def _rotate_queries_and_keys(
    q: Tensor, k: Tensor, cu_seqlens_q: Tensor | None, cu_seqlens_k: Tensor | None, cos: Tensor, sin: Tensor
) -> tuple[Tensor, Tensor]:
    """Tables have a row for each key, and queries take the last rows, as the causal mask aligns bottom-right."""
    if cu_seqlens_q is None or cu_seqlens_k is None:
        start = k.shape[1] - q.shape[1]
        return _rotate(q, cos[..., start:, :], sin[..., start:, :]), _rotate(k, cos, sin)
    if cu_seqlens_q is cu_seqlens_k or torch.equal(cu_seqlens_q, cu_seqlens_k):
        return _rotate(q, cos, sin), _rotate(k, cos, sin)
    query_lengths = cu_seqlens_q.diff().long()
    shift = (cu_seqlens_k[1:] - cu_seqlens_q[1:]).long()  # ends meet ends
    rows = torch.arange(q.shape[0], device=q.device) + torch.repeat_interleave(shift, query_lengths)
    return _rotate(q, cos[rows], sin[rows]), _rotate(k, cos, sin)


# Whole sequences of one length: q [B, Sq, Hq, D], k and v [B, Sk, Hk, D]


def _dense_forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    sinks: Tensor | None,
    options: AttentionOptions,
    max_logit: Tensor | None,
    want_lse: bool,
) -> tuple[Tensor, Tensor]:
    if not torch_is_fastest(q, options, q.shape[1], k.shape[1]):
        return blocks.forward(q, k, v, sinks, options, max_logit, want_lse)
    heads_first = [_heads_first(x) for x in (q, k, v)]
    causal = options.causal and q.shape[1] > 1
    out, lse = _flash_forward(*heads_first, 0.0, causal, scale=options.softmax_scale)
    out = out.transpose(1, 2)
    if bool((lse == 0).any()):
        # The kernel's maximum skips NaN: it takes a query row that holds one for a row that sees nothing.
        poisoned = q.isnan().any(-1)
        out = out.masked_fill(poisoned[..., None], torch.nan)
        lse = lse.masked_fill(poisoned.transpose(1, 2), torch.nan)
    if max_logit is not None:
        for _, scores in blocks.score_blocks(q, k, options):
            torch.maximum(max_logit, scores.amax(-1).view(q.shape[0], q.shape[2], -1).amax((0, 2)), out=max_logit)
    if sinks is not None:
        # A sink only adds exp(sink) to the denominator, so it scales what was computed without it.
        with_sinks = torch.logaddexp(lse, sinks.to(lse.dtype)[:, None])
        out = (out * torch.exp(lse - with_sinks).transpose(1, 2).unsqueeze(-1)).to(q.dtype)
        lse = with_sinks
    return out, lse


def sink_gradient(grad_out: Tensor, grad_lse: Tensor | None, out: Tensor, lse: Tensor, sinks: Tensor) -> Tensor:
    """Of [..., S, Hq, D] and an LSE [..., Hq, S]."""
    compute = lse.dtype
    delta = (grad_out.to(compute) * out.to(compute)).sum(-1).transpose(-1, -2)
    if grad_lse is not None:
        delta = delta - grad_lse
    weight = torch.exp(sinks.to(compute)[:, None] - blocks.finite(lse))
    return -(weight * delta).transpose(-1, -2).flatten(0, -2).sum(0).to(sinks.dtype)


def _heads_first(x: Tensor) -> Tensor:
    """[B, S, H, D] → [B, H, S, D]; the fused kernel reads the last dimension as contiguous without looking."""
    return (x if x.stride(-1) == 1 else x.contiguous()).transpose(1, 2)


def _dense_backward(
    grad_out: Tensor,
    grad_lse: Tensor | None,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    sinks: Tensor | None,
    grad_sinks: Tensor,
    options: AttentionOptions,
) -> tuple[Tensor, Tensor, Tensor]:
    if sinks is not None:
        grad_sinks.add_(sink_gradient(grad_out, grad_lse, out, lse, sinks))
    if grad_lse is not None or not torch_is_fastest(q, options, q.shape[1], k.shape[1]):
        return blocks.backward(grad_out, grad_lse, q, k, v, lse, sinks is not None, options)
    # The kernel takes probabilities from exp(score − lse) and its row sums from out · grad_out: right with sinks too.
    heads_first = [_heads_first(x) for x in (grad_out, q, k, v, out)]
    causal = options.causal and q.shape[1] > 1
    gradients = _flash_backward(*heads_first, lse, 0.0, causal, scale=options.softmax_scale)
    return gradients[0].transpose(1, 2), gradients[1].transpose(1, 2), gradients[2].transpose(1, 2)
