"""A patched model gives transformers' own losses, gradients and next weights, without logits; undo leaves no trace."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

transformers = pytest.importorskip("transformers")

from smolfast import SmolfastError, patch  # noqa: E402

VOCABULARY = 97
SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
KINDS: dict[str, tuple[Callable[..., patch.Patch], Any]] = {
    "SmolLM3": (patch.apply_to_smollm3, transformers.SmolLM3Config(**SHAPE, no_rope_layers=[1, 0])),
    "Llama": (patch.apply_to_llama, transformers.LlamaConfig(**SHAPE, tie_word_embeddings=True)),
    "Qwen3": (patch.apply_to_qwen3, transformers.Qwen3Config(**SHAPE, head_dim=8)),
}


def build(name: str) -> Any:
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(KINDS[name][1], attn_implementation="sdpa")
    for parameter in model.parameters():  # the default initialisation is too even to tell wrong attention from right
        parameter.data.normal_(std=0.3 if parameter.ndim > 1 else 0.1)
    return model.train()


def batch() -> dict[str, Any]:
    ids = torch.randint(3, VOCABULARY, (3, 13), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, 8:] = 0
    labels = ids.masked_fill(mask == 0, -100)
    labels[2, :4] = -100
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def kept_logits(model: Any) -> int:
    """How many tensors of positions × vocabulary a training loss keeps for its backward pass."""
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: sizes.append(x.numel()) or x, lambda x: x):
        model(**batch()).loss.backward()
    return sum(size >= 3 * 12 * VOCABULARY for size in sizes)


def losses_and_gradients(model: Any, **extra: Any) -> tuple[list[float], dict[str, Tensor]]:
    """Two steps of SGD: their losses, the second's gradients and the weights after it."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for _ in range(2):
        optimizer.zero_grad()
        output = model(**batch(), **extra)
        output.loss.backward()
        losses.append(output.loss.item())
        optimizer.step()
    tensors = {f"gradient of {name}": p.grad for name, p in model.named_parameters()}
    return losses, tensors | {name: p.detach() for name, p in model.named_parameters()}


def assert_same(got: tuple[list[float], dict[str, Tensor]], expected: tuple[list[float], dict[str, Tensor]]) -> None:
    assert got[0] == pytest.approx(expected[0], rel=2e-6)
    for name, tensor in got[1].items():
        scale = expected[1][name].abs().max().item()
        torch.testing.assert_close(tensor, expected[1][name], rtol=1e-4, atol=2e-5 * max(scale, 1e-3), msg=name)


@pytest.mark.parametrize("count", [None, torch.tensor(57), 57], ids=["mean", "counted", "counted by a number"])
@pytest.mark.parametrize("name", KINDS)
def test_losses_gradients_and_next_weights_are_transformers_own(name: str, count: Any) -> None:
    theirs, ours = build(name), build(name)
    KINDS[name][0](ours)
    assert ours.config._attn_implementation == "smolfast"
    assert_same(
        losses_and_gradients(ours, num_items_in_batch=count), losses_and_gradients(theirs, num_items_in_batch=count)
    )


NONE = {
    "mean": None, "0": 0, "0.0": 0.0, "tensor": torch.tensor(0), "fp32 tensor": torch.tensor(0.0),
    "one for each GPU": torch.tensor([0, 0]), "those of other ranks": torch.tensor(7),
}  # fmt: skip


@pytest.mark.parametrize("count", NONE.values(), ids=NONE)
def test_a_batch_without_labels_has_loss_and_gradients_of_zero(count: Any) -> None:
    model = build("Llama")
    patch.apply_to_llama(model)
    whole = batch()
    of_one_token = {"input_ids": whole["input_ids"][:, :1], "labels": whole["input_ids"][:, :1]}
    for inputs in ({**whole, "labels": torch.full_like(whole["labels"], -100)}, of_one_token):
        model.zero_grad()
        loss = model(**inputs, num_items_in_batch=count).loss
        loss.backward()
        assert loss == 0
        assert all(p.grad is None or bool((p.grad == 0).all()) for p in model.parameters())


def test_a_count_of_zero_beside_labels_is_no_mean() -> None:
    theirs, ours = build("Llama"), build("Llama")
    patch.apply_to_llama(ours)
    assert [model(**batch(), num_items_in_batch=0).loss.item() for model in (theirs, ours)] == [float("inf")] * 2


def test_a_row_of_padding_changes_no_loss_or_gradient() -> None:
    theirs, ours = build("Llama"), build("Llama")
    patch.apply_to_llama(ours)
    inputs = batch()
    inputs["attention_mask"][0] = 0
    inputs["labels"][0] = -100
    gradients = []
    for model in (theirs, ours):
        loss = model(**inputs).loss
        loss.backward()
        gradients.append((loss.detach(), model.lm_head.weight.grad, model.model.layers[0].self_attn.k_proj.weight.grad))
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", KINDS)
def test_labels_that_are_shifted_already_and_another_ignored_index(name: str) -> None:
    theirs, ours = build(name), build(name)
    KINDS[name][0](ours)
    inputs = batch()
    inputs["shift_labels"] = inputs["labels"].roll(-3, 1)
    inputs["shift_labels"][(inputs["shift_labels"] == -100) | (inputs["attention_mask"] == 0)] = 5
    expected, got = (model(**inputs, ignore_index=5).loss for model in (theirs, ours))
    torch.testing.assert_close(got, expected, rtol=2e-6, atol=0)


def test_logits_are_never_whole_in_training_and_theirs_in_evaluation() -> None:
    theirs, ours = build("Qwen3"), build("Qwen3")
    patch.apply_to_qwen3(ours)
    assert kept_logits(theirs) > 0
    assert kept_logits(ours) == 0
    assert ours(**batch()).logits is None
    theirs.eval(), ours.eval()
    with torch.no_grad():
        expected, got = theirs(**batch()), ours(**batch())
    real = batch()["attention_mask"].bool()
    torch.testing.assert_close(got.logits[real], expected.logits[real], rtol=1e-5, atol=2e-5)
    torch.testing.assert_close(got.loss, expected.loss, rtol=2e-6, atol=0)


@pytest.mark.parametrize("wrapped", [False, True])
def test_undo_restores_the_forward_the_attention_and_the_signature(wrapped: bool) -> None:
    model = build("Llama")
    signature = inspect.signature(model.forward)
    with patch.apply_to_llama(model) as applied:
        assert [*inspect.signature(model.forward).parameters] == [*signature.parameters]
        assert model(**batch()).logits is None
        if wrapped:  # as accelerate does for mixed precision
            ours = model.forward
            model.forward = lambda *args, **kwargs: ours(*args, **kwargs)
    assert model(**batch()).logits is not None
    assert model.config._attn_implementation == "sdpa"
    assert ("forward" in model.__dict__) == wrapped
    applied.undo()
    assert_same(losses_and_gradients(model), losses_and_gradients(build("Llama")))


def test_one_model_is_patched_alone_even_where_the_configuration_is_shared() -> None:
    config = transformers.LlamaConfig(**SHAPE)
    first, second = (transformers.LlamaForCausalLM(config).train() for _ in range(2))
    assert first.config is second.config
    patch.apply_to_llama(first)
    assert first.config._attn_implementation == "smolfast"
    assert second.config._attn_implementation == config._attn_implementation == "sdpa"
    assert first(**batch()).logits is None
    assert second(**batch()).logits is not None


def test_a_copy_of_a_patched_model_uses_its_own_weights() -> None:
    model = build("SmolLM3")
    patch.apply_to_smollm3(model)
    other = copy.deepcopy(model)
    other.lm_head.weight.data.mul_(2)
    assert other(**batch()).loss != model(**batch()).loss
    other.eval(), model.eval()
    assert other(**batch()).loss != model(**batch()).loss


def test_the_class_is_patched_for_models_made_later_and_restored() -> None:
    kind = transformers.LlamaForCausalLM
    initialise, forward, expected = kind.__init__, kind.forward, losses_and_gradients(build("Llama"))
    with patch.apply_to_llama():
        patch.apply_to_llama().undo()  # a second one changes nothing, and nor does its undo
        later = build("Llama")
        assert later.config._attn_implementation == "smolfast"
        assert later(**batch()).logits is None
        assert_same(losses_and_gradients(later), expected)
    assert (kind.__init__, kind.forward) == (initialise, forward)
    assert later.config._attn_implementation == "sdpa"
    assert later(**batch()).logits is not None
    assert build("Llama").config._attn_implementation == "sdpa"


def test_norms_are_ours_where_they_are_asked_for() -> None:
    def norms(model: Any) -> int:
        """How many backward passes of norms a loss goes through."""
        seen, todo = set(), [model(**batch()).loss.grad_fn]
        while todo:
            node = todo.pop()
            if node is not None and node not in seen:
                seen.add(node)
                todo += [after for after, _ in node.next_functions]
        return sum(node.name() == "_NormalizeBackward" for node in seen)

    model = build("Qwen3")
    with patch.apply_to_qwen3(model, norms=False):
        assert norms(model) == 0
    with patch.apply_to_qwen3(model):
        assert norms(model) == 2 * 4 + 1  # of a layer: before attention and before the MLP, queries' and keys'
        assert norms(build("Qwen3")) == 0
    assert norms(model) == 0
    with patch.apply_to_qwen3():
        assert norms(build("Qwen3")) == 2 * 4 + 1
    assert norms(build("Qwen3")) == 0


def test_parts_can_be_left_alone() -> None:
    model = build("Llama")
    with patch.apply_to_llama(model, attention=False):
        assert model.config._attn_implementation == "sdpa"
        assert model(**batch()).logits is None
    with patch.apply_to_llama(model, loss=False):
        assert model.config._attn_implementation == "smolfast"
        assert model(**batch()).logits is not None


def test_a_head_whose_weight_cannot_be_read_goes_through_its_logits() -> None:
    model, plain = build("Qwen3"), build("Qwen3")
    patch.apply_to_qwen3(model)
    model.lm_head.register_forward_hook(lambda module, inputs, output: output * 0.5)
    plain.lm_head.weight.data.mul_(0.5)
    with pytest.warns(UserWarning, match="logits are materialised"):
        output = model(**batch())
    torch.testing.assert_close(output.loss, plain(**batch()).loss, rtol=1e-5, atol=0)


def test_a_loss_of_the_users_own_stays() -> None:
    model = build("Llama")
    patch.apply_to_llama(model)
    model.loss_function = lambda logits, labels, vocab_size, **_: logits.mean() + vocab_size
    assert model(**batch()).loss > 90


def test_tuples_and_generation_work_as_before() -> None:
    model, plain = build("Llama"), build("Llama")
    patch.apply_to_llama(model)
    assert isinstance(model(**batch(), return_dict=False), tuple)
    ids = batch()["input_ids"][:1, :5]
    options = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None, "attention_mask": torch.ones_like(ids)}
    got, expected = (m.eval().generate(ids, **options) for m in (model, plain))
    assert torch.equal(got, expected)


def test_a_model_of_another_class_is_refused() -> None:
    with pytest.raises(SmolfastError, match="expected a LlamaForCausalLM, got a Qwen3ForCausalLM"):
        patch.apply_to_llama(build("Qwen3"))
