"""Training on pairs: planted ones move the margin and little else; it resumes to the bit; what doesn't fit is said."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from smolfast import SmolfastError
from smolfast.commands import main as cli
from smolfast.config import AlignConfig, ModelConfig, TrainConfig
from smolfast.model.network import SmolLM
from smolfast.model.pretrained import load_pretrained, save_pretrained
from smolfast.tokens.files import TokenFile
from smolfast.tokens.preferences import PairRules, encode_pairs
from smolfast.train.loop import train
from smolfast.train.preferences import reference as reference_cache
from smolfast.train.preferences.align import align
from smolfast.train.preferences.pairs import PairPlan, Pairs
from smolfast.train.preferences.reference import Reference, write_reference
from tiny_models import tiny

MODEL = tiny(max_position_embeddings=64, mtp_heads=1)
BEFORE = TrainConfig(
    steps=40,
    sequence_length=32,
    batch_size=8,
    micro_batch_size=4,
    evaluate_every=40,
    monitor_every=0,
    mtp_weights=(1.0,),
)
SETTINGS = BEFORE.model_copy(
    update={
        "steps": 24, "micro_batch_size": 2, "muon_learning_rate": 1e-3, "adamw_learning_rate": 1e-4,
        "checkpoint_every": 2, "evaluate_every": 8, "weight_decay": 0.0,
    }
)  # fmt: skip


@pytest.fixture(scope="module")
def model(corpus: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained a little, so that held-out text has a loss that can be lost."""
    folder = tmp_path_factory.mktemp("before")
    train(corpus.tokens, folder, model=MODEL, config=BEFORE, device="cpu", threads=1)
    return folder / "model"


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Chosen answers end in `self`, rejected ones in `None`."""
    draw, path = random.Random(0), tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    lines = [
        {
            "prompt": f"{draw.choice(['def', 'class', 'return'])} name_{i}(",
            "chosen": " value," * draw.randrange(3) + " self)",
            "rejected": " value," * draw.randrange(3) + " None)",
        }
        for i in range(60)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def run(corpus: SimpleNamespace, pairs: Path, model: Path, output: Path, **options: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "init": model, "tokenizer": corpus.tokenizer, "model": MODEL, "config": SETTINGS, "device": "cpu", "threads": 1,
        "settings": AlignConfig(held_out_fraction=0.2),
    }  # fmt: skip
    return align(pairs, output, **(given | options))


def lines(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / "model" / "model.safetensors")


@pytest.mark.parametrize("loss", ["sigmoid", "apo_zero", "sigmoid_norm"])
def test_planted_pairs_move_the_margin_and_little_else(
    corpus: SimpleNamespace, pairs: Path, model: Path, tmp_path: Path, loss: Any
) -> None:
    """Of pairs held out too, whose prompts training never saw. The loss of held-out text moves by less than 0.02 nats
    of 5."""
    before = json.loads((model.parent / "run.json").read_text())["summary"]["held_out_loss"]
    settings = AlignConfig(loss=loss, held_out_fraction=0.2, beta=2.0 if loss.endswith("norm") else 0.1)
    summary = run(corpus, pairs, model, tmp_path, settings=settings, text=corpus.tokens)
    first, *_, last = lines(tmp_path)
    assert first["preferences"]["margin"] == pytest.approx(0, abs=1e-5)  # the model is its own reference
    assert first["loss"] == pytest.approx(1.0 if loss == "apo_zero" else np.log(2), abs=1e-5)
    assert last["loss"] < first["loss"] - 0.02
    held = last["held_out_preferences"]
    assert held["margin"] > 0.1 and held["accuracy"] > 0.9
    assert (summary["pairs"], summary["held_out_pairs"]) != (60, 0) and summary["pairs"] + summary[
        "held_out_pairs"
    ] == 60
    assert summary["held_out_margin"] == held["margin"] and summary["margin"] == last["preferences"]["margin"]
    assert abs(summary["held_out_loss"] - before) < 0.02


def test_without_text_the_held_out_loss_is_of_chosen_answers(
    corpus: SimpleNamespace, pairs: Path, model: Path, tmp_path: Path
) -> None:
    run(corpus, pairs, model, tmp_path, config=SETTINGS.model_copy(update={"steps": 1}))
    network = load_pretrained(tmp_path / "model")
    held = Pairs(TokenFile.open(tmp_path / "pairs", "held_out"))
    losses = []
    for number in range(len(held)):
        place = held.document(2 * number)
        tokens = torch.from_numpy(held.file.tokens[place].astype(np.int64))
        batch = held.batch(np.array([number])).batch
        logits = network.logits(batch)[: len(tokens) - 1].detach()
        learned = torch.from_numpy(held.learned[place][1:].copy())
        losses += torch.nn.functional.cross_entropy(logits, tokens[1:], reduction="none")[learned].tolist()
    assert lines(tmp_path)[-1]["held_out_loss"] == pytest.approx(np.mean(losses), rel=1e-5)


class Stop(BaseException):
    pass


def stops_at(step: int, of: int) -> Any:
    def stop(done: float, total: float, note: str) -> None:
        if done == step and total == of:
            raise Stop

    return stop


def test_resumes_to_the_bit_and_ignores_threads(
    corpus: SimpleNamespace, pairs: Path, model: Path, tmp_path: Path
) -> None:
    config = SETTINGS.model_copy(update={"steps": 6, "evaluate_every": 2, "monitor_every": 3})
    run(corpus, pairs, model, tmp_path / "whole", config=config)
    with pytest.raises(Stop):
        run(corpus, pairs, model, tmp_path / "parts", config=config, progress=stops_at(3, 6))
    parts = run(corpus, pairs, model, tmp_path / "parts", config=config, threads=2)
    assert parts["resumed_from_step"] == 2
    assert run(corpus, pairs, model, tmp_path / "parts", config=config) == parts  # finished
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(one[name], other[name]) for name in one)

    def timeless(output: Path) -> list[dict[str, Any]]:
        return [{k: v for k, v in line.items() if k not in ("seconds", "speed")} for line in lines(output)]

    assert timeless(tmp_path / "whole") == timeless(tmp_path / "parts")
    for options, what in (
        ({"settings": AlignConfig(held_out_fraction=0.2, beta=0.2)}, "another align.beta"),
        ({"settings": AlignConfig(held_out_fraction=0.1)}, "made from other rules"),
        ({"seed": 1}, "another seed"),
    ):
        with pytest.raises(SmolfastError, match=what):
            run(corpus, pairs, model, tmp_path / "parts", **({"config": config} | options))
    other_model = tmp_path / "other"
    save_pretrained(SmolLM(MODEL, 512, seed=8), other_model, end_of_document=0)
    with pytest.raises(SmolfastError, match="holds a cache with another model"):
        run(corpus, pairs, model, tmp_path / "parts", config=config, reference=other_model)


def test_a_killed_reference_goes_on_with_the_same_bytes(
    corpus: SimpleNamespace, pairs: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference_cache, "PART_TOKENS", 300)
    monkeypatch.setattr(reference_cache, "_BATCH_TOKENS", 100)
    encode_pairs(pairs, corpus.tokenizer, tmp_path / "pairs", PairRules(33, held_out_fraction=0.2))
    both = {name: Pairs(TokenFile.open(tmp_path / "pairs", name)) for name in ("train", "held_out")}
    write_reference(model, both, tmp_path / "whole")
    rows, calls = reference_cache._rows, []

    def stop(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 6:  # within the second part
            raise KeyboardInterrupt
        return rows(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(reference_cache, "_rows", stop)
        with pytest.raises(KeyboardInterrupt):
            write_reference(model, both, tmp_path / "parts")
    with pytest.raises(SmolfastError, match="no finished cache"):
        Reference(tmp_path / "parts", "train", both["train"])
    there = {path.name for path in (tmp_path / "parts").glob("*.parquet")}
    made = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    assert there and len(there) < len(made) - 1
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "parts").glob("*.parquet")}
    write_reference(model, both, tmp_path / "parts")
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    assert {path.name: path.read_bytes() for path in (tmp_path / "parts").iterdir()} == made
    for name, each in both.items():  # what it holds is what the model says, pair by pair
        found = Reference(tmp_path / "parts", name, each)
        for number in range(len(each)):
            batch = each.batch(np.array([number])).batch
            logits = torch.log_softmax(load_pretrained(model).logits(batch).detach(), -1)
            learned = batch.targets >= 0
            wanted = logits[learned].gather(1, batch.targets[learned][:, None])[:, 0]
            torch.testing.assert_close(torch.from_numpy(found.at(np.array([number]))), wanted, rtol=1e-4, atol=1e-5)
    part = tmp_path / "parts" / "train.00001.parquet"
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(SmolfastError, match=r"train\.00001\.parquet is missing or damaged"):
        Reference(tmp_path / "parts", "train", both["train"])
    part.write_bytes(made["train.00000.parquet"])
    with pytest.raises(SmolfastError, match="doesn't hold what its pairs need"):
        Reference(tmp_path / "parts", "train", both["train"])
    with pytest.raises(SmolfastError, match="made from other pairs"):
        Reference(tmp_path / "whole", "train", both["held_out"])


def test_one_cache_serves_several_losses(corpus: SimpleNamespace, pairs: Path, model: Path, tmp_path: Path) -> None:
    config = SETTINGS.model_copy(update={"steps": 1})
    for loss in ("sigmoid", "apo_down_norm"):
        settings = AlignConfig(loss=loss, ld_alpha=0.5)
        run(corpus, pairs, model, tmp_path / loss, config=config, settings=settings, reference_cache=tmp_path / "cache")
        assert not (tmp_path / loss / "reference").exists()
    assert (tmp_path / "cache" / "train.00000.parquet").exists()


def test_each_epoch_takes_every_pair_once(corpus: SimpleNamespace, pairs: Path, tmp_path: Path) -> None:
    encode_pairs(pairs, corpus.tokenizer, tmp_path, PairRules(33, held_out_fraction=0.0))
    plan = PairPlan(Pairs(TokenFile.open(tmp_path, "train")), SETTINGS, 24, seed=3)
    drawn = [plan.numbers(step) for step in range(15)]
    assert all(len(numbers) == 8 for numbers in drawn)
    flat = np.concatenate(drawn)
    assert sorted(flat[:60]) == sorted(flat[60:]) == list(range(60))
    assert not np.array_equal(flat[:60], flat[60:])
    again = PairPlan(plan.pairs, SETTINGS, 24, seed=3)
    assert np.array_equal(again.numbers(14, 2, 5), drawn[14][2:5])  # from anywhere, any rows


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_reference_that_is_no_number(
    corpus: SimpleNamespace, pairs: Path, model: Path, tmp_path: Path, value: float
) -> None:
    broken = load_pretrained(model)
    with torch.no_grad():
        broken.model.norm.weight[0] = value
    save_pretrained(broken, tmp_path / "broken", end_of_document=0)
    with pytest.raises(SmolfastError, match=r"broken gives log-probabilities that are no numbers"):
        run(corpus, pairs, model, tmp_path / "out", reference=tmp_path / "broken")
    assert not list((tmp_path / "out" / "reference").glob("*.parquet"))


def test_says_what_does_not_fit(corpus: SimpleNamespace, pairs: Path, model: Path, tmp_path: Path) -> None:
    def refused(message: str, **options: Any) -> None:
        with pytest.raises(SmolfastError, match=message):
            run(corpus, pairs, model, tmp_path / "out", **options)

    refused("leave train.stages and train.mixture empty", config=SETTINGS.model_copy(update={"mixture": {"a": 1.0}}))
    with pytest.raises(SmolfastError, match=r"set model\.mtp_heads=1"):
        align(pairs, tmp_path / "out", init=model, tokenizer=corpus.tokenizer, model=ModelConfig(), config=SETTINGS)
    save_pretrained(SmolLM(MODEL, 400), tmp_path / "small", end_of_document=0)
    refused("has a vocabulary of 400, the tokens one of 512", init=tmp_path / "small")
    refused("the reference .* has a vocabulary of 400", reference=tmp_path / "small")
    with pytest.raises(SmolfastError, match="holds a run without preferences"):
        shutil.copytree(model.parent, tmp_path / "before")
        run(corpus, pairs, model, tmp_path / "before")
    with pytest.raises(SmolfastError, match="contains the input"):
        run(corpus, pairs, model, pairs.parent)


def test_command(
    corpus: SimpleNamespace, pairs: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = [
        f"train.{k}={json.dumps(v)}"
        for k, v in SETTINGS.model_dump(exclude_defaults=True).items()
        if k != "mtp_weights"
    ]
    options = [w for s in [*sets, "train.steps=2", "align.held_out_fraction=0.2"] for w in ("--set", s)]
    command = ["train", str(corpus.tokens), "--preferences", str(pairs), "--init", str(model), "--json", "-o"]
    given = ["--tokenizer", str(corpus.tokenizer), *options]
    assert cli.main([*command, str(tmp_path / "cli"), *given]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["pairs"] + shown["held_out_pairs"] == 60 and shown["held_out_accuracy"] is not None
    config = SETTINGS.model_copy(update={"steps": 2})
    run(corpus, pairs, model, tmp_path / "function", config=config, text=corpus.tokens)
    one, other = weights(tmp_path / "cli"), weights(tmp_path / "function")
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert cli.main([*command, str(tmp_path / "cli"), *given]) == 0  # done: skipped
    capsys.readouterr()
    for wrong, message in (
        (["train", "--preferences", str(pairs), "-o", "x"], "add --init DIR"),
        (["train", "--preferences", str(pairs), "--init", str(model), "-o", "x"], "add --tokenizer DIR"),
        (["train", str(corpus.tokens), "--reference", str(model), "-o", "x"], "--reference goes with --preferences"),
        ([*command, "x", *given, "--teacher", str(model)], "--teacher doesn't go with --preferences"),
        (["train", "a=b", "c=d", *command[2:], "x", *given], "are one folder, or none"),
    ):
        assert cli.main(wrong) == 2
        assert message in capsys.readouterr().err
