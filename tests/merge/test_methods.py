"""Each method against the formula of its paper on whole tensors, with pieces of every size."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from smolfast.merge.methods import Method, linear, model_stock, slerp, ties


def merged(method: Method, models: list[Tensor], size: int) -> np.ndarray:
    def pieces() -> Iterator[list[Tensor]]:
        for start in range(0, len(models[0]), size):
            yield [model[start : start + size].double() for model in models]

    combine = method(pieces)
    return torch.cat([combine(found) for found in pieces()]).numpy()


def drawn(count: int, size: int = 501, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(size, generator=generator) for _ in range(count)]


@pytest.fixture(params=[1, 7, 100, 10_000])
def size(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def test_linear(size: int) -> None:
    models = drawn(3)
    weights = [1.0, 3.0, -0.5]
    expected = sum(weight * model.double().numpy() for weight, model in zip(weights, models, strict=True)) / 3.5
    np.testing.assert_allclose(merged(linear(weights), models, size), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_slerp(size: int, t: float) -> None:
    one, other = (model.double().numpy() for model in drawn(2))
    angle = math.acos(one @ other / np.linalg.norm(one) / np.linalg.norm(other))
    expected = (math.sin((1 - t) * angle) * one + math.sin(t * angle) * other) / math.sin(angle)
    np.testing.assert_allclose(merged(slerp(t), drawn(2), size), expected, rtol=1e-10, atol=1e-12)


def test_slerp_of_what_has_no_angle() -> None:
    (one,) = drawn(1)
    np.testing.assert_allclose(merged(slerp(0.25), [one, 2 * one], 100), one.double().numpy() * 1.25, rtol=1e-6)
    np.testing.assert_allclose(merged(slerp(0.25), [one, -one], 100), one.double().numpy() * 0.5, rtol=1e-6)
    zero = torch.zeros_like(one)
    assert np.isfinite(merged(slerp(0.5), [one, zero], 100)).all()
    assert not merged(slerp(0.5), [zero, zero], 100).any()


def plain_ties(base: np.ndarray, models: list[np.ndarray], weights: list[float], density: float) -> np.ndarray:
    kept = []
    for model, weight in zip(models, weights, strict=True):
        difference = model - base
        order = np.argsort(-np.abs(difference), kind="stable")
        mask = np.zeros_like(difference)
        mask[order[: max(1, int(density * difference.size))]] = 1
        kept.append(difference * mask * weight)
    sign = np.where(sum(kept) >= 0, 1, -1)
    agree = [np.sign(one) == sign for one in kept]
    total = sum(one * mask for one, mask in zip(kept, agree, strict=True))
    divisor = sum(weight * mask for weight, mask in zip(weights, agree, strict=True))
    return base + total / np.where(divisor == 0, 1, divisor)


@pytest.mark.parametrize("density", [0.001, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("weights", [[1.0, 1.0, 1.0], [0.5, 2.0, 1.0]])
def test_ties(size: int, density: float, weights: list[float]) -> None:
    base, *models = drawn(4, seed=3)
    expected = plain_ties(base.numpy(), [model.numpy() for model in models], weights, density)
    np.testing.assert_allclose(merged(ties(weights, density), [base, *models], size), expected, rtol=1e-6, atol=1e-6)


def test_ties_keeps_the_first_of_equal_differences(size: int) -> None:
    base = torch.zeros(40)
    model = torch.tensor([1.0, -1.0] * 20)
    found = merged(ties([1.0], 0.25), [base, model], size)
    assert found.tolist() == [*([1.0, -1.0] * 5), *([0.0] * 30)]
    assert not merged(ties([1.0], 0.25), [base, base], size).any()


def test_model_stock(size: int) -> None:
    base, *noise = drawn(4, seed=5)
    shared = torch.randn(501, generator=torch.Generator().manual_seed(9))
    models = [base + shared + one for one in noise]
    differences = [(model - base).double().numpy() for model in models]
    cosines = [
        one @ other / np.linalg.norm(one) / np.linalg.norm(other)
        for at, one in enumerate(differences)
        for other in differences[at + 1 :]
    ]
    cosine = float(np.mean(cosines))
    share = 3 * cosine / (1 + 2 * cosine)
    assert 0.2 < share < 0.9
    expected = base.double().numpy() + share * np.mean(differences, axis=0)
    np.testing.assert_allclose(merged(model_stock, [base, *models], size), expected, rtol=1e-6, atol=1e-6)


def test_model_stock_of_models_that_did_not_move() -> None:
    (base,) = drawn(1)
    np.testing.assert_array_equal(merged(model_stock, [base, base, base], 100), base.double().numpy())
    apart = merged(model_stock, [base, base + 1, base - 1], 100)
    np.testing.assert_allclose(apart, base.double().numpy(), atol=1e-6)
