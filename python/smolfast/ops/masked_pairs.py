"""Attention under any mask of pairs of tokens, in torch: what the kernels have no words for."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention


def masked_attention(
    q_BHSD: Tensor,
    k_BHSD: Tensor,
    v_BHSD: Tensor,
    mask: Tensor,
    softmax_scale: float | None = None,
    softcap: float = 0.0,
    sinks: Tensor | None = None,
) -> Tensor:
    """Attention of [B, Hq, Sq, D] over [B, Hk, Sk, D]; memory for the mask, with a soft cap or sinks for all scores.

    Args:
        mask: [B or 1, Hq or 1, Sq, Sk], bool (True is seen) or float (added to the scores, after the soft cap).
        softcap, sinks: as in `gqa_attention`.

    Returns:
        [B, Hq, Sq, Dv]. Rows that see nothing are zeros.
    """
    group = q_BHSD.shape[1] // k_BHSD.shape[1]
    k, v = (x if group == 1 else x.repeat_interleave(group, 1) for x in (k_BHSD, v_BHSD))
    q, scale = q_BHSD, q_BHSD.shape[-1] ** -0.5 if softmax_scale is None else softmax_scale
    blind = ~mask.any(-1, keepdim=True) if mask.dtype == torch.bool else (mask == -torch.inf).all(-1, keepdim=True)
    if not softcap and sinks is None:
        mask = mask if mask.dtype == torch.bool else mask.to(q.dtype)
        # A row that sees nothing sees all instead, so that no NaN arises anywhere, and is left out of what comes.
        mask = mask | blind if mask.dtype == torch.bool else mask.masked_fill(blind, 0.0)
        out = scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
        return out.masked_fill(blind, 0.0)
    scores = (q @ k.transpose(-1, -2)).float() * scale
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    scores = scores.masked_fill(blind, 0.0)
    if sinks is not None:
        scores = torch.cat([scores, sinks.to(scores.dtype)[:, None, None].expand(*scores.shape[:-1], 1)], -1)
    weights = torch.softmax(scores, -1)[..., : k.shape[2]].to(q.dtype)
    return (weights @ v).masked_fill(blind, 0.0)
