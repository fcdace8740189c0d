"""Grouped-query attention in plain torch: forward and backward with memory linear in the sequence length.

Where nothing but a softmax over whole or causal sequences is asked, torch's own fused CPU kernel does the work, one
call for each run of equally long documents. Everything else (windows, soft caps, an LSE gradient, more keys than
queries, other devices) goes over blocks of query rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from smolfast.reference import windows

# One block of scores holds at most this many numbers: 16 MiB in fp32, about where blocks stop fitting the caches.
_BLOCK_SCORES = 1 << 22
_MIN_ROWS, _MAX_ROWS = 16, 128

_flash_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
_flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default


@dataclass(frozen=True)
class AttentionOptions:
    """What `gqa_attention` was asked for, in the kernels' terms."""

    causal: bool
    softmax_scale: float
    window_left: int = -1
    """Keys visible to the left of a query's own position; −1 for all."""
    window_right: int = -1
    softcap: float = 0.0

    @property
    def left(self) -> int | None:
        return None if self.window_left < 0 else self.window_left

    @property
    def right(self) -> int | None:
        if self.causal:
            return 0
        return None if self.window_right < 0 else self.window_right


@dataclass(frozen=True)
class _Run:
    """`count` neighbouring sequences of the same lengths, as row offsets into the packed queries and keys."""

    count: int
    query_start: int
    query_length: int
    key_start: int
    key_length: int

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


def torch_fuses(q: Tensor, options: AttentionOptions, query_length: int, key_length: int) -> bool:
    """Whether torch's fused CPU kernel computes it: it aligns a causal mask top-left, so squares and single queries."""
    return (
        q.device.type == "cpu"
        and options.softcap == 0.0
        and options.window_left < 0
        and (options.causal or options.window_right < 0)
        and (not options.causal or query_length == key_length or query_length == 1)
        and key_length > 0
        and q.numel() > 0
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
) -> tuple[Tensor, Tensor, Tensor]:
    """Attention over [B, S, H, D], or over packed [T, H, D] with cumulative lengths.

    Returns:
        the output (contiguous, like q), the fp32 (fp64 for fp64 inputs) log-sum-exp [B, Hq, S] or [Hq, T], and the
        largest visible scaled logit of each query head [Hq] (−inf if it wasn't asked for or nothing is visible).
    """
    if cos is not None and sin is not None:
        q, k = _rotate_queries_and_keys(q, k, cu_seqlens_q, cu_seqlens_k, cos, sin)
    statistics = _accumulator_dtype(q.dtype)
    max_logit = torch.full((q.shape[-2],), -torch.inf, dtype=statistics, device=q.device)
    if cu_seqlens_q is None or cu_seqlens_k is None:
        out, lse = _dense_forward(q, k, v, sinks, options, max_logit if want_max_logit else None)
        return out.contiguous(), lse.contiguous(), max_logit
    out = torch.zeros_like(q, memory_format=torch.contiguous_format)
    lse = torch.full((q.shape[1], q.shape[0]), -torch.inf, dtype=statistics, device=q.device)
    for run in _runs(cu_seqlens_q, cu_seqlens_k):
        run_out, run_lse = _dense_forward(
            run.queries(q), run.keys(k), run.keys(v), sinks, options, max_logit if want_max_logit else None
        )
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
        dq, dk, dv = (torch.zeros_like(x, memory_format=torch.contiguous_format) for x in (q, k, v))
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
            run.queries(dq).copy_(gradients[0])
            run.keys(dk).copy_(gradients[1])
            run.keys(dv).copy_(gradients[2])
    if cos is not None and sin is not None:
        dq, dk = _rotate_queries_and_keys(dq, dk, cu_seqlens_q, cu_seqlens_k, cos, -sin)
    return dq.contiguous(), dk.contiguous(), dv.contiguous(), grad_sinks


def _accumulator_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


# Rotary embedding


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the first 2R channels of x in half-split pairs (i, i + R); cos and sin broadcast as [..., 1, R]."""
    rotary = cos.shape[-1]
    compute = _accumulator_dtype(x.dtype)
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
    q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None, options: AttentionOptions, max_logit: Tensor | None
) -> tuple[Tensor, Tensor]:
    if max_logit is None and _windowed(q, k, options):
        out, lse = _window_forward(q, k, v, options)
    elif torch_fuses(q, options, q.shape[1], k.shape[1]):
        heads_first = [_heads_first(x) for x in (q, k, v)]
        causal = options.causal and q.shape[1] > 1
        out, lse = _flash_forward(*heads_first, 0.0, causal, scale=options.softmax_scale)
        out = out.transpose(1, 2)
    else:
        return _blocks_forward(q, k, v, sinks, options, max_logit)
    if bool((lse == 0).any()):
        # The kernel's maximum skips NaN: it takes a query row that holds one for a row that sees nothing.
        poisoned = q.isnan().any(-1)
        out = out.masked_fill(poisoned[..., None], torch.nan)
        lse = lse.masked_fill(poisoned.transpose(1, 2), torch.nan)
    if max_logit is not None:
        for _, scores in _score_blocks(q, k, options):
            torch.maximum(max_logit, scores.amax((0, 3, 4)).reshape(-1), out=max_logit)
    if sinks is not None:
        # A sink only adds exp(sink) to the denominator, so it scales what was computed without it.
        with_sinks = torch.logaddexp(lse, sinks.to(lse.dtype)[:, None])
        out = (out * torch.exp(lse - with_sinks).transpose(1, 2).unsqueeze(-1)).to(q.dtype)
        lse = with_sinks
    return out, lse


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
        compute = lse.dtype
        delta = (grad_out.to(compute) * out.to(compute)).sum(-1).transpose(1, 2)
        if grad_lse is not None:
            delta = delta - grad_lse
        weight = torch.exp(sinks.to(compute)[:, None] - _finite(lse))
        grad_sinks.sub_((weight * delta).sum((0, 2)).to(grad_sinks.dtype))
    if grad_lse is None and _windowed(q, k, options):
        return _window_backward(grad_out, q, k, v, out, lse, sinks is not None, options)
    if grad_lse is not None or not torch_fuses(q, options, q.shape[1], k.shape[1]):
        return _blocks_backward(grad_out, grad_lse, q, k, v, out, lse, sinks is not None, options)
    # The kernel takes probabilities from exp(score − lse) and its row sums from out · grad_out: right with sinks too.
    heads_first = [_heads_first(x) for x in (grad_out, q, k, v, out)]
    causal = options.causal and q.shape[1] > 1
    gradients = _flash_backward(*heads_first, lse, 0.0, causal, scale=options.softmax_scale)
    return gradients[0].transpose(1, 2), gradients[1].transpose(1, 2), gradients[2].transpose(1, 2)


# Causal windows: interior rows by the fused kernel, the first and the last few by blocks


def _windowed(q: Tensor, k: Tensor, options: AttentionOptions) -> bool:
    """Whether `windows` serves it: a causal window of whole sequences, long enough to have a few interior blocks."""
    length, left = q.shape[1], options.left
    if left is None or options.right != 0 or options.softcap or q.device.type != "cpu" or length != k.shape[1]:
        return False
    start, stop = windows.interior(length, left)
    return stop - start >= 2 * windows.ROWS and q.numel() > 0


def _edges(length: int, left: int) -> Iterator[tuple[slice, slice]]:
    """Rows outside the interior, with the keys that make the same windows of them."""
    start, stop = windows.interior(length, left)
    yield slice(0, start), slice(0, start)
    yield slice(stop, length), slice(stop - left, length)


def _window_forward(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions) -> tuple[Tensor, Tensor]:
    left = options.window_left
    q, k, v = (x if x.stride(-1) == 1 else x.contiguous() for x in (q, k, v))
    out = torch.empty_like(q, memory_format=torch.contiguous_format)
    lse = torch.empty(q.shape[0], q.shape[2], q.shape[1], dtype=_accumulator_dtype(q.dtype))
    inside = slice(*windows.interior(q.shape[1], left))
    for row in range(q.shape[0]):
        out[row, inside], lse[row, :, inside] = windows.forward(q[row], k[row], v[row], left, options.softmax_scale)
    for rows, keys in _edges(q.shape[1], left):
        out[:, rows], lse[:, :, rows] = _blocks_forward(q[:, rows], k[:, keys], v[:, keys], None, options, None)
    return out, lse


def _window_backward(
    grad_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    sinks: bool,
    options: AttentionOptions,
) -> tuple[Tensor, Tensor, Tensor]:
    left, compute = options.window_left, _accumulator_dtype(q.dtype)
    grad_out, q, k, v = (x if x.stride(-1) == 1 else x.contiguous() for x in (grad_out, q, k, v))
    dq = torch.empty_like(q, memory_format=torch.contiguous_format)
    dk, dv = (torch.zeros(x.shape, dtype=compute) for x in (k, v))
    inside = slice(*windows.interior(q.shape[1], left))
    for row in range(q.shape[0]):
        dq[row, inside] = windows.backward(
            grad_out[row], q[row], k[row], v[row], out[row], lse[row], left, options.softmax_scale, dk[row], dv[row]
        )
    for rows, keys in _edges(q.shape[1], left):
        dq[:, rows], edge_dk, edge_dv = _blocks_backward(
            grad_out[:, rows], None, q[:, rows], k[:, keys], v[:, keys], out[:, rows], lse[:, :, rows], sinks, options
        )
        dk[:, keys] += edge_dk
        dv[:, keys] += edge_dv
    return dq, dk.to(k.dtype), dv.to(v.dtype)


@dataclass(frozen=True)
class _Block:
    """Query rows [start, stop) and the key columns [low, high) that any of them sees."""

    start: int
    stop: int
    low: int
    high: int


def _blocks(q: Tensor, k: Tensor, options: AttentionOptions) -> Iterator[_Block]:
    (batch, query_length, heads, _), key_length = q.shape, k.shape[1]
    shift = key_length - query_length
    span = key_length
    if options.left is not None and options.right is not None:
        span = min(span, options.left + options.right + _MAX_ROWS)
    rows = _BLOCK_SCORES // max(1, batch * heads * span)
    rows = max(_MIN_ROWS, min(_MAX_ROWS, rows))
    for start in range(0, query_length, rows):
        stop = min(start + rows, query_length)
        low = 0 if options.left is None else max(0, start + shift - options.left)
        high = key_length if options.right is None else min(key_length, stop + shift + options.right)
        if low < high:
            yield _Block(start, stop, low, high)


def _score_blocks(q: Tensor, k: Tensor, options: AttentionOptions) -> Iterator[tuple[_Block, Tensor]]:
    """Each block with its masked scores [B, Hk, G, rows, columns]."""
    batch, query_length, heads, _ = q.shape
    key_length, key_heads = k.shape[1], k.shape[2]
    compute = _accumulator_dtype(q.dtype)
    shift = key_length - query_length
    keys = k.transpose(1, 2).to(compute).transpose(-1, -2)
    for block in _blocks(q, k, options):
        rows = block.stop - block.start
        queries = _grouped(q[:, block.start : block.stop], key_heads, compute)
        scores = queries.mul_(options.softmax_scale) @ keys[..., block.low : block.high]
        if options.softcap:
            scores.div_(options.softcap).tanh_().mul_(options.softcap)
        scores = scores.view(batch, key_heads, heads // key_heads, rows, block.high - block.low)
        for columns, hidden in _hidden(block, shift, options, q.device):
            scores[..., columns].masked_fill_(hidden, -torch.inf)
        yield block, scores


def _grouped(x: Tensor, key_heads: int, dtype: torch.dtype) -> Tensor:
    """[B, rows, Hq, D] → a new [B, Hk, G · rows, D]."""
    batch, rows, heads, width = x.shape
    grouped = torch.empty(batch, heads, rows, width, dtype=dtype, device=x.device).copy_(x.transpose(1, 2))
    return grouped.view(batch, key_heads, heads // key_heads * rows, width)


def _ungrouped(x: Tensor, heads: int, rows: int) -> Tensor:
    """[B, Hk, G · rows, D] → [B, rows, Hq, D]."""
    return x.reshape(x.shape[0], heads, rows, x.shape[-1]).transpose(1, 2)


def _hidden(
    block: _Block, shift: int, options: AttentionOptions, device: torch.device
) -> Iterator[tuple[slice, Tensor]]:
    """The block's columns that some of its rows don't see, with True [rows, columns] where one doesn't."""
    first, last = block.start + shift, block.stop - 1 + shift
    if options.right is not None and (edge := max(block.low, first + options.right + 1)) < block.high:
        yield slice(edge - block.low, None), _key_is_right_of(first, last, edge, block.high, options.right, device)
    if options.left is not None and (edge := min(block.high, last - options.left)) > block.low:
        seen = _key_is_right_of(first, last, block.low, edge, -options.left - 1, device)
        yield slice(None, edge - block.low), ~seen


def _key_is_right_of(first: int, last: int, low: int, high: int, offset: int, device: torch.device) -> Tensor:
    """[rows, columns]: key low…high − 1 lies more than `offset` to the right of query first…last."""
    key = torch.arange(low - offset, high - offset, device=device)
    return key > torch.arange(first, last + 1, device=device)[:, None]


def _softmax(scores: Tensor, blind: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Weights, and the rows' log-sum-exps and maxima [..., 1]; `blind` if there may be rows that see nothing.

    The largest weight is exp(maximum − LSE): torch's softmax and that are five times as fast as its logsumexp.
    """
    weights = torch.softmax(scores, -1)
    largest = scores.amax(-1, keepdim=True)
    lse = largest - weights.amax(-1, keepdim=True).log_()
    if blind:
        nothing = largest == -torch.inf
        weights.masked_fill_(nothing, 0.0)
        lse.masked_fill_(nothing, -torch.inf)
    return weights, lse, largest


def _finite(lse: Tensor) -> Tensor:
    """Rows that see nothing, with sinks of −inf, have an LSE of −inf, whose difference from itself would be NaN."""
    return lse.masked_fill(lse == -torch.inf, 0.0)


def _blocks_forward(
    q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None, options: AttentionOptions, max_logit: Tensor | None
) -> tuple[Tensor, Tensor]:
    batch, query_length, heads, _ = q.shape
    compute = _accumulator_dtype(q.dtype)
    out = torch.zeros_like(q, memory_format=torch.contiguous_format)
    lse = torch.full((batch, heads, query_length), -torch.inf, dtype=compute, device=q.device)
    if sinks is not None:
        lse.copy_(sinks.to(compute)[:, None].expand_as(lse))
    values = v.transpose(1, 2).to(compute)
    for block, scores in _score_blocks(q, k, options):
        weights, block_lse, largest = _softmax(scores, query_length > k.shape[1])
        if max_logit is not None:  # amax and maximum both hand NaN on
            torch.maximum(max_logit, largest.amax((0, 3, 4)).reshape(-1), out=max_logit)
        if sinks is not None:
            with_sinks = torch.logaddexp(block_lse, sinks.to(compute).view(*block_lse.shape[1:3], 1, 1))
            weights.mul_(torch.exp(block_lse - _finite(with_sinks)))
            block_lse = with_sinks
        block_out = weights.flatten(2, 3) @ values[:, :, block.low : block.high]
        out[:, block.start : block.stop] = _ungrouped(block_out, heads, block.stop - block.start)
        lse[:, :, block.start : block.stop] = block_lse.flatten(1, 2).squeeze(-1)
    return out, lse


def _blocks_backward(
    grad_out: Tensor,
    grad_lse: Tensor | None,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    sinks: bool,
    options: AttentionOptions,
) -> tuple[Tensor, Tensor, Tensor]:
    heads, key_heads = q.shape[2], k.shape[2]
    compute = lse.dtype
    dq = torch.zeros_like(q, memory_format=torch.contiguous_format)
    keys, values = (x.transpose(1, 2).to(compute) for x in (k, v))
    dk, dv = (torch.zeros(x.shape, dtype=compute, device=x.device) for x in (keys, values))
    for block, scores in _score_blocks(q, k, options):
        rows, columns = slice(block.start, block.stop), slice(block.low, block.high)
        grad_block = _grouped(grad_out[:, rows], key_heads, compute)
        delta = (grad_block * _grouped(out[:, rows], key_heads, compute)).sum(-1, keepdim=True)
        if grad_lse is not None:
            delta = delta - grad_lse[:, :, rows].to(compute).reshape(delta.shape)
        weights, without_sinks, _ = _softmax(scores, q.shape[1] > k.shape[1])
        if sinks:
            block_lse = _finite(lse[:, :, rows]).reshape(without_sinks.shape)
            weights.mul_(torch.exp(without_sinks - block_lse))
        weights = weights.flatten(2, 3)
        dv[:, :, columns] += weights.transpose(-1, -2) @ grad_block
        grad_scores = (grad_block @ values[:, :, columns].transpose(-1, -2)).sub_(delta).mul_(weights)
        if options.softcap:
            # Hidden scores are −inf and their weights 0; clamp so that 0 · inf doesn't arise.
            ratio = scores.flatten(2, 3).clamp_(min=-options.softcap).div_(options.softcap)
            grad_scores.mul_(1 - ratio.square_())
        grad_scores.mul_(options.softmax_scale)
        dq[:, rows] = _ungrouped(grad_scores @ keys[:, :, columns], heads, block.stop - block.start)
        dk[:, :, columns] += grad_scores.transpose(-1, -2) @ _grouped(q[:, rows], key_heads, compute)
    return dq, dk.transpose(1, 2).to(k.dtype), dv.transpose(1, 2).to(v.dtype)
