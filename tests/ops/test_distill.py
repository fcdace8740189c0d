"""Distillation in the loss's sweep against plain fp64 torch, and what sampling and top-k do to its gradient."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from smolfast import SmolfastError, ops
from smolfast.distill import (
    DenseTeacher,
    HiddenTeacher,
    StoredTeacher,
    Teacher,
    distill_loss,
    sample_teacher,
    top_k_teacher,
)
from smolfast.ops.distillation import distilled_loss


def randn(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def exact(
    hidden: Tensor, weight: Tensor, targets: Tensor, q_of: Tensor, head_weights: tuple[float, ...], ce: float,
    kl: float, temperature: float, divergence: str, softcap: float = 0.0,
) -> Tensor:  # fmt: skip
    """q_of [N, V]: the teacher's probabilities. Means over each depth's targets."""
    total = hidden.new_zeros(())
    for depth, head_weight in enumerate(head_weights):
        z = F.linear(hidden if hidden.ndim == 2 else hidden[depth], weight)
        z = softcap * torch.tanh(z / softcap) if softcap else z
        parts = []
        for i in range(len(targets) - depth):
            if targets[i + depth] == -100:
                continue
            p, q = torch.softmax(z[i] / temperature, 0), q_of[i + depth]
            if divergence == "forward":
                d = (torch.xlogy(q, q) - q * p.log()).sum()
            elif divergence == "reverse":
                d = (p * (p.log() - q.log())).sum()
            else:
                m = (p + q) / 2
                d = ((p * (p / m).log()).sum() + (q * (q / m).log()).sum()) / 2
            parts.append(ce * F.cross_entropy(z[i], targets[i + depth]) + kl * temperature**2 * d)
        total = total + head_weight * torch.stack(parts).sum() / len(parts)
    return total


def problem(shared: bool, length: int = 23, vocabulary: int = 37, width: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    targets = torch.randint(0, vocabulary, (length,), generator=torch.Generator().manual_seed(3))
    targets[torch.arange(length) % 6 == 4] = -100
    hidden = randn(*((length, width) if shared else (2, length, width)), seed=1).requires_grad_()
    return hidden, randn(vocabulary, width, seed=2).requires_grad_(), targets


@pytest.mark.parametrize("divergence", ["forward", "reverse", "js"])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("softcap", [0.0, 3.0])
def test_dense_and_hidden_teachers_are_exact(
    divergence: Any, temperature: float, shared: bool, softcap: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smolfast.reference.loss_gradients._BUFFER", 300)
    monkeypatch.setattr("smolfast.reference.loss_gradients._TILE", 120)
    hidden, weight, targets = problem(shared)
    states, unembedding = randn(len(targets), 9, seed=8), randn(weight.shape[0], 9, seed=9)
    logits = states @ unembedding.t()
    options: dict[str, Any] = {"temperature": temperature, "divergence": divergence, "softcap": softcap}
    expected = exact(
        hidden, weight, targets, torch.softmax(logits / temperature, 1), (1.0, 0.3), 0.7, 0.4, temperature, divergence,
        softcap,
    )  # fmt: skip
    want = torch.autograd.grad(expected, (hidden, weight))
    for teacher in (DenseTeacher(logits), HiddenTeacher(states, unembedding)):
        loss = distill_loss(
            hidden, weight, targets, teacher, head_weights=(1.0, 0.3), ce_weight=0.7, kl_weight=0.4, **options
        )
        assert isinstance(loss, Tensor)
        torch.testing.assert_close(loss, expected)
        for a, b in zip(torch.autograd.grad(loss, (hidden, weight)), want, strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_stored_pairs_are_the_distribution_they_hold(temperature: float) -> None:
    hidden, weight, targets = problem(False)
    logits = randn(len(targets), weight.shape[0], seed=8)
    everything = top_k_teacher(logits, weight.shape[0], temperature=temperature)
    for stored in (everything, top_k_teacher(logits, 5, temperature=temperature), sample_teacher(logits, 7)):
        q = torch.zeros_like(logits).scatter_add_(1, stored.tokens, stored.probabilities.double())
        expected = exact(hidden, weight, targets, q, (1.0, 0.3), 0.5, 0.5, temperature, "forward")
        loss = distill_loss(hidden, weight, targets, stored, head_weights=(1.0, 0.3), temperature=temperature)
        assert isinstance(loss, Tensor)
        torch.testing.assert_close(loss, expected)
        got, want = (torch.autograd.grad(x, (hidden, weight)) for x in (loss, expected))
        for a, b in zip(got, want, strict=True):
            torch.testing.assert_close(a, b)


def test_without_a_divergence_it_is_the_loss() -> None:
    hidden, weight, targets = problem(False)
    teacher = DenseTeacher(randn(len(targets), weight.shape[0], seed=8))
    loss, metrics = distill_loss(
        hidden, weight, targets, teacher, head_weights=(1.0, 0.3), ce_weight=1.0, kl_weight=0.0, return_metrics=True
    )
    plain, plain_metrics = ops.mtp_loss(hidden, weight, targets, head_weights=(1.0, 0.3), return_metrics=True)
    torch.testing.assert_close(loss, plain)
    for name, value in plain_metrics.items():
        torch.testing.assert_close(metrics[name], value)
    own = DenseTeacher(hidden[0].detach() @ weight.detach().t())
    _, metrics = distill_loss(hidden[0], weight, targets, own, return_metrics=True)
    torch.testing.assert_close(metrics["divergence"], torch.zeros(1, dtype=torch.float64), atol=1e-12, rtol=0)


def test_gradcheck() -> None:
    hidden, weight, targets = problem(False, length=5, vocabulary=6, width=3)
    teacher = DenseTeacher(randn(5, 6, seed=8))
    for divergence in ("forward", "reverse", "js"):
        options: dict[str, Any] = {"head_weights": (1.0, 0.3), "divergence": divergence, "temperature": 1.7}
        torch.autograd.gradcheck(
            lambda x, w, options=options: distill_loss(x, w, targets, teacher, **options), (hidden, weight)
        )


def kd_gradients(hidden: Tensor, weight: Tensor, targets: Tensor, teacher: Teacher, copies: int) -> Tensor:
    """Of hidden [n, H], [copies, n · H]: the teacher's positions are `copies` times those of the student."""
    x = hidden.detach().repeat(copies, 1).requires_grad_()
    options: dict[str, Any] = {"ce_weight": 0.0, "kl_weight": 1.0, "reduction": "sum"}
    loss = distill_loss(x, weight, targets.repeat(copies), teacher, **options)
    assert isinstance(loss, Tensor)
    return torch.autograd.grad(loss, x)[0].view(copies, -1)


def test_sampling_is_unbiased_and_top_k_is_not() -> None:
    """The mean gradient of 8,000 draws equals the whole distribution's within 3 standard errors.

    Each statistic is one number with one standard error, and all are fixed beforehand: the gradient along three random
    directions and along the dense gradient. A fifth takes all entries together: without a bias, the squared distance
    between mean and dense gradient has expectation Σ variance / draws; its own error comes from 20 batches of draws.
    Top-k's are beside them, measured in the same errors.
    """
    draws, samples = 8000, 5
    hidden, weight = randn(4, 6, seed=1), randn(29, 6, seed=2)
    targets, logits = torch.tensor([1, 2, 3, 4]), 1.5 * randn(4, 29, seed=8)
    dense = kd_gradients(hidden, weight, targets, DenseTeacher(logits), 1)[0]
    top_k = kd_gradients(hidden, weight, targets, top_k_teacher(logits, samples), 1)[0]
    generator = torch.Generator().manual_seed(5)
    drawn = sample_teacher(logits.repeat(draws, 1), samples, generator=generator)
    gradients = kd_gradients(hidden, weight, targets, drawn, draws)
    directions = torch.stack([*(randn(len(dense), seed=20 + i) for i in range(3)), dense])
    along = gradients @ directions.t()
    standard_errors = along.std(0) / draws**0.5
    sampled = (along.mean(0) - directions @ dense) / standard_errors
    biased = (directions @ (top_k - dense)) / standard_errors
    batches = gradients.view(20, draws // 20, -1)
    excess = (batches.mean(1) - dense).square().sum(1) - batches.var(1).sum(1) / batches.shape[1]
    error = excess.std() / len(excess) ** 0.5
    left, bias = ((gradient - dense).norm() / dense.norm() for gradient in (gradients.mean(0), top_k))
    print(f"standard errors away: sampled {sampled.tolist()}, {excess.mean() / error}; top-k {biased.tolist()}")
    print(f"distance over the gradient's length: sampled {left}, top-k {bias}")

    assert float(sampled.abs().max()) < 3
    assert float(excess.mean() / error) < 3
    assert float(biased.abs().max()) > 30
    assert float((top_k - dense).square().sum() / error) > 300
    assert float(bias) > 0.1
    assert float(left) < float(bias) / 10  # and shrinks with further draws, which top-k's doesn't
    assert sample_teacher(logits, samples).unbiased
    assert not top_k_teacher(logits, samples).unbiased


def test_sampled_shares_sum_to_one_over_distinct_tokens() -> None:
    stored = sample_teacher(randn(3, 7, 11, seed=1), 20, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(stored.probabilities.sum(-1), torch.ones(3, 7))
    for tokens, shares in zip(stored.tokens.flatten(0, 1), stored.probabilities.flatten(0, 1), strict=True):
        drawn = tokens[shares > 0].tolist()
        assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_narrow_dtypes(dtype: torch.dtype) -> None:
    hidden, weight, targets = problem(False)
    teacher = DenseTeacher(randn(len(targets), weight.shape[0], seed=8))
    narrow = [x.detach().to(dtype).requires_grad_() for x in (hidden, weight)]
    wide = [x.detach().double().requires_grad_() for x in narrow]
    for divergence in ("forward", "reverse", "js"):
        options: dict[str, Any] = {"head_weights": (1.0, 0.3), "divergence": divergence}
        got, want = (distill_loss(*leaves, targets, teacher, **options) for leaves in (narrow, wide))
        assert isinstance(got, Tensor)
        assert isinstance(want, Tensor)
        close = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}[dtype]
        torch.testing.assert_close(got.double(), want, rtol=close, atol=close)
        for a, b in zip(torch.autograd.grad(got, narrow), torch.autograd.grad(want, wide), strict=True):
            assert a.dtype == dtype
            torch.testing.assert_close(a.double(), b, rtol=0, atol=close * float(b.abs().max()))


def test_opcheck_and_one_graph() -> None:
    hidden, weight, targets = problem(False)
    logits = randn(len(targets), weight.shape[0], seed=8)
    shifted = torch.stack([targets, F.pad(targets[1:], (0, 1), value=-100)])
    scale = torch.tensor([0.1, 0.02], dtype=torch.float64)
    stored = top_k_teacher(logits, 4)
    for teacher in ((logits, *(None,) * 5), (*(None,) * 4, stored.tokens, stored.probabilities)):
        torch.library.opcheck(
            distilled_loss,
            (hidden, weight, None, shifted, scale, *teacher, 0.5, 0.5, 2.0, "forward", -100, 0.0, 0.0, 0.0, True, True),
            test_utils=("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic"),
        )

    def run(x: Tensor, w: Tensor) -> Tensor:
        loss = distill_loss(x, w, targets, DenseTeacher(logits), head_weights=(1.0, 0.3))
        assert isinstance(loss, Tensor)
        return loss

    expected = torch.autograd.grad(run(hidden, weight), (hidden, weight))
    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    for a, b in zip(torch.autograd.grad(compiled(hidden, weight), (hidden, weight)), expected, strict=True):
        torch.testing.assert_close(a, b)


def test_says_what_does_not_fit() -> None:
    hidden, weight, targets = problem(False)
    logits = randn(len(targets), weight.shape[0], seed=8)
    dense, stored = DenseTeacher(logits), top_k_teacher(logits, 3)
    wrong: list[tuple[Teacher, dict[str, Any], str]] = [
        (DenseTeacher(logits[:, 1:]), {}, "the teacher's logits has shape"),
        (HiddenTeacher(logits, logits), {}, "must share the vocabulary"),
        (StoredTeacher(stored.tokens + 35, stored.probabilities, False), {}, "store them with the student's tokenizer"),
        (StoredTeacher(stored.tokens.int(), stored.probabilities, False), {}, "expected int64"),
        (StoredTeacher(stored.tokens, stored.probabilities[:, :2], False), {}, "probabilities has shape"),
        (stored, {"divergence": "reverse"}, "needs the teacher's whole distribution"),
        (dense, {"divergence": "kl"}, "choose forward, reverse, js"),
        (dense, {"temperature": 0.0}, "must be above 0"),
        (dense, {"reduction": "none"}, "choose mean or sum"),
    ]
    for teacher, options, message in wrong:
        with pytest.raises(SmolfastError, match=message):
            distill_loss(hidden, weight, targets, teacher, head_weights=(1.0, 0.3), **options)


def test_frozen_parts_get_no_gradient() -> None:
    hidden, weight, targets = problem(False)
    teacher = DenseTeacher(randn(len(targets), weight.shape[0], seed=8).requires_grad_())
    for trained in itertools.product([True, False], repeat=2):
        leaves = [
            x.detach().clone().requires_grad_(wanted) for x, wanted in zip((hidden, weight), trained, strict=True)
        ]
        loss = distill_loss(leaves[0], leaves[1], targets, teacher, head_weights=(1.0, 0.3))
        assert isinstance(loss, Tensor)
        assert loss.requires_grad == any(trained)
        if any(trained):
            loss.backward()
        assert [x.grad is not None for x in leaves] == list(trained)
    assert teacher.logits.grad is None
