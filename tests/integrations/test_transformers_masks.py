"""Padding, holes, documents, windows and caches in transformers' models, against eager attention by pairs spelt out."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

transformers = pytest.importorskip("transformers")

from smolfast import SmolfastError  # noqa: E402
from smolfast.integrations.transformers import attention_forward, register  # noqa: E402

register()

ROWS, LENGTH, WINDOW = 3, 13, 5
SHAPE: dict[str, Any] = {
    "vocab_size": 61, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
MODELS: dict[str, Any] = {
    "SmolLM3": lambda: transformers.SmolLM3Config(**SHAPE, no_rope_layers=[1, 0]),
    "Llama": lambda: transformers.LlamaConfig(**SHAPE),
    "Qwen3 window": lambda: transformers.Qwen3Config(
        **SHAPE, head_dim=8, use_sliding_window=True, sliding_window=WINDOW, max_window_layers=1
    ),
}
ONES = torch.ones(ROWS, LENGTH, dtype=torch.long)


def masked(row: int, *places: slice | int) -> Tensor:
    mask = ONES.clone()
    for place in places:
        mask[row, place] = 0
    return mask


MASKS: dict[str, Tensor | None] = {
    "none": None,
    "all ones": ONES,
    "right": masked(1, slice(9, None)),
    "left": masked(1, slice(0, 4)),
    "holes": masked(1, 2, slice(6, 8)),
    "holes and both ends": masked(0, 0, 5, slice(8, 10), 12),
    "a row of padding": masked(2, slice(None)),
    "between documents": masked(0, slice(4, 6)),
    "one token": masked(1, slice(0, 6), slice(7, None)),
    "nothing real": torch.zeros_like(ONES),
}
STARTS: dict[str, list[int] | None] = {"none": None, "whole": [0], "two": [0, 6], "four": [0, 1, 6, 12]}
POSITIONS = {
    name: None if starts is None else torch.tensor([min(i - s for s in starts if s <= i) for i in range(LENGTH)])
    for name, starts in STARTS.items()
}


def pair(config: Any, dtype: torch.dtype = torch.float32) -> tuple[Any, Any]:
    """The same random model with eager attention and with ours."""
    torch.manual_seed(0)
    eager = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").to(dtype)
    for parameter in eager.parameters():  # the default initialisation is too even to tell wrong attention from right
        parameter.data.normal_(std=0.3 if parameter.ndim > 1 else 0.1)
    ours = copy.deepcopy(eager)
    ours.set_attn_implementation("smolfast")
    return eager, ours


def tokens(*shape: int) -> Tensor:
    return torch.randint(3, 61, shape, generator=torch.Generator().manual_seed(2))


def pairs(mask: Tensor | None, starts: list[int] | None, window: int | None) -> Tensor:
    """Which query sees which key, bool [B, S, S], as the words have it."""
    document = [sum(s <= i for s in starts or [0]) for i in range(LENGTH)]
    seen = torch.zeros(ROWS, LENGTH, LENGTH, dtype=torch.bool)
    for row, query, key in itertools.product(range(ROWS), range(LENGTH), range(LENGTH)):
        near = key <= query and (window is None or query - key < window)
        real = mask is None or bool(mask[row, key])
        seen[row, query, key] = near and real and document[query] == document[key]
    return seen


def additive(seen: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(seen.shape, dtype=dtype).masked_fill(~seen, -1e30)[:, None]


def their_masks(mask: Tensor | None, starts: list[int] | None, dtype: torch.dtype) -> dict[str, Tensor]:
    kinds = {"full_attention": None, "sliding_attention": WINDOW}
    return {name: additive(pairs(mask, starts, window), dtype) for name, window in kinds.items()}


def gradients(model: Any, logits: Tensor) -> list[Tensor]:
    model.zero_grad()
    weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(3)).to(logits.dtype)
    (logits * weights).sum().backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("name", ["Llama", "Qwen3 window"])
@pytest.mark.parametrize("kind", MASKS)
def test_a_token_sees_its_own_document_real_tokens_and_window(kind: str, name: str) -> None:
    eager, ours = pair(MODELS[name]())
    mask = MASKS[kind]
    real = ONES.bool() if mask is None else mask.bool()
    for documents, positions in POSITIONS.items():
        positions = None if positions is None else positions[None].expand(ROWS, -1)
        inputs = {"input_ids": tokens(ROWS, LENGTH), "position_ids": positions, "use_cache": False}
        theirs = their_masks(mask, STARTS[documents], torch.float32)
        expected = eager(**inputs, attention_mask=theirs if "window" in name else theirs["full_attention"]).logits[real]
        got = ours(**inputs, attention_mask=mask).logits
        assert got.isfinite().all()
        torch.testing.assert_close(got[real], expected, rtol=1e-5, atol=2e-5, msg=documents)
        if real.any():
            for ours_of, theirs_of in zip(gradients(ours, got[real]), gradients(eager, expected), strict=True):
                torch.testing.assert_close(
                    ours_of, theirs_of, rtol=1e-4, atol=2e-5 * max(1.0, float(theirs_of.abs().max()))
                )


def test_a_document_beside_padding_is_the_same_document_alone() -> None:
    for name in MODELS:
        _, ours = pair(MODELS[name]())
        ids, positions = tokens(1, LENGTH), torch.tensor([[*range(4), *range(6), 0, 1, 2]])
        for mask in (masked(1, slice(10, None))[1:2], masked(1, slice(0, 2))[1:2]):
            with torch.no_grad():
                packed = ours(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False).logits
                alone = ours(input_ids=ids[:, 4:10], use_cache=False).logits
            torch.testing.assert_close(packed[:, 4:10], alone, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("kind", ["left", "holes", "between documents"])
def test_bfloat16_is_as_close_to_exact_as_eager_is(kind: str) -> None:
    exact, _ = pair(MODELS["Qwen3 window"](), dtype=torch.float64)
    eager, ours = pair(MODELS["Qwen3 window"](), dtype=torch.bfloat16)
    exact.load_state_dict(eager.state_dict())
    mask, real = MASKS[kind], MASKS[kind].bool()  # type: ignore[union-attr]
    inputs = {"input_ids": tokens(ROWS, LENGTH), "position_ids": POSITIONS["two"][None].expand(ROWS, -1)}  # type: ignore[index]
    with torch.no_grad():
        truth = exact(**inputs, attention_mask=their_masks(mask, STARTS["two"], torch.float64)).logits[real]
        theirs = eager(**inputs, attention_mask=their_masks(mask, STARTS["two"], torch.bfloat16)).logits[real]
        errors = [(x.double() - truth).norm() for x in (theirs, ours(**inputs, attention_mask=mask).logits[real])]
    assert errors[1] <= 1.5 * errors[0]


@pytest.mark.parametrize("cache", ["dynamic", "static"])
@pytest.mark.parametrize("kind", [k for k in MASKS if k not in ("nothing real", "one token")])
def test_decoding_from_a_cache_sees_what_eager_sees(kind: str, cache: str) -> None:
    for name in ("Llama", "Qwen3 window"):
        config = MODELS[name]()
        results = []
        for model in pair(config):
            past = (
                transformers.DynamicCache(config=config)
                if cache == "dynamic"
                else transformers.StaticCache(config=config, max_cache_len=20)
            )
            outputs = []
            with torch.no_grad():
                for start, end in ((0, 7), (7, 12), (12, 13)):
                    mask = None if MASKS[kind] is None else MASKS[kind][:, :end]
                    outputs.append(
                        model(tokens(ROWS, LENGTH)[:, start:end], attention_mask=mask, past_key_values=past).logits
                    )
            results.append(torch.cat(outputs, 1))
        real = ONES.bool() if MASKS[kind] is None else MASKS[kind].bool()
        torch.testing.assert_close(results[1][real], results[0][real], rtol=1e-5, atol=5e-5, msg=name)


def test_masks_of_pairs_are_the_callers() -> None:
    eager, ours = pair(MODELS["Llama"]())
    generator = torch.Generator().manual_seed(4)
    seen = torch.rand(ROWS, 1, LENGTH, LENGTH, generator=generator) < 0.5
    seen |= torch.eye(LENGTH, dtype=torch.bool)
    inputs = {"input_ids": tokens(ROWS, LENGTH), "position_ids": POSITIONS["two"][None], "use_cache": False}  # type: ignore[index]
    expected = eager(**inputs, attention_mask=additive(seen[:, 0], torch.float32)).logits
    for mask in (seen, additive(seen[:, 0], torch.float32), additive(seen[:, 0], torch.float32).clamp(min=-1e4)):
        got = ours(**inputs, attention_mask=mask).logits
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=2e-5)
    for ours_of, theirs_of in zip(gradients(ours, got), gradients(eager, expected), strict=True):
        torch.testing.assert_close(ours_of, theirs_of, rtol=1e-4, atol=1e-5 * max(1.0, float(theirs_of.abs().max())))
    for wrong in (seen.long(), seen[..., :-1], seen[:, 0, 0, 0], "blocks"):
        with pytest.raises((SmolfastError, AttributeError, ValueError)) as raised:
            attention_forward(torch.nn.Module(), *torch.zeros(3, ROWS, 4, LENGTH, 8).unbind(), wrong)
        assert raised.type is SmolfastError, wrong
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("features", [{"sinks": True}, {"softcap": 0.7}, {"softcap": 0.7, "sinks": True}, {}])
def test_pairs_with_soft_caps_and_sinks_are_the_kernels_own(features: dict[str, Any]) -> None:
    """A causal mask spelt out, and a row that sees nothing."""
    from smolfast.ops import gqa_attention
    from smolfast.ops.masked_pairs import masked_attention

    torch.manual_seed(0)
    q, k, v = (torch.randn(2, heads, 9, 8, requires_grad=True) for heads in (4, 2, 2))
    sinks = torch.randn(4, requires_grad=True) if features.get("sinks") else None
    softcap = features.get("softcap", 0.0)
    mask = torch.ones(9, 9, dtype=torch.bool).tril()[None, None].repeat(2, 1, 1, 1)
    mask[1, :, :3] = False
    got = masked_attention(q, k, v, mask, softcap=softcap, sinks=sinks).transpose(1, 2)
    expected = gqa_attention(*(x.transpose(1, 2) for x in (q, k, v)), softcap=softcap, sinks=sinks)
    assert got[1, :3].abs().max() == 0
    leaves = [x for x in (q, k, v, sinks) if x is not None]
    rows = torch.tensor([[i >= 3 * b for i in range(9)] for b in range(2)])
    torch.testing.assert_close(got[rows], expected[rows], rtol=1e-5, atol=1e-6)
    ours = torch.autograd.grad(got[rows].square().sum(), leaves, retain_graph=True)
    theirs = torch.autograd.grad(expected[rows].square().sum(), leaves)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert all(g.isfinite().all() for g in torch.autograd.grad(got.sum(), leaves))


def test_blocks_chunks_and_functions_of_the_models_own_are_sdpas() -> None:
    from transformers.masking_utils import create_causal_mask, create_chunked_causal_mask

    embedded = torch.zeros(ROWS, LENGTH, 4)
    blocks = torch.tensor([[-1] * 3 + [0] * 4 + [-1] * 2 + [1] * 3 + [-1]]).expand(ROWS, -1)
    own: list[tuple[Any, dict[str, Any]]] = [
        (create_causal_mask, {"block_sequence_ids": blocks}),
        (create_causal_mask, {"block_sequence_ids": blocks, "position_ids": POSITIONS["two"][None]}),  # type: ignore[index]
        (create_causal_mask, {"or_mask_function": lambda b, h, q, k: k < 2}),
        (create_causal_mask, {"and_mask_function": lambda b, h, q, k: k % 3 != 1}),
        (create_chunked_causal_mask, {}),
    ]
    for (make, options), mask in itertools.product(own, (None, MASKS["left"], MASKS["holes"])):
        made = []
        for name in ("sdpa", "smolfast"):
            config = transformers.LlamaConfig(**SHAPE, attention_chunk_size=5, attn_implementation=name)
            made.append(make(config, embedded, mask, None, **options))
        assert made[1].ndim == 3, options
        assert torch.equal(made[1], made[0][:, 0]), options


def test_chunked_attention_is_sdpas() -> None:
    config = transformers.Llama4TextConfig(
        **SHAPE, head_dim=8, intermediate_size_mlp=48, num_local_experts=2, attention_chunk_size=5, moe_layers=[],
        no_rope_layers=[1, 0],
    )  # fmt: skip
    eager, ours = pair(config)
    for mask in (None, MASKS["left"]):
        real = ONES.bool() if mask is None else mask.bool()
        with torch.no_grad():
            expected, got = (
                m(tokens(ROWS, LENGTH), attention_mask=mask, use_cache=False).logits for m in (eager, ours)
            )
        torch.testing.assert_close(got[real], expected[real], rtol=1e-5, atol=5e-5)


@pytest.mark.parametrize("kind", ["none", "right", "holes", "a row of padding"])
def test_an_encoder_and_a_decoder_that_looks_across_are_eagers(kind: str) -> None:
    config = transformers.BartConfig(
        vocab_size=61, d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=4, dropout=0.0,
        decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, max_position_embeddings=32,
    )  # fmt: skip
    torch.manual_seed(0)
    eager = transformers.BartModel._from_config(config, attn_implementation="eager").eval()
    for parameter in eager.parameters():
        parameter.data.normal_(std=0.3)
    ours = copy.deepcopy(eager)
    ours.set_attn_implementation("smolfast")
    for length in (LENGTH, 5, 20):
        inputs = {"input_ids": tokens(ROWS, LENGTH), "decoder_input_ids": tokens(ROWS, length), "use_cache": False}
        with torch.no_grad():
            theirs, got = (m(**inputs, attention_mask=MASKS[kind]).last_hidden_state for m in (eager, ours))
        rows = [0, 1] if kind == "a row of padding" else [0, 1, 2]  # one that sees nothing: eager sees all of it
        torch.testing.assert_close(got[rows], theirs[rows], rtol=1e-5, atol=5e-5)


def test_what_would_change_the_scores_is_refused() -> None:
    q = torch.zeros(1, 4, 5, 8)
    for name in ("position_bias", "indices", "block_indices", "cache"):
        with pytest.raises(SmolfastError, match=f"{name}; use attn_implementation='sdpa'"):
            attention_forward(torch.nn.Module(), q, q, q, None, **{name: torch.zeros(1)})
