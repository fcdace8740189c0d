"""The C++ middle of the loss beside the plain one in fp64, on every instruction set."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from smolfast import _native, reference
from smolfast.errors import SmolfastError
from smolfast.ops.native.softmax_gradient import turn_for
from smolfast.reference import LossOptions, Rows, Teacher

POSITIONS = 50
# Of one rounding to the dtype, for logits of a few units.
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 2.0**-8}


def problem(rows: int, width: int, depths: int, dtype: torch.dtype) -> tuple[Tensor, Rows, Teacher]:
    generator = torch.Generator().manual_seed(rows * width)

    def integers(limit: int, *shape: int) -> Tensor:
        return torch.randint(0, limit, shape, generator=generator)

    logits = (3 * torch.randn(rows, width + 7, generator=generator)).to(dtype)[:, :width]
    wanted = integers(width, rows, depths)
    grad = torch.rand(rows, depths, generator=generator) * (integers(4, rows, depths) > 0)
    shares = torch.rand(POSITIONS, 9, generator=generator)
    teacher = Teacher(0.3, 0.7, 1.0, "forward", tokens=integers(width, POSITIONS, 9), probabilities=shares / 9)
    zeros = torch.zeros(rows, depths)
    right = torch.zeros(rows, depths, dtype=torch.bool)
    return logits, Rows(
        wanted, grad, integers(POSITIONS, rows, depths), zeros, torch.zeros(rows), right, zeros.clone()
    ), teacher  # fmt: skip


def in_fp64(rows: Rows) -> Rows:
    fields = (getattr(rows, name) for name in rows.__dataclass_fields__)
    return Rows(*(field.double() if field.is_floating_point() else field.clone() for field in fields))


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("taught", [False, True])
@pytest.mark.parametrize(
    ("rows", "width", "depths", "options"),
    [
        (1, 1, 1, {}),
        (5, 17, 1, {"z_loss": 0.01}),
        (3, 1000, 3, {"label_smoothing": 0.1}),
        (9, 4099, 4, {"z_loss": 0.02, "label_smoothing": 0.2}),
    ],
)
def test_matches_plain_torch(
    implementation: str, dtype: torch.dtype, taught: bool, rows: int, width: int, depths: int,
    options: dict[str, float],
) -> None:  # fmt: skip
    logits, found, teacher = problem(rows, width, depths, dtype)
    expected, exact = in_fp64(found), logits.double()
    chosen, who = LossOptions(**options), teacher if taught else None
    turn = turn_for(logits, chosen, who)
    assert turn is not reference.turn_rows
    turn(logits, found, chosen, who)
    reference.turn_rows(exact, expected, chosen, who)
    assert torch.equal(found.right, expected.right)
    for name in ("lse", "losses", "divergences"):
        torch.testing.assert_close(getattr(found, name).double(), getattr(expected, name), rtol=2e-6, atol=2e-6)
    scale = exact.abs().amax(1, keepdim=True) + expected.grad.sum(1, keepdim=True)
    assert ((logits.double() - exact).abs() <= TOLERANCE[dtype] * exact.abs() + 2e-7 * scale).all()


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_values_that_are_no_numbers_stay_in_their_rows(implementation: str, dtype: torch.dtype) -> None:
    logits, rows, _ = problem(5, 2000, 1, dtype)
    logits[1, 700], logits[2, 3], logits[3] = torch.nan, torch.inf, -torch.inf
    logits[4, ::2] = -torch.inf
    rows.wanted[4] = 1
    plain, expected = logits.to(torch.float32, copy=True), in_fp64(rows)
    turn_for(logits, LossOptions(), None)(logits, rows, LossOptions(), None)
    reference.turn_rows(plain, expected, LossOptions(), None)
    for row in (1, 2, 3):
        assert logits[row].isnan().any()
        assert rows.losses[row].isnan().all()
    for row in (0, 4):
        torch.testing.assert_close(logits[row].float(), plain[row], rtol=TOLERANCE[dtype] * 2, atol=1e-6)
    assert (logits[4, ::2] == 0).all()


def test_exponential_covers_its_whole_range(implementation: str) -> None:
    """Logits down to 100 below the maximum: their shares are right to a few units in the last place, or 0 where they
    would be subnormal."""
    logits = torch.linspace(-100, 0, 1 << 16)[None].clone()
    share = torch.softmax(logits.double(), 1)
    nothing = np.zeros((1, 0), np.int64), np.zeros((1, 0), np.float32)
    one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
    _native.softmax_gradient(logits.numpy(), one, zero, zero, *nothing, 1)
    normal = share > 1e-36
    assert ((logits.double() - share).abs()[normal] <= 1e-6 * share[normal]).all()
    assert (logits[~normal] <= 1.1e-36).all()


def test_threads_change_nothing() -> None:
    results = []
    for threads in (1, 3):
        logits, rows, _ = problem(33, 700, 2, torch.float32)
        columns, values = rows.wanted.numpy(), rows.grad.numpy()
        terms = (np.ones(33, np.float32), np.zeros(33, np.float32), np.zeros(33, np.float32))
        results.append([logits, *_native.softmax_gradient(logits.numpy(), *terms, columns, values, threads)])
    assert all(np.array_equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"columns": np.full((4, 2), 10)}, "outside the logits"),
        ({"columns": np.full((4, 2), -1)}, "outside the logits"),
        ({"columns": np.zeros((3, 2), np.int64)}, "must be \\[rows, pairs\\]"),
        ({"values": np.zeros((4, 1), np.float32)}, "must be \\[rows, pairs\\]"),
        ({"partition": np.zeros(3, np.float32)}, "a term isn't \\[rows\\]"),
        ({"logits": np.zeros((10, 4), np.float32).T}, "side by side"),
        ({"logits": np.zeros(4, np.float32)}, "must be \\[rows, width\\]"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, np.ndarray], message: str) -> None:
    arguments = {
        "logits": np.zeros((4, 10), np.float32),
        "partition": np.zeros(4, np.float32),
        "partition_lse": np.zeros(4, np.float32),
        "uniform": np.zeros(4, np.float32),
        "columns": np.zeros((4, 2), np.int64),
        "values": np.zeros((4, 2), np.float32),
    }
    with pytest.raises(SmolfastError, match=message):
        _native.softmax_gradient(**{**arguments, **change}, threads=1)
