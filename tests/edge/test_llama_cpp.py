"""Files in llama.cpp itself: logits, greedy text, tokens and its own quantiser. Skipped where it isn't installed."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from gguf_model import GgufModel
from preset_twins import twin
from smolfast.commands.main import main
from smolfast.config import TokenizerConfig
from smolfast.edge.gguf_export import TYPES, export_gguf
from smolfast.edge.k_quants import K_QUANTS
from smolfast.errors import SmolfastError
from smolfast.model.generate import generate_tokens
from smolfast.model.network import PackedBatch, SmolLM
from smolfast.model.pretrained import load_pretrained, save_pretrained
from smolfast.presets import preset_names
from smolfast.tokens.tokenizer import train_tokenizer
from smolfast.tokens.tokenizer_folder import encode, open_tokenizer
from tiny_models import tiny

INSTALLED = importlib.util.find_spec("llama_cpp") is not None
needs_llama_cpp = pytest.mark.skipif(not INSTALLED, reason="llama-cpp-python isn't installed")
WIDE = tiny(
    hidden_size=256, intermediate_size=512, num_hidden_layers=5, num_attention_heads=8, num_key_value_heads=2,
    head_dim=32, no_rope_layer_interval=4, initializer_range=0.06, max_position_embeddings=256,
)  # fmt: skip


@pytest.fixture(scope="module")
def made(corpus: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("made")
    train_tokenizer([corpus.held_out], folder / "tokenizer", TokenizerConfig(vocab_size=400, chat=True))
    save_pretrained(SmolLM(WIDE, 416, seed=4), folder / "model", end_of_document=0)
    return SimpleNamespace(model=folder / "model", tokenizer=folder / "tokenizer", text=corpus.held_out)


@pytest.fixture
def opened() -> Iterator[Any]:
    from llama_file import LlamaFile

    files: list[LlamaFile] = []

    def open_file(*arguments: Any, **options: Any) -> LlamaFile:
        files.append(LlamaFile(*arguments, **options))
        return files[-1]

    yield open_file
    for file in files:
        file.close()


@needs_llama_cpp
@pytest.mark.parametrize(
    "changes",
    [{}, {"no_rope_layer_interval": 9, "tie_word_embeddings": False}, {"yarn_factor": 4.0, "yarn_context": 64}],
    ids=["smollm3", "llama", "yarn"],
)
def test_logits_and_greedy_text_are_ours(
    changes: dict[str, Any], made: SimpleNamespace, opened: Any, tmp_path: Path
) -> None:
    save_pretrained(SmolLM(WIDE.model_copy(update=changes), 416, seed=4), tmp_path / "model", end_of_document=0)
    export_gguf(tmp_path / "model", made.tokenizer, tmp_path / "m.gguf", quantize_to="f32")
    model, file = load_pretrained(tmp_path / "model"), opened(tmp_path / "m.gguf")
    tokens = np.random.default_rng(1).integers(4, 400, 60)
    with torch.no_grad():
        expected = model.logits(PackedBatch.from_documents([tokens]))
    np.testing.assert_allclose(file.logits(tokens.tolist()), expected, atol=2e-3)
    ends = {index for index in range(416) if file.ends(index)}
    assert ends == {0, 3}
    ours = generate_tokens(model, tokens.tolist(), max_new_tokens=30, temperature=0, seed=0, ends=ends)
    assert file.greedy(tokens.tolist(), 30) == ours


def distance(file: Any, path: Path) -> float:
    """How far llama.cpp's logits are from those of the file's weights: it also rounds what goes into a matrix."""
    tokens = np.random.default_rng(1).integers(4, 400, 40)
    exact = GgufModel(path).logits(torch.from_numpy(tokens)).numpy()
    return float(np.linalg.norm(file.logits(tokens.tolist()) - exact) / np.linalg.norm(exact))


@needs_llama_cpp
@pytest.mark.parametrize("name", preset_names())
def test_every_presets_twin_loads(name: str, made: SimpleNamespace, opened: Any, tmp_path: Path) -> None:
    save_pretrained(SmolLM(twin(name), 416, seed=4), tmp_path / "model", end_of_document=0)
    model, draw = load_pretrained(tmp_path / "model"), np.random.default_rng(2)
    prompts = [draw.integers(4, 400, 20).tolist() for _ in range(10)]
    for kind, close in (("f16", 5e-3), ("q8_0", 0.1)):
        path = tmp_path / f"{kind}.gguf"
        export_gguf(tmp_path / "model", made.tokenizer, path, quantize_to=kind)
        file = opened(path)
        assert distance(file, path) < close
        ends = {index for index in range(416) if file.ends(index)}
        same = 0
        for prompt in prompts:
            new = generate_tokens(model, prompt, max_new_tokens=8, temperature=0, seed=0, ends=ends)
            same += file.greedy(prompt, 8) == new
        # Logits of weights as they begin lie close together: 8 bits may swap the first two.
        assert same == len(prompts) or kind == "q8_0"


@needs_llama_cpp
@pytest.mark.parametrize("kind", TYPES)
def test_every_type_loads_and_predicts_alike(kind: str, made: SimpleNamespace, opened: Any, tmp_path: Path) -> None:
    summary = export_gguf(made.model, made.tokenizer, tmp_path / "m.gguf", quantize_to=kind)
    close = {"f32": 1e-4, "f16": 5e-3, "bf16": 5e-2}.get(kind, 0.1)
    assert distance(opened(tmp_path / "m.gguf"), tmp_path / "m.gguf") < close
    if kind in K_QUANTS:
        rows = {row["tensor"]: row["type"] for row in summary["tensor_types"]}
        assert rows["attn_q"] == {"q3_k_m": "q3_k", "q2_k": "q2_k"}.get(kind, kind[:4])
        assert not list(tmp_path.glob(".*"))  # the file in between is gone


@needs_llama_cpp
def test_importance_from_text_changes_what_is_rounded(made: SimpleNamespace, tmp_path: Path) -> None:
    words = ["export", str(made.model), "--tokenizer", str(made.tokenizer), "--format", "gguf", "--quantize", "q4_k_m"]
    assert main([*words, "-o", str(tmp_path / "plain.gguf"), "--quiet"]) == 0
    more = ["--importance", str(made.text), "-o", str(tmp_path / "weighed.gguf"), "--quiet"]
    assert main([*words, *more]) == 0
    plain, weighed = ((tmp_path / f"{name}.gguf").read_bytes() for name in ("plain", "weighed"))
    assert plain != weighed and abs(len(plain) - len(weighed)) < 1000


@needs_llama_cpp
def test_rows_that_k_quants_cant_hold_are_said(made: SimpleNamespace, tmp_path: Path) -> None:
    narrow = WIDE.model_copy(update={"hidden_size": 96})
    save_pretrained(SmolLM(narrow, 416, seed=4), tmp_path / "model", end_of_document=0)
    summary = export_gguf(tmp_path / "model", made.tokenizer, tmp_path / "m.gguf", quantize_to="q4_k_m")
    rows = {row["tensor"]: row for row in summary["tensor_types"]}
    assert rows["attn_q"]["type"] != "q4_k" and rows["attn_q"]["why"] == "rows of 96 are no whole blocks of 256"
    assert rows["ffn_down"]["type"] in ("q4_k", "q6_k")


@needs_llama_cpp
@pytest.mark.parametrize("whole_words", [False, True])
def test_tokens_are_ours(whole_words: bool, made: SimpleNamespace, opened: Any, tmp_path: Path) -> None:
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    for path in made.tokenizer.iterdir():
        text = path.read_text()
        if whole_words and path.name == "tokenizer.json":
            assert '"ignore_merges": false' in text
            text = text.replace('"ignore_merges": false', '"ignore_merges": true')
        (folder / path.name).write_text(text)
    export_gguf(made.model, folder, tmp_path / "m.gguf")
    file, tokenizer = opened(tmp_path / "m.gguf", vocabulary_only=True), open_tokenizer(folder).tokenizer
    letters = (
        "aZé ßſ\n\r\t\x0b\x85\u00a0\u2003\u3000'’sStTllré12٣½Ⅷ東京ไทยहिन्दी🙂👩‍💻-_.,!?()<|>{}\x00\ufeff\u200d\u0301"
    )
    draw = random.Random(0)
    texts = ["", " ", "\n\n \n", "I'll  say 12345 it's\r\n", *(
        "".join(draw.choices(letters, k=draw.randrange(1, 30))) for _ in range(2000)
    )]  # fmt: skip
    for text, ids in zip(texts, encode(tokenizer, texts), strict=True):
        assert file.tokens(text) == ids, repr(text)
    marked = "a<|im_start|>user\n<|endoftext|> x<|im_end|>\n"
    assert file.tokens(marked) == encode(tokenizer, [marked])[0]
    tokenizer.encode_special_tokens = False
    assert file.tokens(marked, special=True) == tokenizer.encode(marked).ids


@pytest.mark.skipif(INSTALLED, reason="llama-cpp-python is installed")
def test_without_llama_cpp_k_quants_are_refused(
    made: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for more in (["--quantize", "q4_k_m"], ["--quantize", "q4_0", "--importance", str(made.text)]):
        words = ["export", str(made.model), "--tokenizer", str(made.tokenizer), "--format", "gguf", *more]
        assert main([*words, "-o", str(tmp_path / "m.gguf"), "--quiet"]) == 2
        assert "needs llama-cpp-python; install it with: pip install" in capsys.readouterr().err
        assert not (tmp_path / "m.gguf").exists()
    with pytest.raises(SmolfastError, match="is unknown; choose one of f32"):
        export_gguf(made.model, made.tokenizer, tmp_path / "m.gguf", quantize_to="q9")
