"""What people hand to MuonAdamW and do with it: modules of all kinds, schedulers, scalers, parameters without names."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import lr_scheduler, swa_utils

from smolfast import SmolfastError
from smolfast.optim import Muon, MuonAdamW, MuonClip, assign_algorithm


def algorithms(model: Any, **options: Any) -> dict[str, str]:
    groups = MuonAdamW(model, **options).param_groups
    return {name: group["algorithm"] for group in groups for name in group["param_names"]}


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv1d(4, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv3d(4, 4, 3), nn.ConvTranspose1d(4, 4, 3),
        nn.ConvTranspose2d(4, 4, 3), nn.ConvTranspose3d(4, 4, 3), nn.Bilinear(4, 4, 4), nn.Embedding(8, 4),
        nn.EmbeddingBag(8, 4), nn.LayerNorm((4, 4)), nn.RMSNorm((4, 4)), nn.BatchNorm1d(4), nn.PReLU(4),
    ],
    ids=lambda module: type(module).__name__,
)  # fmt: skip
def test_what_is_no_linear_map_goes_to_adamw(module: nn.Module) -> None:
    class Own(type(module)):  # type: ignore[misc]
        """A class of the user's own."""

    module.__class__ = Own
    assert set(algorithms(nn.ModuleDict({"layer": module})).values()) == {"adamw"}
    assert set(algorithms(module).values()) == {"adamw"}


@pytest.mark.parametrize("module", [nn.Linear(4, 4), nn.LSTM(4, 4), nn.MultiheadAttention(4, 2)])
def test_linear_maps_go_to_muon(module: nn.Module) -> None:
    for name, algorithm in algorithms(nn.ModuleDict({"layer": module})).items():
        assert algorithm == ("muon" if "weight" in name else "adamw")


def test_parametrized_weights_are_judged_by_the_module_that_uses_them() -> None:
    for module, expected in ((nn.Linear(4, 4), "muon"), (nn.Conv1d(4, 4, 3), "adamw"), (nn.Embedding(8, 4), "adamw")):
        layer = nn.utils.parametrizations.orthogonal(module) if expected == "muon" else module
        if expected == "adamw":
            layer = nn.utils.parametrizations.weight_norm(module, dim=0)
        matrices = {
            n: a for n, a in algorithms(nn.ModuleDict({"layer": layer})).items() if n.endswith(("original", "1"))
        }
        assert set(matrices.values()) == {expected}, matrices
    head = nn.utils.parametrizations.orthogonal(nn.Linear(4, 4))
    assert set(algorithms(nn.ModuleDict({"lm_head": head})).values()) == {"adamw"}


def test_parameters_of_a_module_are_judged_by_their_own_names_too() -> None:
    assert assign_algorithm("vit.pos_embed", torch.zeros(1, 9, 4)) == "adamw"
    assert assign_algorithm("lm_head", torch.zeros(9, 4)) == "adamw"
    assert assign_algorithm("block.experts", torch.zeros(3, 9, 4)) == "muon"
    assert assign_algorithm("layer.weight", torch.zeros(4, 4, dtype=torch.complex64)) == "adamw"


@pytest.mark.parametrize(
    "name",
    [
        "experts.gate_up_proj_bias", "attention.relative_position_bias_table", "query_tokens", "mask_token",
        "encoder.latents", "self_attn.q_norm.weight", "output.LayerNorm.weight", "backbone.layers.0.mixer.A_log",
    ],
)  # fmt: skip
def test_vectors_side_by_side_are_no_matrix(name: str) -> None:
    """Of GPT-OSS, Swin, BLIP-2, MAE, Perceiver, Cohere and Mamba, in shapes that only a name tells from a matrix."""
    assert assign_algorithm(name, torch.zeros(8, 4)) == "adamw"
    assert assign_algorithm(name, torch.zeros(1, 8, 4)) == "adamw"


def test_a_tied_weight_goes_to_adamw_under_each_of_its_names() -> None:
    first, last = nn.Linear(4, 8, bias=False), nn.Embedding(8, 4)
    last.weight = first.weight
    model = nn.ModuleDict({"projection": first, "tokens": last})
    assert algorithms(model) == {"projection.weight": "adamw"}
    assert algorithms(model, muon=["tokens.weight"]) == {"projection.weight": "muon"}
    assert algorithms(model, overrides={"tokens.*": {"lr": 0.5}}) == {"projection.weight": "adamw"}


def test_a_convolution_cannot_be_sent_to_muon_and_a_bilinear_can() -> None:
    model = nn.ModuleDict({"conv": nn.Conv1d(4, 4, 3), "bilinear": nn.Bilinear(4, 4, 4)})
    with pytest.raises(SmolfastError, match=r"conv\.weight is a convolution's weight \[4, 4, 3\], no matrix and no st"):
        MuonAdamW(model, muon=["conv.weight"])
    assert algorithms(model, muon=["bilinear.weight"])["bilinear.weight"] == "muon"


def linear() -> nn.Linear:
    return nn.Linear(4, 4)


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        (lambda: linear().parameters(), r"got a Parameter where \(name, parameter\) is expected.*named_parameters\(\)"),
        (lambda: list(linear().parameters()), "got a Parameter where"),
        (lambda: linear().weight, "got a Parameter where"),
        (lambda: [{"params": linear().parameters(), "lr": 0.1}], "got a dict where"),
        (lambda: [("a", 3)], "got a tuple where"),
        (lambda: [("weight", linear().weight), ("weight", linear().weight)], "weight is given twice"),
        (list, "there is no parameter to train; give"),
        (nn.Module, "there is no parameter to train; give"),
        (lambda: linear().requires_grad_(False), "no parameter to train; all have requires_grad=False"),
    ],
)
def test_what_is_not_named_parameters_is_named(parameters: Callable[[], Any], error: str) -> None:
    with pytest.raises(SmolfastError, match=error):
        MuonAdamW(parameters())


def test_named_parameters_come_in_many_ways() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6))
    expected = algorithms(model)
    assert algorithms(model.named_parameters()) == expected
    assert algorithms(list(model.named_parameters())) == expected
    assert algorithms(dict(model.named_parameters())) == expected
    assert algorithms((name, parameter) for name, parameter in model.named_parameters()) == expected


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"lr": -0.1}, "lr = -0.1 must be at least 0"),
        ({"lr": "0.1"}, "lr = '0.1' is no number"),
        ({"adamw_lr": float("nan")}, "adamw_lr = nan must be at least 0"),
        ({"adamw_weight_decay": -1}, "adamw_weight_decay = -1 must be"),
        ({"betas": (0.9, 1.0)}, r"betas = \(0\.9, 1\.0\) must be two numbers"),
        ({"betas": (0.9,)}, r"betas = \(0\.9,\) must be two numbers"),
        ({"foreach": True}, r"unknown option \['foreach'\]"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], error: str) -> None:
    with pytest.raises(SmolfastError, match=error):
        MuonAdamW(linear(), **options)


class Small(nn.Module):
    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(9, 6, dtype=dtype)
        self.mix = nn.Linear(6, 6, dtype=dtype)

    def forward(self) -> torch.Tensor:
        return self.mix(self.embed(torch.arange(9))).float().square().mean()


def steps(optimizer: Any, model: nn.Module, count: int, scheduler: Any = None, metric: bool = False) -> list[float]:
    losses = []
    for _ in range(count):
        optimizer.zero_grad()
        loss = model()
        loss.backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step(loss.item()) if metric else scheduler.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("make", [MuonAdamW, MuonClip, lambda model: Muon([model.mix.weight])])
@pytest.mark.parametrize(
    "schedule",
    [
        lambda o: lr_scheduler.OneCycleLR(o, max_lr=0.1, total_steps=8),
        lambda o: lr_scheduler.OneCycleLR(o, max_lr=[0.1] * len(o.param_groups), total_steps=8, three_phase=True),
        lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.1, step_size_up=2),
        lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.1, step_size_up=2, cycle_momentum=False),
        lambda o: lr_scheduler.LambdaLR(o, lambda step: 0.9**step),
        lambda o: lr_scheduler.MultiplicativeLR(o, lambda step: 0.9),
        lambda o: lr_scheduler.StepLR(o, 2),
        lambda o: lr_scheduler.MultiStepLR(o, [1, 3]),
        lambda o: lr_scheduler.ConstantLR(o),
        lambda o: lr_scheduler.LinearLR(o),
        lambda o: lr_scheduler.ExponentialLR(o, 0.9),
        lambda o: lr_scheduler.PolynomialLR(o, 6),
        lambda o: lr_scheduler.CosineAnnealingLR(o, 6),
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 3),
        lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=0, threshold=1.0, min_lr=1e-5),
        lambda o: lr_scheduler.SequentialLR(o, [lr_scheduler.LinearLR(o), lr_scheduler.ExponentialLR(o, 0.9)], [2]),
        lambda o: lr_scheduler.ChainedScheduler([lr_scheduler.LinearLR(o), lr_scheduler.ExponentialLR(o, 0.9)]),
        lambda o: swa_utils.SWALR(o, swa_lr=0.05, anneal_epochs=3),
    ],
)
def test_every_scheduler_of_torch(make: Any, schedule: Any) -> None:
    model = Small()
    optimizer = make(model)
    scheduler = schedule(optimizer)
    rates = []
    before = [parameter.detach().clone() for group in optimizer.param_groups for parameter in group["params"]]
    for _ in range(6):
        steps(optimizer, model, 1, scheduler, isinstance(scheduler, lr_scheduler.ReduceLROnPlateau))
        rates.append([float(group["lr"]) for group in optimizer.param_groups])
    assert all(len(set(column)) > 1 for column in zip(*rates, strict=True))
    after = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_one_cycle_moves_the_momentum_of_both_algorithms() -> None:
    """As torch's AdamW takes it: a step with the momentum that was set equals one with that beta."""
    model, twin = Small(), Small()
    optimizer = MuonAdamW(model, adamw_lr=0.1)
    lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=8, base_momentum=0.5, max_momentum=0.6)
    assert {group["momentum"] for group in optimizer.param_groups} == {0.6}
    rate = optimizer.param_groups[0]["lr"]
    steps(optimizer, model, 3)
    expected = MuonAdamW(twin, rate, rate, momentum=0.6, betas=(0.6, 0.95))
    steps(expected, twin, 3)
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_sparse_gradient_is_refused_before_anything_moves() -> None:
    model = Small()
    model.embed = nn.Embedding(9, 6, sparse=True)
    optimizer = MuonAdamW(model)
    before = copy.deepcopy(model.state_dict())
    model().backward()
    with pytest.raises(
        SmolfastError, match=r"embed\.weight has a sparse gradient; make its embedding with sparse=False"
    ):
        optimizer.step()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    model.embed.requires_grad_(False)  # the remedy: another optimiser's
    steps(MuonAdamW(model), model, 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_dtypes_and_a_state_that_travels(dtype: torch.dtype) -> None:
    model = Small(dtype)
    options: dict[str, Any] = {"lr": 0.01, "adamw_lr": 0.01}
    if dtype == torch.float16:
        with pytest.raises(SmolfastError, match=r"embed\.weight is float16, .* or set adamw_eps=1e-4"):
            MuonAdamW(model, **options)
        options["adamw_eps"] = 1e-4
    optimizer = MuonAdamW(model, **options)
    losses = steps(optimizer, model, 3)
    assert losses[-1] < losses[0]
    twin = copy.deepcopy(model)
    again = MuonAdamW(twin, **options)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert steps(again, twin, 3) == steps(optimizer, model, 3)


class Twins(nn.Module):
    """Weights of one shape, which only their names tell apart."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.second(torch.relu(self.first(x)))
        return result


def of_twins(optimizer: Any, model: nn.Module) -> list[float]:
    torch.manual_seed(1)
    losses = []
    for _ in range(3):
        loss = model(torch.randn(8, 4)).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("kind", ["MuonAdamW", "Muon", "reversed", "wrapped", "renamed"])
def test_a_state_goes_to_the_parameters_of_its_names(kind: str) -> None:
    torch.manual_seed(0)
    model = Twins()
    twin = copy.deepcopy(model)

    def named(model: nn.Module) -> list[tuple[str, torch.Tensor]]:
        return [(name, parameter) for name, parameter in model.named_parameters() if kind != "Muon" or "weight" in name]

    make: Any = Muon if kind == "Muon" else MuonAdamW
    optimizer = make(named(model))
    of_twins(optimizer, model)
    twin.load_state_dict(model.state_dict())
    others = named(twin)
    if kind == "renamed":
        others = [(name.replace("first", "one").replace("second", "two"), value) for name, value in others]
    elif kind == "wrapped":
        others = [(f"module._orig_mod.{name}", value) for name, value in others]
    else:
        others.reverse()
    again = make(others)
    names = [group["param_names"] for group in again.param_groups]
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert [group["param_names"] for group in again.param_groups] == names
    assert of_twins(again, twin) == of_twins(optimizer, model)


def test_a_state_of_another_optimizer_is_refused() -> None:
    model = Twins()
    ours, torchs = MuonAdamW(model), torch.optim.AdamW(model.parameters())
    of_twins(torchs, model)
    with pytest.raises(SmolfastError, match="the state has groups without algorithm, so another optimiser saved it"):
        ours.load_state_dict(torchs.state_dict())
    for other, what in (
        (MuonAdamW(model, adamw=["first.weight"]), r"first\.weight is in a group of others there"),
        (MuonAdamW(model, overrides={"first.weight": {"lr": 0.5}}), r"first\.weight is in a group of others there"),
        (MuonAdamW(model.first.named_parameters()), ": bias is in one alone"),
    ):
        before = copy.deepcopy(ours.state_dict())
        with pytest.raises(SmolfastError, match=what):
            ours.load_state_dict(other.state_dict())
        assert ours.state_dict() == before
    with pytest.raises(SmolfastError, match="groups of 1 parameters, and these are of 2"):
        Muon([model.first.weight, model.second.weight]).load_state_dict(Muon([model.first.weight]).state_dict())


def test_complex_parameters_are_adamws() -> None:
    weight = nn.Parameter(torch.randn(3, 4, dtype=torch.complex64))
    other = nn.Parameter(weight.detach().clone())
    ours, torchs = MuonAdamW([("mix", weight)]), torch.optim.AdamW([other], 3e-3, (0.9, 0.95), weight_decay=0.1)
    for optimizer, parameter in ((ours, weight), (torchs, other)):
        for _ in range(3):
            optimizer.zero_grad()
            parameter.abs().square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(weight, other)


def test_a_state_without_the_newer_options_loads() -> None:
    model = Small()
    optimizer = MuonAdamW(model)
    steps(optimizer, model, 1)
    state = optimizer.state_dict()
    for group in state["param_groups"]:
        if group["algorithm"] == "adamw":
            del group["momentum"]
    optimizer.load_state_dict(state)
    steps(optimizer, model, 1)


def test_a_gradient_scaler_steps_and_skips() -> None:
    model = Small()
    optimizer, scaler = MuonAdamW(model), torch.amp.GradScaler("cpu", init_scale=16.0)
    before = copy.deepcopy(model.state_dict())
    scaler.scale(model()).backward()
    model.mix.weight.grad[0, 0] = torch.inf  # type: ignore[index]
    scaler.step(optimizer)
    scaler.update()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    optimizer.zero_grad()
    scaler.scale(model()).backward()
    scaler.step(optimizer)
    assert not torch.equal(before["mix.weight"], model.mix.weight)


@given(
    shapes=st.lists(st.lists(st.integers(0, 5), max_size=4), min_size=1, max_size=4),
    missing=st.sets(st.integers(0, 3)),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.complex64]),
)
def test_any_parameters_take_a_step(shapes: list[list[int]], missing: set[int], dtype: torch.dtype) -> None:
    """Those without a gradient stay as they are; the others become finite numbers of the same kind."""
    torch.manual_seed(0)
    named = [(f"layer.{index}", nn.Parameter(torch.randn(shape).to(dtype))) for index, shape in enumerate(shapes)]
    optimizer = MuonAdamW(named)
    for group in optimizer.param_groups:
        group["lr"] = 0.1  # more than bf16 rounds away
    before = [parameter.detach().clone() for _, parameter in named]
    for index, (_, parameter) in enumerate(named):
        parameter.grad = None if index in missing else torch.randn_like(parameter)
    optimizer.step()
    for index, (_, parameter) in enumerate(named):
        assert bool(torch.isfinite(torch.view_as_real(parameter) if parameter.is_complex() else parameter).all())
        if index in missing:
            assert torch.equal(parameter, before[index])
        elif parameter.numel():
            assert not torch.equal(parameter, before[index])
