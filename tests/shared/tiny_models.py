"""Models of a size that tests can train: wide enough to have every part, small enough for milliseconds a step.

A module and no fixture, since tests name their model where they are read: in helpers, parameters and other fixtures.
pytest finds it by `pythonpath` in pyproject.toml.
"""

from __future__ import annotations

from typing import Any

from smolfast.config import ModelConfig

_TINY: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "no_rope_layer_interval": 2,
}
_LEAST: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
}


def tiny(**changes: Any) -> ModelConfig:
    """Two layers, the second without rotary embedding; four query heads share a key head."""
    return ModelConfig(**_TINY | changes)


def least(**changes: Any) -> ModelConfig:
    """One layer, where what is tested isn't what the model learns."""
    return ModelConfig(**_LEAST | changes)
