"""Presets: their published sizes, and each one's tiny twin against transformers, there and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from preset_twins import twin
from smolfast.config import Config, ModelConfig, load_config
from smolfast.errors import SmolfastError
from smolfast.model.network import PackedBatch, SmolLM, rope_layers
from smolfast.model.pretrained import load_pretrained, save_pretrained
from smolfast.presets import find_preset, preset_names

transformers = pytest.importorskip("transformers")

VOCABULARY = 503
DOCUMENTS = [np.random.default_rng(0).integers(0, VOCABULARY, length) for length in (90, 1, 33, 66)]
# SmolLM2's from its model cards' safetensors, SmolLM3's from its own.
PARAMETERS = {"135m": 134_515_008, "360m": 361_821_120, "1.7b": 1_711_376_384, "smollm3-3b": 3_075_098_624}


@pytest.mark.parametrize("name", preset_names())
def test_parameters(name: str) -> None:
    config = load_config(name)
    with torch.device("meta"):
        model = SmolLM(config.model, config.tokenizer.vocab_size)
    counted = sum(parameter.numel() for parameter in model.parameters())
    if name == "compact":
        assert counted == 1_529_216
    else:
        assert counted == PARAMETERS[name]


def test_smollm3_is_what_transformers_takes_smollm3_for() -> None:
    model = load_config("smollm3-3b").model
    default = transformers.SmolLM3Config()
    shared = set(ModelConfig.model_fields) & set(vars(default)) - {"max_position_embeddings"}
    assert len(shared) >= 9
    assert {key: getattr(model, key) for key in shared} == {key: getattr(default, key) for key in shared}
    assert [int(rotates) for rotates in rope_layers(model)] == default.no_rope_layers
    assert model.head_dim == default.hidden_size // default.num_attention_heads == 128
    assert model.rope_theta == 50_000.0 and model.max_position_embeddings == 4096


def test_compact_is_the_default() -> None:
    assert load_config("compact") == Config()


def test_names_and_files() -> None:
    for given in ("smollm3-3b", "smollm3-3b.toml", "presets/smollm3-3b.toml", Path("presets/smollm3-3b.toml")):
        assert load_config(given).model.num_hidden_layers == 36
    assert find_preset("elsewhere/smollm3-3b.toml") is None
    with pytest.raises(SmolfastError, match=r"smollm4: No such file.*or give a preset: compact, 135m, 360m, 1\.7b"):
        load_config("smollm4")


def test_a_file_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("135m").write_text("seed = 9\n")
    assert load_config("135m").seed == 9


@pytest.mark.parametrize("yarn", [1.0, 4.0])
@pytest.mark.parametrize("name", preset_names())
@torch.no_grad()
def test_ours_in_transformers(name: str, yarn: float, tmp_path: Path) -> None:
    model = SmolLM(twin(name, yarn_factor=yarn), VOCABULARY, seed=3)
    save_pretrained(model, tmp_path, end_of_document=0)
    loaded, report = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, output_loading_info=True, attn_implementation="eager"
    )
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    batch = PackedBatch.from_documents(DOCUMENTS)
    actual = model.logits(batch)
    # With a cache (its default) transformers takes no notice of packed positions.
    packed = loaded.eval()(batch.tokens[None], position_ids=batch.position_ids[None], use_cache=False).logits[0]
    assert packed.std() > 0.2
    torch.testing.assert_close(actual, packed, atol=1e-5, rtol=0)
    alone = loaded(torch.from_numpy(DOCUMENTS[0])[None]).logits[0]
    torch.testing.assert_close(actual[: len(alone)], alone, atol=1e-5, rtol=0)


@torch.no_grad()
def test_yarn_changes_the_logits_and_rope_is_seen() -> None:
    """So that the parity above can't hold by both leaving it out."""
    batch = PackedBatch.from_documents(DOCUMENTS)
    plain, stretched = (SmolLM(twin("smollm3-3b", yarn_factor=factor), VOCABULARY).logits(batch) for factor in (1, 4))
    assert (plain - stretched).abs().max() > 1e-3


def hub_settings(config: ModelConfig) -> dict[str, Any]:
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "num_key_value_heads": config.num_key_value_heads,
        "max_position_embeddings": 128,
        "initializer_range": config.initializer_range,
        "rms_norm_eps": 1e-5,
        "pad_token_id": 1,
        "bos_token_id": 0,
        "eos_token_id": 0,
    }


def from_transformers(model: Any, folder: Path, **saving: Any) -> SmolLM:
    model.eval().save_pretrained(folder, **saving)
    return load_pretrained(folder)


@torch.no_grad()
def assert_same_logits(ours: SmolLM, theirs: Any) -> None:
    batch = PackedBatch.from_documents(DOCUMENTS)
    expected = theirs(batch.tokens[None], position_ids=batch.position_ids[None], use_cache=False).logits[0]
    assert expected.std() > 0.2
    torch.testing.assert_close(ours.logits(batch), expected, atol=1e-5, rtol=0)


YARN = {"rope_type": "yarn", "rope_theta": 5e5, "factor": 4.0, "original_max_position_embeddings": 32}


@pytest.mark.parametrize("name", preset_names())
def test_transformers_in_ours(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    settings = hub_settings(twin(name))
    smollm3 = transformers.SmolLM3ForCausalLM(
        transformers.SmolLM3Config(**settings, rope_parameters=dict(YARN), attn_implementation="eager")
    )
    assert_same_logits(from_transformers(smollm3, tmp_path / "smollm3", max_shard_size="200KB"), smollm3)
    assert (tmp_path / "smollm3" / "model.safetensors.index.json").exists()
    llama = transformers.LlamaForCausalLM(transformers.LlamaConfig(**settings, attn_implementation="eager"))
    loaded = from_transformers(llama, tmp_path / "llama")
    assert not loaded.config.tie_word_embeddings and all(rope_layers(loaded.config))
    assert_same_logits(loaded, llama)


def test_llama_comes_back_as_smollm3(tmp_path: Path) -> None:
    """Loaded, saved by us, loaded by transformers: the same logits, with rotary embedding in every layer."""
    torch.manual_seed(1)
    config = transformers.LlamaConfig(
        **hub_settings(twin("135m")), rope_parameters=dict(YARN), head_dim=12, attn_implementation="eager"
    )
    llama = transformers.LlamaForCausalLM(config)
    ours = from_transformers(llama, tmp_path / "llama")
    assert_same_logits(ours, llama)
    save_pretrained(ours, tmp_path / "ours", end_of_document=0)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours", attn_implementation="eager").eval()
    assert type(again).__name__ == "SmolLM3ForCausalLM"
    assert_same_logits(ours, again)


def test_half_precision_folders_become_fp32(tmp_path: Path) -> None:
    torch.manual_seed(2)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**hub_settings(twin("compact")))).bfloat16()
    loaded = from_transformers(model, tmp_path)
    assert loaded.unembedding.dtype == torch.float32
    reference = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, dtype=torch.float32, attn_implementation="eager"
    )
    assert_same_logits(loaded, reference.eval())
