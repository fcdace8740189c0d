"""Muon against torch's own, MuonAdamW's groups, states that travel, bits that don't depend on who runs the units."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from smolfast import SmolfastError
from smolfast.optim import Muon, MuonAdamW, assign_algorithm
from smolfast.reference import newton_schulz, resolve_coefficients

SHAPES = [(6, 6), (6, 6), (4, 18), (18, 4), (1, 5), (12, 3)]


def matrices(shapes: list[tuple[int, ...]] = SHAPES, seed: int = 0) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]


def set_gradients(parameters: list[nn.Parameter], step: int) -> None:
    generator = torch.Generator().manual_seed(1000 + step)
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)


def run(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], steps: range) -> list[Tensor]:
    for step in steps:
        set_gradients(parameters, step)
        optimizer.step()
    return [parameter.detach().clone() for parameter in parameters]


@pytest.fixture
def torch_muon_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.optim.Muon casts to bf16 and then writes in place; a copy in the given precision is all that's changed."""
    monkeypatch.setattr(Tensor, "bfloat16", lambda self: self.clone())


@pytest.mark.usefixtures("torch_muon_in_fp32")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"lr": 0.02, "weight_decay": 0.0, "nesterov": False},
        {"lr": 0.02, "momentum": 0.8, "adjust_lr_fn": "match_rms_adamw"},
        {"lr": torch.tensor(0.05), "ns_coefficients": (2.0, -1.5, 0.5), "ns_steps": 3, "adjust_lr_fn": "original"},
    ],
)
def test_fifty_steps_equal_torchs(options: dict[str, Any]) -> None:
    ours, theirs = matrices(), matrices()
    got = run(Muon(ours, **options), ours, range(50))
    want = run(torch.optim.Muon(theirs, **options), theirs, range(50))
    for a, b in zip(got, want, strict=True):
        assert torch.linalg.vector_norm(a - b) <= 1e-5 * torch.linalg.vector_norm(b)


@pytest.mark.usefixtures("torch_muon_in_fp32")
@pytest.mark.parametrize(("first", "second"), [(Muon, torch.optim.Muon), (torch.optim.Muon, Muon)])
def test_state_goes_into_torchs_and_back(first: Any, second: Any) -> None:
    whole, parts = matrices(), matrices()
    want = run(first(whole, lr=0.02, momentum=0.9), whole, range(6))
    start = first(parts, lr=0.02, momentum=0.9)
    run(start, parts, range(3))
    other = second(parts, lr=0.5)
    other.load_state_dict(start.state_dict())
    for a, b in zip(run(other, parts, range(3, 6)), want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_stack_is_its_matrices_one_by_one() -> None:
    stack, apart = matrices([(3, 5, 8)]), []
    apart = [nn.Parameter(matrix.detach().clone()) for matrix in stack[0]]
    together, alone = Muon(stack, lr=0.1), Muon(apart, lr=0.1)
    for step in range(3):
        set_gradients(stack, step)
        assert stack[0].grad is not None
        for parameter, grad in zip(apart, stack[0].grad, strict=True):
            parameter.grad = grad
        together.step(), alone.step()
    torch.testing.assert_close(stack[0].detach(), torch.stack([p.detach() for p in apart]))


@pytest.mark.parametrize("options", [{"split_sizes": (4, 2, 2)}, {"split_heads": 4}, {"split_sizes": (4, 4)}])
@pytest.mark.parametrize("adjust", ["original", "match_rms_adamw"])
def test_splits_are_orthogonalised_alone(options: dict[str, Any], adjust: str) -> None:
    sizes = list(options.get("split_sizes", [2] * 4))
    fused = matrices([(8, 3)])
    apart = [nn.Parameter(part.detach().clone()) for part in fused[0].split(sizes)]
    together, alone = Muon(fused, lr=0.1, adjust_lr_fn=adjust, **options), Muon(apart, lr=0.1, adjust_lr_fn=adjust)
    for step in range(3):
        set_gradients(fused, step)
        assert fused[0].grad is not None
        for parameter, grad in zip(apart, fused[0].grad.split(sizes), strict=True):
            parameter.grad = grad
        together.step(), alone.step()
    torch.testing.assert_close(fused[0].detach(), torch.cat([p.detach() for p in apart]))


def test_cautious_weight_decay_only_pulls_along_the_update() -> None:
    parameters = matrices([(4, 6)])
    before = parameters[0].detach().clone()
    optimizer = Muon(parameters, lr=0.1, weight_decay=0.5, momentum=0.0, nesterov=False, cautious_weight_decay=True)
    run(optimizer, parameters, range(1))
    assert parameters[0].grad is not None
    update = newton_schulz(parameters[0].grad, resolve_coefficients("muon", 5))
    expected = torch.where(update * before > 0, before * 0.95, before) - 0.1 * update
    torch.testing.assert_close(parameters[0].detach(), expected)


def test_polar_express_brings_singular_values_closer_to_one() -> None:
    spread = {}
    for name in ("muon", "polar_express"):
        parameters = matrices([(16, 40)])
        before = parameters[0].detach().clone()
        run(Muon(parameters, lr=1.0, weight_decay=0.0, coefficients=name), parameters, range(1))
        spread[name] = (torch.linalg.svdvals(before - parameters[0].detach()) - 1).abs().max()
    assert spread["polar_express"] < 0.5 * spread["muon"]


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((3,), {}, "takes matrices"),
        ((2, 2, 2, 2), {}, "takes matrices"),
        ((4, 3), {"lr": -1.0}, "lr = -1.0 must be at least 0"),
        ((4, 3), {"lr": float("nan")}, "must be at least 0"),
        ((4, 3), {"lr": torch.zeros(2)}, "give one number"),
        ((4, 3), {"adjust_lr_fn": "adam"}, "choose original or match_rms_adamw"),
        ((4, 3), {"split_sizes": (1, 2)}, "add up to the 4 rows"),
        ((4, 3), {"split_heads": 3}, "don't divide into split_heads = 3"),
        ((4, 3), {"split_heads": 2, "split_sizes": (2, 2)}, "exclude each other"),
        ((4, 3), {"coefficients": "polar"}, "choose one of muon"),
    ],
)
def test_muon_says_what_is_wrong(shape: tuple[int, ...], options: dict[str, Any], message: str) -> None:
    with pytest.raises(SmolfastError, match=message):
        Muon([nn.Parameter(torch.zeros(shape))], **options)


def test_bad_group_added_later_leaves_the_optimizer_as_it_was() -> None:
    optimizer = Muon(matrices())
    with pytest.raises(SmolfastError):
        optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(3))]})
    assert len(optimizer.param_groups) == 1


def test_sparse_gradient_is_refused() -> None:
    parameter = nn.Parameter(torch.zeros(4, 3))
    parameter.grad = torch.zeros(4, 3).to_sparse()
    with pytest.raises(SmolfastError, match="sparse"):
        Muon([parameter]).step()


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed_tokens = nn.Embedding(32, 16)
        self.blocks = nn.ModuleList(nn.Linear(16, 16) for _ in range(3))
        self.norm = nn.LayerNorm(16)
        self.experts = nn.Parameter(torch.randn(2, 16, 16) * 0.1)
        self.gain = nn.Parameter(torch.ones(()))
        self.lm_head = nn.Linear(16, 32, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed_tokens(tokens)
        for block in self.blocks:
            x = x + torch.tanh(block(x))
        x = self.norm(x @ self.experts[0] + x @ self.experts[1]) * self.gain
        logits: Tensor = self.lm_head(x)
        return logits


def train(model: Toy, optimizer: torch.optim.Optimizer, steps: range) -> list[float]:
    losses = []
    for step in steps:
        tokens = torch.randint(0, 32, (4, 9), generator=torch.Generator().manual_seed(step))
        loss = nn.functional.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, :-1].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def group_of(optimizer: MuonAdamW, name: str) -> dict[str, Any]:
    return next(group for group in optimizer.param_groups if name in group["param_names"])


def test_rule_sends_matrices_to_muon_and_the_rest_to_adamw() -> None:
    optimizer = MuonAdamW(Toy(), lr=0.03, adamw_lr=0.004)
    for name in ("blocks.0.weight", "blocks.2.weight", "experts"):
        assert group_of(optimizer, name)["algorithm"] == "muon"
        assert group_of(optimizer, name)["lr"] == 0.03
    for name in ("embed_tokens.weight", "lm_head.weight", "blocks.0.bias", "norm.weight", "gain"):
        assert group_of(optimizer, name)["algorithm"] == "adamw"
        assert group_of(optimizer, name)["lr"] == 0.004
    assert group_of(optimizer, "embed_tokens.weight")["weight_decay"] == 0.1
    assert group_of(optimizer, "gain")["weight_decay"] == 0.0
    assert len(optimizer.param_groups) == 3


def test_rule_by_name_alone() -> None:
    matrix = torch.zeros(4, 4)
    assert assign_algorithm("model.layers.0.self_attn.q_proj.weight", matrix) == "muon"
    assert assign_algorithm("bert.encoder.attention.output.dense.weight", matrix) == "muon"
    assert assign_algorithm("transformer.wte.weight", matrix) == "adamw"
    assert assign_algorithm("output.weight", matrix) == "adamw"
    assert assign_algorithm("conv.weight", torch.zeros(4, 4, 3, 3)) == "adamw"
    assert assign_algorithm("depthwise.weight", torch.zeros(4, 1, 3)) == "adamw"


def test_names_override_the_rule() -> None:
    optimizer = MuonAdamW(
        Toy().named_parameters(),
        muon=["lm_head.*"],
        adamw=["blocks.1.*"],
        overrides={"blocks.*": {"lr": 0.5}, "blocks.2.weight": {"split_heads": 2, "lr": 0.7}},
        coefficients="polar_express",
    )
    assert group_of(optimizer, "lm_head.weight")["algorithm"] == "muon"
    assert group_of(optimizer, "blocks.1.weight")["algorithm"] == "adamw"
    assert group_of(optimizer, "blocks.0.weight")["lr"] == 0.5
    assert group_of(optimizer, "blocks.2.weight")["lr"] == 0.7
    assert group_of(optimizer, "blocks.2.weight")["coefficients"] == "polar_express"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"muon": ["block.*"]}, r"pattern 'block.\*' names no parameter"),
        ({"muon": ["blocks.*"], "adamw": ["*.0.weight"]}, "matches both"),
        ({"overrides": {"gain": {"momentum": 0.5}}}, r"sets \['momentum'\] for gain"),
        ({"momentun": 0.5}, r"unknown option \['momentun'\]"),
        ({"muon": ["norm.weight"]}, "norm.weight is .* takes matrices"),
    ],
)
def test_muon_adamw_says_what_is_wrong(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SmolfastError, match=message):
        MuonAdamW(Toy(), **options)
    with pytest.raises(SmolfastError, match="choose muon or adamw"):
        MuonAdamW(Toy()).add_param_group({"params": [nn.Parameter(torch.zeros(2, 2))]})


def test_muon_adamw_is_muon_and_adamw() -> None:
    model, twin = Toy(), Toy()
    optimizer = MuonAdamW(model, 0.02, 3e-3)
    groups = [dict(group) for group in MuonAdamW(twin, 0.02, 3e-3).param_groups]
    muon = Muon([p for g in groups if g["algorithm"] == "muon" for p in g["params"]], lr=0.02)
    adamw = torch.optim.AdamW(
        [{"params": g["params"], "weight_decay": g["weight_decay"]} for g in groups if g["algorithm"] == "adamw"],
        lr=3e-3, betas=(0.9, 0.95),
    )  # fmt: skip
    for step in range(5):
        losses = train(model, optimizer, range(step, step + 1))
        for part in (muon, adamw):
            part.zero_grad()
        tokens = torch.randint(0, 32, (4, 9), generator=torch.Generator().manual_seed(step))
        loss = nn.functional.cross_entropy(twin(tokens[:, :-1]).flatten(0, 1), tokens[:, :-1].flatten())
        loss.backward()
        muon.step(), adamw.step()
        assert losses == [pytest.approx(loss.item(), rel=1e-6)]


def test_resuming_repeats_the_next_steps() -> None:
    model = Toy()
    optimizer = MuonAdamW(model)
    train(model, optimizer, range(3))
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    expected = train(model, optimizer, range(3, 8))
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    again = Toy()
    again.load_state_dict(saved["model"])
    resumed = MuonAdamW(again, lr=9.0)
    resumed.load_state_dict(saved["optimizer"])
    assert train(again, resumed, range(3, 8)) == expected


def test_units_give_the_same_bits_on_one_thread_and_on_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small units, so that every bucket has several."""
    monkeypatch.setattr("smolfast.optim.muon._CPU_UNIT", 300)
    monkeypatch.setattr("smolfast.optim.muon_adamw._UNIT", 300)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model = Toy()
        losses = [train(model, MuonAdamW(model), range(6))]
        with ThreadPoolExecutor(3, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            pooled = Toy()
            losses.append(train(pooled, MuonAdamW(pooled, map=pool.map), range(6)))
    finally:
        torch.set_num_threads(threads)
    assert losses[0] == losses[1]
    for a, b in zip(model.parameters(), pooled.parameters(), strict=True):
        assert torch.equal(a, b)


def every_kind(seed: int = 0) -> list[nn.Parameter]:
    return matrices([(130, 150), (150, 130), (130, 150), (2, 20, 33), (40, 16), (1, 5), (3, 0), (128, 300)], seed)


OPTIONS: list[dict[str, Any]] = [
    {"lr": 0.02},
    {"lr": 0.02, "nesterov": False, "weight_decay": 0.0, "momentum": 0.3},
    {"lr": 0.1, "weight_decay": 2.0, "cautious_weight_decay": True, "adjust_lr_fn": "match_rms_adamw"},
    {"lr": 0.02, "coefficients": "polar_express", "ns_steps": 4},
]


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("options", OPTIONS)
def test_native_step_is_the_same_on_any_number_of_threads_and_under_a_map(options: dict[str, Any]) -> None:
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3, 7):
            torch.set_num_threads(count)
            parameters = every_kind()
            results.append(run(Muon(parameters, **options), parameters, range(2)))
        with ThreadPoolExecutor(2, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            parameters = every_kind()
            results.append(run(Muon(parameters, map=pool.map, **options), parameters, range(2)))
    finally:
        torch.set_num_threads(threads)
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(result, results[0], strict=True))


@pytest.mark.parametrize("options", OPTIONS)
def test_native_step_is_the_one_in_torch(options: dict[str, Any]) -> None:
    """Parameters, or gradients, whose rows don't follow one another take theirs in torch."""
    native, turned = every_kind(), [nn.Parameter(p.detach().mT.contiguous().mT) for p in every_kind()]
    ours, theirs = Muon(native, **options), Muon(turned, **options)
    for step in range(3):
        set_gradients(native, step)
        for a, b in zip(native, turned, strict=True):
            b.grad = None if a.grad is None else a.grad.mT.contiguous().mT
        ours.step(), theirs.step()
    for a, b in zip(native, turned, strict=True):
        torch.testing.assert_close(a.detach(), b.detach(), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(ours.state[a]["momentum_buffer"], theirs.state[b]["momentum_buffer"])


def test_backward_notices_that_the_native_step_changed_a_weight() -> None:
    parameters = matrices([(4, 4)])
    loss = (parameters[0] ** 2).sum()
    set_gradients(parameters, 0)
    Muon(parameters).step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_an_error_in_a_unit_reaches_the_caller() -> None:
    parameters = matrices([(4, 4)])
    set_gradients(parameters, 0)
    optimizer = Muon(parameters)
    optimizer.param_groups[0]["coefficients"] = "nonsense"
    with ThreadPoolExecutor(1) as pool, pytest.raises(SmolfastError, match="nonsense"):
        optimizer._map = pool.map
        optimizer.step()


def test_closure_and_missing_gradients() -> None:
    parameters = matrices([(4, 4), (4, 4)])
    optimizer = Muon(parameters[:1] + parameters[1:])

    def closure() -> float:
        optimizer.zero_grad()
        loss = (parameters[0] ** 2).sum()
        loss.backward()
        return loss.item()

    before = [p.detach().clone() for p in parameters]
    assert optimizer.step(closure) == pytest.approx(float((before[0] ** 2).sum()))
    assert not torch.equal(parameters[0], before[0])
    assert torch.equal(parameters[1], before[1])
