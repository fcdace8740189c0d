"""The three kinds of further prediction heads. (Independent ones are tested with the model.)"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from smolfast.config import ModelConfig
from smolfast.model.network import PackedBatch, SmolLM
from smolfast.model.pretrained import load_pretrained, save_pretrained

KINDS = ("independent", "sequential", "shared")
VOCABULARY = 61


def model_of(kind: str, **changes: Any) -> SmolLM:
    settings: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "initializer_range": 0.2,
        "mtp_heads": 3,
        "mtp_kind": kind,
    }
    return SmolLM(ModelConfig(**settings | changes), VOCABULARY, seed=2)


def random_documents(*lengths: int) -> list[np.ndarray]:
    generator = np.random.default_rng(1)
    return [generator.integers(0, VOCABULARY, length) for length in lengths]


def rms(x: Tensor, weight: Tensor) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight


@torch.no_grad()
def test_sequential_heads_are_given_the_tokens_between() -> None:
    """DeepSeek-V3, equations 21 to 23, on each depth's own shorter sequence as the paper has it."""
    model = model_of("sequential").double()
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(3))
    (document,) = random_documents(20)
    hidden = model.hidden_states(PackedBatch.from_documents([document]))
    x, context = model.trunk(PackedBatch.from_documents([document]))
    state = model.model.layers[-1](x, context)
    for depth, head in enumerate(model.mtp_heads, 1):
        rows = 20 - depth
        tokens = torch.from_numpy(document[depth:])
        both = torch.cat(
            [
                rms(state[:rows], head.state_norm.weight),
                rms(model.model.embed_tokens.weight[tokens], head.token_norm.weight),
            ],
            -1,
        )
        _, shorter = model.trunk(PackedBatch.from_documents([document[:rows]]))
        state = head.layer(both @ head.projection.weight.T, shorter)
        torch.testing.assert_close(hidden[depth, :rows], rms(state, model.model.norm.weight), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_no_head_sees_its_target_or_another_document(kind: str) -> None:
    model = model_of(kind).double()
    documents = random_documents(9, 14, 5)
    batch = PackedBatch.from_documents(documents)
    losses = model.token_losses(batch, 3)
    alone = [model.token_losses(PackedBatch.from_documents([document]), 3) for document in documents]
    torch.testing.assert_close(losses, torch.cat(alone, 1), atol=1e-10, rtol=0)
    hidden = model.hidden_states(batch)
    changed = documents[1].copy()
    changed[7] = (changed[7] + 1) % VOCABULARY
    other = model.hidden_states(PackedBatch.from_documents([documents[0], changed, documents[2]]))
    for depth in range(3):
        # Position i of head `depth` predicts token i + depth + 1: it may depend on tokens up to i + depth at most.
        known = 7 - depth if kind == "sequential" else 7
        same = (hidden[depth] - other[depth]).abs().amax(1)
        assert same[9 : 9 + known].max() < 1e-12
        assert same[9 + known] > 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_losses_are_cross_entropies_of_the_heads_logits(kind: str) -> None:
    model = model_of(kind)
    (document,) = random_documents(30)
    batch = PackedBatch.from_documents([document])
    hidden = model.hidden_states(batch)
    assert hidden.shape == (3, 30, 32)
    means = torch.stack(
        [
            F.cross_entropy(
                F.linear(hidden[head, : 29 - head], model.unembedding), torch.from_numpy(document[1 + head :])
            )
            for head in range(3)
        ]
    )
    loss, head_losses = model.loss(batch, (1.0, 0.5, 0.25))
    torch.testing.assert_close(head_losses, means.detach())
    expected = torch.autograd.grad((means * torch.tensor([1.0, 0.5, 0.25])).sum(), model.parameters())
    for found, wanted in zip(torch.autograd.grad(loss, list(model.parameters())), expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-4)


@torch.no_grad()
def test_shared_heads_have_no_parameters_and_one_state() -> None:
    model = model_of("shared")
    assert len(model.mtp_heads) == 0
    hidden = model.hidden_states(PackedBatch.from_documents(random_documents(12)))
    assert torch.equal(hidden[0], hidden[2])


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_first_head_and_folder(kind: str, tmp_path: Path) -> None:
    """Head 0 is the same model whatever the others are, and a folder brings all of them back."""
    model = model_of(kind)
    batch = PackedBatch.from_documents(random_documents(12, 9))
    plain = model_of("independent", mtp_heads=1)
    plain.load_state_dict({name: tensor for name, tensor in model.state_dict().items() if "mtp_heads" not in name})
    assert torch.equal(plain.logits(batch), model.logits(batch))
    save_pretrained(model, tmp_path, end_of_document=0)
    assert (tmp_path / "mtp_heads.safetensors").exists() == (kind != "shared")
    loaded = load_pretrained(tmp_path)
    assert loaded.config == model.config
    assert torch.equal(loaded.token_losses(batch, 3), model.token_losses(batch, 3))
