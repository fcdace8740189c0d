"""GGUF files, read back by gguf's own reader and computed with as llama.cpp does."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from gguf_model import GgufModel
from smolfast.commands.main import main
from smolfast.edge.gguf_export import export_gguf
from smolfast.edge.weights import BLOCKS, PLAIN
from smolfast.errors import SmolfastError
from smolfast.model.network import PackedBatch, SmolLM
from smolfast.model.pretrained import load_pretrained, save_pretrained
from tiny_models import tiny

CONFIG = tiny(
    hidden_size=64, intermediate_size=96, num_hidden_layers=5, no_rope_layer_interval=4, initializer_range=0.1
)
# Roughly how far each type may be from a weight, as a share of the largest in its block.
CLOSE = {"f32": 0.0, "f16": 6e-4, "bf16": 5e-3, "q8_0": 5e-3, "q5_1": 0.04, "q5_0": 0.07, "q4_1": 0.08, "q4_0": 0.14}


def saved(folder: Path, rows: int = 520, **changes: Any) -> Path:
    model = SmolLM(CONFIG.model_copy(update=changes), rows, seed=3)
    for parameter in model.parameters():
        if parameter.ndim == 1:  # norms that differ show one that was mistaken for another
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    save_pretrained(model, folder, end_of_document=0)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("run") / "model")


def logits_of(folder: Path, tokens: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return load_pretrained(folder).logits(PackedBatch.from_documents([np.array(tokens)]))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tie_word_embeddings": False},
        {"no_rope_layer_interval": 9},
        {"num_key_value_heads": 4, "head_dim": 24},
        {"rope_theta": 500.0, "yarn_factor": 4.0, "yarn_context": 16},
        {"mtp_heads": 1, "rms_norm_eps": 1e-2},
    ],
    ids=["smollm3", "untied", "llama", "heads", "yarn", "eps"],
)
def test_the_file_computes_what_the_model_does(
    changes: dict[str, Any], corpus: SimpleNamespace, tmp_path: Path
) -> None:
    folder = saved(tmp_path / "model", **changes)
    summary = export_gguf(folder, corpus.tokenizer, tmp_path / "m.gguf", quantize_to="f32")
    tokens = np.random.default_rng(0).integers(0, 500, 40).tolist()
    read = GgufModel(tmp_path / "m.gguf")
    torch.testing.assert_close(read.logits(torch.tensor(tokens)), logits_of(folder, tokens), atol=2e-4, rtol=1e-4)
    assert summary["architecture"] == ("llama" if "no_rope_layer_interval" in changes else "smollm3")
    assert ("left_out" in summary) == (changes.get("mtp_heads") != 1)
    assert "output.weight" in read.weights or CONFIG.model_copy(update=changes).tie_word_embeddings


@pytest.mark.parametrize("kind", [*PLAIN, *BLOCKS])
def test_each_type_holds_the_weights(kind: str, model: Path, corpus: SimpleNamespace, tmp_path: Path) -> None:
    summary = export_gguf(model, corpus.tokenizer, tmp_path / "m.gguf", quantize_to=kind)
    exact = export_gguf(model, corpus.tokenizer, tmp_path / "exact.gguf", quantize_to="f32")
    read, truth = GgufModel(tmp_path / "m.gguf"), GgufModel(tmp_path / "exact.gguf").weights
    assert read.weights.keys() == truth.keys()
    for name, weight in read.weights.items():
        found = read.types[name]
        expected = (
            "f32" if weight.ndim == 1 else "q8_0" if name == "token_embd.weight" and kind[:2] in ("q4", "q5") else kind
        )
        assert found == expected
        difference = (weight - truth[name]).abs().max() / truth[name].abs().max()
        assert difference <= CLOSE[found]
        if found in ("q4_0", "q8_0"):
            assert difference > 0
    assert sum(row["bytes"] for row in summary["tensor_types"]) < (tmp_path / "m.gguf").stat().st_size
    assert summary["bits_per_weight"] <= exact["bits_per_weight"]


def test_rows_that_are_no_whole_blocks_are_said(corpus: SimpleNamespace, tmp_path: Path) -> None:
    folder = saved(tmp_path / "model", hidden_size=48)
    summary = export_gguf(folder, corpus.tokenizer, tmp_path / "m.gguf", quantize_to="q4_0")
    rows = {row["tensor"]: row for row in summary["tensor_types"]}
    assert rows["attn_q"]["type"] == "f16" and rows["attn_q"]["why"] == "rows of 48 are no whole blocks of 32"
    assert rows["ffn_down"]["type"] == "q4_0" and rows["ffn_down"]["why"] == ""
    assert rows["ffn_down"]["layers"] == "0-4"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"no_rope_layer_interval": 3}, "no rotary embedding on every 3th layer.*fixed to every 4th"),
        ({"rows": 100}, "ids up to 511, the model a vocabulary of 100"),
    ],
)
def test_what_llama_cpp_cant_express_is_refused(
    changes: dict[str, Any], reason: str, corpus: SimpleNamespace, tmp_path: Path
) -> None:
    folder = saved(tmp_path / "model", **changes)
    with pytest.raises(SmolfastError, match=reason):
        export_gguf(folder, corpus.tokenizer, tmp_path / "m.gguf")


def test_weights_that_f16_cant_hold_are_refused(corpus: SimpleNamespace, tmp_path: Path) -> None:
    network = SmolLM(CONFIG, 520)
    for value, kind, reason in ((1e5, "f16", "give --quantize bf16"), (float("nan"), "q8_0", "holds NaN")):
        with torch.no_grad():
            network.model.layers[1].mlp.up_proj.weight[3, 2] = value
        save_pretrained(network, tmp_path / "model", end_of_document=0)
        with pytest.raises(SmolfastError, match=reason):
            export_gguf(tmp_path / "model", corpus.tokenizer, tmp_path / "m.gguf", quantize_to=kind)


def test_the_command_writes_one_file_or_none(
    model: Path, corpus: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "m.gguf"
    words = ["export", str(model), "--tokenizer", str(corpus.tokenizer), "-o", str(out), "--format", "gguf"]
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, unlimited[1]))
    try:
        assert main(words) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    said = capsys.readouterr().err.splitlines()
    assert "larger than the disk or ulimit -f allows" in said[-1] and str(out) in said[-1]
    assert not [path for path in tmp_path.iterdir() if path.name != ".smolfast"]
    assert main([*words, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["quantize"] == "f16" and shown["left_out"]
    before = out.read_bytes()
    assert main([*words, "--quantize", "q8_0"]) == 2  # another file stands there
    assert out.read_bytes() == before
    assert main([*words, "--quantize", "q8_0", "--overwrite"]) == 0
    assert out.stat().st_size < len(before)
    assert "attn_q" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\x10" * 50), "is damaged"),
        (lambda folder: (folder / "model.safetensors").unlink(), "is missing"),
        (lambda folder: (folder / "config.json").write_text("{"), "not valid JSON"),
        (lambda folder: (folder / "config.json").write_text('{"model_type": "gemma"}'), "'gemma'"),
        (lambda folder: (folder / "config.json").unlink(), "can't read"),
    ],
    ids=["damaged", "no weights", "bad config", "another model", "no config"],
)
def test_a_damaged_or_foreign_folder_is_one_line(
    damage: Any, says: str, corpus: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = saved(tmp_path / "model")
    damage(folder)
    out = tmp_path / "m.gguf"
    words = ["export", str(folder), "--tokenizer", str(corpus.tokenizer), "-o", str(out), "--format", "gguf", "--quiet"]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1
    assert not out.exists()


def test_settings_that_dont_go_together_are_refused(
    model: Path, corpus: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", str(model), "-o", str(tmp_path / "m"), "--quiet"]
    for more, says in (
        ([], "holds no tokenizer.json; give --tokenizer"),
        (["--tokenizer", str(corpus.tokenizer), "--format", "gguf", "--quantize", "q9"], "choose one of f32, f16"),
        (["--tokenizer", str(corpus.tokenizer), "--importance", "x.txt"], "belongs to --format gguf"),
        (
            ["--tokenizer", str(corpus.tokenizer), "--format", "gguf", "--importance", str(corpus.held_out)],
            "no use for f16",
        ),
    ):
        assert main([*words, *more]) == 2
        assert says in capsys.readouterr().err
