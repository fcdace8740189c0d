"""Going on from a model folder, and learning to answer."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from smolfast.commands.main import main
from smolfast.config import ModelConfig, TrainConfig
from smolfast.errors import SmolfastError
from smolfast.model.network import PackedBatch, SmolLM
from smolfast.model.pretrained import initial_weights, load_pretrained, save_pretrained, shape_settings
from smolfast.tokens.files import PackedWindows, TokenFile
from smolfast.train.loop import train

transformers = pytest.importorskip("transformers")

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
SETTINGS = TrainConfig(
    steps=3, sequence_length=32, batch_size=4, micro_batch_size=2, mtp_weights=(1.0,), evaluate_every=0
)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama-shaped folder as transformers writes it."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        **SIZES, vocab_size=512, initializer_range=0.2, pad_token_id=1, bos_token_id=0, eos_token_id=0
    )
    folder = tmp_path_factory.mktemp("llama")
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def shape(folder: Path, **changes: Any) -> ModelConfig:
    return load_pretrained(folder).config.model_copy(update=changes)


def test_training_begins_with_the_folders_weights(corpus: SimpleNamespace, llama: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(corpus.tokens, run, model=shape(llama), config=SETTINGS, seed=3, device="cpu", init=llama)
    first = json.loads((run / "metrics.jsonl").read_text().splitlines()[0])
    windows = PackedWindows(TokenFile.open(corpus.tokens, "train"), 32, 4, seed=3)
    reference = transformers.AutoModelForCausalLM.from_pretrained(llama, attn_implementation="eager").eval()
    batch = PackedBatch.from_windows(*windows.batch(0))
    with torch.no_grad():
        logits = reference(batch.tokens[None], position_ids=batch.position_ids[None], use_cache=False).logits[0]
    expected = torch.nn.functional.cross_entropy(logits, batch.targets)
    assert first["loss"] == pytest.approx(float(expected), rel=1e-5)
    record = json.loads((run / "run.json").read_text())
    assert record["init"]["name"] == llama.name
    with pytest.raises(SmolfastError, match="holds a run with another init"):
        other = tmp_path / "other"
        save_pretrained(SmolLM(shape(llama), 512, seed=9), other, end_of_document=0)
        train(corpus.tokens, run, model=shape(llama), config=SETTINGS, seed=3, device="cpu", init=other)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(
    value: float, corpus: SimpleNamespace, llama: Path, tmp_path: Path
) -> None:
    """No learning rate would help."""
    broken = SmolLM(shape(llama), 512, seed=9)
    with torch.no_grad():
        broken.model.layers[1].mlp.down_proj.weight[0, 0] = value
    save_pretrained(broken, tmp_path / "broken", end_of_document=0)
    with pytest.raises(
        SmolfastError, match=r"broken: the weight model\.layers\.1\.mlp\.down_proj\.weight holds NaN or"
    ):
        train(
            corpus.tokens, tmp_path / "run", model=shape(llama), config=SETTINGS, device="cpu", init=tmp_path / "broken"
        )
    assert not (tmp_path / "run").exists()


def test_longer_context_and_more_heads(llama: Path) -> None:
    config = shape(llama, mtp_heads=2, rope_theta=5e5, max_position_embeddings=256, yarn_factor=4.0)
    model, source, fresh = SmolLM(config, 512, seed=4), load_pretrained(llama), SmolLM(config, 512, seed=4)
    initial_weights(model, llama)
    for name, parameter in model.named_parameters():
        expected = fresh if name.startswith("mtp_heads") else source
        assert torch.equal(parameter, expected.get_parameter(name)), name


def test_models_that_do_not_fit(llama: Path) -> None:
    with pytest.raises(
        SmolfastError, match=r"has hidden_size = 32 and the configuration 64; set model\.hidden_size=32"
    ):
        initial_weights(SmolLM(shape(llama, hidden_size=64), 512), llama)
    with pytest.raises(SmolfastError, match="a vocabulary of 512, the tokens one of 600; tokenize with"):
        initial_weights(SmolLM(shape(llama), 600), llama)


def test_shape_settings_are_the_shape(llama: Path, tmp_path: Path) -> None:
    from smolfast.config import load_config

    assert load_config(None, shape_settings(llama)).model == load_pretrained(llama).config
    yarn = shape(llama, yarn_factor=4.0, yarn_context=16, mtp_heads=3, mtp_kind="sequential")
    save_pretrained(SmolLM(yarn, 512), tmp_path, end_of_document=0)
    assert load_config(None, [*shape_settings(tmp_path), "train.mtp_weights=[1, 1, 1]"]).model == yarn


def test_masked_loss_is_that_of_transformers_labels(llama: Path) -> None:
    """Token by token: transformers ignores labels of −100; gradients too."""
    generator = np.random.default_rng(0)
    tokens, learned = generator.integers(2, 512, (1, 40)), generator.random((1, 40)) < 0.3
    ours = load_pretrained(llama)
    loss, _ = ours.loss(PackedBatch.from_windows(tokens, tokens * 0, learned=learned), (1.0,))
    loss.backward()
    reference = transformers.AutoModelForCausalLM.from_pretrained(llama, attn_implementation="eager").eval()
    labels = torch.from_numpy(np.where(learned, tokens, -100))
    expected = reference(torch.from_numpy(tokens), labels=labels).loss
    expected.backward()
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)
    for name, parameter in reference.named_parameters():
        torch.testing.assert_close(ours.get_parameter(name).grad, parameter.grad, atol=1e-4, rtol=1e-3, msg=name)


def test_a_model_learns_to_answer(corpus: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the commands: a tokenizer with turns, a base model, conversations, fine-tuning, export, an answer."""
    from smolfast.config import TokenizerConfig
    from smolfast.tokens.tokenizer import train_tokenizer

    train_tokenizer([corpus.held_out], tmp_path / "tokenizer", TokenizerConfig(vocab_size=400, chat=True))
    base = ModelConfig(**SIZES, head_dim=8, mtp_heads=1)
    save_pretrained(SmolLM(base, 400, seed=1), tmp_path / "base", end_of_document=0)
    answers = {"What?": "A parser.", "Why?": "Because."}
    for name, times in (("train", 60), ("held_out", 3)):
        lines = [
            json.dumps({"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]}) + "\n"
            for q, a in answers.items()
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(lines * times))

    def run(*arguments: str | Path) -> None:
        assert main([*map(str, arguments), "--quiet"]) == 0

    tokenizer = tmp_path / "tokenizer"
    run("tokenize", tmp_path / "train.jsonl", "--held-out", tmp_path / "held_out.jsonl", "--chat", "--tokenizer",
        tokenizer, "-o", tmp_path / "tokens")  # fmt: skip
    settings = ("steps=60", "sequence_length=64", "batch_size=4", "micro_batch_size=2", "muon_learning_rate=0.02")
    run("train", tmp_path / "tokens", "-o", tmp_path / "run", "--init", tmp_path / "base",
        *(word for setting in settings for word in ("--set", f"train.{setting}")))  # fmt: skip
    run("export", tmp_path / "run" / "model", "--tokenizer", tokenizer, "-o", tmp_path / "export")
    card = (tmp_path / "export" / "README.md").read_text()
    assert "| continued from | `base` |" in card
    assert (tmp_path / "export" / "chat_template.jinja").exists()
    for question, answer in answers.items():
        capsys.readouterr()
        run("generate", tmp_path / "export", "--chat", "--prompt", question, "--temperature", "0")
        assert capsys.readouterr().out == answer + "\n"
    # transformers, by the exported template and generation configuration, answers the same.
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "export")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "export").eval()
    inputs = theirs.apply_chat_template(
        [{"role": "user", "content": "Why?"}], add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    new = model.generate(**inputs, max_new_tokens=20)[0, inputs["input_ids"].shape[1] :]
    assert theirs.decode(new, skip_special_tokens=True) == "Because."
