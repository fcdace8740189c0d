"""Teachers by layer: what each part is, its gradients against fp64, from a teacher and from a cache, by schedule."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from smolfast import SmolfastError
from smolfast.config import DistillConfig, TrainConfig, validate_config
from smolfast.model.network import PackedBatch, SmolLM
from smolfast.model.pretrained import load_pretrained, save_pretrained
from smolfast.tokens.files import TokenFile
from smolfast.train.distillation import cache as distill_cache
from smolfast.train.distillation.cache import TeacherCache, write_cache
from smolfast.train.distillation.teaching import attention_divergences, relative_errors
from smolfast.train.loop import train
from teaching_parts import batch_of, teaching
from tiny_models import tiny

STUDENT = tiny(max_position_embeddings=64, mtp_heads=1)
TEACHER = STUDENT.model_copy(
    update={"hidden_size": 48, "num_attention_heads": 6, "num_hidden_layers": 4, "initializer_range": 0.2}
)
SETTINGS = TrainConfig(
    steps=6, sequence_length=32, batch_size=4, micro_batch_size=2, checkpoint_every=2, evaluate_every=0,
    mtp_weights=(1.0,),
)  # fmt: skip
LAYERS = DistillConfig(layers={1: 2, 2: 4}, layer_weight=0.3, layer_attention_weight=0.2)


@pytest.fixture(scope="module")
def teacher(corpus: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    save_pretrained(SmolLM(TEACHER, 512, seed=3), folder, end_of_document=0)
    return folder


@pytest.fixture(scope="module")
def cache(corpus: SimpleNamespace, teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("cache")
    write_cache(teacher, corpus.tokens, folder, samples=20, layers=(2, 4), features=16)
    return folder


def outputs(model: SmolLM, batch: PackedBatch) -> list[torch.Tensor]:
    """What enters the first layer, and what each layer gives."""
    kept: dict[int, torch.Tensor | None] = dict.fromkeys(range(len(model.model.layers) + 1))
    model.branch(*model.trunk(batch, kept), 1, kept)
    found = [state for state in kept.values() if state is not None]
    assert len(found) == len(kept)
    return found


def test_kept_states_are_those_of_the_layers(corpus: SimpleNamespace) -> None:
    model, (batch, _) = SmolLM(STUDENT, 512, seed=1), batch_of(corpus)
    seen: list[torch.Tensor] = []
    for layer in model.model.layers:
        layer.register_forward_hook(lambda _, inputs, output: seen.extend([inputs[0], output]))
    states = outputs(model, batch)
    assert torch.equal(states[0], seen[0])
    assert all(torch.equal(state, output) for state, output in zip(states[1:], seen[1::2], strict=True))


def test_parts_are_their_definitions(corpus: SimpleNamespace, teacher: Path) -> None:
    batch, positions = batch_of(corpus)
    student, teaches = SmolLM(STUDENT, 512, seed=1), load_pretrained(teacher)
    taught = teaching(corpus, LAYERS, teacher)
    assert sorted(taught.projections) == ["layer_1", "layer_2"]
    items = batch.valid_targets(1)
    loss, told = taught.loss(student, batch, positions, (1.0,), items)
    parts = dict(zip(["cross_entropy", *taught.parts], told.tolist(), strict=True))
    assert list(parts) == [
        "cross_entropy", "minimised", "divergence", "layer_1", "layer_2", "layer_attention_1", "layer_attention_2",
    ]  # fmt: skip
    counted = batch.targets >= 0
    ours, theirs = outputs(student, batch), outputs(teaches, batch)
    for number, other in LAYERS.layers.items():
        h, wanted = taught.projections[f"layer_{number}"](ours[number]), theirs[other]
        errors = (h - wanted).square().mean(1) / wanted.square().mean(1)
        assert parts[f"layer_{number}"] == pytest.approx(errors[counted].mean().item(), rel=1e-5)
    assert parts["layer_attention_1"] > 0.01
    expected = 0.5 * parts["cross_entropy"] + 0.5 * parts["divergence"]
    expected += 0.3 * (parts["layer_1"] + parts["layer_2"]) / 2
    expected += 0.2 * (parts["layer_attention_1"] + parts["layer_attention_2"]) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-5) == pytest.approx(parts["minimised"], rel=1e-5)


def test_the_last_layer_of_a_map_is_what_attention_weight_matches(corpus: SimpleNamespace, teacher: Path) -> None:
    batch, positions = batch_of(corpus)
    student = SmolLM(STUDENT, 512, seed=1)
    of_none = {"ce_weight": 0.0, "kl_weight": 0.0}
    one = teaching(corpus, DistillConfig(**of_none, layers={2: 4}, layer_attention_weight=1.0), teacher)
    other = teaching(corpus, DistillConfig(**of_none, attention_weight=1.0), teacher)
    losses = [each.loss(student, batch, positions, (1.0,), [40])[0].item() for each in (one, other)]
    assert losses[0] == losses[1] > 0


def test_gradients_of_the_parts_in_fp64() -> None:
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    theirs = drawn(6, 4)
    assert torch.autograd.gradcheck(lambda x: relative_errors(x, theirs), drawn(6, 4).requires_grad_())
    seen = torch.ones(3, 3).tril().bool()
    seen[2, 0] = False  # another document
    log_q = drawn(2, 3, 3).masked_fill(~seen, -torch.inf).log_softmax(-1)

    def divergence(x: torch.Tensor) -> torch.Tensor:
        return attention_divergences(x.masked_fill(~seen, -torch.inf).log_softmax(-1), log_q)

    x = drawn(2, 3, 3).requires_grad_()
    assert torch.autograd.gradcheck(divergence, x)
    assert float(divergence(torch.where(seen, log_q, 0.0)).abs().max()) < 1e-12


def test_gradients_of_the_whole_loss_are_those_of_fp64(corpus: SimpleNamespace, teacher: Path) -> None:
    """By finite differences of the fp32 loss no digit would be sure; so along a direction, in fp64 arithmetic of the
    gradient: the loss of the network in fp64 moves as the fp32 gradient says."""
    batch, positions = batch_of(corpus)
    config = LAYERS.model_copy(update={"ce_weight": 0.0, "kl_weight": 0.0})
    student = SmolLM(STUDENT.model_copy(update={"initializer_range": 0.2}), 512, seed=1)
    taught = teaching(corpus, config, teacher)
    loss, _ = taught.loss(student, batch, positions, (1.0,), [40])
    parameters = [x for layer in student.model.layers for x in layer.self_attn.parameters()]
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)

    wide = SmolLM(student.config, 512, seed=1).double()
    wide.load_state_dict({name: x.double() for name, x in student.state_dict().items()})
    assert taught.teacher is not None
    teaches = taught.teacher.double()
    for projection in taught.projections.values():
        projection.double()

    def exact() -> float:
        ours, theirs = outputs(wide, batch), outputs(teaches, batch)
        counted, total = batch.targets >= 0, 0.0
        for number, other in config.layers.items():
            errors = relative_errors(taught.projections[f"layer_{number}"](ours[number]), theirs[other])
            maps = []
            for model, states, at in ((wide, ours, number), (teaches, theirs, other)):
                layer = model.model.layers[at - 1]
                _, context = model.trunk(batch)
                x = layer.input_layernorm(states[at - 1])
                maps.append(layer.self_attn.log_probabilities(x, context, batch.document_ids, 24))
            transfers = attention_divergences(*maps)
            total += float((0.3 * errors + 0.2 * transfers.double())[counted].detach().sum()) / 40 / 2
        return total

    targets = [x for layer in wide.model.layers for x in layer.self_attn.parameters()]
    generator = torch.Generator().manual_seed(5)
    used = [(x, g) for x, g in zip(targets, gradients, strict=True) if g is not None]
    directions = [torch.randn(x.shape, generator=generator, dtype=torch.float64) for x, _ in used]
    step, ends = 1e-3, []
    with torch.no_grad():
        for sign in (1, -2):
            for (x, _), direction in zip(used, directions, strict=True):
                x.add_(sign * step * direction)
            ends.append(exact())
    slope = (ends[0] - ends[1]) / (2 * step)
    wanted = sum(float((g.double() * d).sum()) for (_, g), d in zip(used, directions, strict=True))
    assert wanted == pytest.approx(slope, rel=2e-3)


def test_a_cache_holds_the_layers_outputs_and_teaches_them(
    corpus: SimpleNamespace, teacher: Path, cache: Path, tmp_path: Path
) -> None:
    file, teaches = TokenFile.open(corpus.tokens, "train"), load_pretrained(teacher)
    stored = TeacherCache.open(cache, file)
    start, end = file.document_starts[:2]
    end = min(end, start + 32)
    batch = PackedBatch.from_documents([file.tokens[start:end].astype(np.int64)])
    states = outputs(teaches, batch)
    matrix = distill_cache._projection(48, stored.settings)
    found = stored.features_at(np.arange(start, end))
    assert found.shape == (end - start, 2, 16)
    for place, number in enumerate((2, 4)):
        wanted = (states[number].detach() @ matrix)[: end - start - 1]
        torch.testing.assert_close(found[:-1, place], wanted, rtol=3e-3, atol=3e-3)
    assert not stored.features_at(file.document_starts[1:] - 1).any()
    config = DistillConfig(layers={1: 2, 2: 4}, layer_weight=1.0, ce_weight=0.0, kl_weight=0.0)
    taught = teaching(corpus, config, None, cache)
    assert {name: x.out_features for name, x in taught.projections.items()} == {"layer_1": 16, "layer_2": 16}
    flat, positions = batch_of(corpus)
    student = SmolLM(STUDENT, 512, seed=1)
    loss, _ = taught.loss(student, flat, positions, (1.0,), flat.valid_targets(1))
    ours, counted = outputs(student, flat), flat.targets >= 0
    theirs = stored.features_at(positions.reshape(-1))
    errors = [
        relative_errors(taught.projections[f"layer_{n}"](ours[n]), theirs[:, place])[counted].mean()
        for place, n in enumerate((1, 2))
    ]
    assert loss.item() == pytest.approx(torch.stack(errors).mean().item(), rel=1e-5)
    with pytest.raises(SmolfastError, match="holds a cache with another layers"):
        write_cache(teacher, corpus.tokens, cache, samples=20, layers=(2,), features=16)


def test_schedules_weigh_by_share_of_the_steps(corpus: SimpleNamespace, teacher: Path) -> None:
    points = ((0.2, 1.0), (0.6, 0.0))
    taught = teaching(corpus, LAYERS.model_copy(update={"schedules": {"layer_weight": points}}), teacher)
    for share, factor in ((0.0, 1.0), (0.2, 1.0), (0.4, 0.5), (0.6, 0.0), (1.0, 0.0)):
        taught.enter(share)
        assert taught._weight("layer_weight") == pytest.approx(0.3 * factor)
        assert taught._weight("kl_weight") == 0.5


class Stop(BaseException):
    pass


@pytest.mark.parametrize("source", ["teacher", "cache"])
def test_resumes_to_the_bit(corpus: SimpleNamespace, teacher: Path, cache: Path, tmp_path: Path, source: str) -> None:
    config = LAYERS if source == "teacher" else DistillConfig(layers={1: 2, 2: 4}, layer_weight=0.3)
    config = config.model_copy(update={"schedules": {"layer_weight": ((0.0, 1.0), (1.0, 0.1))}})
    given = {"teacher": teacher} if source == "teacher" else {"teacher_cache": cache}

    def run(output: Path, **options: Any) -> dict[str, Any]:
        options = {"model": STUDENT, "config": SETTINGS, "distill": config, "device": "cpu", **given, **options}
        return train(corpus.tokens, output, **options)

    def stop(done: float, total: float, note: str) -> None:
        if done == 3:
            raise Stop

    run(tmp_path / "whole", threads=1)
    with pytest.raises(Stop):
        run(tmp_path / "parts", threads=2, progress=stop)
    assert run(tmp_path / "parts", threads=2)["resumed_from_step"] == 2
    one, other = (
        safetensors.torch.load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "parts")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)
    whole, parts = (
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("whole", "parts")
    )
    assert [line["distillation"] for line in whole] == [line["distillation"] for line in parts]
    assert whole[-1]["distillation"]["layer_1"] < whole[0]["distillation"]["layer_1"]


def test_says_what_does_not_fit(corpus: SimpleNamespace, teacher: Path, cache: Path) -> None:
    for config, given, message in (
        (DistillConfig(layers={3: 4}, layer_weight=1.0), (teacher, None), "layer 3 of a student of 2 layers"),
        (DistillConfig(layers={2: 5}, layer_weight=1.0), (teacher, None), "layer 5 of a teacher of 4 layers"),
        (
            DistillConfig(layers={2: 3}, layer_weight=1.0),
            (None, cache),
            "layer 3 of the teacher, .*holds 2, 4; .*--layers 3",
        ),
        (DistillConfig(layers={2: 4}, layer_attention_weight=1.0), (None, cache), "need the teacher itself"),
    ):
        with pytest.raises(SmolfastError, match=message):
            teaching(corpus, config, *given)
    for table, message in (
        ({"layer_weight": 1.0}, r"need layers, such as layers=\{2 = 4\}"),
        ({"layers": {0: 4}}, "layers are counted from 1"),
        ({"schedules": {"layer_weight": [[0.5, 1], [0.2, 0]]}}, "rising shares"),
        ({"schedules": {"weight": [[0, 1]]}}, "distill.schedules.weight"),
    ):
        with pytest.raises(SmolfastError, match=message):
            validate_config({"distill": table})


def test_layers_that_a_teacher_lacks(corpus: SimpleNamespace, teacher: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    for options, message in (
        ({"layers": (5,)}, "layer 5 of a teacher of 4 layers"),
        ({"layers": (0,)}, "counted from 1"),
        ({"layers": (2, 2)}, "each layer once"),
        ({"layers": (2,), "features": 0}, "at least one feature"),
    ):
        with pytest.raises(SmolfastError, match=message):
            write_cache(teacher, corpus.tokens, tmp_path, **options)  # type: ignore[arg-type]


def test_a_run_of_before_there_were_layers_goes_on(corpus: SimpleNamespace, teacher: Path, tmp_path: Path) -> None:
    """Its record has no value for the settings that came later, and it went by their defaults."""

    def run(progress: Any = None) -> dict[str, Any]:
        return train(
            corpus.tokens, tmp_path, model=STUDENT, config=SETTINGS, device="cpu", teacher=teacher, progress=progress
        )

    def stop(done: float, total: float, note: str) -> None:
        if done == 3:
            raise Stop

    with pytest.raises(Stop):
        run(stop)
    record = json.loads((tmp_path / "run.json").read_text())
    for name in ("layers", "layer_weight", "layer_attention_weight", "schedules"):
        del record["distill"][name]
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert run()["resumed_from_step"] == 2
