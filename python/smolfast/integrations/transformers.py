"""``attn_implementation="smolfast"`` for Hugging Face transformers.

    from smolfast.integrations.transformers import register
    register()
    model = AutoModelForCausalLM.from_pretrained(..., attn_implementation="smolfast")

Padding is taken out before attention and put back after it. A packed batch is known by ``cu_seq_lens_q`` and its
companions (what ``DataCollatorWithFlattening(return_flash_attn_kwargs=True)`` gives) or by ``position_ids`` that start
again. Sliding windows, soft caps and sinks come from the model. Written against transformers 5's attention interface.
"""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from smolfast import ops
from smolfast.errors import SmolfastError

NAME = "smolfast"


def register(name: str = NAME) -> None:
    """Add the attention and its mask to transformers under ``name``. Calling it again changes nothing."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(name, attention_forward)
    AttentionMaskInterface.register(name, padding_mask)


def padding_mask(
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: int = 0,
    kv_offset: int = 0,
    attention_mask: Tensor | None = None,
    use_vmap: bool = False,
    **_: Any,
) -> Tensor | None:
    """What transformers hands to every layer as the mask: None, or which keys are real, bool [B, keys].

    Causality, windows and packing aren't in it: `attention_forward` learns of them by its own arguments. Keys past the
    mask's end (the unwritten rest of a static cache) don't exist.

    Raises:
        SmolfastError: the model overlays a mask of its own, which the kernels can't express.
    """
    if use_vmap:
        raise SmolfastError(
            "attn_implementation='smolfast' can't apply a custom mask function; use attn_implementation='sdpa'"
        )
    written = int(q_offset) + q_length - kv_offset
    if attention_mask is None:
        return None if written >= kv_length else torch.ones(batch_size, written, dtype=torch.bool)
    real = attention_mask[:, kv_offset : kv_offset + kv_length].bool()
    return None if real.shape[1] == kv_length and bool(real.all()) else real


class _Packing(NamedTuple):
    """Rows of the real tokens in the flattened batch (None: all of them) and where the sequences lie among them."""

    rows_q: Tensor | None
    rows_k: Tensor | None
    cu_q: Tensor
    cu_k: Tensor
    longest_q: int
    longest_k: int


def attention_forward(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    is_causal: bool | None = None,
    s_aux: Tensor | None = None,
    position_ids: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """transformers' attention function: q [B, H, S, D], k and v [B, Hkv, Sk, D] in; [B, S, H, D] and no weights out.

    Raises:
        SmolfastError: dropout, a 4-D mask, or packed lengths with more than one row.
    """
    if dropout:
        raise SmolfastError(f"attn_implementation='smolfast' has no dropout; set attention_dropout to 0, not {dropout}")
    if attention_mask is not None and attention_mask.ndim != 2:
        raise SmolfastError(
            f"attn_implementation='smolfast' takes a padding mask [B, S], not one of shape "
            f"{tuple(attention_mask.shape)}; use attn_implementation='sdpa' for a mask of pairs"
        )
    width, value_width = query.shape[-1], value.shape[-1]
    if value_width != width:  # multi-head latent attention: narrower values
        value = F.pad(value, (0, width - value_width))
    causal = bool(getattr(module, "is_causal", True) if is_causal is None else is_causal)
    options: dict[str, Any] = {
        "causal": causal,
        "softmax_scale": scaling,
        "window_size": (-1, -1)
        if sliding_window is None
        else (sliding_window - 1, -1 if causal else sliding_window - 1),
        "softcap": softcap or 0.0,
        "sinks": s_aux,
    }
    q, k, v = (x.transpose(1, 2) for x in (query, key, value))
    packing = _packing(q, k, attention_mask, position_ids, kwargs)
    if packing is None:
        out = ops.gqa_attention(q, k, v, **options)
        assert isinstance(out, Tensor)
        return out[..., :value_width], None
    q, k, v = q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1)
    if packing.rows_q is not None:
        q = q[packing.rows_q]
    if packing.rows_k is not None:
        k, v = k[packing.rows_k], v[packing.rows_k]
    out = ops.gqa_attention_varlen(
        q, k, v, packing.cu_q, packing.cu_k, packing.longest_q, packing.longest_k, **options
    )  # fmt: skip
    assert isinstance(out, Tensor)
    if packing.rows_q is not None:
        out = out.new_zeros(query.shape[0] * query.shape[2], *out.shape[1:]).index_copy(0, packing.rows_q, out)
    return out.view(query.shape[0], query.shape[2], *out.shape[1:])[..., :value_width], None


def _packing(
    q: Tensor, k: Tensor, mask: Tensor | None, position_ids: Tensor | None, given: dict[str, Any]
) -> _Packing | None:
    """None where every row of the batch is one whole sequence."""
    if mask is not None:
        return _once(_from_mask, mask, q.shape[1], k.shape[1], q.device)
    if given.get("cu_seq_lens_q") is not None:
        if q.shape[0] != 1:
            raise SmolfastError(f"cu_seq_lens_q needs all sequences in one row; this batch has {q.shape[0]} rows")
        cu_q, cu_k = (given[name].to(q.device, torch.int32) for name in ("cu_seq_lens_q", "cu_seq_lens_k"))
        return _Packing(None, None, cu_q, cu_k, int(given["max_length_q"]), int(given["max_length_k"]))
    if position_ids is None or position_ids.ndim != 2 or q.shape[1] != k.shape[1] or q.shape[1] < 2:
        return None
    return _once(_from_positions, position_ids, q.shape[0], q.device)


def _from_mask(mask: Tensor, queries: int, keys: int, device: torch.device) -> _Packing:
    real = F.pad(mask, (0, keys - mask.shape[1])).to(device)  # keys past the mask's end don't exist
    real_q = mask[:, mask.shape[1] - queries :].to(device)  # queries are the last tokens
    cu_q, cu_k = (F.pad(x.sum(1).cumsum(0), (1, 0)).int() for x in (real_q, real))
    longest_q, longest_k = (int(x.sum(1).max()) for x in (real_q, real))
    return _Packing(_rows(real_q), _rows(real), cu_q, cu_k, longest_q, longest_k)


def _rows(real: Tensor) -> Tensor:
    return real.flatten().nonzero().flatten()


def _from_positions(position_ids: Tensor, batch: int, device: torch.device) -> _Packing | None:
    starts = torch.ones_like(position_ids, dtype=torch.bool)
    starts[:, 1:] = position_ids.diff(dim=1) != 1
    if int(starts.sum()) == starts.shape[0]:
        return None
    starts = starts.expand(batch, -1).flatten()
    cu = F.pad(starts.nonzero().flatten(), (0, 1), value=starts.numel()).int().to(device)
    longest = int(cu.diff().max())
    return _Packing(None, None, cu, cu, longest, longest)


_last: dict[Any, tuple[weakref.ref[Tensor], int, tuple[Any, ...], _Packing | None]] = {}


def _once(work: Any, tensor: Tensor, *rest: Any) -> _Packing | None:
    """work(tensor, …), remembered for the last tensor: every layer asks the same, and waits for the GPU."""
    if torch.compiler.is_compiling():
        return work(tensor, *rest)  # type: ignore[no-any-return]
    known = _last.get(work)
    if known is not None and known[0]() is tensor and known[1] == tensor._version and known[2] == rest:
        return known[3]
    result: _Packing | None = work(tensor, *rest)
    _last[work] = (weakref.ref(tensor), tensor._version, rest, result)
    return result
