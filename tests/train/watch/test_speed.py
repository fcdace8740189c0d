"""Operations counted against torch's own counter, and the figures of a step."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from smolfast.model.flops import flops_per_token
from smolfast.model.network import PackedBatch, SmolLM
from smolfast.train.watch import speed
from smolfast.workers import Workers
from tiny_models import tiny

CONFIG = tiny(num_hidden_layers=3, num_key_value_heads=2, no_rope_layer_interval=4)


@pytest.mark.parametrize("heads", [1, 2])
def test_operations_against_torch(heads: int) -> None:
    """Torch counts attention's whole square, twice what is needed, and on the CPU not the output matrix's custom op."""
    config = CONFIG.model_copy(update={"mtp_heads": heads})
    model = SmolLM(config, 64)
    tokens = np.random.default_rng(0).integers(0, 64, (1, 33))
    batch = PackedBatch.from_windows(tokens, np.zeros_like(tokens))
    layers = [*model.model.layers, *model.mtp_heads]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        for layer in layers:
            for projection in (layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj):
                projection(torch.zeros(33, 32))
            layer.self_attn.o_proj(torch.zeros(33, 32))
            layer.mlp(torch.zeros(33, 32))
        for _ in range(heads):
            torch.zeros(33, 32) @ model.unembedding.T
    matrices = 3 * counter.get_total_flops() / 33
    attention = 3 * len(layers) * 4 * 32 * 33 / 2
    assert len(batch.tokens) == 33
    assert sum(flops_per_token(config, 64, 33).values()) == pytest.approx(matrices + attention)


def test_the_peak_is_a_speed_of_this_machine() -> None:
    with Workers(1) as workers:
        peak = speed.peak_flops(workers, torch.device("cpu"))
    assert 1e8 < peak < 1e14


def test_figures_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(speed.time, "perf_counter", lambda: now[0])
    meter = speed.Speedometer(peak=1e6)
    meter.start()
    for _ in range(30):
        now[0] += 0.5
        figures = meter.step(100, 1000.0, 40)
    assert figures == {"tokens_per_second": 200.0, "mfu": 0.2, "eta_seconds": 20.0}


def test_the_slow_first_step_is_no_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(speed.time, "perf_counter", lambda: now[0])
    meter = speed.Speedometer(peak=1e6)
    meter.start()
    for step, seconds in enumerate((4.0, 0.5, 0.5), 1):
        now[0] += seconds
        figures = meter.step(100, 1000.0, 100 - step)
        assert figures["eta_seconds"] == ((100 - step) * 4.0 if step == 1 else (100 - step) * 0.5)
    assert figures["tokens_per_second"] == 200.0
