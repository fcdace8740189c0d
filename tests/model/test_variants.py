"""Other activations and norms: against models of transformers that have them, and wherever a model is taken apart."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from smolfast.commands.main import main
from smolfast.config import GenerateConfig, ModelConfig, TrainConfig, validate_config
from smolfast.errors import SmolfastError
from smolfast.model.export import export
from smolfast.model.flops import flops_per_token
from smolfast.model.generate import complete
from smolfast.model.network import KeyValueCache, PackedBatch, SmolLM
from smolfast.model.pretrained import initial_weights, load_pretrained, save_pretrained
from smolfast.pipeline.recipes import load_recipe, plan
from smolfast.train.loop import train
from smolfast.train.watch.attention_logits import LargestLogits
from tiny_models import tiny

VOCABULARY = 97
LARGE = {"initializer_range": 0.2, "num_key_value_heads": 2}  # with 0.02 a tiny model hardly depends on its input
VARIANTS: dict[str, dict[str, Any]] = {
    "relu2": {"activation": "relu2"},
    "gelu": {"activation": "gelu"},
    "layernorm": {"norm": "layernorm"},
    "qk_norm": {"qk_norm": True},
    "all": {"activation": "relu2", "norm": "layernorm", "qk_norm": True, "mtp_heads": 3, "mtp_kind": "sequential"},
}
EXPORTED = {"relu2"}


def of(name: str, **changes: Any) -> SmolLM:
    model = SmolLM(tiny(**LARGE | VARIANTS[name] | changes), VOCABULARY, seed=3)
    with torch.no_grad():  # as drawn, all of a norm's weights are 1
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    return model


def documents(*lengths: int) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, VOCABULARY, length) for length in lengths]


SIZES = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64,
    "tie_word_embeddings": True, "attn_implementation": "eager",
    "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
    "bos_token_id": None, "eos_token_id": 0, "pad_token_id": 0,
}  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize(
    ("kind", "own", "theirs"),
    [
        ("Qwen3", {"qk_norm": True}, {"rms_norm_eps": 1e-6}),
        ("StableLm", {"norm": "layernorm"}, {"layer_norm_eps": 1e-6, "partial_rotary_factor": 1.0}),
        (
            "Starcoder2",
            {"norm": "layernorm", "activation": "gelu"},
            {"norm_epsilon": 1e-6, "hidden_act": "gelu", "use_bias": False, "sliding_window": None},
        ),
    ],
)
def test_logits_equal_a_model_of_transformers(kind: str, own: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Those have rotary embedding everywhere; biases that ours lacks are 0 there."""
    transformers = pytest.importorskip("transformers")
    settings = SIZES | theirs
    if kind == "StableLm":
        settings["rope_parameters"] = settings["rope_parameters"] | {"partial_rotary_factor": 1.0}
    oracle = getattr(transformers, f"{kind}ForCausalLM")(getattr(transformers, f"{kind}Config")(**settings)).eval()
    VARIANTS["oracle"] = own
    model = of("oracle", no_rope_layer_interval=3, mtp_heads=1)
    names = {"up_proj": "c_fc", "down_proj": "c_proj"} if kind == "Starcoder2" else {}
    weights = {}
    for name, tensor in model.state_dict().items():
        for ours, other in names.items():
            name = name.replace(ours, other)
        weights[name] = tensor
    missing, unexpected = oracle.load_state_dict(weights, strict=False)
    assert not unexpected
    assert all(name.endswith(("bias", "lm_head.weight")) for name in missing)
    (document,) = documents(40)
    expected = oracle(torch.from_numpy(document)[None]).logits[0]
    assert expected.std() > 0.3
    torch.testing.assert_close(model.logits(PackedBatch.from_documents([document])), expected, atol=2e-5, rtol=0)


@torch.no_grad()
def test_relu2_is_exported_to_the_very_logits(corpus: SimpleNamespace, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    model = SmolLM(tiny(**LARGE, activation="relu2"), 512, seed=1)
    save_pretrained(model, tmp_path / "model", end_of_document=0)
    said = export(tmp_path / "model", corpus.tokenizer, tmp_path / "export")
    oracle, report = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "export", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert type(oracle).__name__ == "SmolLM3ForCausalLM"
    assert said["parameters"] == sum(parameter.numel() for parameter in oracle.parameters())
    (document,) = documents(40)
    expected = oracle.eval()(torch.from_numpy(document)[None]).logits[0]
    batch = PackedBatch.from_documents([document])
    torch.testing.assert_close(model.logits(batch), expected, atol=2e-5, rtol=0)
    again = load_pretrained(tmp_path / "export")
    assert again.config == model.config
    assert torch.equal(again.logits(batch), model.logits(batch))
    assert "ReLU²" in (tmp_path / "export" / "README.md").read_text()

    path = tmp_path / "export" / "model.safetensors"
    weights = safetensors.torch.load_file(path)
    weights["model.layers.1.mlp.gate_proj.weight"] += 1e-3  # as transformers' training would
    safetensors.torch.save_file(weights, path)
    with pytest.raises(SmolfastError, match=r"layers\.1\.mlp\.gate_proj\.weight is not the same as its up_proj"):
        load_pretrained(tmp_path / "export")


@torch.no_grad()
@pytest.mark.parametrize("name", VARIANTS)
def test_saved_and_loaded_it_is_the_same(name: str, tmp_path: Path) -> None:
    model, batch = of(name), PackedBatch.from_documents(documents(9, 20))
    save_pretrained(model, tmp_path, end_of_document=0)
    loaded = load_pretrained(tmp_path)
    assert loaded.config == model.config
    assert torch.equal(loaded.hidden_states(batch), model.hidden_states(batch))
    kind = json.loads((tmp_path / "config.json").read_text())["model_type"]
    assert kind == ("smollm3" if name in EXPORTED else "smolfast")
    with pytest.raises(SmolfastError, match=r"set model\.(activation|norm|qk_norm)="):
        initial_weights(SmolLM(tiny(**LARGE), VOCABULARY), tmp_path)


@torch.no_grad()
@pytest.mark.parametrize("name", VARIANTS)
def test_the_cache_gives_the_logits_of_the_whole_sequence(name: str) -> None:
    model = of(name).double()
    (document,) = documents(21)
    expected, tokens = model.logits(PackedBatch.from_documents([document])), torch.from_numpy(document)
    cache = KeyValueCache(model.config, 21, "cpu", torch.float64)
    for start, end in ((0, 9), (9, 10), (10, 17), *((i, i + 1) for i in range(17, 21))):
        torch.testing.assert_close(model.extend(tokens[start:end], cache), expected[end - 1], atol=1e-10, rtol=0)


@pytest.mark.parametrize("name", VARIANTS)
def test_operations_are_those_that_torch_counts(name: str) -> None:
    """Of the matrices: attention and loss are operators of their own."""
    model = of(name)
    tokens = np.arange(34).reshape(2, 17)
    with FlopCounterMode(display=False) as counter:
        heads = model.config.mtp_heads
        model.loss(PackedBatch.from_windows(tokens, tokens * 0), (1.0,) * heads)[0].backward()
    assert counter.get_total_flops() == 34 * flops_per_token(model.config, VOCABULARY, 16)["matrices"]


@torch.no_grad()
def test_the_largest_logits_are_those_behind_the_norms() -> None:
    model, batch = of("qk_norm"), PackedBatch.from_documents(documents(30))
    with LargestLogits(model) as watch:
        model.hidden_states(batch, heads=1)
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(module: Any, inputs: Any, output: Tensor) -> None:
            scores, _ = module.scores(*inputs, batch.document_ids, 30)
            seen[name] = scores.amax((0, 2, 3))

        return hook

    for index in range(model.config.num_hidden_layers):
        name = f"model.layers.{index}.self_attn"
        model.get_submodule(name).register_forward_hook(keep(name))
    model.hidden_states(batch, heads=1)
    assert seen.keys() == watch.by_module.keys() - {"mtp_heads.0.self_attn"}
    for name, expected in seen.items():
        torch.testing.assert_close(watch.by_module[name], expected)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_it_trains_is_stopped_and_goes_on(precision: str, write_tokens: Any, tmp_path: Path) -> None:
    write_tokens(tmp_path / "tokens")
    config = TrainConfig(
        steps=12, sequence_length=32, batch_size=8, micro_batch_size=4, monitor_every=4, evaluate_every=6,
        checkpoint_every=5, precision=precision, mtp_weights=(1.0, 0.3, 0.1),
    )  # fmt: skip
    model = tiny(**VARIANTS["all"])

    class StopError(Exception):
        pass

    def stop(done: float, total: float, note: str) -> None:
        if done == 8:
            raise StopError

    def go(name: str, **options: Any) -> dict[str, Any]:
        return train(tmp_path / "tokens", tmp_path / name, model=model, config=config, device="cpu", **options)

    whole = go("whole")
    with pytest.raises(StopError):
        go("cut", progress=stop)
    cut = go("cut")
    assert cut["resumed_from_step"] == 8  # what a watcher raises leaves a checkpoint
    assert cut["held_out_loss"] == whole["held_out_loss"]
    lines = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["head_losses"][0] < lines[0]["head_losses"][0] - 0.1
    assert len(lines[3]["features"]["dead_units"]) == 2
    assert whole["parameters"] == sum(parameter.numel() for parameter in SmolLM(model, 64).parameters())


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("name", ["all", "gelu"])
def test_a_step_is_one_graph(name: str) -> None:
    torch._dynamo.reset()
    model = of(name)
    weights, counts = (1.0,) * model.config.mtp_heads, [30, 28, 26][: model.config.mtp_heads]
    step = torch.compile(lambda batch: model.loss(batch, weights, counts)[0], backend="eager", fullgraph=True)
    tokens = np.arange(2 * 17).reshape(2, 17)
    batch = PackedBatch.from_windows(tokens, tokens * 0)
    found = torch.autograd.grad(step(batch), list(model.parameters()))
    expected = torch.autograd.grad(model.loss(batch, weights, counts)[0], list(model.parameters()))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", sorted(VARIANTS.keys() - EXPORTED))
def test_an_export_is_refused_with_the_reason_and_generate_writes(
    name: str, corpus: SimpleNamespace, tmp_path: Path
) -> None:
    model = SmolLM(tiny(**VARIANTS[name]), 512, seed=1)
    save_pretrained(model, tmp_path / "model", end_of_document=0)
    with pytest.raises(SmolfastError, match=r"transformers' SmolLM3 has no place for model\.") as refused:
        export(tmp_path / "model", corpus.tokenizer, tmp_path / "export")
    assert not (tmp_path / "export").exists()
    assert f"`smolfast generate {tmp_path / 'model'} --tokenizer {corpus.tokenizer}`" in str(refused.value)
    config = GenerateConfig(prompt="def ", max_new_tokens=5)
    assert complete(tmp_path / "model", config, tokenizer=corpus.tokenizer)["tokens"] <= 5
    assert main(["generate", str(tmp_path / "model"), "--tokenizer", str(corpus.tokenizer), "--max-new-tokens=2"]) == 0


def test_transformers_refuses_a_folder_that_it_would_read_wrongly(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    save_pretrained(of("qk_norm"), tmp_path, end_of_document=0)
    with pytest.raises(ValueError, match="smolfast"):
        transformers.AutoModelForCausalLM.from_pretrained(tmp_path)


def test_a_recipe_that_exports_refuses_before_it_trains(tmp_path: Path) -> None:
    graph = load_recipe("quickstart", settings=["model.norm=layernorm"])
    with pytest.raises(SmolfastError, match=r"export can't export what train trains.*its norms are RMSNorms"):
        plan(graph, tmp_path)
    assert plan(load_recipe("quickstart", settings=["model.activation=relu2"]), tmp_path / "other")


def test_norms_and_qk_clip_exclude_each_other() -> None:
    with pytest.raises(SmolfastError, match=r"model\.qk_norm undoes what train\.qk_clip does"):
        validate_config({"model": {"qk_norm": True}, "train": {"qk_clip": 30.0}})


def test_the_reasons() -> None:
    assert ModelConfig().beyond_transformers() is None
    reason = tiny(**VARIANTS["all"]).beyond_transformers()
    assert reason is not None
    assert "model.norm" in reason and "model.qk_norm" in reason and "activation" not in reason
