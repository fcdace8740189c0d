"""Each preset's small twin, for tests of all that has a preset's shape."""

from __future__ import annotations

from typing import Any

from smolfast.config import ModelConfig, load_config


def twin(name: str, **changes: Any) -> ModelConfig:
    """A preset with heads of eight and at most eight layers: the same ratios of width, heads and SwiGLU.

    Weights grow as the width shrinks, so that states are as large as the preset's.
    """
    full = load_config(name).model
    width = full.num_attention_heads * 8
    small = {
        "hidden_size": width,
        "head_dim": 8,
        "intermediate_size": round(width * full.intermediate_size / full.hidden_size),
        "num_hidden_layers": min(8, full.num_hidden_layers),
        "initializer_range": full.initializer_range * (full.hidden_size / width) ** 0.5,
        "max_position_embeddings": 128,
    }
    return ModelConfig(**full.model_dump() | small | changes)
