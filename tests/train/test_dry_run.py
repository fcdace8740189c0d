"""The arithmetic of a dry run, against counters, real tensors and published figures."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from smolfast.commands.main import main
from smolfast.config import Config, ModelConfig, load_config, validate_config
from smolfast.errors import SmolfastError
from smolfast.machine import GPUS
from smolfast.model.flops import flops_per_token, training_seconds
from smolfast.model.network import PackedBatch, SmolLM
from smolfast.optim import MuonAdamW
from smolfast.train.data_plan import DataPlan
from smolfast.train.dry_run import estimate
from smolfast.train.dry_run.figures import gathered_bytes, optimizer_bytes, windows_by_length
from smolfast.train.dry_run.live_bytes import LiveBytes
from smolfast.train.dry_run.memory import MicroBatch, activation_bytes, backward_bytes, loss_bytes

VOCABULARY = 211
SMALL: dict[str, Any] = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 5,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 32,
    "mtp_heads": 1,
}


def windows(count: int, length: int) -> PackedBatch:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, VOCABULARY, (count, length), generator=generator).numpy()
    return PackedBatch.from_windows(tokens, tokens * 0)


def test_flops_are_those_of_transformers_counted() -> None:
    """torch's counter on SmolLM3ForCausalLM, forward and backward; eager attention computes the masked half too."""
    transformers = pytest.importorskip("transformers")
    config = ModelConfig(**SMALL)
    keys = set(SMALL) - {"mtp_heads"}
    settings = {**{key: SMALL[key] for key in keys}, "vocab_size": VOCABULARY, "pad_token_id": 0}
    model = transformers.SmolLM3ForCausalLM(transformers.SmolLM3Config(**settings, attn_implementation="eager"))
    tokens = torch.zeros(2, 24, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter:
        model(tokens, use_cache=False).logits.sum().backward()
    by_part = flops_per_token(config, VOCABULARY, 24)
    expected = 2 * 24 * (by_part["matrices"] + by_part["unembedding"] + 2 * by_part["attention"])
    assert counter.get_total_flops() == expected


@pytest.mark.parametrize("kind", ["independent", "sequential", "shared"])
def test_matrices_of_further_heads_are_counted(kind: str) -> None:
    """What the counter sees of our model is its matrices: attention and loss are operators of their own."""
    config = ModelConfig(**SMALL | {"mtp_heads": 3, "mtp_kind": kind})
    model, batch = SmolLM(config, VOCABULARY), windows(2, 17)
    with FlopCounterMode(display=False) as counter:
        model.loss(batch, (1.0, 1.0, 1.0))[0].backward()
    by_part = flops_per_token(config, VOCABULARY, 16)
    assert counter.get_total_flops() == 34 * by_part["matrices"]
    assert by_part["unembedding"] == 6 * VOCABULARY * 48 * (1 if kind == "shared" else 3)
    assert by_part["attention"] == 6 * 16 * 96 * (5 if kind == "shared" else 7)


def test_six_times_the_parameters() -> None:
    """6 N, less the norms, which multiply nothing: 73 of width 2,048."""
    by_part = flops_per_token(load_config("smollm3-3b").model, 128_256, 4096)
    assert by_part["matrices"] + by_part["unembedding"] == 6 * (3_075_098_624 - 73 * 2048)
    assert by_part["attention"] == 6 * 36 * 4096 * 2048


def test_smollm3_as_published() -> None:
    """11.2 T tokens (4.72 million steps of 2,359,296) in 24 days on 384 H100 at 14 k tokens/s and 29.4 % MFU each.

    Sources: the model cards of SmolLM3-3B-checkpoints and SmolLM3-3B-Base, Hugging Face's blog of SmolLM3.
    """
    figures = estimate(load_config("smollm3-3b"), gpus=192, gpu="h100", mfu=0.294)
    assert figures["parameters"] == 3_075_098_624
    assert figures["tokens_per_step"] == 2_359_296
    assert figures["tokens"] == pytest.approx(11.2e12, rel=0.01)
    assert figures["tokens_per_second_per_gpu"] == pytest.approx(14_000, rel=0.03)
    days = training_seconds(figures["flops"], gpus=384, peak=GPUS["h100"].peak, mfu=0.294) / 86400
    assert days == pytest.approx(24, rel=0.03)
    assert figures["seconds"] / 86400 == pytest.approx(2 * days)


def kept_bytes(model: SmolLM, batch: PackedBatch) -> int:
    """What autograd keeps of a real forward pass, beside the weights."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.numel():
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        states = model.hidden_states(batch)
    del states
    return sum(tensor.untyped_storage().nbytes() for key, tensor in kept.items() if key not in weights)


@pytest.mark.parametrize("mode", ["none", "selective", "full"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("changes", [{}, {"mtp_heads": 3, "mtp_kind": "sequential"}, {"num_hidden_layers": 1}])
def test_activations_are_those_of_a_real_pass(changes: dict[str, Any], precision: Any, mode: Any) -> None:
    config = ModelConfig(**SMALL | changes)
    found = activation_bytes(MicroBatch(config, VOCABULARY, 32, 2, precision, mode))
    model = SmolLM(config, VOCABULARY)
    model.set_recompute(mode)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        assert found == pytest.approx(kept_bytes(model, windows(2, 33)), rel=1e-3)


def test_activations_of_a_layer_by_hand() -> None:
    """The difference that one layer makes, in numbers a token.

    A norm keeps its input and one factor, and its output is kept by what takes it; attention queries, keys, values,
    its output and a log-sum for each head; SwiGLU its input's two products, and what is made of them. A layer that is
    computed again keeps its input; without its feed-forward part it keeps that part's input.
    """
    attention = 2 * 6 * 16 + 2 * 2 * 16 + 6
    numbers = {
        "none": 2 * (2 * 48 + 1) + attention + 3 * 80,
        "selective": 2 * 48 + 1 + attention + 48,
        "full": 48,
    }
    for mode, expected in numbers.items():
        seven, six = (
            activation_bytes(
                MicroBatch(ModelConfig(**SMALL | {"num_hidden_layers": n}), VOCABULARY, 32, 1, "fp32", mode)
            )  # type: ignore[arg-type]
            for n in (7, 6)
        )
        assert seven - six == 4 * 33 * expected, mode


@pytest.mark.parametrize("mode", ["none", "selective", "full"])
def test_the_way_back_takes_what_a_real_one_takes(mode: Any) -> None:
    config = ModelConfig(**SMALL)
    model = SmolLM(config, VOCABULARY)
    model.set_recompute(mode)

    def forget(parameter: torch.Tensor) -> None:
        parameter.grad = None

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(forget)
    batch = windows(2, 33)
    with LiveBytes() as live:
        states = model.hidden_states(batch)
        states.backward(torch.empty_like(states))
    one = MicroBatch(config, VOCABULARY, 32, 2, "fp32", mode)
    said = activation_bytes(one) + 2 * states.untyped_storage().nbytes() + backward_bytes(one)
    # Native operators make less on the way than what stands for them on fake tensors.
    assert live.most <= said <= 1.1 * live.most


def test_what_is_alive_is_counted_once_and_until_it_is_freed() -> None:
    with LiveBytes() as live:
        one = torch.zeros(100)
        view, same = one[10:], one.view(10, 10)
        assert live.now == 400
        two = one + 1
        assert (live.now, live.most) == (800, 800)
        del one, view
        assert live.now == 800
        del same, two
        assert (live.now, live.most) == (0, 800)


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_optimizer_state_is_that_of_a_real_step(optimizer: str) -> None:
    config = ModelConfig(**SMALL | {"mtp_heads": 2})
    model = SmolLM(config, VOCABULARY)
    stepped = MuonAdamW(model, adamw=("*",) if optimizer == "adamw" else ())
    model.loss(windows(1, 9), (1.0, 1.0))[0].backward()
    stepped.step()
    state = [value for values in stepped.state.values() for value in values.values() if torch.is_tensor(value)]
    assert optimizer_bytes(model, optimizer) == sum(4 * tensor.numel() for tensor in state if tensor.numel() > 1)


def test_memory_of_ranks_adds_up() -> None:
    config = load_config("smollm3-3b")
    n = 3_075_098_624
    one = estimate(config)["memory_per_rank"]["one"]
    assert (one["weights"], one["gradients"], one["optimizer"]) == (4 * n, 8 * n, 8 * n)
    assert one["total"] == sum(size for part, size in one.items() if part != "total")
    many = estimate(config, gpus=288)
    assert many["micro_batches_per_rank"] == 2
    fsdp, ddp = many["memory_per_rank"]["fsdp"], many["memory_per_rank"]["ddp"]
    assert fsdp["weights"] == -(-4 * n // 288) and fsdp["gradients"] == -(-4 * n // 288)
    assert ddp["weights"] == ddp["gradient_buckets"] == 4 * n
    assert estimate(config, gpus=576)["memory_per_rank"]["fsdp"]["gradients"] == -(-4 * n // 576)
    assert fsdp["total"] == sum(size for part, size in fsdp.items() if part != "total")
    layer = 2048 * 128 * (2 * 16 + 2 * 4) + 3 * 2048 * 11008 + 2 * 2048
    with torch.device("meta"):
        model = SmolLM(config.model, 128_256)
    assert gathered_bytes(model, layers=2) == fsdp["gathered_weights"] == 4 * (128_256 * 2048 + 2048 + 2 * layer)
    assert fsdp["whole_gradients"] == 4 * (128_256 * 2048 + 2048 + layer)
    assert loss_bytes(MicroBatch(config.model, 128_256, 4096, 1)) == 4 * 4097 * (2 * 2048 + 3) + (256 << 20)


def test_hybrid_sharding_and_what_is_computed_again_are_in_the_table() -> None:
    def table(*settings: str) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = estimate(load_config("135m", settings), gpus=8, shards=4)["memory_per_rank"]
        return found

    kept = table()
    assert kept["hybrid"]["weights"] == 2 * kept["fsdp"]["weights"]
    assert kept["hybrid"]["activations"] == kept["fsdp"]["activations"]
    selective, full = table("train.recompute=selective"), table("train.recompute=full")
    assert full["fsdp"]["total"] < selective["fsdp"]["total"] < kept["fsdp"]["total"]
    # SmolLM2-135M, 30 layers of width 576: an input each, and one layer's activations on the way back.
    assert full["fsdp"]["activations"] < 0.08 * kept["fsdp"]["activations"]
    assert table("train.precision=bf16")["fsdp"]["activations"] < 0.72 * kept["fsdp"]["activations"]


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--config", "presets/smollm3-3b.toml", "--dry-run", "--gpus", "192", "--mfu", "0.294"]) == 0
    text = capsys.readouterr().out
    for part in ("3,075,098,624", "11,135,877,120,000", "46.8 days on 192 × h100", "optimizer", "logits and loss"):
        assert part in text
    assert main(["train", "--config", "compact", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(estimate(Config())))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--dry-run", "--config", "smollm3-3b", "--gpus", "384"],
            "multiple of 384, or --gpus one of 576, 288, 192, 144",
        ),
        (["--dry-run", "--config", "135m", "--gpus", "8", "--shards", "3"], "8 GPUs don't divide into such groups"),
        (["--dry-run", "--mfu", "30"], "--mfu 30.0: give a share"),
        (["--dry-run", "--config", "135m", "--set", "train.stepz=1"], "did you mean 'train.steps'"),
        (["--dry-run", "--config", "135m", "--set", "train.sequence_length=4096"], "must not pass model.max_position"),
        ([], "train: give TOKENS and -o DIR, or --dry-run"),
    ],
)
def test_mistakes(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *options]) == 2
    assert message in capsys.readouterr().err


def test_stages_and_a_growing_batch_are_followed_step_by_step() -> None:
    settings = {
        "steps": 97,
        "batch_size": 12,
        "micro_batch_size": 2,
        "batch_ramp_start": 4,
        "batch_ramp_fraction": 0.6,
        "sequence_length": 16,
        "stages": [{"fraction": 0.33}, {"fraction": 0.47, "sequence_length": 64}, {"fraction": 0.2}],
    }
    config = validate_config({"train": settings})
    file = SimpleNamespace(tokens=range(10**6), documents=1, lengths=lambda numbers: np.array([10**6]))
    source = {"text": file}
    plan = DataPlan(source, config.train, 97, 0)  # type: ignore[arg-type]
    tokens = sum(plan.batch_size(step) * plan.sequence_length(step) for step in range(97))
    assert sum(length * windows for length, windows in windows_by_length(config.train)) == tokens
    figures = estimate(config)
    assert figures["tokens"] == tokens
    by_hand = sum(
        sum(flops_per_token(config.model, 4096, plan.sequence_length(step)).values())
        * plan.batch_size(step)
        * plan.sequence_length(step)
        for step in range(97)
    )
    assert figures["flops"] == pytest.approx(by_hand, rel=1e-12)
    assert figures["memory_per_rank"]["one"]["activations"] == activation_bytes(MicroBatch(config.model, 4096, 64, 2))


def test_weights_of_stages_are_checked() -> None:
    stages = [{"fraction": 1.0, "weights": {"web": 0.85, "code": 0.1556}}]
    with pytest.raises(SmolfastError, match=r"stages\[0\]\.weights sums to 1\.0056; make it 1"):
        estimate(validate_config({"train": {"stages": stages}}))


def test_too_many_gpus_are_refused() -> None:
    with pytest.raises(SmolfastError, match="doesn't divide into micro-batches of 16 on 3 GPUs"):
        estimate(Config(), gpus=3)
