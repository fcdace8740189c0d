"""Causal windows on a CPU by torch's fused kernel: blocks of rows become a batch over overlapping views of the keys.

Row block i sees keys i · R − left to (i + 1) · R − 1, so all blocks away from the start share one mask, nothing is
copied and the kernel works on R × (R + left) pairs a block. At 2,048 tokens and a window of 256 that takes 19 ms where
blocks of matrix products took 50 (one thread of an AVX-512 machine, eight heads of 64).
"""

from __future__ import annotations

import torch
from torch import Tensor

ROWS = 64

_flash_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
_flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default


def interior(length: int, left: int) -> tuple[int, int]:
    """Rows [start, stop) that whole blocks cover and whose windows lie wholly inside the sequence; empty if none."""
    start = -(-left // ROWS) * ROWS
    return start, max(start, length // ROWS * ROWS)


def forward(q: Tensor, k: Tensor, v: Tensor, left: int, scale: float) -> tuple[Tensor, Tensor]:
    """Interior rows of one sequence, q [S, Hq, D], k and v [S, Hk, D]: out [rows, Hq, D] and lse [Hq, rows]."""
    start, stop = interior(q.shape[0], left)
    keys, values = (_windows(x, start, stop, left) for x in (k, v))
    out, lse = _flash_forward(
        _row_blocks(q, start, stop), keys, values, 0.0, False, attn_mask=_mask(q, left), scale=scale
    )  # fmt: skip
    return out.transpose(1, 2).flatten(0, 1), lse.transpose(0, 1).flatten(1)


def backward(
    grad_out: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, left: int, scale: float,
    dk: Tensor, dv: Tensor,
) -> Tensor:  # fmt: skip
    """dq of the interior rows; adds their share to dk and dv, which accumulate in a wider dtype."""
    start, stop = interior(q.shape[0], left)
    keys, values = (_windows(x, start, stop, left) for x in (k, v))
    blocks = [_row_blocks(x, start, stop) for x in (grad_out, q, out)]
    block_lse = lse[:, start:stop].reshape(lse.shape[0], -1, ROWS).transpose(0, 1).contiguous()
    dq, block_dk, block_dv = _flash_backward(
        blocks[0], blocks[1], keys, values, blocks[2], block_lse, 0.0, False, attn_mask=_mask(q, left), scale=scale
    )
    for block in range((stop - start) // ROWS):
        low = start - left + block * ROWS
        dk[low : low + left + ROWS] += block_dk[block].transpose(0, 1)
        dv[low : low + left + ROWS] += block_dv[block].transpose(0, 1)
    rows: Tensor = dq.transpose(1, 2).flatten(0, 1)
    return rows


def _row_blocks(x: Tensor, start: int, stop: int) -> Tensor:
    return x[start:stop].reshape(-1, ROWS, *x.shape[1:]).transpose(1, 2)


def _windows(x: Tensor, start: int, stop: int, left: int) -> Tensor:
    """[blocks, Hk, left + ROWS, D], a view in which neighbouring blocks overlap."""
    overlapping: Tensor = x[start - left : stop].unfold(0, left + ROWS, ROWS)
    return overlapping.transpose(2, 3)


def _mask(q: Tensor, left: int) -> Tensor:
    row, key = torch.arange(ROWS)[:, None] + left, torch.arange(left + ROWS)
    hidden = (key > row) | (key < row - left)
    return torch.zeros(1, 1, ROWS, left + ROWS, dtype=q.dtype).masked_fill_(hidden, -torch.inf)
