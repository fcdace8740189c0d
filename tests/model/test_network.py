"""The model against transformers' SmolLM3ForCausalLM, and against itself where transformers has no counterpart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from smolfast.config import ModelConfig
from smolfast.model.network import IGNORE_INDEX, KeyValueCache, PackedBatch, SmolLM, rope_layers
from smolfast.model.pretrained import save_pretrained

transformers = pytest.importorskip("transformers")

VOCABULARY = 97


def tiny(**changes: Any) -> ModelConfig:
    settings: dict[str, Any] = {
        "hidden_size": 48,
        "intermediate_size": 72,
        "num_hidden_layers": 5,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "head_dim": 10,
        "max_position_embeddings": 64,
        # Large weights: with 0.02 a tiny model hardly depends on its input.
        "initializer_range": 0.2,
        "mtp_heads": 3,
    }
    return ModelConfig(**settings | changes)


def random_documents(lengths: list[int], seed: int = 0) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.integers(0, VOCABULARY, length) for length in lengths]


def oracle(model: SmolLM, folder: Path) -> Any:
    save_pretrained(model, folder, end_of_document=0)
    loaded, report = transformers.SmolLM3ForCausalLM.from_pretrained(
        folder, output_loading_info=True, attn_implementation="eager"
    )
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    return loaded.eval()


CONFIGURATIONS = [
    tiny(),
    tiny(tie_word_embeddings=False, mtp_heads=1),
    tiny(no_rope_layer_interval=2, rope_theta=123_456.0, num_hidden_layers=2),
    tiny(num_hidden_layers=1, num_key_value_heads=8, rms_norm_eps=1e-3),
]


@pytest.mark.parametrize("config", CONFIGURATIONS)
@torch.no_grad()
def test_logits_equal_transformers(config: ModelConfig, tmp_path: Path) -> None:
    model = SmolLM(config, VOCABULARY, seed=3)
    (document,) = random_documents([40])
    expected = oracle(model, tmp_path)(torch.from_numpy(document)[None]).logits[0]
    assert expected.std() > 0.5
    torch.testing.assert_close(model.logits(PackedBatch.from_documents([document])), expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_packed_documents_equal_transformers_with_position_ids(tmp_path: Path) -> None:
    model = SmolLM(tiny(), VOCABULARY, seed=4)
    documents = random_documents([7, 1, 23, 12])
    batch = PackedBatch.from_documents(documents)
    actual = model.logits(batch)
    reference = oracle(model, tmp_path)
    # With a cache (its default) transformers takes no notice of packed positions.
    packed = reference(batch.tokens[None], position_ids=batch.position_ids[None], use_cache=False).logits[0]
    torch.testing.assert_close(actual, packed, atol=1e-5, rtol=0)
    alone = [reference(torch.from_numpy(document)[None]).logits[0] for document in documents]
    torch.testing.assert_close(actual, torch.cat(alone), atol=1e-5, rtol=0)


def test_gradients_equal_transformers(tmp_path: Path) -> None:
    model = SmolLM(tiny(mtp_heads=1), VOCABULARY, seed=5)
    (document,) = random_documents([30])
    reference = oracle(model, tmp_path)
    tokens = torch.from_numpy(document)[None]
    expected_loss = reference(tokens, labels=tokens).loss
    expected_loss.backward()
    loss, head_losses = model.loss(PackedBatch.from_documents([document]), (1.0,))
    loss.backward()
    torch.testing.assert_close(loss, expected_loss, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(head_losses, loss.detach()[None])
    expected = dict(reference.named_parameters())
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name].grad, atol=1e-5, rtol=1e-4, msg=name)


@torch.no_grad()
def test_cache_gives_the_logits_of_the_whole_sequence() -> None:
    model = SmolLM(tiny(), VOCABULARY, seed=6).double()
    (document,) = random_documents([33])
    expected = model.logits(PackedBatch.from_documents([document]))
    tokens = torch.from_numpy(document)
    cache = KeyValueCache(model.config, 33, "cpu", torch.float64)
    for start, end in ((0, 9), (9, 10), (10, 17), *((i, i + 1) for i in range(17, 33))):
        torch.testing.assert_close(model.extend(tokens[start:end], cache), expected[end - 1], atol=1e-10, rtol=0)


@torch.no_grad()
def test_heads_are_independent_layers_on_the_state_before_the_last() -> None:
    """Put head j's weights in the last layer's place (RoPE on): the ordinary head then is head j."""
    config = tiny(no_rope_layer_interval=3)
    assert rope_layers(config)[-1]
    model, other = SmolLM(config, VOCABULARY, seed=7), SmolLM(config, VOCABULARY, seed=7)
    batch = PackedBatch.from_documents(random_documents([11, 20]))
    hidden = model.hidden_states(batch)
    assert hidden.shape == (3, 31, config.hidden_size)
    for head in (1, 2):
        other.model.layers[-1].load_state_dict(model.mtp_heads[head - 1].state_dict())
        torch.testing.assert_close(other.hidden_states(batch, heads=1)[0], hidden[head])


def test_loss_is_the_weighted_mean_over_each_heads_own_targets() -> None:
    model = SmolLM(tiny(), VOCABULARY, seed=8)
    documents = random_documents([9, 2, 1, 14])
    batch = PackedBatch.from_documents(documents)
    hidden = model.hidden_states(batch)
    expected = []
    for head in range(3):
        logits = F.linear(hidden[head], model.unembedding).split([len(document) for document in documents])
        losses = [
            F.cross_entropy(scores[: -head - 1], torch.from_numpy(document[head + 1 :]), reduction="none")
            for scores, document in zip(logits, documents, strict=True)
            if len(document) > head + 1
        ]
        expected.append(torch.cat(losses))
    assert batch.valid_targets(3) == [len(losses) for losses in expected] == [22, 19, 17]
    loss, head_losses = model.loss(batch, (1.0, 0.5, 0.25))
    means = torch.stack([losses.mean() for losses in expected])
    torch.testing.assert_close(head_losses, means.detach())
    torch.testing.assert_close(loss, (means * torch.tensor([1.0, 0.5, 0.25])).sum())


def test_parts_of_a_batch_add_up_to_its_loss_and_gradients() -> None:
    model = SmolLM(tiny(), VOCABULARY, seed=9)
    tokens = np.stack(random_documents([17] * 6))
    document_ids = np.sort(np.random.default_rng(1).integers(0, 3, (6, 17)), axis=1)
    parameters = list(model.parameters())
    whole = PackedBatch.from_windows(tokens, document_ids)
    items = whole.valid_targets(3)
    loss, _ = model.loss(whole, (1.0, 0.3, 0.1))
    gradients = torch.autograd.grad(loss, parameters)
    parts = [PackedBatch.from_windows(tokens[i : i + 2], document_ids[i : i + 2]) for i in (0, 2, 4)]
    assert [sum(counts) for counts in zip(*(part.valid_targets(3) for part in parts), strict=True)] == items
    part_losses = [model.loss(part, (1.0, 0.3, 0.1), items)[0] for part in parts]
    torch.testing.assert_close(sum(part_losses), loss)
    part_gradients = [torch.autograd.grad(part_loss, parameters) for part_loss in part_losses]
    for expected, *found in zip(gradients, *part_gradients, strict=True):
        torch.testing.assert_close(sum(found), expected, atol=1e-5, rtol=1e-4)


def test_windows_are_cut_at_documents_and_rows() -> None:
    batch = PackedBatch.from_windows(np.arange(10).reshape(2, 5), np.array([[0, 0, 0, 1, 1], [0, 0, 1, 1, 2]]))
    ignored = IGNORE_INDEX
    assert batch.tokens.tolist() == list(range(10))
    assert batch.targets.tolist() == [1, 2, ignored, 4, ignored, 6, ignored, 8, ignored, ignored]
    assert batch.position_ids.tolist() == [0, 1, 2, 0, 1, 0, 1, 0, 1, 0]
    assert batch.document_ids.tolist() == [0, 0, 0, 1, 1, 2, 2, 3, 3, 4]
    assert batch.cu_seqlens.tolist() == [0, 3, 5, 7, 9, 10]
    assert batch.max_seqlen == 3
    assert batch.valid_targets(3) == [5, 1, 0]


def test_every_fourth_layer_has_no_rope() -> None:
    config = ModelConfig(num_hidden_layers=8)
    assert rope_layers(config) == [True, True, True, False, True, True, True, False]
    assert [layer.self_attn.use_rope for layer in SmolLM(config, 300).model.layers] == rope_layers(config)


def test_initial_weights_come_from_the_seed_alone() -> None:
    config = tiny(initializer_range=0.02, hidden_size=128, intermediate_size=256)
    torch.manual_seed(1)
    first = SmolLM(config, VOCABULARY, seed=5)
    torch.manual_seed(2)
    second, other = SmolLM(config, VOCABULARY, seed=5), SmolLM(config, VOCABULARY, seed=6)
    for name, parameter in first.named_parameters():
        assert torch.equal(parameter, second.get_parameter(name)), name
        if parameter.ndim == 1:
            assert torch.equal(parameter, torch.ones_like(parameter))
        else:
            assert not torch.equal(parameter, other.get_parameter(name)), name
            assert parameter.std().item() == pytest.approx(0.02, rel=0.1)
