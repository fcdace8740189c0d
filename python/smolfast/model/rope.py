"""Rotary frequencies: RoFormer's, or stretched by YaRN to contexts longer than the trained one."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from smolfast.config import ModelConfig

# Turns within the trained context: pairs that make more keep their frequency, pairs that make fewer than one are
# slowed by the factor, and between them it goes linearly (arXiv 2309.00071, section 3.2: β = 32, α = 1).
_MANY_TURNS, _FEW_TURNS = 32.0, 1.0


def rotary_tables(config: ModelConfig, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine [T, D/2] of position · frequency, in fp32; with YaRN times the attention's temperature.

    Args:
        positions: integers [T].
    """
    angles = positions[:, None].float() * rotary_frequencies(config, positions.device)
    scale = attention_scale(config)
    return (angles.cos(), angles.sin()) if scale == 1 else (angles.cos() * scale, angles.sin() * scale)


def rotate(x_TND: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary embedding of heads [T, N, D] by cosine and sine [T, D/2], first half against second."""
    cos, sin = (table[:, None].to(x_TND.dtype) for table in rope)
    first, second = x_TND.chunk(2, -1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


def rotary_frequencies(config: ModelConfig, device: torch.device | str = "cpu") -> Tensor:
    """Radians a position turns each pair by, fp32 [D/2]: θ^(−2i/D) (RoFormer, arXiv 2104.09864), or YaRN's.

    YaRN's borders are rounded outwards to whole pairs, as its authors' code and transformers have it.
    """
    width = config.head_dim
    exponents = torch.arange(0, width, 2, device=device, dtype=torch.float32) / width
    frequencies = 1.0 / config.rope_theta**exponents
    if config.yarn_factor == 1:
        return frequencies

    def pair_that_turns(times: float) -> float:
        return width * math.log(yarn_context(config) / (times * 2 * math.pi)) / (2 * math.log(config.rope_theta))

    first = max(math.floor(pair_that_turns(_MANY_TURNS)), 0)
    last = min(math.ceil(pair_that_turns(_FEW_TURNS)), width - 1)
    slowed = (torch.arange(width // 2, device=device, dtype=torch.float32) - first) / max(last - first, 1e-3)
    slowed = slowed.clamp(0, 1)
    return frequencies * (1 - slowed) + frequencies / config.yarn_factor * slowed


def attention_scale(config: ModelConfig) -> float:
    """YaRN's factor of queries and keys, √(1/t) = 0.1 ln s + 1 (section 3.3); 1 without it."""
    return 1.0 if config.yarn_factor == 1 else 0.1 * math.log(config.yarn_factor) + 1.0


def yarn_context(config: ModelConfig) -> int:
    """Tokens of the context before the stretch."""
    return config.yarn_context or max(1, round(config.max_position_embeddings / config.yarn_factor))
