"""Which of llama.cpp's architectures computes what a model computes, and the file's keys for its shape."""

from __future__ import annotations

from typing import Any

from smolfast.config import ModelConfig
from smolfast.errors import SmolfastError
from smolfast.model.network import rope_layers
from smolfast.model.rope import yarn_context

# Written into llama.cpp's graph of SmolLM3, not read from the file.
_NOPE_INTERVAL = 4


def architecture_of(config: ModelConfig) -> str:
    """`smollm3` (every 4th layer without rotary embedding) or `llama` (all layers with it).

    Raises:
        SmolfastError: other layers go without; names them.
    """
    rotates = rope_layers(config)
    if all(rotates):
        return "llama"
    if rotates == [(layer + 1) % _NOPE_INTERVAL != 0 for layer in range(config.num_hidden_layers)]:
        return "smollm3"
    raise SmolfastError(
        f"the model has no rotary embedding on every {config.no_rope_layer_interval}th layer; llama.cpp has that fixed "
        f"to every {_NOPE_INTERVAL}th, and would compute something else; use --format transformers, or train with "
        f"--set model.no_rope_layer_interval={_NOPE_INTERVAL}"
    )


def shape_keys(config: ModelConfig, vocab_size: int) -> dict[str, Any]:
    """The keys of a GGUF file for a model's shape, without the architecture's prefix."""
    keys: dict[str, Any] = {
        "vocab_size": vocab_size,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": config.head_dim,
        "attention.value_length": config.head_dim,
        "attention.layer_norm_rms_epsilon": float(config.rms_norm_eps),
        "rope.dimension_count": config.head_dim,
        "rope.freq_base": float(config.rope_theta),
    }
    if config.yarn_factor != 1:
        keys |= {
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": float(config.yarn_factor),
            "rope.scaling.original_context_length": yarn_context(config),
        }
    return keys
