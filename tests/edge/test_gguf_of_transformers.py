"""Folders that transformers saved, without smolfast in between: SmolLM3's and Llama's shape."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gguf_model import GgufModel
from smolfast.commands.main import main

transformers = pytest.importorskip("transformers")
SHAPE = {
    "vocab_size": 530,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.1,
    "pad_token_id": None,
}


@pytest.mark.parametrize(
    ("kind", "settings", "architecture"),
    [
        ("SmolLM3", {"no_rope_layer_interval": 4}, "smollm3"),
        ("Llama", {"tie_word_embeddings": False, "head_dim": 24}, "llama"),
        ("Llama", {"rope_parameters": {"rope_type": "default", "rope_theta": 321.0}}, "llama"),
    ],
)
def test_the_file_computes_what_transformers_does(
    kind: str, settings: dict[str, Any], architecture: str, corpus: SimpleNamespace, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**SHAPE, **settings)
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    model.save_pretrained(tmp_path / "model")
    for path in corpus.tokenizer.iterdir():
        shutil.copy(path, tmp_path / "model")
    out = tmp_path / "m.gguf"
    assert main(["export", str(tmp_path / "model"), "--format", "gguf", "--quantize", "f32", "-o", str(out)]) == 0
    read = GgufModel(out)
    tokens = torch.arange(3, 60)
    with torch.no_grad():
        expected = model(tokens[None]).logits[0]
    torch.testing.assert_close(read.logits(tokens), expected, atol=2e-4, rtol=1e-4)
    assert read.keys["general.architecture"] == architecture and read.keys["general.name"] == "model"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"attention_bias": True}, "attention_bias = True"),
        ({"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}, "of type 'linear'"),
        ({"hidden_act": "gelu"}, "hidden_act = 'gelu'"),
    ],
)
def test_what_another_shape_has_is_refused(
    settings: dict[str, Any],
    says: str,
    corpus: SimpleNamespace,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    transformers.LlamaConfig(**SHAPE, **settings).save_pretrained(tmp_path / "model")
    for path in corpus.tokenizer.iterdir():
        shutil.copy(path, tmp_path / "model")
    out = tmp_path / "m.gguf"
    assert main(["export", str(tmp_path / "model"), "--format", "gguf", "-o", str(out), "--quiet"]) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1 and not out.exists()
