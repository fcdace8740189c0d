"""Features against plain formulas, and alarms at planted collapses."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from smolfast.config import ModelConfig
from smolfast.model.network import PackedBatch, SmolLM
from smolfast.train.watch.features import FeatureMonitor, effective_rank

CONFIG = ModelConfig(
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=4,
    no_rope_layer_interval=2,
    initializer_range=0.5,
)
WINDOW = 8


@pytest.fixture
def monitor() -> FeatureMonitor:
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 50, (3, WINDOW))
    ids = np.array([[0] * 8, [0, 0, 0, 1, 1, 1, 1, 1], [0, 1, 2, 2, 2, 2, 2, 2]])
    return FeatureMonitor(SmolLM(CONFIG, 50, seed=0), PackedBatch.from_windows(tokens, ids), WINDOW)


def test_effective_rank() -> None:
    assert effective_rank(torch.eye(6)) == pytest.approx(6, rel=1e-5)
    assert effective_rank(torch.ones(5, 4)) == pytest.approx(1, abs=1e-4)
    values = np.array([3.0, 2.0, 1.0])
    shares = values / values.sum()
    expected = math.exp(-(shares * np.log(shares)).sum())
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(7, 3)))[0]
    assert effective_rank(torch.from_numpy(rotation * values)) == pytest.approx(expected, rel=1e-5)
    assert math.isnan(effective_rank(torch.tensor([[1.0, math.inf]])))


def test_nothing_changed_is_no_change_and_a_change_is_its_ratio(monitor: FeatureMonitor) -> None:
    before = monitor.states()
    assert [state.shape for state in before] == [(24, 16)] * 2
    assert monitor.measure(before)["representation_change"] == [0.0, 0.0]
    with torch.no_grad():
        for parameter in monitor.model.parameters():
            parameter.add_(0.01)
    after = monitor.states()
    expected = [float((new - old).norm() / old.norm()) for new, old in zip(after, before, strict=True)]
    assert monitor.measure(before)["representation_change"] == pytest.approx(expected)
    assert min(expected) > 0.001


@torch.no_grad()
def test_attention_entropy_against_a_plain_loop(monitor: FeatureMonitor) -> None:
    """The last layer has no rotary embedding, so its maps are easy to write down."""
    model, batch = monitor.model, monitor.batch
    states = monitor.states()
    layer = model.model.layers[1]
    x = layer.input_layernorm(states[0])
    q = layer.self_attn.q_proj(x).view(24, 4, 4)
    k = layer.self_attn.k_proj(x).view(24, 2, 4)
    found = []
    for head in range(4):
        for position in range(24):
            start = int(batch.cu_seqlens[batch.cu_seqlens <= position].max())
            if position == start:
                continue
            scores = torch.stack([q[position, head] @ k[key, head // 2] for key in range(start, position + 1)]) / 2
            p = scores.softmax(0)
            found.append((head, float(-(p * p.log()).sum()) / math.log(position + 1 - start)))
    heads = [np.mean([value for head, value in found if head == index]) for index in range(4)]
    measured = monitor.measure(states)
    assert measured["attention_entropy"][1] == pytest.approx(np.mean(heads), rel=1e-4)
    assert measured["least_attention_entropy"][1] == pytest.approx(min(heads), rel=1e-4)


def test_dead_units_are_counted(monitor: FeatureMonitor) -> None:
    assert monitor.measure(monitor.states())["dead_units"] == [0.0, 0.0]
    with torch.no_grad():
        monitor.model.model.layers[0].mlp.up_proj.weight[:6] = 0
    assert monitor.measure(monitor.states())["dead_units"] == [0.25, 0.0]


def test_alarms_once_for_each_collapse(monitor: FeatureMonitor) -> None:
    sound = monitor.measure(monitor.states())
    assert monitor.alarms(sound) == []
    collapsed = sound | {"effective_rank": [sound["effective_rank"][0], 1.01], "dead_units": [0.95, 0.0]}
    found = monitor.alarms(collapsed)
    assert [(alarm["measure"], alarm["layer"]) for alarm in found] == [("effective_rank", 1), ("dead_units", 0)]
    other = FeatureMonitor(monitor.model, monitor.batch, WINDOW)
    other.load(json.loads(json.dumps(monitor.state())))
    assert monitor.alarms(collapsed) == other.alarms(collapsed) == []
    assert monitor.alarms(sound) == []
    assert len(monitor.alarms(sound | {"attention_entropy": [math.nan, 0.5]})) == 1
