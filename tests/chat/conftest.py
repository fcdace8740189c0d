"""A tiny model whose tokenizer has turns, exported."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from smolfast.config import TokenizerConfig
from smolfast.model.export import export
from smolfast.model.network import SmolLM
from smolfast.model.pretrained import save_pretrained
from smolfast.tokens.tokenizer import train_tokenizer
from tiny_models import tiny


@pytest.fixture(scope="session")
def talker(corpus: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("talker")
    train_tokenizer([corpus.held_out], folder / "tokenizer", TokenizerConfig(vocab_size=400, chat=True))
    config = tiny(num_hidden_layers=4, no_rope_layer_interval=4, max_position_embeddings=160, initializer_range=0.3)
    save_pretrained(SmolLM(config, 400, seed=1), folder / "model", end_of_document=0)
    export(folder / "model", folder / "tokenizer", folder / "export")
    return folder / "export"
