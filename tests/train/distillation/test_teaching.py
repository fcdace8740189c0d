"""Training with a teacher: it pulls the student towards it, resumes exactly, and says what doesn't fit."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import safetensors.torch
import torch

from smolfast import SmolfastError
from smolfast.commands import main as cli
from smolfast.config import DistillConfig, TrainConfig
from smolfast.model.network import SmolLM
from smolfast.model.pretrained import load_pretrained, save_pretrained
from smolfast.tokens.files import TokenFile
from smolfast.train.distillation import cache as distill_cache
from smolfast.train.distillation.cache import TeacherCache
from smolfast.train.loop import train
from teaching_parts import batch_of, teaching
from tiny_models import tiny

STUDENT = tiny(no_rope_layer_interval=3, max_position_embeddings=64)
TEACHER = STUDENT.model_copy(
    update={"hidden_size": 48, "num_attention_heads": 6, "mtp_heads": 1, "initializer_range": 0.2}
)
SETTINGS = TrainConfig(
    steps=6, sequence_length=32, batch_size=4, micro_batch_size=2, checkpoint_every=2, evaluate_every=0
)
EVERYTHING = DistillConfig(hidden_weight=0.3, attention_weight=0.2)


@pytest.fixture(scope="module")
def teacher(corpus: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    file = TokenFile.open(corpus.tokens, "train")
    save_pretrained(SmolLM(TEACHER, file.vocab_size, seed=3), folder, end_of_document=file.end_of_document)
    return folder


@pytest.fixture(scope="module")
def cache(corpus: SimpleNamespace, teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("cache")
    distill_cache.write_cache(teacher, corpus.tokens, folder, samples=20)
    return folder


def run(corpus: SimpleNamespace, output: Path, **options: Any) -> dict[str, Any]:
    return train(corpus.tokens, output, model=STUDENT, config=SETTINGS, device="cpu", **options)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / "model" / "model.safetensors")


def test_each_part_of_the_loss_is_its_definition(corpus: SimpleNamespace, teacher: Path) -> None:
    batch, positions = batch_of(corpus)
    student = SmolLM(STUDENT.model_copy(update={"initializer_range": 0.2}), 512, seed=1)
    teaches = load_pretrained(teacher)
    items = batch.valid_targets(2)

    def loss(**weights: float) -> float:
        of_none = {"ce_weight": 0.0, "kl_weight": 0.0, "hidden_weight": 0.0, "attention_weight": 0.0}
        taught = teaching(corpus, DistillConfig(**(of_none | weights)), teacher)
        return taught.loss(student, batch, positions, (1.0, 0.2), items)[0].item()

    valid = batch.targets != -100
    with torch.no_grad():
        assert loss(ce_weight=1.0) == pytest.approx(float(student.loss(batch, (1.0, 0.2))[0]), rel=1e-5)
        hidden, taught = student.hidden_states(batch, 1)[0], teaches.hidden_states(batch, 1)[0]
        projection = teaching(corpus, EVERYTHING, teacher).projections["projection"]
        errors = (projection(hidden) - taught).square().mean(1) / taught.square().mean(1)
        assert loss(hidden_weight=1.0) == pytest.approx(float(errors[valid].mean()), rel=1e-5)

        # Attention through the operation: with the identity as values, outputs are the attention map.
        maps = []
        for model in (student, teaches):
            x, _ = model.trunk(batch)
            layer = model.model.layers[-1]
            x = layer.input_layernorm(x)
            heads = model.config.num_attention_heads
            q = layer.self_attn.q_proj(x).view(len(x), heads, 8)
            k = layer.self_attn.k_proj(x).view(len(x), 1, 8)
            q, k = (turn(t, batch.position_ids, model.config.rope_theta) for t in (q, k))
            scores = torch.einsum("ind,jd->nij", q, k[:, 0]) / 8**0.5
            same = batch.document_ids[:, None] == batch.document_ids[None]
            maps.append(scores.masked_fill(~same.tril(), -torch.inf).softmax(-1).mean(0))
        p, q = maps
        divergence = (torch.xlogy(q, q) - torch.where(q > 0, q * p.clamp(min=1e-30).log(), 0.0)).sum(1)
        assert loss(attention_weight=1.0) == pytest.approx(float(divergence[valid].mean()), rel=1e-4)


def turn(x: torch.Tensor, positions: torch.Tensor, theta: float) -> torch.Tensor:
    """Rotary embedding as a product of complex numbers."""
    angles = positions[:, None, None] * theta ** (-torch.arange(4) / 4)
    first, second = x.chunk(2, -1)
    turned = torch.complex(first, second) * torch.polar(torch.ones_like(angles), angles)
    return torch.cat([turned.real, turned.imag], -1)


def test_a_teacher_of_the_same_distribution_teaches_nothing(corpus: SimpleNamespace, tmp_path: Path) -> None:
    student = SmolLM(STUDENT.model_copy(update={"mtp_heads": 1}), 512, seed=1)
    save_pretrained(student, tmp_path / "same", end_of_document=0)
    batch, positions = batch_of(corpus)
    config = DistillConfig(ce_weight=0.0, kl_weight=1.0, hidden_weight=1.0, attention_weight=1.0)
    taught = teaching(corpus, config, tmp_path / "same")
    assert not taught.projections
    loss, _ = taught.loss(student, batch, positions, (1.0,), batch.valid_targets(1))
    assert loss.item() == pytest.approx(0, abs=1e-5)
    for gradient in torch.autograd.grad(loss, list(student.parameters())):
        assert float(gradient.abs().max()) < 1e-4


@pytest.mark.parametrize("kind", ["independent", "sequential", "shared"])
def test_every_kind_of_heads_learns(corpus: SimpleNamespace, teacher: Path, kind: str) -> None:
    student = SmolLM(STUDENT.model_copy(update={"mtp_kind": kind}), 512, seed=1)
    batch, positions = batch_of(corpus)
    taught = teaching(corpus, DistillConfig(ce_weight=1.0, kl_weight=0.0), teacher)
    loss, heads = taught.loss(student, batch, positions, (1.0, 0.2), batch.valid_targets(2))
    expected, expected_heads = student.loss(batch, (1.0, 0.2))
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(heads[:2], expected_heads)
    gradients, wanted = (torch.autograd.grad(x, list(student.parameters())) for x in (loss, expected))
    for a, b in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_a_cache_teaches_what_stands_at_each_position(corpus: SimpleNamespace, cache: Path) -> None:
    """Head j of position i learns from the draws stored for position i + j."""
    student = SmolLM(STUDENT, 512, seed=1)
    batch, positions = batch_of(corpus)
    stored = TeacherCache.open(cache, TokenFile.open(corpus.tokens, "train")).at(positions.reshape(-1))
    q = torch.zeros(len(batch.tokens), 512).scatter_add_(1, stored.tokens, stored.probabilities)
    log_p = torch.log_softmax(student.hidden_states(batch).detach() @ student.unembedding.detach().t(), -1)
    expected = 0.0
    for depth, weight in enumerate((1.0, 0.2)):
        parts = [
            (torch.xlogy(q[i + depth], q[i + depth]) - q[i + depth] * log_p[depth, i]).sum()
            for i in range(len(batch.tokens) - depth)
            if batch.targets[i + depth] != -100 and batch.document_ids[i] == batch.document_ids[i + depth]
        ]
        expected += weight * float(torch.stack(parts).mean())
    taught = teaching(corpus, DistillConfig(ce_weight=0.0, kl_weight=1.0), None, cache)
    loss, _ = taught.loss(student, batch, positions, (1.0, 0.2), batch.valid_targets(2))
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_resumes_and_ignores_threads(corpus: SimpleNamespace, teacher: Path, cache: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"teacher": teacher, "teacher_cache": cache, "distill": EVERYTHING}
    summary = run(corpus, tmp_path / "whole", threads=1, **options)
    plain = run(corpus, tmp_path / "plain")
    assert summary["parameters"] == plain["parameters"]

    class Stop(BaseException):
        pass

    def stop(done: float, total: float, note: str) -> None:
        if done == 3:
            raise Stop

    with pytest.raises(Stop):
        run(corpus, tmp_path / "parts", threads=2, progress=stop, **options)
    resumed = run(corpus, tmp_path / "parts", threads=2, **options)
    assert resumed["resumed_from_step"] == 2
    whole, parts, other = (weights(tmp_path / name) for name in ("whole", "parts", "plain"))
    assert whole.keys() == other.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert not all(torch.equal(whole[name], other[name]) for name in whole)
    with pytest.raises(SmolfastError, match="holds a run with another distill"):
        run(corpus, tmp_path / "parts", **(options | {"distill": DistillConfig()}))


def test_says_what_does_not_fit(corpus: SimpleNamespace, teacher: Path, cache: Path, tmp_path: Path) -> None:
    for config, given, message in (
        (DistillConfig(hidden_weight=1.0), (None, cache), "need the teacher itself"),
        (DistillConfig(temperature=2.0), (None, cache), "made at temperature 1.0"),
        (DistillConfig(divergence="js"), (teacher, cache), "holds draws"),
    ):
        with pytest.raises(SmolfastError, match=message):
            teaching(corpus, config, *given)
    save_pretrained(SmolLM(TEACHER, 400), tmp_path / "small", end_of_document=0)
    with pytest.raises(SmolfastError, match="vocabulary of 400"):
        teaching(corpus, DistillConfig(), tmp_path / "small")


def test_commands(
    corpus: SimpleNamespace, teacher: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`smolfast train` with a teacher and its cache makes what the function makes."""
    config = tmp_path / "config.toml"
    tables = {"model": STUDENT, "train": SETTINGS, "distill": EVERYTHING}
    lines = [
        line
        for name, section in tables.items()
        for line in (f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in section.model_dump().items()))
    ]
    config.write_text("\n".join(lines))
    given = ["--teacher", str(teacher), "--teacher-cache", str(cache), "--config", str(config), "--quiet"]
    assert cli.main(["train", str(corpus.tokens), "-o", str(tmp_path / "cli"), *given]) == 0
    run(corpus, tmp_path / "function", teacher=teacher, teacher_cache=cache, distill=EVERYTHING)
    found, wanted = weights(tmp_path / "cli"), weights(tmp_path / "function")
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    capsys.readouterr()
    without = ["train", str(corpus.tokens), "-o", str(tmp_path / "no"), "--config", str(config), "--teacher-cache"]
    assert cli.main([*without, str(tmp_path / "nothing"), "--quiet"]) == 2
    assert "nothing" in capsys.readouterr().err
