"""Models by size: a ladder of SmolLM3-shaped ones, with their exact operations; and rates by size and tokens.

A width of 32 k has about k layers, up to 36, as the presets and the smallest models have it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np

from smolfast.scaling.law import Array

Activation = Literal["swiglu", "relu2", "gelu"]

_WIDEST = 16384
_MOST_LAYERS = 36


@dataclass(frozen=True)
class Shape:
    """A model's settings, its N without embeddings, and its operations a token in training."""

    settings: dict[str, Any]
    params: float
    flops_per_token: float


def ladder(
    smallest: float,
    largest: float,
    count: int,
    *,
    vocab_size: int,
    sequence_length: int,
    activation: Activation = "swiglu",
) -> list[Shape]:
    """Up to `count` models with N from smallest to largest, evenly spread in the log; no two of one size."""
    rungs = _all_rungs(activation)
    sizes = np.log([params for _, params in rungs])
    wanted = np.linspace(np.log(smallest), np.log(largest), count)
    chosen = sorted({int(np.abs(sizes - size).argmin()) for size in wanted})
    return [_shape(*rungs[index], vocab_size, sequence_length) for index in chosen]


def flops_per_token(params: Any, *, vocab_size: int, sequence_length: int, activation: Activation = "swiglu") -> Array:
    """Operations a token of models of so many parameters [...], between those of the ladder."""
    known = [_shape(settings, size, vocab_size, sequence_length) for settings, size in _all_rungs(activation)[::4]]
    x, y = np.log([shape.params for shape in known]), np.log([shape.flops_per_token for shape in known])
    at = np.log(np.asarray(params, np.float64))
    beyond = np.maximum(at - x[-1], 0) + np.minimum(at - x[0], 0)
    return np.asarray(np.exp(np.interp(at, x, y) + beyond))


def step_law(params: float, tokens: float) -> tuple[float, float]:
    """AdamW's rate and the batch in tokens (Step Law, arXiv 2503.04715); N without the vocabulary."""
    return 1.79 * params**-0.713 * tokens**0.307, 0.58 * tokens**0.571


def _shape(settings: dict[str, Any], params: float, vocab_size: int, sequence_length: int) -> Shape:
    return Shape(settings, params, sum(_exact(settings, vocab_size, sequence_length).values()))


@cache
def _all_rungs(activation: Activation) -> list[tuple[dict[str, Any], float]]:
    found: dict[int, tuple[dict[str, Any], float]] = {}
    width = 32
    while width <= _WIDEST:
        usual = min(_MOST_LAYERS, max(2, round(width / 32)))
        for layers in range(max(2, round(usual * 0.8)), round(usual * 1.25) + 1):
            settings = _settings(width, layers, activation)
            params = _exact(settings, 1, 1)["matrices"] / 6
            key = round(np.log(params) * 50)  # one for each two hundredths
            if key not in found or abs(layers - usual) < abs(found[key][0]["num_hidden_layers"] - usual):
                found[key] = (settings, params)
        width += 8 if width < 64 else 16 if width < 256 else 32 if width < 1024 else 128
    return [found[key] for key in sorted(found)]


def _settings(width: int, layers: int, activation: Activation) -> dict[str, Any]:
    head = 8 if width < 64 else 16 if width < 128 else 32 if width < 512 else 64
    heads = max(1, width // head)
    groups = next(count for count in range(max(1, heads // 4), 0, -1) if heads % count == 0)
    # Two matrices of 4.875 have the weights of three of 3.25.
    units = 3.25 if activation == "swiglu" else 4.875
    return {
        "hidden_size": width,
        "intermediate_size": round(units * width / 8) * 8,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": groups,
        "head_dim": head,
        **({} if activation == "swiglu" else {"activation": activation}),
    }


def _exact(settings: dict[str, Any], vocab_size: int, sequence_length: int) -> dict[str, float]:
    from smolfast.config import ModelConfig
    from smolfast.model.flops import flops_per_token as exact

    return exact(ModelConfig(**settings, mtp_heads=1), vocab_size, sequence_length)
