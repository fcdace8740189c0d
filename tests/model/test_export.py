"""The exported folder, read by transformers as it stands."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import safetensors.torch
import torch

from smolfast.config import GenerateConfig, ModelConfig, TrainConfig
from smolfast.errors import SmolfastError
from smolfast.machine import hardware
from smolfast.model.export import export
from smolfast.model.generate import complete
from smolfast.model.network import PackedBatch, SmolLM
from smolfast.model.pretrained import load_pretrained, save_pretrained
from smolfast.tokens.files import TokenFile
from smolfast.train.loop import train

transformers = pytest.importorskip("transformers")

CONFIG = ModelConfig(
    hidden_size=48,
    intermediate_size=64,
    num_hidden_layers=4,
    num_attention_heads=8,
    num_key_value_heads=2,
    head_dim=8,
    rope_theta=77_000.0,
    max_position_embeddings=128,
    initializer_range=0.2,
)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_pretrained(SmolLM(CONFIG, 512, seed=2), folder, end_of_document=0)
    return folder


@pytest.fixture(scope="module")
def exported(corpus: SimpleNamespace, model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    summary = export(model_folder, corpus.tokenizer, folder)
    model = load_pretrained(model_folder)
    assert summary["mtp_parameters"] == sum(parameter.numel() for parameter in model.mtp_heads.parameters()) > 0
    assert summary["parameters"] + summary["mtp_parameters"] == sum(
        parameter.numel() for parameter in model.parameters()
    )
    assert summary["files"] == sorted(path.name for path in folder.iterdir())
    return folder


@pytest.fixture(scope="module")
def oracle(exported: Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(exported).eval()


def test_transformers_reads_every_setting(exported: Path, oracle: Any) -> None:
    assert type(oracle).__name__ == "SmolLM3ForCausalLM"
    assert oracle.dtype == torch.float32
    assert oracle.config.no_rope_layers == [1, 1, 1, 0]
    assert oracle.config.rope_parameters["rope_theta"] == 77_000.0
    assert oracle.config.tie_word_embeddings
    assert oracle.generation_config.eos_token_id == 0
    assert oracle.generation_config.pad_token_id == 1
    written = json.loads((exported / "config.json").read_text())
    for key, value in written.items():
        if key not in ("architectures", "rope_theta", "rope_scaling", "torch_dtype", "dtype"):
            assert getattr(oracle.config, key) == value, key
    # Those that transformers 4 looks for.
    assert written["rope_theta"] == 77_000.0 and written["torch_dtype"] == "float32"


@torch.no_grad()
def test_logits_of_text_equal_transformers(exported: Path, oracle: Any) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(exported)
    text = "def main(argv: list[str]) -> int:\n    return len(argv)  # naïve ✓\n"
    encoded = tokenizer(text, return_tensors="pt")
    assert tokenizer.decode(encoded.input_ids[0]) == text
    actual = load_pretrained(exported).logits(PackedBatch.from_documents([encoded.input_ids[0].numpy()]))
    torch.testing.assert_close(actual, oracle(**encoded).logits[0], atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_packed_batch_equals_transformers(exported: Path, oracle: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    documents = [torch.randint(2, 512, (length,), generator=generator).numpy() for length in (30, 3, 17)]
    batch = PackedBatch.from_documents(documents)
    expected = oracle(batch.tokens[None], position_ids=batch.position_ids[None], use_cache=False).logits[0]
    torch.testing.assert_close(load_pretrained(exported).logits(batch), expected, atol=1e-5, rtol=0)


def test_greedy_text_equals_transformers(exported: Path, oracle: Any) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(exported)
    for prompt in ("def main(", "import os\n", "x"):
        encoded = tokenizer(prompt, return_tensors="pt")
        new = oracle.generate(**encoded, max_new_tokens=40, do_sample=False)[0, encoded.input_ids.shape[1] :]
        sample = complete(exported, GenerateConfig(prompt=prompt, max_new_tokens=40, temperature=0))
        assert sample["text"] == tokenizer.decode(new, skip_special_tokens=True)


def test_multi_token_heads_lie_beside_the_model(exported: Path, model_folder: Path) -> None:
    extra = safetensors.torch.load_file(exported / "mtp_heads.safetensors")
    assert {name.split(".")[0] for name in extra} == {"mtp_heads"}
    model, original = load_pretrained(exported), load_pretrained(model_folder)
    assert model.config == original.config and model.config.mtp_heads == 2
    for name, parameter in original.named_parameters():
        assert torch.equal(parameter, model.get_parameter(name)), name


def test_without_the_heads_file_the_model_is_whole(exported: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((exported / name).read_bytes())
    model = load_pretrained(tmp_path)
    assert model.config.mtp_heads == 1
    batch = PackedBatch.from_documents([torch.arange(2, 20).numpy()])
    with torch.no_grad():
        assert torch.equal(model.logits(batch), load_pretrained(exported).logits(batch))


def test_untied_models_too(corpus: SimpleNamespace, tmp_path: Path) -> None:
    model = SmolLM(CONFIG.model_copy(update={"tie_word_embeddings": False, "mtp_heads": 1}), 512, seed=3)
    save_pretrained(model, tmp_path / "model", end_of_document=0)
    assert "mtp_heads.safetensors" not in export(tmp_path / "model", corpus.tokenizer, tmp_path / "export")["files"]
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "export")
    assert torch.equal(loaded.lm_head.weight, model.lm_head.weight)
    assert not torch.equal(loaded.lm_head.weight, loaded.model.embed_tokens.weight)


def test_a_tokenizer_of_another_size_is_refused(corpus: SimpleNamespace, tmp_path: Path) -> None:
    save_pretrained(SmolLM(CONFIG, 511), tmp_path / "model", end_of_document=0)
    with pytest.raises(SmolfastError, match=r"has 512 tokens, .* a vocabulary of 511; give the tokenizer that"):
        export(tmp_path / "model", corpus.tokenizer, tmp_path / "export")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "config.json").write_text("{"), "config.json is not valid JSON"),
        (
            lambda folder: (folder / "config.json").write_text('{"model_type": "gpt2"}'),
            "not the configuration of a smollm3",
        ),
        (lambda folder: (folder / "config.json").write_text('{"model_type": "smollm3"}'), "has no hidden_size"),
        (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\0" * 99), "model.safetensors is damaged"),
        (
            lambda folder: safetensors.torch.save_file({"x": torch.ones(2)}, folder / "model.safetensors"),
            "model.safetensors does not fit",
        ),
    ],
)
def test_damaged_folders(damage: Any, message: str, model_folder: Path, tmp_path: Path) -> None:
    for path in model_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    damage(tmp_path)
    with pytest.raises(SmolfastError, match=message):
        load_pretrained(tmp_path)


def test_yarn_is_exported_for_both_versions(corpus: SimpleNamespace, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"yarn_factor": 4.0, "yarn_context": 32})
    save_pretrained(SmolLM(config, 512, seed=4), tmp_path / "model", end_of_document=0)
    export(tmp_path / "model", corpus.tokenizer, tmp_path / "export")
    written = json.loads((tmp_path / "export" / "config.json").read_text())
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
    assert written["rope_parameters"] == {**yarn, "rope_theta": 77_000.0}
    assert (written["rope_scaling"], written["rope_theta"]) == (yarn, 77_000.0)
    loaded = transformers.AutoConfig.from_pretrained(tmp_path / "export")
    assert {key: loaded.rope_parameters[key] for key in yarn} == yarn
    assert load_pretrained(tmp_path / "export").config == config
    assert "stretched 4 times by YaRN" in (tmp_path / "export" / "README.md").read_text()


def test_the_card_tells_data_steps_and_hardware(corpus: SimpleNamespace, tmp_path: Path) -> None:
    model = CONFIG.model_copy(update={"initializer_range": 0.02})
    settings = TrainConfig(steps=3, sequence_length=16, batch_size=4, micro_batch_size=2, evaluate_every=0)
    summary = train(corpus.tokens, tmp_path / "run", model=model, config=settings, seed=11, device="cpu")
    export(tmp_path / "run" / "model", corpus.tokenizer, tmp_path / "export")
    card = (tmp_path / "export" / "README.md").read_text()
    file = TokenFile.open(corpus.tokens, "train")
    data = f"text: {file.documents:,} documents, {file.utf8_bytes:,} bytes, {len(file.tokens):,} tokens"
    assert f"| data | {data} |" in card
    assert "| steps | 3, 192 tokens, in sequences of 16 |" in card
    assert f"| loss | {summary['loss']:.4f}" in card
    assert "| peak learning rates | Muon 0.05 for matrices, AdamW 0.03 for the rest |" in card
    assert "| seed | 11 |" in card
    found = hardware()
    assert f"| hardware | {found['cpu']}, {found['threads']} CPUs" in card
    (tmp_path / "run" / "run.json").unlink()
    export(tmp_path / "run" / "model", corpus.tokenizer, tmp_path / "again")
    assert "Not recorded" in (tmp_path / "again" / "README.md").read_text()
