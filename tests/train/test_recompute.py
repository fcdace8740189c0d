"""What the backward pass computes again changes no bit, and takes the room that the dry run says."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from smolfast.config import ModelConfig, TrainConfig
from smolfast.model.network import PackedBatch, SmolLM

VOCABULARY = 97
MODES = ("none", "selective", "full")
MODEL: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "no_rope_layer_interval": 2,
    "max_position_embeddings": 64,
}


def packed(windows: int = 2, length: int = 33) -> PackedBatch:
    """Windows of several documents each."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(0, VOCABULARY, (windows, length), generator=generator).numpy()
    return PackedBatch.from_windows(tokens, (tokens[:, :1] * 0 + torch.arange(length).numpy()) // 7)


def gradients(mode: str, precision: str = "fp32", compile: bool = False, **changes: Any) -> list[torch.Tensor]:
    model = SmolLM(ModelConfig(**MODEL | changes), VOCABULARY)
    model.set_recompute(mode)  # type: ignore[arg-type]
    if compile:
        torch._dynamo.reset()
        for layer in model.model.layers:
            layer.compile(fullgraph=True)
    heads = model.config.mtp_heads
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        loss, head_losses = model.loss(packed(), (1.0, 0.3, 0.2)[:heads], z_loss=1e-3)
    loss.backward()
    return [
        loss.detach(),
        head_losses,
        *(parameter.grad for parameter in model.parameters() if parameter.grad is not None),
    ]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "changes",
    [
        {"mtp_heads": 1},
        {"mtp_heads": 3},
        {"mtp_heads": 3, "mtp_kind": "sequential"},
        {"mtp_heads": 2, "mtp_kind": "shared", "activation": "relu2", "qk_norm": True, "norm": "layernorm"},
    ],
)
def test_losses_and_gradients_are_equal_to_the_bit(changes: dict[str, Any], precision: str) -> None:
    expected = gradients("none", precision, **changes)
    for mode in MODES[1:]:
        found = gradients(mode, precision, **changes)
        assert len(found) == len(expected)
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True)), mode


@pytest.mark.slow
# torch's compiler looks at the .grad of what enters a graph, uses what torch has deprecated, and warns itself of it.
@pytest.mark.filterwarnings("ignore")
def test_compiled_layers_are_equal_to_the_bit_too() -> None:
    shape = {"mtp_heads": 1, "num_hidden_layers": 1, "no_rope_layer_interval": 9}
    expected = gradients("none", compile=True, **shape)
    for mode in MODES[1:]:
        found = gradients(mode, compile=True, **shape)
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True)), mode


def test_it_says_nothing_of_what_a_run_makes() -> None:
    assert TrainConfig(recompute="full").deciding() == TrainConfig().deciding()
