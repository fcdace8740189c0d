"""``attn_implementation="smolfast"`` gives what transformers' own attention gives: logits, gradients, generation."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

transformers = pytest.importorskip("transformers")

from smolfast import SmolfastError  # noqa: E402
from smolfast.integrations.transformers import register  # noqa: E402

register()

VOCABULARY = 61
SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
MODELS: dict[str, Any] = {
    "SmolLM3": lambda: transformers.SmolLM3Config(**SHAPE, no_rope_layers=[1, 0]),
    "Llama": lambda: transformers.LlamaConfig(**SHAPE),
    "Qwen3": lambda: transformers.Qwen3Config(**SHAPE, head_dim=8),
    "Qwen3 window": lambda: transformers.Qwen3Config(
        **SHAPE, head_dim=8, use_sliding_window=True, sliding_window=5, max_window_layers=1
    ),
}


def pair(config: Any, theirs: str = "sdpa", dtype: torch.dtype = torch.float32) -> tuple[Any, Any]:
    """The same random model, once with transformers' implementation and once with ours."""
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=theirs).to(dtype)
    for parameter in model.parameters():  # the default initialisation is too even to tell wrong attention from right
        parameter.data.normal_(std=0.3 if parameter.ndim > 1 else 0.1)
    ours = copy.deepcopy(model)
    ours.set_attn_implementation("smolfast")
    assert ours.config._attn_implementation == "smolfast"
    return model, ours


def logits_and_gradients(model: Any, real: Tensor, **inputs: Tensor | int) -> tuple[Tensor, dict[str, Tensor]]:
    logits = model(**inputs, use_cache=False).logits[real]
    generator = torch.Generator().manual_seed(1)
    (logits * torch.randn(logits.shape, generator=generator).to(logits.dtype)).sum().backward()
    return logits.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def tokens(*shape: int) -> Tensor:
    return torch.randint(3, VOCABULARY, shape, generator=torch.Generator().manual_seed(2))


def batch(kind: str) -> tuple[Tensor, dict[str, Any], dict[str, Any]]:
    """(which outputs count, inputs for theirs, inputs for ours)."""
    if kind == "whole":
        inputs: dict[str, Any] = {"input_ids": tokens(2, 13)}
    elif kind == "packed positions":
        inputs = {"input_ids": tokens(2, 13), "position_ids": torch.tensor([[*range(4), *range(9)], [*range(12), 0]])}
    elif kind == "packed lengths":
        inputs = {"input_ids": tokens(1, 13), "position_ids": torch.tensor([[*range(4), *range(9)]])}
        cu = torch.tensor([0, 4, 13], dtype=torch.int32)
        lengths = {"cu_seq_lens_q": cu, "cu_seq_lens_k": cu, "max_length_q": 9, "max_length_k": 9}
        return torch.ones(1, 13, dtype=torch.bool), inputs, {**inputs, **lengths}
    else:
        mask = torch.ones(3, 13, dtype=torch.long)
        mask[1, slice(0, 5) if kind == "padded left" else slice(8, 13)] = 0
        inputs = {"input_ids": tokens(3, 13), "attention_mask": mask}
    real = inputs.get("attention_mask", torch.ones_like(inputs["input_ids"])).bool()
    return real, inputs, inputs


@pytest.mark.parametrize("kind", ["whole", "padded right", "padded left", "packed positions", "packed lengths"])
@pytest.mark.parametrize("name", MODELS)
def test_logits_and_gradients_are_those_of_sdpa(name: str, kind: str) -> None:
    model, ours = pair(MODELS[name]())
    real, their_inputs, our_inputs = batch(kind)
    expected_logits, expected = logits_and_gradients(model, real, **their_inputs)
    logits, gradients = logits_and_gradients(ours, real, **our_inputs)
    torch.testing.assert_close(logits, expected_logits, rtol=1e-5, atol=2e-5)
    assert gradients.keys() == expected.keys()
    for parameter, gradient in gradients.items():
        scale = expected[parameter].abs().max().item()
        torch.testing.assert_close(gradient, expected[parameter], rtol=1e-4, atol=1e-5 * max(1.0, scale), msg=parameter)


def test_packing_matters_to_the_comparison_above() -> None:
    """If positions were ignored, the packed case would differ: the comparison can fail."""
    _, ours = pair(MODELS["SmolLM3"]())
    ids, positions = tokens(1, 13), torch.tensor([[*range(4), *range(9)]])
    with torch.no_grad():
        packed = ours(input_ids=ids, position_ids=positions, use_cache=False).logits
        alone = ours(input_ids=ids[:, 4:], use_cache=False).logits
        whole = ours(input_ids=ids, use_cache=False).logits
    torch.testing.assert_close(packed[:, 4:], alone, rtol=1e-5, atol=2e-5)
    assert (packed[:, 4:] - whole[:, 4:]).abs().max() > 0.1


def test_bfloat16_is_as_close_to_exact_as_sdpa_is() -> None:
    exact, _ = pair(MODELS["Llama"](), dtype=torch.float64)
    model, ours = pair(MODELS["Llama"](), dtype=torch.bfloat16)
    exact.load_state_dict(model.state_dict())
    ids = tokens(2, 13)
    with torch.no_grad():
        truth = exact(input_ids=ids).logits
        errors = [(m(input_ids=ids).logits.double() - truth).norm() for m in (model, ours)]
    assert errors[1] <= 1.5 * errors[0]


@pytest.mark.parametrize("cache", ["dynamic", "static"])
@pytest.mark.parametrize("name", ["Llama", "SmolLM3", "Qwen3 window"])
def test_generation_with_left_padding_and_a_cache_is_sdpas(name: str, cache: str) -> None:
    model, ours = pair(MODELS[name]())
    ids, mask = tokens(2, 7), torch.ones(2, 7, dtype=torch.long)
    mask[0, :3] = 0
    options = {"attention_mask": mask, "max_new_tokens": 8, "do_sample": False, "cache_implementation": cache}
    options |= {"output_logits": True, "return_dict_in_generate": True, "disable_compile": True, "eos_token_id": None}
    expected, got = model.generate(ids, **options), ours.generate(ids, **options)
    assert torch.equal(got.sequences, expected.sequences)
    torch.testing.assert_close(torch.stack(got.logits), torch.stack(expected.logits), rtol=1e-5, atol=5e-5)


def test_sinks_and_soft_caps_come_from_the_model() -> None:
    shape = {**SHAPE, "head_dim": 8}
    sinks = transformers.GptOssConfig(**shape, num_local_experts=2, num_experts_per_tok=1, sliding_window=5)
    caps = transformers.Gemma2Config(**shape, attn_logit_softcapping=0.7, query_pre_attn_scalar=8, sliding_window=5)
    for config in (sinks, caps):
        model, ours = pair(config, theirs="eager")
        with torch.no_grad():
            expected, got = (m(input_ids=tokens(2, 13), use_cache=False).logits for m in (model, ours))
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=2e-5)


def test_what_the_kernels_cannot_do_is_refused() -> None:
    _, ours = pair(transformers.LlamaConfig(**SHAPE, attention_dropout=0.1))
    ids = tokens(2, 6)
    with pytest.raises(SmolfastError, match=r"no dropout.*attention_dropout=0\.0"):
        ours.train()(input_ids=ids)
    ours.eval()
    cu = torch.tensor([0, 6, 12], dtype=torch.int32)
    lengths = {"cu_seq_lens_q": cu, "cu_seq_lens_k": cu, "max_length_q": 6, "max_length_k": 6}
    with pytest.raises(SmolfastError, match="one row"):
        ours(input_ids=ids, **lengths)


@pytest.mark.parametrize("kind", [list, tuple, torch.tensor, lambda x: torch.tensor(x, dtype=torch.int32)])
def test_packed_lengths_need_no_companions(kind: Any) -> None:
    model, ours = pair(MODELS["Llama"]())
    ids, positions = tokens(1, 13), torch.tensor([[*range(4), *range(9)]])
    cu = kind([0, 4, 4, 13])  # a document of no tokens among them
    inputs = {"input_ids": ids, "position_ids": positions, "use_cache": False}
    expected = model(**inputs).logits
    for companions in (
        {}, {"cu_seq_lens_k": cu}, {"cu_seq_lens_k": cu, "max_length_q": 9, "max_length_k": None},
        {"cu_seq_lens_k": cu, "max_length_q": torch.tensor(9), "max_length_k": torch.tensor(9)},
        {"cu_seq_lens_k": None, "max_length_q": 9}, {"attention_mask": torch.ones(1, 13, dtype=torch.long)},
    ):  # fmt: skip
        got = ours(**inputs, cu_seq_lens_q=cu, **companions).logits
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=2e-5)
    mask = torch.ones(1, 13, dtype=torch.long)
    mask[:, 11:] = 0
    got = ours(**inputs, cu_seq_lens_q=cu, attention_mask=mask).logits
    torch.testing.assert_close(got[:, :11], expected[:, :11], rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("cu", [[0, 4, 12], [1, 13], [0, 9, 4, 13], [], [[0, 13]]])
def test_packed_lengths_that_do_not_cover_the_row_are_refused(cu: Any) -> None:
    _, ours = pair(MODELS["Llama"]())
    with pytest.raises(SmolfastError, match="cu_seqlens_q"):
        ours(input_ids=tokens(1, 13), cu_seq_lens_q=cu, use_cache=False)


def test_registering_twice_is_registering_once() -> None:
    register()
    register()
    assert "smolfast" in transformers.AttentionInterface().valid_keys()
