"""Settings that change how the step is computed, and not what: bf16 products and compiled layers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from smolfast.config import ModelConfig, TrainConfig
from smolfast.model.network import DecoderLayer, PackedBatch, SmolLM
from smolfast.train.loop import train
from tiny_models import tiny

MODEL = tiny()


def lines(write_tokens: Any, folder: Path, model: ModelConfig = MODEL, **changes: Any) -> list[dict[str, Any]]:
    config = TrainConfig(
        **{"steps": 30, "sequence_length": 32, "batch_size": 8, "micro_batch_size": 4, "monitor_every": 10} | changes
    )
    tokens = folder / "tokens"
    if not tokens.exists():
        write_tokens(tokens)
    output = folder / f"run-{len(list(folder.iterdir()))}"
    train(tokens, output, model=model, config=config, device="cpu", threads=2)
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


def test_bf16_learns_what_fp32_learns(write_tokens: Any, tmp_path: Path) -> None:
    exact, rounded = (lines(write_tokens, tmp_path, precision=precision) for precision in ("fp32", "bf16"))
    assert exact[-1]["head_losses"][0] < exact[0]["head_losses"][0] - 0.3
    # One rounding of bf16 is 2⁻⁹ of a number, and losses average over 256 targets.
    for one, other in zip(exact, rounded, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=2e-2)
    assert rounded[0]["loss"] != exact[0]["loss"]
    assert rounded[0]["loss"] == pytest.approx(exact[0]["loss"], rel=2e-3)


def test_bf16_gradients_and_weights_stay_in_fp32(write_tokens: Any, tmp_path: Path) -> None:
    model = SmolLM(MODEL, 64)
    tokens = np.arange(2 * 17).reshape(2, 17) % 64
    batch = PackedBatch.from_windows(tokens, tokens * 0)
    exact = torch.autograd.grad(model.loss(batch, (1.0, 0.2))[0], list(model.parameters()))
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = model.loss(batch, (1.0, 0.2))
    rounded = torch.autograd.grad(loss, list(model.parameters()))
    assert loss.dtype == torch.float32
    for one, other in zip(exact, rounded, strict=True):
        assert other.dtype == torch.float32
        assert float((one - other).norm() / one.norm()) < 3e-2


@pytest.mark.slow
# torch's compiler looks at the .grad of what enters a graph, uses what torch has deprecated, and warns itself of it.
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_compiled_layers_give_the_same_losses(write_tokens: Any, tmp_path: Path) -> None:
    plain, compiled = (lines(write_tokens, tmp_path, compile=wanted, steps=12) for wanted in (False, True))
    assert [line["loss"] for line in compiled] == pytest.approx([line["loss"] for line in plain], rel=1e-5)
    assert compiled[9]["features"]["effective_rank"] == pytest.approx(plain[9]["features"]["effective_rank"], rel=1e-3)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_runs_of_one_process_each_have_graphs_of_their_own(
    write_tokens: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch keeps eight graphs of a function unless told otherwise; a run of this kind makes five or six."""
    compiled = DecoderLayer.compile
    monkeypatch.setattr(DecoderLayer, "compile", lambda self, **options: compiled(self, backend="eager", **options))
    for width in (24, 48, 72):
        model = tiny(intermediate_size=width)
        plain, graphs = (lines(write_tokens, tmp_path, model, compile=wanted, steps=4) for wanted in (False, True))
        assert [line["loss"] for line in graphs] == pytest.approx([line["loss"] for line in plain], rel=1e-5)


def test_a_step_is_one_graph() -> None:
    """Through layers, further heads and the loss, for documents of any number."""
    torch._dynamo.reset()
    model = SmolLM(MODEL, 64)
    step = torch.compile(lambda batch: model.loss(batch, (1.0, 0.2), [30, 28])[0], backend="eager", fullgraph=True)
    tokens = np.arange(2 * 17).reshape(2, 17) % 64
    for cut in (5, 9):
        ids = np.tile(np.arange(17) // cut, (2, 1))
        batch = PackedBatch.from_windows(tokens, ids)
        found = torch.autograd.grad(step(batch), list(model.parameters()))
        expected = torch.autograd.grad(model.loss(batch, (1.0, 0.2), [30, 28])[0], list(model.parameters()))
        torch.testing.assert_close(found, expected)


def test_layers_are_compiled_when_asked(write_tokens: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(DecoderLayer, "compile", lambda self, **options: asked.append(options))
    lines(write_tokens, tmp_path, compile=True, steps=1)
    assert asked == [{"fullgraph": True}] * 3  # a further head's layer, too
    asked.clear()
    lines(write_tokens, tmp_path, steps=1)
    assert asked == []  # auto, on a CPU


def test_compiled_layers_hide_the_logits_of_qk_clip() -> None:
    with pytest.raises(ValueError, match="compile hides the attention logits"):
        TrainConfig(compile=True, qk_clip=50.0)
    assert TrainConfig(qk_clip=50.0).compile == "auto"
