"""Our attention where nanotron calls flash-attn's, and as an entry of its table of attention functions.

    import nanotron.models.llama as llama                # nanotron 0.4
    llama.flash_attn_varlen_func = flash_attn_varlen_func

    import nanotron.models.qwen as qwen                  # nanotron's main branch
    qwen.flash_attn_varlen_kvpacked_func = flash_attn_varlen_kvpacked_func

    from nanotron.nn.attention import ALL_ATTENTION_FUNCTIONS
    ALL_ATTENTION_FUNCTIONS["sdpa"] = attention_forward  # its configuration accepts only the names it knows

The signatures are flash-attn 2's, so they serve any other caller of these functions too.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from smolfast.errors import SmolfastError
from smolfast.ops import gqa_attention, gqa_attention_varlen


def flash_attn_varlen_func(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    max_seqlen_q: int | None,
    max_seqlen_k: int | None,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
    alibi_slopes: Tensor | None = None,
    deterministic: bool = False,
    return_attn_probs: bool = False,
    block_table: Tensor | None = None,
) -> Any:
    """flash-attn's function of this name: q [Tq, Hq, D], k and v [Tk, Hk, D], int32 offsets; out [Tq, Hq, D].

    With return_attn_probs (out, lse [Hq, Tq], None): no probabilities are made.

    Raises:
        SmolfastError: dropout, ALiBi or a paged cache.
    """
    _refuse(dropout_p, alibi_slopes=alibi_slopes, block_table=block_table)
    result = gqa_attention_varlen(
        q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, causal=causal, softmax_scale=softmax_scale,
        window_size=window_size, softcap=softcap, return_lse=return_attn_probs,
    )  # fmt: skip
    return (*result, None) if return_attn_probs else result


def flash_attn_varlen_kvpacked_func(
    q: Tensor,
    kv: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    max_seqlen_q: int | None,
    max_seqlen_k: int | None,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
    alibi_slopes: Tensor | None = None,
    deterministic: bool = False,
    return_attn_probs: bool = False,
) -> Any:
    """flash-attn's function of this name: `flash_attn_varlen_func` with keys and values in one kv [Tk, 2, Hk, D]."""
    k, v = kv.unbind(1)
    return flash_attn_varlen_func(
        q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, dropout_p, softmax_scale, causal, window_size,
        softcap, alibi_slopes, deterministic, return_attn_probs,
    )  # fmt: skip


def attention_forward(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    max_seqlen: int | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """An entry of nanotron's ``ALL_ATTENTION_FUNCTIONS``: query [B · S, Hq, D] in, [B, S, Hq, D] and no weights out.

    Causal; ``sliding_window`` counts the keys that a query sees, its own included.

    Raises:
        SmolfastError: dropout, a mask (nanotron makes one for packed documents: use the varlen functions there), or no
            length of rows.
    """
    _refuse(dropout, attention_mask=attention_mask)
    if max_seqlen is None or query.shape[0] % max_seqlen or key.shape[0] % max_seqlen:
        raise SmolfastError(
            f"smolfast's attention: max_seqlen = {max_seqlen} doesn't cut {query.shape[0]} queries and {key.shape[0]} "
            "keys into rows; give the length of a row"
        )
    q, k, v = (x.reshape(-1, max_seqlen, *x.shape[-2:]) for x in (query, key, value))
    window = (-1, -1) if sliding_window is None else (sliding_window - 1, 0)
    out = gqa_attention(q, k, v, softmax_scale=scaling, window_size=window)
    assert isinstance(out, Tensor)
    return out, None


def _refuse(dropout: float, **given: object) -> None:
    if dropout:
        raise SmolfastError(f"smolfast's attention has no dropout; set it to 0, not {dropout}")
    for name, value in given.items():
        if value is not None:
            raise SmolfastError(f"smolfast's attention takes no {name}; leave it None, or use flash-attn here")
