"""The sweep of the vocabulary in C++ beside the plain one in fp64, on every instruction set that has it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from smolfast import _native, ops, reference
from smolfast.errors import SmolfastError
from smolfast.ops.native import loss as native_loss
from smolfast.reference import LossOptions, Teacher

# Of the largest gradient: bf16 rounds each logit and each gradient of a logit once.
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}


@pytest.fixture(params=TOLERANCE, ids=str)
def dtype(request: pytest.FixtureRequest, implementation: str, monkeypatch: pytest.MonkeyPatch) -> torch.dtype:
    """Each, however few the columns. Where an instruction set has no sweep, what takes its place must do the same."""
    monkeypatch.setattr(native_loss, "_LEAST_COLUMNS", 1)
    return request.param


def sweep(hidden: Tensor, weight: Tensor, options: LossOptions, teacher: Teacher | None = None) -> reference.Sweep:
    found = native_loss.sweep_for(hidden, weight, options, teacher)
    assert (found is native_loss._sweep) == _native.loss_sweeps(hidden.dtype == torch.bfloat16)
    return found


def problem(
    heads: int, depths: int, positions: int, vocabulary: int, width: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Hidden states, weight, bias and targets of which some don't count."""
    generator = torch.Generator().manual_seed(positions * vocabulary + width)
    hidden = torch.randn(heads, positions, width, generator=generator).to(dtype)
    weight = (2 * torch.randn(vocabulary, width, generator=generator) / width**0.5).to(dtype)
    bias = torch.randn(vocabulary, generator=generator).to(dtype)
    targets = torch.randint(0, vocabulary, (depths, positions), generator=generator)
    targets[torch.rand(targets.shape, generator=generator) < 0.2] = -100
    return hidden, weight, bias, targets


def compare(
    found: tuple[Tensor, ...], hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, scale: Tensor,
    *options: Any,
) -> None:  # fmt: skip
    """With the plain sweep in fp64."""
    wide = [None if x is None else x.double() for x in (hidden, weight, bias)]
    exact = reference.summed_loss(*wide, targets, scale.double(), *options)
    close = TOLERANCE[hidden.dtype]
    for got, want in zip((*found[:2], found[6]), (*exact[:2], exact[6]), strict=True):  # losses, lse, divergences
        torch.testing.assert_close(got.double(), want, rtol=close, atol=close)
    if hidden.dtype == torch.float32:  # elsewhere rounding makes ties
        assert torch.equal(found[2], exact[2])
    for got, want in zip(found[3:6], exact[3:6], strict=True):
        assert got.shape == want.shape
        most = float(want.abs().max()) if want.numel() else 0.0
        torch.testing.assert_close(got.double(), want, rtol=0, atol=close * most)


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize(
    ("heads", "depths", "positions", "vocabulary", "width", "options"),
    [
        (1, 1, 1, 1, 1, {}),
        (1, 1, 1, 4099, 123, {"z_loss": 0.01}),
        (2, 2, 33, 7, 2, {}),
        (1, 3, 130, 65, 33, {"label_smoothing": 0.1}),
        (3, 3, 70, 1001, 64, {"z_loss": 0.02, "label_smoothing": 0.2}),
        (1, 2, 97, 2570, 96, {}),
    ],
)
def test_matches_plain_torch(
    dtype: torch.dtype, with_bias: bool, heads: int, depths: int, positions: int, vocabulary: int,
    width: int, options: dict[str, float],
) -> None:  # fmt: skip
    hidden, weight, bias, targets = problem(heads, depths, positions, vocabulary, width, dtype)
    scale = torch.tensor([1.0, 0.5, 0.25][:depths]) / positions
    arguments = (hidden, weight, bias if with_bias else None, targets, scale, LossOptions(**options), (True, True))
    found = reference.summed_loss(*arguments, sweep=sweep(hidden, weight, LossOptions(**options)))
    compare(found, *arguments)


@pytest.mark.parametrize("shared", [False, True])
def test_stored_pairs_are_terms_of_the_gradient(dtype: torch.dtype, shared: bool) -> None:
    """Many on one column, some twice there, and the target's own."""
    hidden, weight, _, targets = problem(1 if shared else 2, 2, 41, 301, 20, dtype)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 12, (41, 9), generator=generator) * 25
    tokens[:, :2] = targets[0].clamp(min=0)[:, None]
    teacher = Teacher(0.3, 0.7, 1.0, "forward", tokens=tokens, probabilities=torch.rand(41, 9, generator=generator) / 9)
    arguments = (hidden, weight, None, targets, torch.tensor([0.02, 0.01]), LossOptions(), (True, True), teacher)
    found = reference.summed_loss(*arguments, sweep=sweep(hidden, weight, LossOptions(), teacher))
    compare(found, *arguments)


@pytest.mark.parametrize("needs", [(True, False), (False, True), (False, False)])
def test_only_what_is_wanted_is_computed(dtype: torch.dtype, needs: tuple[bool, bool]) -> None:
    hidden, weight, bias, targets = problem(1, 1, 50, 301, 20, dtype)
    arguments = (hidden, weight, bias, targets, torch.tensor([0.02]), LossOptions(), needs)
    found = reference.summed_loss(*arguments, sweep=sweep(hidden, weight, LossOptions()))
    assert [bool(gradient.numel()) for gradient in found[3:6]] == [needs[0], needs[1], needs[1]]
    compare(found, *arguments)


def test_columns_shut_out_by_the_bias_get_nothing(dtype: torch.dtype) -> None:
    hidden, weight, bias, targets = problem(1, 1, 50, 700, 20, dtype)
    bias[:600] = -torch.inf  # whole slices, then part of one
    targets = targets.clamp(min=600)
    arguments = (hidden, weight, bias, targets, torch.tensor([0.02]), LossOptions(), (True, True))
    found = reference.summed_loss(*arguments, sweep=sweep(hidden, weight, LossOptions()))
    assert not found[4][:600].any()
    compare(found, *arguments)


def test_values_that_are_no_numbers_are_not_hidden(dtype: torch.dtype) -> None:
    hidden, weight, _, targets = problem(1, 1, 50, 300, 20, dtype)
    targets[:] = 3
    for value in (torch.nan, torch.inf):
        hidden[0, 7] = value
        losses, lse, _, dx, *_ = reference.summed_loss(
            hidden, weight, None, targets, torch.tensor([0.02]), LossOptions(), (True, True),
            sweep=sweep(hidden, weight, LossOptions()),
        )  # fmt: skip
        for found in (losses[0], lse[0], dx[0].sum(1)):
            assert found.isfinite().tolist() == [row != 7 for row in range(50)]


def test_exponentials_cover_their_whole_range(dtype: torch.dtype) -> None:
    """Logits down to 100 below the maximum: shares are as right as the dtype can say, 0 where they'd be subnormal."""
    hidden, weight = torch.ones(1, 1, 1).to(dtype), torch.linspace(-100, 0, 5000)[:, None].to(dtype)
    found = reference.summed_loss(
        hidden, weight, None, torch.zeros(1, 1, dtype=torch.int64), torch.ones(1), LossOptions(), (False, True),
        sweep=sweep(hidden, weight, LossOptions()),
    )  # fmt: skip
    share = torch.softmax(weight.double(), 0)[1:]
    gradient, normal = found[4].double()[1:], share > 1e-36
    close = 2e-6 if dtype == torch.float32 else 2.0**-8
    assert ((gradient - share).abs()[normal] <= close * share[normal]).all()
    assert (gradient[~normal].abs() <= 1.1e-36).all()


def test_threads_change_nothing(dtype: torch.dtype) -> None:
    hidden, weight, _, targets = problem(1, 1, 100, 3000, 40, dtype)
    results, before = [], torch.get_num_threads()
    for threads in (1, 3):
        torch.set_num_threads(threads)
        results.append(
            reference.summed_loss(
                hidden, weight, None, targets, torch.tensor([0.01]), LossOptions(), (True, True),
                sweep=sweep(hidden, weight, LossOptions()),
            )
        )  # fmt: skip
    torch.set_num_threads(before)
    # torch's products, where they take the sweep's place, promise no order of their sums.
    close = 0.0 if _native.loss_sweeps(dtype == torch.bfloat16) else TOLERANCE[dtype]
    for one, three in zip(*results, strict=True):
        torch.testing.assert_close(one, three, rtol=close, atol=close)


def test_the_weight_can_be_resized_afterwards() -> None:
    """FSDP resizes the storage of parameters, which it can't once NumPy has seen it."""
    for dtype in TOLERANCE:
        hidden, weight, _, targets = problem(1, 1, 10, 5000, 8, dtype)
        weight.requires_grad_()
        loss = ops.mtp_loss(hidden, weight, targets[0].clamp(min=0), head_weights=(1.0,))
        assert isinstance(loss, Tensor)
        loss.backward()
        weight.untyped_storage().resize_(0)


def test_other_layouts_and_options_take_another_way() -> None:
    rows, weight, plain = torch.randn(1, 10, 8), torch.randn(5000, 8), LossOptions()
    dense = Teacher(0.5, 0.5, 1.0, "forward", lambda at: torch.zeros(len(at), 5000))
    for arguments in (
        (rows, weight.t().contiguous().t(), plain, None),
        (rows, weight[:50], plain, None),
        (torch.randn(1, 1, 9000), torch.randn(5000, 9000), plain, None),
        (rows, weight, LossOptions(softcap=5.0), None),
        (rows, weight, plain, dense),
        (rows.double(), weight.double(), plain, None),
    ):
        assert not native_loss.serves(*arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"columns": np.full((4, 2), 10)}, "outside the logits"),
        ({"columns": np.zeros((3, 2), np.int64)}, "must be \\[rows, pairs\\]"),
        ({"uniform": np.zeros(3, np.float32)}, "a term isn't \\[rows\\]"),
        ({"hidden": np.zeros((6, 4), np.float32).T}, "side by side"),
        ({"weight": np.zeros((10, 5), np.float32)}, "\\[rows, width\\]"),
        ({"logits": np.zeros(95, np.float32)}, "too little room"),
        ({"dx": np.zeros((4, 5), np.float32)}, "the shapes of what they belong to"),
        ({"dw": np.zeros((9, 6), np.float32)}, "the shapes of what they belong to"),
        ({"db": np.zeros(9, np.float32)}, "the shapes of what they belong to"),
        ({"bias": np.zeros(9, np.float32)}, "the shapes of what they belong to"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, np.ndarray], message: str) -> None:
    arguments = {
        "hidden": np.zeros((4, 6), np.float32),
        "weight": np.zeros((10, 6), np.float32),
        "bias": None,
        "partition": np.zeros(4, np.float32),
        "partition_lse": np.zeros(4, np.float32),
        "uniform": np.zeros(4, np.float32),
        "columns": np.zeros((4, 2), np.int64),
        "values": np.zeros((4, 2), np.float32),
        "logits": np.zeros(960, np.float32),
        "dx": None,
        "dw": None,
        "db": None,
    }
    with pytest.raises(
        SmolfastError, match=message if _native.loss_sweeps(False) else "not with this CPU's instructions"
    ):
        _native.loss_sweep(**{**arguments, **change}, threads=1)
