"""`torch.compile(fullgraph=True)` takes transformers' models with our attention whole, and they give the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch._dynamo.testing
from torch import Tensor

transformers = pytest.importorskip("transformers")

from smolfast import patch  # noqa: E402
from smolfast.integrations.transformers import register  # noqa: E402

register()

LENGTH = 13
SHAPE: dict[str, Any] = {
    "vocab_size": 61, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    "attn_implementation": "smolfast",
}  # fmt: skip
MODELS: dict[str, Any] = {
    "SmolLM3": lambda: transformers.SmolLM3Config(**{**SHAPE, "num_hidden_layers": 2}, no_rope_layers=[1, 0]),
    "Llama": lambda: transformers.LlamaConfig(**SHAPE),
    "Qwen3 window": lambda: transformers.Qwen3Config(
        **SHAPE, head_dim=8, use_sliding_window=True, sliding_window=5, max_window_layers=0
    ),
}


@pytest.fixture(autouse=True)
def _forget_graphs() -> None:
    torch.compiler.reset()


def build(name: str) -> Any:
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(MODELS[name]())
    for parameter in model.parameters():
        parameter.data.normal_(std=0.3 if parameter.ndim > 1 else 0.1)
    return model


def tokens(*shape: int) -> Tensor:
    return torch.randint(3, 61, shape, generator=torch.Generator().manual_seed(2))


def batch(kind: str, rows: int = 3, length: int = LENGTH) -> dict[str, Any]:
    inputs: dict[str, Any] = {"input_ids": tokens(1 if "lengths" in kind else rows, length), "use_cache": False}
    if "padded" in kind:
        inputs["attention_mask"] = torch.ones(rows, length, dtype=torch.long)
        inputs["attention_mask"][0, :4] = 0
        inputs["attention_mask"][1, 8:] = 0
        if "holes" in kind:
            inputs["attention_mask"][1, 3:5] = 0
    if "packed" in kind:
        positions = torch.tensor([*range(5), *range(length - 5)])
        inputs["position_ids"] = positions.expand(len(inputs["input_ids"]), -1)
    if "lengths" in kind:
        cu = torch.tensor([0, 5, length], dtype=torch.int32)
        inputs |= {"cu_seq_lens_q": cu, "cu_seq_lens_k": cu}
        if kind != "packed lengths alone":
            inputs |= {"max_length_q": length - 5, "max_length_k": length - 5}
    return inputs


KINDS = [
    ("Llama", "plain"), ("Llama", "packed"), ("Llama", "packed lengths alone"), ("Qwen3 window", "packed"),
    ("Qwen3 window", "packed and padded with holes"), ("SmolLM3", "packed and padded"),
]  # fmt: skip


def results(model: Any, call: Any, inputs: dict[str, Any]) -> list[Tensor]:
    model.zero_grad(set_to_none=True)
    logits = call(**inputs).logits
    real = inputs.get("attention_mask", torch.ones_like(inputs["input_ids"])).bool()
    (logits[real] * torch.linspace(-1, 1, 61)).sum().backward()
    return [logits[real].detach(), *(p.grad for p in model.parameters() if p.grad is not None)]


def assert_same(got: list[Tensor], expected: list[Tensor]) -> None:
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-5 * max(1.0, float(theirs.abs().max())))


@pytest.mark.parametrize(("name", "kind"), KINDS)
def test_forward_and_backward_are_one_graph_each(name: str, kind: str) -> None:
    model = build(name)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    assert_same(results(model, compiled, batch(kind)), results(model, model, batch(kind)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["packed and padded", "packed lengths alone"])
def test_shapes_may_change_without_another_graph(kind: str) -> None:
    model, frames = build("Llama"), []
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(model, fullgraph=True, backend=counter, dynamic=True)
    for rows, length in ((3, 13), (4, 17), (2, 30)):
        inputs = batch(kind, rows, length)
        assert_same(results(model, compiled, inputs), results(model, model, inputs))
        frames.append(counter.frame_count)
    assert frames == frames[:1] * 3


def test_one_graph_serves_plain_padded_and_packed_rows() -> None:
    """What is real is read when the graph runs, so nothing of the first batch is built into it."""
    model, frames = build("Llama"), []
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(model, fullgraph=True, backend=counter)
    for kind in ("packed and padded", "padded", "packed", "plain"):
        inputs = batch("packed and padded")
        if "packed" not in kind:
            inputs["position_ids"] = torch.arange(LENGTH).expand(3, -1)
        if "padded" not in kind:
            inputs["attention_mask"] = torch.ones(3, LENGTH, dtype=torch.long)
        assert_same(results(model, compiled, inputs), results(model, model, inputs))
        frames.append(counter.frame_count)
    assert frames == frames[:1] * 4


def test_explain_counts_no_break() -> None:
    explained = torch._dynamo.explain(build("Llama"))(**batch("packed and padded"))
    assert (explained.graph_break_count, explained.graph_count) == (0, 1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # inductor's own import
def test_inductor_gives_the_same() -> None:
    kind = "packed and padded"
    model = build("Llama")
    assert_same(results(model, torch.compile(model, fullgraph=True), batch(kind)), results(model, model, batch(kind)))


def test_steps_with_a_static_cache_share_a_graph() -> None:
    model = build("Qwen3 window").eval()
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(model, fullgraph=True, backend=counter)
    mask = torch.ones(2, 12, dtype=torch.long)
    mask[0, :3] = 0
    ids, outputs = tokens(2, 12), []
    for call in (model, compiled):
        past = transformers.StaticCache(config=model.config, max_cache_len=16)
        with torch.no_grad():
            model(ids[:, :6], attention_mask=mask[:, :6], past_key_values=past)
            inputs = [ids[:, i : i + 1] for i in range(6, 12)]
            whole = torch.nn.functional.pad(mask, (0, 4))
            steps, frames = [], []
            for x in inputs:
                steps.append(call(x, attention_mask=whole, past_key_values=past).logits)
                frames.append(counter.frame_count)
        outputs.append(torch.cat(steps, 1))
    torch.testing.assert_close(*outputs, rtol=1e-5, atol=2e-5)
    assert frames[1:] == [frames[1]] * 5  # transformers' cache is a number in the first step, then a tensor


def test_a_graph_can_be_exported() -> None:
    model = build("Llama").eval()
    inputs = batch("packed and padded")
    exported = torch.export.export(model, (), inputs, strict=False)
    real = inputs["attention_mask"].bool()
    torch.testing.assert_close(
        exported.module()(**inputs).logits[real], model(**inputs).logits[real], rtol=1e-5, atol=2e-5
    )


def test_a_patched_model_is_one_graph() -> None:
    model = build("Llama").train()
    patch.apply_to_llama(model)
    inputs = {**batch("packed and padded"), "labels": tokens(3, LENGTH)}
    losses = []
    for call in (model, torch.compile(model, fullgraph=True, backend="aot_eager")):
        model.zero_grad()
        loss = call(**inputs).loss
        loss.backward()
        losses.append((loss.detach(), model.lm_head.weight.grad.clone()))
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-4, atol=1e-5)
