"""`mtp_loss` whose gradients come with the loss: odd shapes and options against plain fp64 torch."""

from __future__ import annotations

import importlib
import random
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from smolfast import ops, reference
from smolfast.ops import loss as loss_ops

DTYPES = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Of the largest gradient: bf16 rounds each logit and each gradient of a logit once.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}


def case(seed: int) -> dict[str, Any]:
    """Shapes and options that fit no block."""
    draw = random.Random(seed)
    depths = draw.randint(1, 4)
    return {
        "dtype": list(DTYPES)[seed % 4],
        "depths": depths,
        "positions": draw.choice([1, 2, 5, 31, 67, 129]),
        "vocabulary": draw.choice([2, 7, 129, 501, 1023, 4099]),
        "width": draw.choice([1, 3, 16, 65]),
        "shared": draw.random() < 0.4,
        "bias": draw.random() < 0.4,
        "documents": draw.random() < 0.4,
        "z_loss": draw.choice([0.0, 1e-2]),
        "softcap": draw.choice([0.0, 0.0, 5.0]),
        "label_smoothing": draw.choice([0.0, 0.1]),
        "reduction": draw.choice(["mean", "sum"]),
        "num_items": draw.choice([None, None, 17.0]),
        "strided": draw.random() < 0.3,
    }


def exact(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, head_weights: list[float], options: Any
) -> tuple[Tensor, dict[str, Tensor]]:
    """The definition in fp64, logits and all."""
    depths, length = len(head_weights), len(targets)
    total, metrics = hidden.new_zeros(()), {"loss": [], "accuracy": [], "log_partition": [], "count": []}
    for depth in range(depths):
        z = F.linear(hidden if hidden.ndim == 2 else hidden[depth], weight, bias)
        if options["softcap"]:
            z = options["softcap"] * torch.tanh(z / options["softcap"])
        target = torch.full_like(targets, -100)
        for i in range(length - depth):
            documents = options["document_ids"]
            if documents is None or documents[min(i + depth + 1, length - 1)] == documents[i]:
                target[i] = targets[i + depth]
        valid = target != -100
        lse = torch.logsumexp(z, 1)
        losses = F.cross_entropy(z, target, reduction="none", label_smoothing=options["label_smoothing"])
        losses = torch.where(valid, losses + options["z_loss"] * lse**2, 0.0)
        count = max(int(valid.sum()), 1)
        divisor = (options["num_items"] or count) if options["reduction"] == "mean" else 1
        total = total + head_weights[depth] * losses.sum() / divisor
        metrics["loss"].append(losses.sum().detach() / count)
        metrics["accuracy"].append(((z.argmax(1) == target) & valid).sum() / count)
        metrics["log_partition"].append((lse.detach() * valid).sum() / count)
        metrics["count"].append(valid.sum())
    return total, {name: torch.stack(values) for name, values in metrics.items()}


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many blocks, tiles and column slices, the last of each ragged."""
    monkeypatch.setattr("smolfast.reference.loss_gradients._BUFFER", 20_000)
    monkeypatch.setattr("smolfast.reference.loss_gradients._TILE", 3_000)
    monkeypatch.setattr("smolfast.reference.loss_gradients._COLUMNS", 300)
    monkeypatch.setattr("smolfast.ops.native.loss._LEAST_COLUMNS", 500)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("seed", range(72))
def test_loss_metrics_and_gradients_are_exact(seed: int) -> None:
    of = case(seed)
    dtype = DTYPES[of["dtype"]]
    generator = torch.Generator().manual_seed(seed)
    shape = (of["positions"], of["width"]) if of["shared"] else (of["depths"], of["positions"], of["width"])
    hidden, weight = (
        torch.randn(shape, generator=generator),
        torch.randn(of["vocabulary"], of["width"], generator=generator),
    )
    hidden, weight = hidden.to(dtype), (weight / of["width"] ** 0.5).to(dtype)
    if of["strided"]:
        hidden = hidden.transpose(-1, -2).contiguous().transpose(-1, -2)
    bias = torch.randn(of["vocabulary"], generator=generator).to(dtype) if of["bias"] else None
    targets = torch.randint(0, of["vocabulary"], (of["positions"],), generator=generator)
    targets[torch.rand(targets.shape, generator=generator) < 0.2] = -100
    options: dict[str, Any] = {
        key: of[key] for key in ("z_loss", "softcap", "label_smoothing", "reduction", "num_items")
    }
    options["document_ids"] = torch.arange(of["positions"]) // 7 if of["documents"] else None
    head_weights = [1.0, 0.5, 0.3, 0.1][: of["depths"]]

    leaves = [x.detach().requires_grad_() for x in (hidden, weight, bias) if x is not None]
    loss, metrics = ops.mtp_loss(
        leaves[0], leaves[1], targets, head_weights=head_weights, bias=leaves[2] if of["bias"] else None,
        return_metrics=True, **options,
    )  # fmt: skip
    loss.backward()
    wide = [x.detach().double().requires_grad_() for x in leaves]
    expected, expected_metrics = exact(
        wide[0], wide[1], wide[2] if of["bias"] else None, targets, head_weights, options
    )
    expected.backward()
    close = TOLERANCE[dtype]
    torch.testing.assert_close(loss.double(), expected, rtol=close, atol=close)
    for got, want in zip(leaves, wide, strict=True):
        assert got.grad is not None
        assert want.grad is not None
        assert got.grad.dtype == dtype
        torch.testing.assert_close(
            got.grad.double(), want.grad, rtol=0, atol=close * float(want.grad.abs().max()) + 1e-12
        )
    for name in ("loss", "log_partition"):
        torch.testing.assert_close(metrics[name].double(), expected_metrics[name], rtol=close, atol=close)
    assert metrics["count"].tolist() == expected_metrics["count"].tolist()
    if dtype in (torch.float64, torch.float32) and not of["softcap"]:  # elsewhere rounding and the cap make ties
        torch.testing.assert_close(
            metrics["accuracy"].double(), expected_metrics["accuracy"].double(), check_dtype=False
        )


def test_upstream_gradient_scales_and_a_second_backward_gives_the_same() -> None:
    hidden = torch.randn(2, 9, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(11, 4, dtype=torch.float64, requires_grad=True)
    targets = torch.arange(9)
    loss = ops.mtp_loss(hidden, weight, targets, head_weights=(1.0, 0.5))
    once = torch.autograd.grad(loss, (hidden, weight), retain_graph=True)
    thrice = torch.autograd.grad(3 * loss, (hidden, weight), retain_graph=True)
    again = torch.autograd.grad(loss, (hidden, weight))
    for a, b, c in zip(once, thrice, again, strict=True):
        assert torch.equal(a, c)
        torch.testing.assert_close(3 * a, b)


def test_only_what_is_trained_gets_a_gradient() -> None:
    targets = torch.arange(6)
    for trained in range(3):
        leaves = [torch.randn(1, 6, 4), torch.randn(7, 4), torch.randn(7)]
        leaves[trained].requires_grad_()
        ops.mtp_loss(leaves[0], leaves[1], targets, head_weights=(1.0,), bias=leaves[2]).backward()
        assert [x.grad is not None for x in leaves] == [index == trained for index in range(3)]


def test_tied_weight_collects_both_gradients() -> None:
    weight = torch.randn(7, 4, dtype=torch.float64, requires_grad=True)
    tokens, targets = torch.tensor([1, 2, 3]), torch.tensor([2, 3, 4])
    ops.mtp_loss(weight[tokens], weight, targets, head_weights=(1.0,)).backward()
    other = weight.detach().clone().requires_grad_()
    F.cross_entropy(other[tokens] @ other.t(), targets).backward()
    torch.testing.assert_close(weight.grad, other.grad)


def test_summed_and_per_token_losses_agree() -> None:
    hidden, weight = torch.randn(3, 33, 8, requires_grad=True), torch.randn(101, 8, requires_grad=True)
    targets = torch.randint(0, 101, (33,), generator=torch.Generator().manual_seed(0))
    summed = ops.mtp_loss(hidden, weight, targets, head_weights=(1.0, 0.5, 0.2), reduction="sum")
    each = ops.mtp_loss(hidden, weight, targets, head_weights=(1.0, 0.5, 0.2), reduction="none")
    torch.testing.assert_close(summed, each.sum())
    for a, b in zip(
        torch.autograd.grad(summed, (hidden, weight)), torch.autograd.grad(each.sum(), (hidden, weight)), strict=True
    ):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("needs", [(True, True), (True, False), (False, True)])
def test_opcheck_summed_loss(needs: tuple[bool, bool]) -> None:
    hidden = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=needs[0])
    weight = torch.randn(7, 3, dtype=torch.float64, requires_grad=needs[1])
    bias = torch.randn(7, dtype=torch.float64, requires_grad=needs[1])
    targets = torch.tensor([[1, 2, -100, 3, 4], [2, -100, 3, 4, -100]])
    scale = torch.tensor([0.5, 0.25], dtype=torch.float64)
    torch.library.opcheck(
        loss_ops._summed_loss, (hidden, weight, bias, targets, scale, -100, 0.01, 2.0, 0.1, *needs),
        test_utils=("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic"),
    )  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_repeats_bit_for_bit(dtype: torch.dtype) -> None:
    hidden, weight = torch.randn(2, 50, 16).to(dtype), torch.randn(777, 16).to(dtype)
    targets = torch.randint(0, 777, (50,))
    results = []
    for _ in range(2):
        leaves = [hidden.clone().requires_grad_(), weight.clone().requires_grad_()]
        loss = ops.mtp_loss(*leaves, targets, head_weights=(1.0, 0.3))
        results.append((loss, *torch.autograd.grad(loss, leaves)))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


# The Triton kernels, under its interpreter


def kernels() -> Any:
    pytest.importorskip("triton", reason="Triton has no build for this platform")
    module = importlib.import_module("smolfast.kernels.mtp_loss")
    if not module.INTERPRETED:
        pytest.skip("needs TRITON_INTERPRET=1")
    return module


@pytest.mark.parametrize("seed", range(24))
def test_kernels_are_exact(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    of = case(seed + 1000)
    dtype = [torch.float32, torch.bfloat16, torch.float16][seed % 3]
    module, positions, vocabulary, width = kernels(), min(of["positions"], 67), min(of["vocabulary"], 501), of["width"]
    monkeypatch.setattr(module, "SLICE_BYTES", positions * 300)  # several slices of the vocabulary
    monkeypatch.setattr(module, "SPLIT_BLOCKS", 3)
    generator = torch.Generator().manual_seed(seed)
    heads, depths = 1 if of["shared"] else of["depths"], of["depths"]
    hidden = torch.randn(heads, positions, width, generator=generator).to(dtype)
    weight = (torch.randn(vocabulary, width, generator=generator) / width**0.5).to(dtype)
    weight = weight.t().contiguous().t() if of["strided"] else weight
    bias = torch.randn(vocabulary, generator=generator).to(dtype) if of["bias"] else None
    targets = torch.randint(0, vocabulary, (depths, positions), generator=generator)
    targets[torch.rand(targets.shape, generator=generator) < 0.2] = -100
    options = (-100, of["z_loss"], of["softcap"], of["label_smoothing"])
    upstream = torch.randn(depths, positions, generator=generator) / 1000  # about as small as a mean makes it

    losses, lse, right = module.forward(hidden, weight, bias, targets, *options)
    gradients = module.backward(upstream, hidden, weight, bias, targets, lse, *options)
    wide = [None if x is None else x.double() for x in (hidden, weight, bias)]
    named = reference.LossOptions(*options)
    exact_losses, exact_lse, exact_right, stored = reference.token_losses_forward(*wide, targets, named, False)
    exact_gradients = reference.token_losses_backward(
        upstream.double(), *wide, targets, exact_lse, stored, named, (True, True)
    )  # fmt: skip
    torch.testing.assert_close(losses.double(), exact_losses, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(lse.double(), exact_lse, rtol=1e-5, atol=1e-5)
    if not of["softcap"]:
        assert torch.equal(right, exact_right)
    for got, want in zip(gradients, exact_gradients, strict=True):
        assert got.dtype == dtype
        close = TOLERANCE[dtype] * float(want.abs().max()) if want.numel() else 0
        torch.testing.assert_close(got.double(), want, rtol=0, atol=close + 1e-12)


def test_ops_take_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    module = kernels()
    hidden = torch.randn(2, 40, 16, requires_grad=True)
    weight, bias = torch.randn(77, 16, requires_grad=True), torch.randn(77, requires_grad=True)
    targets = torch.randint(0, 77, (40,), generator=torch.Generator().manual_seed(0))
    targets[3:9] = -100
    arguments: dict[str, Any] = {"head_weights": (1.0, 0.4), "bias": bias, "z_loss": 0.01, "label_smoothing": 0.1}
    expected = ops.mtp_loss(hidden, weight, targets, **arguments)
    want = torch.autograd.grad(expected, (hidden, weight, bias))
    calls = []
    monkeypatch.setattr(loss_ops, "_USE_KERNEL_ON", {"cpu"})
    for name in ("forward", "backward"):
        own = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, own=own, name=name, **k: (calls.append(name), own(*a, **k))[1])
    loss = ops.mtp_loss(hidden, weight, targets, **arguments)
    got = torch.autograd.grad(loss, (hidden, weight, bias))
    assert calls == ["forward", "backward"]
    torch.testing.assert_close(loss, expected)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b)


def test_kernels_without_rows_or_targets() -> None:
    module = kernels()
    for positions in (0, 5):
        hidden, weight, targets = torch.randn(2, positions, 8), torch.randn(11, 8), torch.full((2, positions), -100)
        losses, lse, right = module.forward(hidden, weight, None, targets)
        assert not losses.any()
        assert not right.any()
        for gradient in module.backward(torch.ones_like(losses), hidden, weight, None, targets, lse):
            assert not gradient.any()
