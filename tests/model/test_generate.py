"""Sampling: seeded, from the distribution it says, within its bounds. (Greedy text is tested against transformers.)"""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from smolfast.commands.main import main
from smolfast.config import GenerateConfig
from smolfast.errors import SmolfastError
from smolfast.model.export import export
from smolfast.model.generate import draw_token, generate, generate_tokens
from smolfast.model.network import PackedBatch, SmolLM
from smolfast.model.pretrained import save_pretrained
from tiny_models import tiny

CONFIG = tiny(num_hidden_layers=4, no_rope_layer_interval=4, max_position_embeddings=24, initializer_range=0.2)


@pytest.fixture(scope="module")
def model() -> SmolLM:
    return SmolLM(CONFIG, 20, seed=0)


@torch.no_grad()
def test_greedy_takes_the_likeliest_token_each_time(model: SmolLM) -> None:
    tokens = [3, 1, 4, 1, 5]
    for _ in range(12):
        tokens.append(int(model.logits(PackedBatch.from_documents([np.array(tokens)]))[-1].argmax()))
    assert generate_tokens(model, tokens[:5], max_new_tokens=12, temperature=0, seed=0) == tokens[5:]


def test_draws_follow_the_tempered_distribution() -> None:
    logits = torch.tensor([0.3, -1.0, 2.0, 0.9, -0.4, 1.1], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    for temperature in (0.6, 2.0):
        weights = np.exp(logits.numpy() / temperature)
        expected = weights / weights.sum()
        draws = [draw_token(logits, temperature, generator) for _ in range(5000)]
        shares = np.bincount(draws, minlength=6) / len(draws)
        assert np.all(np.abs(shares - expected) < 5 * np.sqrt(expected / len(draws)))  # five standard errors
    assert {draw_token(logits, 0, generator) for _ in range(20)} == {2}


def test_the_seed_decides(model: SmolLM) -> None:
    first, again, other = (
        generate_tokens(model, [1], max_new_tokens=20, temperature=1.0, seed=seed) for seed in (4, 4, 5)
    )
    assert first == again != other


def test_it_ends_at_the_end_of_the_document(model: SmolLM) -> None:
    free = generate_tokens(model, [1], max_new_tokens=20, temperature=1.0, seed=0)
    assert len(free) == 20
    ended = generate_tokens(model, [1], max_new_tokens=20, temperature=1.0, seed=0, ends={free[7]})
    assert ended == free[: free.index(free[7])]


@pytest.mark.parametrize("length", [1, 24, 31])
@torch.no_grad()
def test_text_goes_on_past_the_context(model: SmolLM, length: int) -> None:
    """By hand: the context fills to 24 tokens, then the last 12 begin a new one."""
    prompt = torch.randint(0, 20, (length,), generator=torch.Generator().manual_seed(length)).tolist()
    tokens, start = list(prompt), max(0, length - 24)
    for _ in range(50):
        if len(tokens) - start > 24:
            start = len(tokens) - 12
        tokens.append(int(model.logits(PackedBatch.from_documents([np.array(tokens[start:])]))[-1].argmax()))
    assert generate_tokens(model, prompt, max_new_tokens=50, temperature=0, seed=0) == tokens[length:]


def test_an_empty_prompt_is_refused(model: SmolLM) -> None:
    with pytest.raises(SmolfastError, match="the prompt is empty"):
        generate_tokens(model, [], max_new_tokens=1, temperature=0, seed=0)


@torch.no_grad()
def test_the_cache_changes_no_greedy_token() -> None:
    """A hundred tokens, a head of further tokens and YaRN: each is the likeliest after the whole text before it."""
    config = CONFIG.model_copy(update={"max_position_embeddings": 160, "yarn_factor": 4.0})
    model = SmolLM(config, 300, seed=5)
    tokens = [7, 8, 9]
    new = generate_tokens(model, tokens, max_new_tokens=100, temperature=0, seed=0)
    for token in new:
        assert token == int(model.logits(PackedBatch.from_documents([np.array(tokens)]))[-1].argmax())
        tokens.append(token)
    assert len(new) == 100 and len(set(new)) > 3


def test_the_command_tells_its_speed(
    corpus: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_pretrained(SmolLM(CONFIG, 512), tmp_path / "model", end_of_document=0)
    export(tmp_path / "model", corpus.tokenizer, tmp_path / "export")
    options = ["generate", str(tmp_path / "export"), "--prompt", "x = ", "--max-new-tokens", "9", "--temperature", "0"]
    assert main(options) == 0
    captured = capsys.readouterr()
    assert re.fullmatch(r"9 tokens, [\d,.]+ tokens/s\n", captured.err)
    assert main([*options, "--json"]) == 0
    sample = json.loads(capsys.readouterr().out)
    assert sample["text"] + "\n" == captured.out
    assert sample["tokens"] == 9 and sample["tokens_per_second"] > 0


def test_the_sample_file(corpus: SimpleNamespace, tmp_path: Path) -> None:
    save_pretrained(SmolLM(CONFIG, 512), tmp_path / "model", end_of_document=0)
    export(tmp_path / "model", corpus.tokenizer, tmp_path / "export")
    config = GenerateConfig(prompt="def f(x):", max_new_tokens=12, temperature=0.8)
    result = generate(tmp_path / "export", tmp_path / "out", config, seed=6)
    assert json.loads((tmp_path / "out" / "sample.json").read_text(encoding="utf-8")) == result
    assert "tokens_per_second" not in result
    assert (result["prompt"], result["seed"], result["temperature"]) == ("def f(x):", 6, 0.8)
    assert result["text"] and not result["text"].startswith("def f(x):")
