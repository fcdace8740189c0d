"""Attention over blocks of query rows in plain torch: any mask, soft cap and sinks, in memory linear in the length.

A block's scores stay in the second-level cache from the product that makes them to the product that reads them. That
beats torch's fused CPU kernel up to a thousand tokens or so, where it spends more on its tiles than on the products.
Scores, softmax and their gradients are fp32 (fp64 for fp64). Where the processor multiplies bf16, bf16 inputs' weights
and score gradients are rounded to it for the products that sum over keys or queries, as torch's kernel rounds them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from smolfast.reference.attention_options import AttentionOptions

# One block of scores holds about this many numbers: 1 MiB in fp32, a second-level cache.
_BLOCK_SCORES = 1 << 18
_MIN_ROWS, _MAX_ROWS = 16, 64
_BF16_SPAN = 128  # below so many keys, bf16 products cost more to set up than they save

_softmax_backward = torch.ops.aten._softmax_backward_data.out
_HAS_BF16_PRODUCTS = bool(torch.cpu.get_capabilities().get("avx512_bf16"))


@dataclass(frozen=True)
class _Block:
    """Query rows [start, stop) and the key columns [low, high) that any of them sees."""

    start: int
    stop: int
    low: int
    high: int


class Scratch:
    """Memory for one matrix a block, reused by all: with fresh memory each time the caches would hold the last block's.

    Over 256 tokens products took half as long again without it.
    """

    def __init__(self) -> None:
        self._memory: Tensor | None = None

    def like(self, rows: Tensor, columns: int, dtype: torch.dtype | None = None) -> Tensor:
        """[batch, rows, columns], uninitialised."""
        count = rows.shape[0] * rows.shape[1] * columns
        if self._memory is None or self._memory.numel() < count:
            self._memory = rows.new_empty(count, dtype=dtype)
        return self._memory[:count].view(*rows.shape[:2], columns)


def accumulator_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _product_dtype(q: Tensor, k: Tensor) -> torch.dtype:
    """Of products that take weights or their gradients."""
    fast = q.device.type == "cpu" and _HAS_BF16_PRODUCTS and k.shape[1] >= _BF16_SPAN
    return torch.bfloat16 if q.dtype == torch.bfloat16 and fast else accumulator_dtype(q.dtype)


def _blocks(q: Tensor, k: Tensor, options: AttentionOptions) -> Iterator[_Block]:
    (batch, query_length, heads, _), key_length = q.shape, k.shape[1]
    shift = key_length - query_length
    span = key_length
    if options.left is not None and options.right is not None:
        span = min(span, options.left + options.right + _MAX_ROWS)
    rows = _BLOCK_SCORES // max(1, batch * heads * span) // _MIN_ROWS * _MIN_ROWS
    rows = max(_MIN_ROWS, min(_MAX_ROWS, rows))
    for start in range(0, query_length, rows):
        stop = min(start + rows, query_length)
        low = 0 if options.left is None else max(0, start + shift - options.left)
        high = key_length if options.right is None else min(key_length, stop + shift + options.right)
        if low < high:
            yield _Block(start, stop, low, high)


def score_blocks(q: Tensor, k: Tensor, options: AttentionOptions) -> Iterator[tuple[_Block, Tensor]]:
    """Each block with its masked scores [B · Hk, G · rows, columns], in memory that the next block overwrites."""
    key_heads, shift = k.shape[2], k.shape[1] - q.shape[1]
    keys = _heads_first(k, accumulator_dtype(q.dtype)).mul(options.softmax_scale).mT
    memory = Scratch()
    for block in _blocks(q, k, options):
        queries = _grouped(q[:, block.start : block.stop], key_heads).to(keys.dtype)
        scores = memory.like(queries, block.high - block.low)
        torch.bmm(queries, keys[..., block.low : block.high], out=scores)
        if options.softcap:
            scores.div_(options.softcap).tanh_().mul_(options.softcap)
        _hide(scores.view(-1, block.stop - block.start, scores.shape[2]), block, shift, options)
        yield block, scores


def _heads_first(x: Tensor, dtype: torch.dtype) -> Tensor:
    """[B, S, H, D] → [B · H, S, D]."""
    return x.transpose(1, 2).to(dtype).flatten(0, 1)


def _grouped(x: Tensor, key_heads: int) -> Tensor:
    """[B, rows, Hq, D] → [B · Hk, G · rows, D]. A change of dtype is three times as fast after it as with it."""
    batch, rows, heads, width = x.shape
    return x.transpose(1, 2).reshape(batch * key_heads, heads // key_heads * rows, width)


def _ungrouped(x: Tensor, heads: int, rows: int) -> Tensor:
    """[B · Hk, G · rows, D] → [B, rows, Hq, D]."""
    return x.view(-1, heads, rows, x.shape[-1]).transpose(1, 2)


def _hide(scores: Tensor, block: _Block, shift: int, options: AttentionOptions) -> None:
    """−∞ for the columns of [B · Hq, rows, columns] that a row doesn't see, whatever they hold.

    Zeros by tril_ and triu_, then −∞ added, take a quarter of masked_fill_'s time; adding alone would keep NaN.
    """
    first, last = block.start + shift, block.stop - 1 + shift  # of the keys at the queries' own positions
    if options.right is not None and (edge := max(block.low, first + options.right + 1)) < block.high:
        part, diagonal = scores[..., edge - block.low :], first + options.right - edge
        part.tril_(diagonal).add_(part.new_full(part.shape[1:], -torch.inf).triu_(diagonal + 1))
    if options.left is not None and (edge := min(block.high, last - options.left)) > block.low:
        part, diagonal = scores[..., : edge - block.low], first - options.left - block.low
        part.triu_(diagonal).add_(part.new_full(part.shape[1:], -torch.inf).tril_(diagonal - 1))


def _log_sum_exp(weights: Tensor, largest: Tensor, blind: bool) -> Tensor:
    """From rows of softmax weights and the rows' largest scores [..., 1]; `blind` if some rows may see nothing.

    The largest weight is exp(maximum − LSE): that is five times as fast as torch's logsumexp. Where nothing is seen
    the softmax gave NaN; the weights become 0 and the LSE −∞.
    """
    lse = largest - weights.amax(-1, keepdim=True).log_()
    if blind:
        nothing = largest == -torch.inf
        weights.masked_fill_(nothing, 0.0)
        lse.masked_fill_(nothing, -torch.inf)
    return lse


def finite(lse: Tensor) -> Tensor:
    """Rows that see nothing, with sinks of −inf, have an LSE of −inf, whose difference from itself would be NaN."""
    return lse.masked_fill(lse == -torch.inf, 0.0)


def forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    sinks: Tensor | None,
    options: AttentionOptions,
    max_logit: Tensor | None,
    want_lse: bool,
) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp of q [B, Sq, Hq, D], k and v [B, Sk, Hk, D]; raises max_logit [Hq] to the largest.

    The log-sum-exp stays −∞ where it isn't wanted (sinks always want it): it takes an eighth of the time.
    """
    batch, length, heads, _ = q.shape
    compute, product, blind = accumulator_dtype(q.dtype), _product_dtype(q, k), length > k.shape[1]
    want_lse = want_lse or blind or sinks is not None
    out = torch.zeros_like(q, memory_format=torch.contiguous_format)
    lse = torch.full((batch, heads, length), -torch.inf, dtype=compute, device=q.device)
    if sinks is not None:
        sinks = sinks.to(compute)[:, None]
        lse.copy_(sinks.expand_as(lse))
    values, rounded = _heads_first(v, product), _Rounded(product)
    for block, scores in score_blocks(q, k, options):
        rows = block.stop - block.start
        largest = scores.amax(-1, keepdim=True) if want_lse or max_logit is not None else None
        weights = torch.softmax(scores, -1, out=scores)
        if max_logit is not None and largest is not None:  # amax and maximum both hand NaN on
            torch.maximum(max_logit, largest.view(batch, heads, rows).amax((0, 2)), out=max_logit)
        if want_lse and largest is not None:
            block_lse = _log_sum_exp(weights, largest, blind).view(batch, heads, rows)
            if sinks is not None:
                with_sinks = torch.logaddexp(block_lse, sinks)
                weights.mul_(torch.exp(block_lse - finite(with_sinks)).view(largest.shape))
                block_lse = with_sinks
            lse[:, :, block.start : block.stop] = block_lse
        block_out = torch.bmm(rounded(weights), values[:, block.low : block.high])
        out[:, block.start : block.stop] = _ungrouped(block_out, heads, rows)
    return out, lse


def backward(
    grad_out: Tensor,
    grad_lse: Tensor | None,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    lse: Tensor,
    sinks: bool,
    options: AttentionOptions,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v. Rows' sums of weight · gradient need no output: softmax's own gradient takes them."""
    (batch, length, heads, _), key_heads = q.shape, k.shape[2]
    compute, product, blind = lse.dtype, _product_dtype(q, k), length > k.shape[1]
    dq = torch.zeros_like(q, memory_format=torch.contiguous_format)
    # Scaled values make scaled score gradients, which need no scaling of dq and dk.
    keys, values = _heads_first(k, product), _heads_first(v, compute).mul(options.softmax_scale).mT
    dk, dv = (torch.zeros(keys.shape, dtype=compute, device=q.device) for _ in range(2))
    memory, rounded_weights, rounded_gradients = Scratch(), _Rounded(product), _Rounded(product)
    for block, scores in score_blocks(q, k, options):
        rows, columns = slice(block.start, block.stop), slice(block.low, block.high)
        largest = scores.amax(-1, keepdim=True) if sinks or blind else None
        weights = torch.softmax(scores, -1, out=None if options.softcap else scores)
        if largest is not None:
            without_sinks = _log_sum_exp(weights, largest, blind)
            if sinks:
                weights.mul_(torch.exp(without_sinks - finite(lse[:, :, rows]).reshape(largest.shape)))
        gradients = _grouped(grad_out[:, rows], key_heads)
        grad_scores = memory.like(scores, scores.shape[2])
        torch.bmm(gradients.to(compute), values[..., columns], out=grad_scores)
        _softmax_backward(grad_scores, weights, -1, compute, grad_input=grad_scores)
        if grad_lse is not None:
            grad_rows = grad_lse[:, :, rows].to(compute).reshape(*scores.shape[:2], 1)
            grad_scores.addcmul_(weights, grad_rows, value=options.softmax_scale)
        if options.softcap:
            # Hidden scores are −inf and their gradients 0; clamp so that 0 · inf doesn't arise.
            ratio = scores.clamp_(min=-options.softcap).div_(options.softcap)
            grad_scores.mul_(1 - ratio.square_())
        weights, grad_scores = rounded_weights(weights), rounded_gradients(grad_scores)
        _add_product(dv[:, columns], weights.mT, gradients.to(product))
        _add_product(dk[:, columns], grad_scores.mT, _grouped(q[:, rows], key_heads).to(product))
        block_dq = torch.bmm(grad_scores, keys[:, columns])
        dq[:, rows] = _ungrouped(block_dq, heads, block.stop - block.start)
    dk, dv = (x.view(batch, key_heads, *x.shape[1:]).transpose(1, 2).to(k.dtype) for x in (dk, dv))
    return dq, dk, dv


class _Rounded:
    """A block in the dtype of its products, in memory that all blocks reuse."""

    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype, self._memory = dtype, Scratch()

    def __call__(self, x: Tensor) -> Tensor:
        return x if x.dtype == self._dtype else self._memory.like(x, x.shape[2], self._dtype).copy_(x)


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    if total.dtype == a.dtype:
        total.baddbmm_(a, b)
    else:
        total.add_(torch.bmm(a, b))
