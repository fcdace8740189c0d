"""Single heads' rates and clipping: rows by hand, and nothing beside them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from smolfast.config import TrainConfig
from smolfast.errors import SmolfastError
from smolfast.model.network import SmolLM
from smolfast.train.trouble.heads import clip_heads, slowed_heads
from tiny_models import tiny

FACTORS = {"0.1": 0.25, "1.2": 0.5, "1.3": 0.75, "2.0": 0.1}  # layer 2 is the further head's


@pytest.fixture
def model() -> SmolLM:
    return SmolLM(tiny(num_key_value_heads=2), 64, seed=1)


def layers(model: SmolLM) -> dict[str, tuple[dict[int, float], dict[int, float]]]:
    """Of each attention its heads' factors: four of queries, two of keys, each of a pair's smaller one."""
    return {
        "model.layers.0.self_attn": ({1: 0.25}, {0: 0.25}),
        "model.layers.1.self_attn": ({2: 0.5, 3: 0.75}, {1: 0.5}),
        "mtp_heads.0.self_attn": ({0: 0.1}, {0: 0.1}),
    }


def test_a_step_moves_them_by_so_much_less(model: SmolLM) -> None:
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    generator = torch.Generator().manual_seed(0)
    steps = {name: torch.randn(parameter.shape, generator=generator) for name, parameter in before.items()}
    with slowed_heads(model, FACTORS), torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_(steps[name])
    slowed = 0
    for name, parameter in model.named_parameters():
        expected = before[name] + steps[name]
        for layer, (queries, keys) in layers(model).items():
            factors = {f"{layer}.q_proj.weight": queries, f"{layer}.k_proj.weight": keys}.get(name, {})
            for head, factor in factors.items():
                rows = slice(8 * head, 8 * head + 8)
                moved = parameter.detach()[rows] - before[name][rows]
                torch.testing.assert_close(moved, factor * steps[name][rows], atol=1e-6, rtol=1e-4)
                expected[rows] = parameter.detach()[rows]
                slowed += 1
        assert torch.equal(parameter, expected), name  # everything else to the bit
    assert slowed == 7


def test_gradients_are_clipped_to_a_share_of_the_bound(model: SmolLM) -> None:
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.grad = 0.03 * torch.randn(parameter.shape, generator=generator)
    before = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}  # type: ignore[union-attr]
    clip_heads(model, FACTORS, 1.0)
    for name, parameter in model.named_parameters():
        expected = before[name].clone()
        for layer, (queries, keys) in layers(model).items():
            factors = {f"{layer}.q_proj.weight": queries, f"{layer}.k_proj.weight": keys}.get(name, {})
            for head, factor in factors.items():
                rows = expected[8 * head : 8 * head + 8]
                rows *= min(1.0, factor / float(rows.norm()))
        torch.testing.assert_close(parameter.grad, expected)
    norm = float(model.model.layers[0].self_attn.q_proj.weight.grad[8:16].norm())  # type: ignore[union-attr]
    assert norm == pytest.approx(0.25, rel=1e-4)
    torch.testing.assert_close(  # under its bound
        model.model.layers[1].self_attn.q_proj.weight.grad[24:], before["model.layers.1.self_attn.q_proj.weight"][24:]
    )


def test_without_factors_nothing_is_touched(model: SmolLM) -> None:
    clip_heads(model, {}, 0.0)
    with slowed_heads(model, {}), torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(3.0)
    assert all(bool((parameter == 3.0).all()) for parameter in model.parameters())


@pytest.mark.parametrize(
    "changes", [{"follow": False}, {"metric": "gradient_norm"}, {"above": None, "below": 3.0}, {"reaction": "note"}]
)
def test_the_scope_of_a_head_goes_with_its_logits(changes: dict[str, Any]) -> None:
    rule = {
        "metric": "attention.max_logit", "above": 40.0, "follow": True, "scope": "head", "reaction": "lower rate"
    } | changes  # fmt: skip
    with pytest.raises((SmolfastError, ValueError), match=r'scope = "head" goes with|follow needs'):
        TrainConfig.model_validate({"monitors": [rule]})
