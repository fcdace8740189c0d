"""Parametrisations by width and depth: scales, and the same training as with factors in the forward pass."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from smolfast.commands.main import main
from smolfast.config import Config, ModelConfig, TrainConfig, load_config
from smolfast.errors import SmolfastError
from smolfast.model.export import export
from smolfast.model.network import PackedBatch, SmolLM
from smolfast.model.pretrained import load_pretrained
from smolfast.optim import MuonAdamW
from smolfast.train.loop import train
from smolfast.train.parametrization.coordinate_check import Sizes, at_depth, at_width, coordinate_check
from smolfast.train.parametrization.scales import (
    Scales,
    optimizer_overrides,
    rate_scales,
    scale_initial_weights,
    scales,
)
from tiny_models import tiny

Kind = Literal["standard", "mup", "completep"]
Chosen = Literal["muon", "adamw"]
M, D = 2.0, 3.0  # of `shape` over the base
MUON, ADAMW, DECAY = 0.03, 0.02, 0.1


def shape(**changes: Any) -> ModelConfig:
    return tiny(**{"num_hidden_layers": 3, "mtp_heads": 2, **changes})


def settings(kind: Kind, optimizer: Chosen = "muon", **changes: Any) -> TrainConfig:
    defaults: dict[str, Any] = {
        "parametrization": kind, "base_hidden_size": 16, "base_layers": 1, "optimizer": optimizer,
        "weight_decay": DECAY,
        "muon_learning_rate": MUON, "adamw_learning_rate": ADAMW,
    }  # fmt: skip
    return TrainConfig(**defaults | changes)


def batches() -> Iterator[PackedBatch]:
    draw = np.random.default_rng(0)
    while True:
        tokens = draw.zipf(1.5, (4, 33)) % 64
        yield PackedBatch.from_windows(tokens, np.broadcast_to(np.arange(4)[:, None], tokens.shape))


def losses(network: SmolLM, optimizer: MuonAdamW, factors: list[float], steps: int = 8) -> list[float]:
    found = []
    for step, batch in zip(range(steps), batches(), strict=False):
        loss, _ = network.loss(batch, (1.0, 0.2)[: network.config.mtp_heads])
        torch.autograd.backward(loss)
        for group, factor in zip(optimizer.param_groups, factors, strict=True):
            group["lr"] = {"muon": MUON, "adamw": ADAMW}[group["algorithm"]] * factor * (1 - step / 20)
        optimizer.step()
        optimizer.zero_grad()
        found.append(float(loss.detach()))
    return found


def ours(kind: Kind, optimizer: Chosen, model: ModelConfig) -> list[float]:
    config = settings(kind, optimizer)
    network = SmolLM(model, 64)
    scale_initial_weights(network, config)
    overrides = optimizer_overrides(network, network, config)
    stepper = MuonAdamW(network, weight_decay=DECAY, adamw=("*",) if optimizer == "adamw" else (), overrides=overrides)
    return losses(network, stepper, rate_scales(stepper.param_groups, overrides))


def with_factors(optimizer: Chosen, model: ModelConfig, d: float) -> list[float]:
    """As the papers write it: logits times 1/m, each branch times 1/d in the forward pass; rates by 1/m for AdamW."""
    network = SmolLM(model, 64)

    def times(factor: float) -> Any:
        return lambda module, inputs, output: output * factor

    network.model.norm.register_forward_hook(times(1 / M))
    layers = [module for name, module in network.named_modules() if name.endswith((".self_attn", ".mlp"))]
    assert len(layers) == 2 * (3 + (model.mtp_heads - 1 if model.mtp_kind != "shared" else 0))
    for branch in layers:
        branch.register_forward_hook(times(1 / d))
    overrides: dict[str, dict[str, Any]] = {}
    for name, parameter in network.named_parameters():
        hidden = parameter.ndim == 2 and not name.endswith(("embed_tokens.weight", "lm_head.weight"))
        if hidden:
            parameter.data /= M**0.5
        adamw = optimizer == "adamw" or not hidden
        branch = ".self_attn." in name or ".mlp." in name or "layernorm" in name
        # A gradient is 1/m, and 1/d behind the factor of a branch.
        eps = (1e-8 if adamw else 1e-7) / (M if adamw and name != "model.norm.weight" else 1) / (d if branch else 1)
        if name == "model.norm.weight":
            eps = 1e-8 / M  # of the weight before the factor
        overrides[name] = {"lr": 1 / M if hidden and adamw else 1.0, "eps": eps}
        if parameter.ndim == 2:
            overrides[name]["weight_decay"] = DECAY * (M if hidden and adamw else 1.0)
    stepper = MuonAdamW(network, adamw=("*",) if optimizer == "adamw" else (), overrides=overrides)
    return losses(network, stepper, rate_scales(stepper.param_groups, overrides))


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
@pytest.mark.parametrize(("kind", "d"), [("mup", 1.0), ("completep", D)])
@pytest.mark.parametrize(
    "changes",
    [{}, {"tie_word_embeddings": False}, {"mtp_kind": "sequential"}, {"mtp_kind": "shared"}, {"mtp_heads": 1}],
    ids=str,
)
def test_it_trains_as_with_factors(optimizer: Chosen, kind: Kind, d: float, changes: dict[str, Any]) -> None:
    model = shape(**changes)
    found, expected = ours(kind, optimizer, model), with_factors(optimizer, model, d)
    assert found == pytest.approx(expected, rel=2e-5)
    assert found[-1] < found[0]
    # The standard one is another training.
    assert ours("standard", optimizer, model)[-1] != pytest.approx(expected[-1], rel=1e-3)


def test_the_table() -> None:
    """Each line of the table in docs/scaling.md."""
    network = SmolLM(shape(mtp_kind="sequential", tie_word_embeddings=False), 64)
    lines = {
        "model.embed_tokens.weight": (Scales(eps=1 / M), None),
        "lm_head.weight": (Scales(eps=1 / M), None),
        "model.norm.weight": (Scales(1 / M, 1 / M), None),
        "model.layers.1.input_layernorm.weight": (Scales(eps=1 / M / D), None),
        "mtp_heads.0.state_norm.weight": (Scales(eps=1 / M), None),
        "model.layers.2.self_attn.q_proj.weight": (
            Scales(M**-0.5, 1 / M, M, 1 / M / D), Scales(M**-0.5, 1, 1, 1 / D),
        ),
        "model.layers.0.mlp.down_proj.weight": (
            Scales(M**-0.5 / D, 1 / M / D, M * D, 1 / M), Scales(M**-0.5 / D, 1 / D, D, 1),
        ),
        "mtp_heads.0.layer.self_attn.o_proj.weight": (
            Scales(M**-0.5 / D, 1 / M / D, M * D, 1 / M), Scales(M**-0.5 / D, 1 / D, D, 1),
        ),
        "mtp_heads.0.projection.weight": (Scales(M**-0.5, 1 / M, M, 1 / M), Scales(M**-0.5, 1, 1, 1)),
    }  # fmt: skip
    for name, (adamw, muon) in lines.items():
        parameter = network.get_parameter(name)
        found = scales(name, parameter, "adamw", network.config, settings("completep"))
        assert vars(found) == pytest.approx(vars(adamw)), name
        if muon is not None:
            found = scales(name, parameter, "muon", network.config, settings("completep"))
            assert vars(found) == pytest.approx(vars(muon)), name
        assert scales(name, parameter, "adamw", network.config, settings("standard")) == Scales()


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def run(
    write_tokens: Any, folder: Path, config: TrainConfig, model: ModelConfig | None = None, **options: Any
) -> list[float]:
    if not (folder.parent / "tokens").exists():
        write_tokens(folder.parent / "tokens")
    train(folder.parent / "tokens", folder, model=model or shape(), config=config, device="cpu", threads=1, **options)
    return [line["loss"] for line in metrics(folder)]


LOOP: dict[str, Any] = {
    "steps": 6,
    "sequence_length": 32,
    "batch_size": 4,
    "micro_batch_size": 2,
    "checkpoint_every": 3,
}


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_at_the_bases_shape_all_are_the_same_to_the_bit(optimizer: Chosen, write_tokens: Any, tmp_path: Path) -> None:
    base = {"base_hidden_size": 32, "base_layers": 3, **LOOP}
    kinds: tuple[Kind, ...] = ("standard", "mup", "completep")
    found = [run(write_tokens, tmp_path / kind, settings(kind, optimizer, **base)) for kind in kinds]
    assert found[0] == found[1] == found[2]


class Stop(BaseException):
    """Ends a run as abruptly as Python can."""


def stop_at_five(done: float, total: float, note: str) -> None:
    if done == 5:
        raise Stop


@pytest.mark.parametrize(
    ("kind", "heads"), [("standard", "independent"), ("mup", "sequential"), ("completep", "independent")]
)
def test_resume(kind: Kind, heads: str, write_tokens: Any, tmp_path: Path) -> None:
    model = shape(mtp_kind=heads)
    whole = run(write_tokens, tmp_path / "whole", settings(kind, **LOOP), model)
    with pytest.raises(Stop):
        run(write_tokens, tmp_path / "parts", settings(kind, **LOOP), model, progress=stop_at_five)
    assert run(write_tokens, tmp_path / "parts", settings(kind, **LOOP), model) == whole
    with pytest.raises(SmolfastError, match=r"another train\.parametrization"):
        run(write_tokens, tmp_path / "parts", settings("mup" if kind == "standard" else "standard", **LOOP), model)


@pytest.mark.parametrize(
    ("kind", "optimizer", "changes"),
    [
        ("standard", "muon", {}),
        ("mup", "adamw", {"mtp_kind": "sequential"}),
        ("completep", "muon", {}),
        ("completep", "adamw", {"tie_word_embeddings": False}),
    ],
)
def test_an_export_is_an_ordinary_model(
    kind: Kind, optimizer: Chosen, changes: dict[str, Any], corpus: SimpleNamespace, tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    train(
        corpus.tokens, tmp_path / "run", model=shape(initializer_range=0.1, **changes), device="cpu", threads=1,
        config=settings(kind, optimizer, **LOOP | {"steps": 12}),
    )  # fmt: skip
    export(tmp_path / "run" / "model", corpus.tokenizer, tmp_path / "export")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "export").eval()
    tokens = torch.from_numpy(np.random.default_rng(0).integers(2, 500, 40))
    with torch.no_grad():
        mine: Tensor = load_pretrained(tmp_path / "run" / "model").logits(PackedBatch.from_documents([tokens.numpy()]))
        torch.testing.assert_close(mine, theirs(tokens[None]).logits[0], atol=1e-5, rtol=0)
    assert float(mine.std()) > 1e-3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("kind", "optimizer", "heads"),
    [("standard", "muon", "sequential"), ("mup", "adamw", "independent"), ("completep", "muon", "sequential")],
)
def test_compiled_layers_train_the_same(
    kind: Kind, optimizer: Chosen, heads: str, write_tokens: Any, tmp_path: Path
) -> None:
    plain, compiled = (
        run(
            write_tokens,
            tmp_path / str(wanted),
            settings(kind, optimizer, **LOOP, compile=wanted),
            shape(mtp_kind=heads),
        )
        for wanted in (False, True)
    )
    assert compiled == pytest.approx(plain, rel=1e-5)


BASE = [
    "model.hidden_size=64", "model.intermediate_size=192", "model.num_hidden_layers=2", "model.num_attention_heads=8",
    "model.num_key_value_heads=2", "model.head_dim=8", "model.mtp_heads=1", "train.mtp_weights=[1.0]",
    "tokenizer.vocab_size=300", "train.base_hidden_size=64", "train.base_layers=2", "train.steps=100",
    "train.adamw_learning_rate=0.02",
]  # fmt: skip


def checked(kind: Kind, *more: str) -> Config:
    config: Config = load_config(None, [*BASE, f"train.parametrization={kind}", *more])
    return config


def spreads(widths: tuple[int, ...], kind: Kind, seeds: int = 2) -> dict[str, float]:
    config = checked(kind)
    shapes = [at_width(config.model, width) for width in widths]
    return {one.kind: one.spread for one in coordinate_check(config, shapes, steps=3, seeds=seeds)}


@pytest.mark.slow
def test_activations_are_level_in_width_within_a_tenth() -> None:
    widths = (128, 256, 512)
    assert max(spreads(widths, "mup").values()) < 0.1
    standard = spreads(widths, "standard")
    assert min(standard[kind] for kind in ("attention", "mlp", "stream", "logits")) > 0.3


def test_activations_are_level_between_narrow_widths() -> None:
    """Where a width is small its draws show, so more of them are averaged."""
    widths = (32, 64, 128)
    assert max(spreads(widths, "mup", seeds=6).values()) < 0.1
    standard = spreads(widths, "standard")
    assert min(standard[kind] for kind in ("attention", "mlp", "stream", "logits")) > 0.3


def test_activations_are_level_in_depth() -> None:
    slopes = {}
    for kind in ("mup", "completep"):
        config = checked(kind)
        shapes = [at_depth(config.model, layers) for layers in (2, 4, 8)]
        slopes[kind] = {one.kind: one.slope((2, 4, 8)) for one in coordinate_check(config, shapes, steps=3, seeds=2)}
    assert abs(slopes["completep"]["stream"]) < 0.15 < 0.4 < slopes["mup"]["stream"], slopes


def by_kind(places: tuple[int, ...], at: Any, seeds: int, *more: str) -> dict[str, Sizes]:
    config = checked("completep", *more)
    shapes = [at(config.model, place) for place in places]
    return {one.kind: one for one in coordinate_check(config, shapes, steps=3, seeds=seeds)}


ZERO = "train.zero_init_outputs=true"


def test_what_sets_depths_apart_is_what_branches_begin_with() -> None:
    """Where their last matrices begin at zero all is level from 2 layers on."""
    drawn, zeroed = (by_kind((2, 8), at_depth, 4, *more) for more in ((), (ZERO,)))
    assert max(one.spread for one in zeroed.values()) < 0.1 < drawn["attention"].spread
    for kind in ("embedding", "attention", "logits"):
        assert zeroed[kind].spread < 0.5 * drawn[kind].spread, kind
    # What fresh branches add is 1/√d of what they add at the base.
    added = [shape[0] for shape in drawn["attention"].size]
    assert added[0] / added[1] == pytest.approx(2, rel=0.2) and zeroed["attention"].size[1][0] == 0


def test_what_sets_the_logits_of_widths_apart_is_what_the_output_layer_begins_with() -> None:
    """AdamW at a rate at which layers move logits as much as the embedding does."""
    settings = (
        "model.tie_word_embeddings=false", "train.optimizer=adamw", "train.adamw_learning_rate=0.003", "train.steps=64",
    )  # fmt: skip
    drawn, zeroed = (by_kind((32, 128), at_width, 4, *settings, *more)["logits"] for more in ((), (ZERO,)))
    assert zeroed.spread < 0.1 < 0.25 < drawn.spread


def test_outputs_that_begin_at_zero() -> None:
    """The last matrix of each branch, in layers and in further heads, and the output layer; the rest as without."""
    kinds: tuple[Kind, ...] = ("standard", "mup", "completep")
    for kind in kinds:
        for changes in ({"mtp_kind": "independent"}, {"mtp_kind": "sequential", "tie_word_embeddings": False}):
            drawn, zeroed = SmolLM(shape(**changes), 64), SmolLM(shape(**changes), 64)
            scale_initial_weights(drawn, settings(kind))
            scale_initial_weights(zeroed, settings(kind, zero_init_outputs=True))
            gone = [name for name, weight in zeroed.named_parameters() if not weight.any()]
            assert len(gone) == 2 * (3 + 1) + len(changes) - 1
            assert all(name.endswith(("o_proj.weight", "down_proj.weight", "lm_head.weight")) for name in gone)
            for name, weight in zeroed.named_parameters():
                assert name in gone or torch.equal(weight, drawn.get_parameter(name))


def test_shapes_of_a_width() -> None:
    model = at_width(ModelConfig(), 256)
    assert (model.num_attention_heads, model.num_key_value_heads, model.intermediate_size) == (8, 2, 832)
    assert model.head_dim == ModelConfig().head_dim
    with pytest.raises(SmolfastError, match="width 100 gives no whole number of heads; take multiples of 32"):
        at_width(ModelConfig(), 100)
    for shapes, seeds in (([ModelConfig()], 1), ([ModelConfig()] * 2, [1]), ([ModelConfig()] * 2, 0)):
        with pytest.raises(SmolfastError, match="at least two shapes, one step, and one seed for each shape"):
            coordinate_check(checked("mup"), shapes, seeds=seeds)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [word for setting in BASE for word in ("--set", setting)]
    command = ["train", "--coordinate-check", *words, "--widths", "16,32", "--check-seeds", "1", "--check-steps", "1"]
    assert main([*command, "--set", "train.parametrization=mup", "-o", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "mup" in out and "logits" in out and "slope" in out
    page = (tmp_path / "out" / "coordinate-check.html").read_text()
    assert "How level it is" in page and "after step 1" in page
    for more, message in (
        (["--depths", "1,2"], "--widths or --depths"),
        (["tokens"], "takes no TOKENS"),
        (["--widths", "a"], "give whole numbers"),
        (["--widths", "32"], "two numbers or more"),
        (["--widths", "12,32"], "multiples of 8"),
    ):
        assert main([*command, *more]) == 2
        assert message in capsys.readouterr().err
