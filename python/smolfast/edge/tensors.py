"""A model's weights under llama.cpp's names, in its order of rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from smolfast.errors import SmolfastError
from smolfast.model.network import SmolLM

_OUTSIDE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
_OF_LAYERS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def gguf_name(module: str) -> str | None:
    """llama.cpp's name for the weight of a module such as `model.layers.0.mlp.up_proj`; None for further heads."""
    if module.startswith("mtp_heads."):
        return None
    if module in _OUTSIDE:
        return f"{_OUTSIDE[module]}.weight"
    _, _, layer, part = module.split(".", 3)
    return f"blk.{layer}.{_OF_LAYERS[part]}.weight"


def named_weights(model: SmolLM) -> Iterator[tuple[str, Tensor]]:
    """Name and weight of each tensor that goes into the file; queries' and keys' rows as llama.cpp turns them.

    Raises:
        SmolfastError: a weight holds NaN or infinity.
    """
    for parameter, weight in model.state_dict().items():
        name = gguf_name(parameter.removesuffix(".weight"))
        if name is None:
            continue
        if not bool(torch.isfinite(weight).all()):
            raise SmolfastError(f"the weight {parameter} holds NaN or infinity; export an earlier checkpoint's model")
        if "attn_q." in name or "attn_k." in name:
            weight = turn_pairs(weight, model.config.head_dim)
        yield name, weight


def turn_pairs(weight: Tensor, head_dim: int) -> Tensor:
    """Rows [N · D, H] so that the two that rotate together are neighbours: llama.cpp pairs 2i with 2i + 1.

    transformers pairs i with i + D/2. Queries and keys move alike, so that their products stay the same.
    """
    halves = weight.reshape(-1, 2, head_dim // 2, weight.shape[-1])
    return halves.transpose(1, 2).reshape(weight.shape)


def as_array(weight: Tensor) -> npt.NDArray[Any]:
    """The weight as a contiguous fp32 array."""
    return np.ascontiguousarray(weight.detach().float().cpu().numpy())
