"""What importance is measured from: the inputs of each matrix, over the text that was given."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from smolfast.edge.importance import importance_of, windows_of
from smolfast.errors import SmolfastError
from smolfast.model.network import PackedBatch, SmolLM
from smolfast.tokens.tokenizer_folder import open_tokenizer
from tiny_models import tiny


@torch.no_grad()
def test_it_is_the_mean_square_of_a_matrixs_inputs() -> None:
    model = SmolLM(tiny(initializer_range=0.2), 100, seed=1)
    windows = [np.arange(5, 25), np.arange(60, 67)]
    found = importance_of(model, windows)
    batches = [PackedBatch.from_documents([window]) for window in windows]
    first = torch.cat([model.model.layers[0].input_layernorm(model.model.embed_tokens(b.tokens)) for b in batches])
    for part in ("q", "k", "v"):
        np.testing.assert_allclose(found[f"blk.0.attn_{part}.weight"], first.square().mean(0), rtol=1e-5)
    last = torch.cat([model.hidden_states(batch, heads=1)[0] for batch in batches])
    np.testing.assert_allclose(found["token_embd.weight"], last.square().mean(0), rtol=1e-5)
    assert len(found) == 2 * 7 + 1 and not any("mtp" in name for name in found)
    assert found["blk.1.ffn_down.weight"].shape == (48,)


def test_texts_become_windows_that_the_model_reads(corpus: SimpleNamespace, tmp_path: Path) -> None:
    opened = open_tokenizer(corpus.tokenizer)
    windows = windows_of([corpus.held_out], opened, 32)
    assert max(map(len, windows)) == 32 and sum(map(len, windows)) > 1000
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(SmolfastError, match="no text to measure by"):
        windows_of([tmp_path / "empty.txt"], opened, 32)
