"""``attn_implementation="smolfast"`` for Hugging Face transformers.

    from smolfast.integrations.transformers import register
    register()
    model = AutoModelForCausalLM.from_pretrained(..., attn_implementation="smolfast")

Padding is taken out before attention and put back after it. A packed batch is known by ``cu_seq_lens_q`` and its
companions (what ``DataCollatorWithFlattening(return_flash_attn_kwargs=True)`` gives) or by ``position_ids`` that start
again, with padding or without. Sliding windows, soft caps and sinks come from the model. Masks of pairs of tokens go
to torch. Written against transformers 5's attention interface.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from smolfast import ops
from smolfast.errors import SmolfastError
from smolfast.ops.masked_pairs import masked_attention
from smolfast.ops.packed_rows import Packing, attend_rows, documents, pack_rows

NAME = "smolfast"


def register(name: str = NAME) -> None:
    """Add the attention and its mask to transformers under ``name``. Calling it again changes nothing."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(name, attention_forward)
    AttentionMaskInterface.register(name, attention_mask_for)


def attention_mask_for(
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: int | Tensor = 0,
    kv_offset: int = 0,
    mask_function: Callable[..., Any] | None = None,
    attention_mask: Tensor | None = None,
    local_size: int | None = None,
    allow_is_causal_skip: bool = True,
    allow_is_bidirectional_skip: bool = False,
    use_vmap: bool = False,
    config: Any = None,
    **rest: Any,
) -> Tensor | None:
    """What transformers hands to every layer as the mask.

    Returns:
        None, or which keys are real, bool [B, keys]: causality, windows and packing aren't in it, `attention_forward`
        learns of them by its own arguments, and keys past the mask's end (the unwritten rest of a static cache) don't
        exist. Or, where that can't say it, which query sees which key, bool [B, queries, keys]: chunks, blocks and
        masks of the model's own, holes in a window (it counts columns, real or not), a static cache in a graph.
    """
    compiling = torch.compiler.is_compiling()
    if attention_mask is not None and attention_mask.ndim == 3:
        # `generate` asks before each step with a static cache, and the model asks again with the answer.
        return attention_mask
    real = None if attention_mask is None else attention_mask[:, kv_offset : kv_offset + kv_length].bool()
    # transformers forbids to leave the mask out where it isn't plain, and in each step of a compiled generation. It
    # does so for packed batches too, which are masked by their positions.
    whole = not (allow_is_causal_skip or allow_is_bidirectional_skip)
    packed = attention_mask is None and q_length > 1 and _is_intersection(mask_function)
    chunked = local_size == getattr(config, "attention_chunk_size", 0) and kv_length + kv_offset > (local_size or 0)
    in_pairs = use_vmap or (whole and not packed) or chunked or (compiling and isinstance(q_offset, Tensor))
    if real is not None and real.shape[1] == kv_length and not compiling and bool(real.all()):
        real = None
    if not in_pairs and real is not None and local_size is not None:
        in_pairs = compiling or allow_is_bidirectional_skip or _has_holes(real)
    written = kv_length
    if not in_pairs and not allow_is_bidirectional_skip:  # the queries are the last keys that are there
        written = min(kv_length, int(q_offset) + q_length - kv_offset)
        in_pairs = real is not None and real.shape[1] < written
    if in_pairs:
        from transformers.masking_utils import causal_mask_function, sdpa_mask

        pairs = sdpa_mask(
            batch_size, q_length, kv_length, q_offset, kv_offset, mask_function or causal_mask_function,  # type: ignore[arg-type]
            attention_mask, allow_is_causal_skip=False, use_vmap=use_vmap, device=rest.get("device", "cpu"),
        )  # fmt: skip
        assert pairs is not None
        return pairs[:, 0]
    if real is None:
        device = rest.get("device", "cpu")
        return None if written == kv_length else torch.ones(batch_size, written, dtype=torch.bool, device=device)
    return real[:, :written]


def _is_intersection(mask_function: Callable[..., Any] | None) -> bool:
    """Whether transformers made it with its and_masks, as for packed batches; one with blocks is a union."""
    return getattr(mask_function, "__name__", "") == "and_mask"


def _has_holes(real: Tensor) -> bool:
    """Whether the real tokens of a row don't lie side by side."""
    return bool((F.pad(real, (1, 0)).int().diff(dim=1) == 1).sum(1).gt(1).any())


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

    ``attention_mask`` is what `attention_mask_for` gave, or a caller's own of pairs [B or 1, H or 1, S, Sk], bool (True
    is seen) or float (added to the scores). The latter says all: windows and positions don't count beside it.

    Raises:
        SmolfastError: dropout, biases, sparse or paged attention, a mask of another kind, or packed lengths with more
            than one row.
    """
    if dropout:
        raise SmolfastError(
            f"attn_implementation='smolfast' has no dropout, and this layer has {dropout}; make the model with "
            "attention_dropout=0.0 (from_pretrained takes it too)"
        )
    for name in ("position_bias", "indices", "block_indices", "cache"):
        if kwargs.get(name) is not None:
            raise SmolfastError(
                f"attn_implementation='smolfast' can't apply this model's {name}; use attn_implementation='sdpa'"
            )
    causal = bool(getattr(module, "is_causal", True) if is_causal is None else is_causal)
    if attention_mask is not None and (not isinstance(attention_mask, Tensor) or attention_mask.ndim > 2):
        seen = _pairs(attention_mask, query, key, position_ids)
        return masked_attention(query, key, value, seen, scaling, softcap or 0.0, s_aux).transpose(1, 2), None
    width, value_width = query.shape[-1], value.shape[-1]
    if value_width != width:  # multi-head latent attention: narrower values
        value = F.pad(value, (0, width - value_width))
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
    if kwargs.get("cu_seq_lens_q") is not None and attention_mask is None:
        q_THD, k_THD, v_THD = (x.flatten(0, 1) for x in (q, k, v))
        out = ops.gqa_attention_varlen(q_THD, k_THD, v_THD, *_lengths(q, k, kwargs), **options)
        assert isinstance(out, Tensor)
        return out.view(*q.shape[:2], *out.shape[1:])[..., :value_width], None
    packing = _packing(q, k, attention_mask, position_ids, kwargs, causal)
    out = ops.gqa_attention(q, k, v, **options) if packing is None else attend_rows(q, k, v, packing, **options)
    assert isinstance(out, Tensor)
    return out[..., :value_width], None


def _pairs(mask: Tensor, query: Tensor, key: Tensor, position_ids: Tensor | None) -> Tensor:
    """A mask of pairs as [B or 1, H or 1, Sq, Sk]."""
    batch, heads, queries, keys = query.shape[0], query.shape[1], query.shape[2], key.shape[2]
    if isinstance(mask, Tensor) and mask.ndim == 3:
        if position_ids is not None and position_ids.ndim == 2 and queries == keys:
            document = documents(mask.diagonal(dim1=1, dim2=2), position_ids)  # each real token sees itself
            mask = mask & (document[:, :, None] == document[:, None])
        mask = mask[:, None]
    fits = isinstance(mask, Tensor) and mask.ndim == 4 and (mask.dtype == torch.bool or mask.is_floating_point())
    fits = fits and all(size in (1, full) for size, full in zip(mask.shape, (batch, heads, queries, keys), strict=True))
    if not fits:
        kind = f"{mask.dtype} {list(mask.shape)}" if isinstance(mask, Tensor) else type(mask).__name__
        raise SmolfastError(
            f"attn_implementation='smolfast' can't use a mask {kind}; give a padding mask [B, S], or pairs as bool or "
            f"float [{batch}, 1, {queries}, {keys}]"
        )
    return mask


def _lengths(q: Tensor, k: Tensor, given: dict[str, Any]) -> tuple[Tensor, Tensor, Any, Any]:
    if q.shape[0] != 1:
        raise SmolfastError(f"cu_seq_lens_q needs all sequences in one row; this batch has {q.shape[0]} rows")
    for_keys = "k" if given.get("cu_seq_lens_k") is not None else "q"
    cu_q, cu_k = (torch.as_tensor(given[f"cu_seq_lens_{x}"]).to(q.device, torch.int32) for x in ("q", for_keys))
    return cu_q, cu_k, given.get("max_length_q"), given.get(f"max_length_{for_keys}")


def _packing(
    q: Tensor, k: Tensor, mask: Tensor | None, position_ids: Tensor | None, given: dict[str, Any], causal: bool
) -> Packing | None:
    """None where every row of the batch is one whole sequence."""
    queries, keys = q.shape[1], k.shape[1]
    positions = position_ids if position_ids is not None and position_ids.ndim == 2 else None
    if queries != keys or queries < 2:
        positions = None
    if given.get("cu_seq_lens_q") is not None:  # with a mask
        starts = _lengths(q, k, given)[0]
        column = torch.arange(queries, device=q.device)
        # Positions that rise by more than the columns between two documents.
        positions = (column + queries * torch.searchsorted(starts, column, right=True, out_int32=True))[None]
    if mask is None and positions is None:
        return None
    return _once(mask, positions, q.shape[0], queries, keys, causal)


_last: tuple[Any, Any, tuple[Any, ...], Packing | None] | None = None


def _once(
    mask: Tensor | None, positions: Tensor | None, batch: int, queries: int, keys: int, causal: bool
) -> Packing | None:
    """`pack_rows`, remembered for the last tensors: every layer asks the same, and waits for the GPU."""
    global _last
    if torch.compiler.is_compiling():
        return pack_rows(mask, positions, batch=batch, queries=queries, keys=keys, causal=causal)
    versions = (*(None if x is None else x._version for x in (mask, positions)), batch, queries, keys, causal)
    if _last is not None and _last[0]() is mask and _last[1]() is positions and _last[2] == versions:
        return _last[3]
    found = pack_rows(mask, positions, batch=batch, queries=queries, keys=keys, causal=causal)
    whole = found.sizes.tolist() == [batch, queries, keys, batch * queries, batch * keys]
    packing = None if whole else found
    _last = (_reference(mask), _reference(positions), versions, packing)
    return packing


def _reference(tensor: Tensor | None) -> Callable[[], Tensor | None]:
    return (lambda: None) if tensor is None else weakref.ref(tensor)
