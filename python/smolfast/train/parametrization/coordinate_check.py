"""Activations' sizes against width, or depth, over the first steps (arXiv 2203.03466, appendix D.1).

Where a parametrisation is right they stay level: what a step changes in an activation is as large in a wide model as in
a narrow one. Logits of fresh weights are an exception, which fall with 1/√width by design. So what counts is the change
since then.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from smolfast.config import Config, ModelConfig
from smolfast.errors import SmolfastError
from smolfast.model.network import DecoderLayer, PackedBatch, SmolLM
from smolfast.optim import MuonAdamW
from smolfast.train.parametrization.scales import optimizer_overrides, rate_scales, scale_initial_weights
from smolfast.train.schedule import rate_scale

STEPS = 4
_WINDOWS = 8
_MOST_TOKENS = 2048
KINDS = ("embedding", "attention", "mlp", "stream", "logits")


@dataclass(frozen=True)
class Sizes:
    """Root mean squares of one kind of activation.

    Attributes:
        kind: of KINDS: an embedding, what attention and feed-forward parts of all layers add together, the stream
            behind the last layer, logits.
        size: [shapes][steps + 1], before the first step and after each. change: of the difference to before the first.
        chance: standard error of each shape's last change over that change, [shapes]; NaN of a single seed.
    """

    kind: str
    size: list[list[float]]
    change: list[list[float]]
    chance: list[float]

    @property
    def spread(self) -> float:
        """The largest change after the last step over the smallest, less 1: 0 where it is level."""
        last = [shape[-1] for shape in self.change]
        return max(last) / min(last) - 1 if min(last) > 0 else math.inf

    def slope(self, shapes: Sequence[int]) -> float:
        """The exponent with which the change after the last step grows."""
        last = np.maximum([shape[-1] for shape in self.change], 1e-300)
        return float(np.polyfit(np.log(shapes), np.log(last), 1)[0])


def at_width(model: ModelConfig, width: int) -> ModelConfig:
    """The model at another width: as many heads more, of the same width, and SwiGLU in proportion.

    Raises:
        SmolfastError: a width that doesn't give whole heads.
    """
    heads, rest = divmod(width * model.num_attention_heads, model.hidden_size)
    if rest or not heads:
        step = model.hidden_size // math.gcd(model.hidden_size, model.num_attention_heads)
        raise SmolfastError(f"width {width} gives no whole number of heads; take multiples of {step}")
    keys = max(1, round(heads * model.num_key_value_heads / model.num_attention_heads))
    keys = next(count for count in range(keys, 0, -1) if heads % count == 0)
    return model.model_copy(
        update={
            "hidden_size": width,
            "intermediate_size": max(8, round(model.intermediate_size * width / model.hidden_size)),
            "num_attention_heads": heads,
            "num_key_value_heads": keys,
        }
    )


def at_depth(model: ModelConfig, layers: int) -> ModelConfig:
    """The model with another number of layers."""
    return model.model_copy(update={"num_hidden_layers": layers})


def coordinate_check(
    config: Config,
    shapes: Sequence[ModelConfig],
    *,
    steps: int = STEPS,
    seeds: int | Sequence[int] = 1,
    progress: Callable[[float, float, str], None] | None = None,
) -> list[Sizes]:
    """Take the first steps of a run with a model of each shape, on made-up tokens; their activations' sizes.

    Args:
        config: the settings of training, with the parametrisation and its base.
        seeds: runs of a shape, or of each, whose squares are averaged.

    Raises:
        SmolfastError: no two shapes, no step, or no seed.
    """
    each = [seeds] * len(shapes) if isinstance(seeds, int) else list(seeds)
    if len(shapes) < 2 or steps < 1 or len(each) != len(shapes) or min(each) < 1:
        raise SmolfastError("a coordinate check takes at least two shapes, one step, and one seed for each shape")
    found: dict[str, list[list[Any]]] = {kind: [] for kind in KINDS}
    done = 0
    for shape, count in zip(shapes, each, strict=True):
        squares = np.zeros((len(KINDS), count, 2, steps + 1))
        for seed in range(count):
            if progress is not None:
                progress(done, sum(each), f"width {shape.hidden_size}")
            every = _steps(config, shape, steps, config.seed + seed)
            for step, now in enumerate(every):
                for row, kind in enumerate(KINDS):
                    squares[row, seed, 0, step] = float(now[kind].square().mean())
                    squares[row, seed, 1, step] = float((now[kind] - every[0][kind]).square().mean())
            done += 1
        for row, kind in enumerate(KINDS):
            found[kind].append([*np.sqrt(squares[row].mean(0)).tolist(), _chance(squares[row, :, 1, -1])])
    return [Sizes(kind, *map(list, zip(*found[kind], strict=True))) for kind in KINDS]


def _chance(squares: npt.NDArray[np.float64]) -> float:
    """Standard error of the root of a mean of squares [seeds], over that root: half of that of the mean."""
    if len(squares) < 2 or not squares.any():
        return math.nan
    return float(squares.std(ddof=1) / len(squares) ** 0.5 / squares.mean() / 2)


def _steps(config: Config, shape: ModelConfig, steps: int, seed: int) -> list[dict[str, Tensor]]:
    """The activations before the first step and after each."""
    train = config.train
    network = SmolLM(shape, config.tokenizer.vocab_size, seed)
    scale_initial_weights(network, train)
    overrides = optimizer_overrides(network, network, train)
    optimizer = MuonAdamW(
        network,
        weight_decay=train.weight_decay,
        adamw=("*",) if train.optimizer == "adamw" else (),
        overrides=overrides,
    )
    rates = {"muon": train.muon_learning_rate, "adamw": train.adamw_learning_rate}
    factors = rate_scales(optimizer.param_groups, overrides)
    batch = _made_up(config, seed)
    found = [_activations(network, batch)]
    for step in range(steps):
        for group, factor in zip(optimizer.param_groups, factors, strict=True):
            group["lr"] = rates[group["algorithm"]] * factor * rate_scale(train, step, train.steps)
        torch.autograd.backward(network.loss(batch, train.mtp_weights, z_loss=train.z_loss)[0])
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        found.append(_activations(network, batch))
    return found


def _made_up(config: Config, seed: int) -> PackedBatch:
    """Windows of tokens whose frequencies fall like those of words."""
    draw = np.random.default_rng(seed)
    length = min(config.train.sequence_length, _MOST_TOKENS // _WINDOWS)
    tokens = draw.zipf(1.3, (_WINDOWS, length + 1)) % config.tokenizer.vocab_size
    return PackedBatch.from_windows(tokens, np.broadcast_to(np.arange(_WINDOWS)[:, None], tokens.shape))


@torch.no_grad()
def _activations(network: SmolLM, batch: PackedBatch) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}

    def keep(kind: str) -> Callable[[nn.Module, object, Tensor], None]:
        def add(module: nn.Module, inputs: object, output: Tensor) -> None:
            found[kind] = found[kind] + output if kind in found else output.clone()

        return add

    handles = [network.model.embed_tokens.register_forward_hook(keep("embedding"))]
    for layer in network.model.layers:
        assert isinstance(layer, DecoderLayer)
        handles += [
            layer.self_attn.register_forward_hook(keep("attention")),
            layer.mlp.register_forward_hook(keep("mlp")),
        ]
    handles.append(network.model.layers[-1].register_forward_hook(keep("stream")))
    try:
        found["logits"] = network.logits(batch)
    finally:
        for handle in handles:
            handle.remove()
    return found
