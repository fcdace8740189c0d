"""Learning from a larger model: cross-entropy and a divergence from a teacher in one sweep of the vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from smolfast.errors import SmolfastError
from smolfast.ops.differentiation import anchor_of, refuse_transforms
from smolfast.ops.distillation import INSTEAD, distilled_loss
from smolfast.ops.loss import autocast, check_loss, divisor, metrics_of, shift, sums_at_once
from smolfast.reference import DIVERGENCES


@dataclass(frozen=True)
class DenseTeacher:
    """logits [..., N, V]: read a few rows at a time, so a memory-mapped tensor stays on disk."""

    logits: Tensor


@dataclass(frozen=True)
class HiddenTeacher:
    """hidden [..., N, T] with the teacher's unembedding, weight [V, T] and bias [V]: its logits never exist whole."""

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None = None


@dataclass(frozen=True)
class StoredTeacher:
    """A few (token, probability) pairs a position: tokens int64 and probabilities floating point, both [..., N, m].

    Entries of probability 0 pad. The probabilities are those at the temperature of the loss.
    """

    tokens: Tensor
    probabilities: Tensor
    unbiased: bool
    """Whether the gradient's mean over draws is that of the whole distribution: of `sample_teacher`, not of
    `top_k_teacher`, which tells the student that everything it left out is impossible (arXiv 2503.16870 §3)."""


Teacher = DenseTeacher | HiddenTeacher | StoredTeacher


def sample_teacher(
    logits: Tensor, samples: int, *, temperature: float = 1.0, generator: torch.Generator | None = None
) -> StoredTeacher:
    """Random sampling knowledge distillation (arXiv 2503.16870): tokens drawn from the teacher, with their shares.

    Args:
        logits: [..., V]. samples: draws a position, with replacement; so many pairs at most are stored.

    Returns:
        pairs [..., m], m the most distinct tokens drawn at any position. Their mean over draws is the distribution.
    """
    q = torch.softmax(logits.float() / temperature, -1).reshape(-1, logits.shape[-1])
    drawn = torch.multinomial(q, samples, replacement=True, generator=generator).sort(1).values
    first = torch.ones_like(drawn, dtype=torch.bool)
    first[:, 1:] = drawn[:, 1:] != drawn[:, :-1]
    place = first.cumsum(1) - 1
    tokens = torch.zeros_like(drawn).scatter_(1, place, drawn)
    shares = q.new_zeros(drawn.shape).scatter_add_(1, place, q.new_full(drawn.shape, 1.0 / samples))
    kept = int(place.max()) + 1 if place.numel() else 0
    shape = (*logits.shape[:-1], kept)
    return StoredTeacher(tokens[:, :kept].reshape(shape), shares[:, :kept].reshape(shape), unbiased=True)


def top_k_teacher(logits: Tensor, k: int, *, temperature: float = 1.0) -> StoredTeacher:
    """The k likeliest tokens of logits [..., V] with their probabilities, which sum to less than 1. Biased."""
    probabilities, tokens = torch.softmax(logits.float() / temperature, -1).topk(k, -1)
    return StoredTeacher(tokens, probabilities, unbiased=False)


def distill_loss(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    teacher: Teacher,
    *,
    head_weights: Sequence[float] = (1.0,),
    ce_weight: float = 0.5,
    kl_weight: float = 0.5,
    temperature: float = 1.0,
    divergence: Literal["forward", "reverse", "js"] = "forward",
    bias: Tensor | None = None,
    ignore_index: int = -100,
    z_loss: float = 0.0,
    softcap: float = 0.0,
    label_smoothing: float = 0.0,
    reduction: Literal["mean", "sum"] = "mean",
    document_ids: Tensor | None = None,
    num_items: float | Tensor | Sequence[float] | None = None,
    return_metrics: bool = False,
) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
    """ce_weight · `ops.mtp_loss` + kl_weight · τ² · divergence from the teacher (Hinton et al., arXiv 1503.02531).

    Args:
        hidden, weight, targets, head_weights, bias and the options of the loss: as `smolfast.ops.mtp_loss`. Without
            hardware products in the dtype of hidden and weight, both are widened to fp32.
        teacher: its distribution at position i is that of targets[i]; depth j learns from position i + j. Positions
            whose target doesn't count teach nothing.
        temperature: τ of both distributions.
        divergence: "forward" KL(teacher ‖ student), "reverse" KL(student ‖ teacher; arXiv 2306.08543), or "js", the
            Jensen–Shannon divergence. Stored pairs serve "forward" only.

    Returns:
        the loss, or (loss, metrics): those of `mtp_loss` and "divergence", each depth's mean. Of stored pairs the
        divergence is Σ q log(q / p) over the pairs, no true divergence.

    Raises:
        SmolfastError: shapes or options that don't fit together; a target outside the vocabulary; under `torch.func`
            and forward-mode differentiation, and when its gradients are differentiated again.
    """
    refuse_transforms("distill_loss", INSTEAD)
    depths, shared = len(head_weights), hidden.ndim == targets.ndim + 1
    check_loss(hidden, weight, targets, bias, depths, shared, softcap, label_smoothing, "mean")
    if reduction not in ("mean", "sum"):
        raise SmolfastError(f"distill_loss: reduction = '{reduction}' isn't offered; choose mean or sum")
    if temperature <= 0:
        raise SmolfastError(f"distill_loss: temperature is {temperature}; it must be above 0")
    if divergence not in DIVERGENCES:
        raise SmolfastError(f"distill_loss: divergence = '{divergence}' is unknown; choose {', '.join(DIVERGENCES)}")
    tensors = _teacher_tensors(teacher, targets, weight.shape[0], divergence)
    hidden, weight, bias = autocast(hidden, weight, bias)
    if not (
        sums_at_once(hidden, weight) or (hidden.device.type == "cuda" and hidden.dtype == weight.dtype != torch.float16)
    ):
        wide = torch.float64 if torch.float64 in (hidden.dtype, weight.dtype) else torch.float32
        hidden, weight = hidden.to(wide), weight.to(wide)
    positions = targets.numel()
    flat_targets = shift(targets, depths, ignore_index, document_ids).reshape(depths, positions)
    rows = hidden.reshape(1 if shared else depths, positions, hidden.shape[-1])
    valid = flat_targets != ignore_index
    counts = valid.sum(1)
    dtype = torch.float64 if hidden.dtype == torch.float64 else torch.float32
    scale = torch.tensor(head_weights, dtype=dtype, device=hidden.device)
    if reduction == "mean":
        scale = scale / divisor(num_items, counts, depths)
    trained = torch.is_grad_enabled()
    needs_weight = weight.requires_grad or (bias is not None and bias.requires_grad)
    loss: Tensor
    loss, losses, lse, right, _, _, _, divergences = distilled_loss(
        rows, weight, bias, flat_targets, scale, *tensors, ce_weight, kl_weight, temperature, divergence, ignore_index,
        z_loss, softcap, label_smoothing, trained and hidden.requires_grad, trained and needs_weight,
        anchor_of(hidden, weight, bias) if trained else None,
    )  # fmt: skip
    if not return_metrics:
        return loss
    metrics = metrics_of(losses, lse, right, valid, counts)
    return loss, metrics | {"divergence": divergences.sum(1) / counts.clamp(min=1)}


def _teacher_tensors(
    teacher: Teacher, targets: Tensor, vocabulary: int, divergence: str
) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
    """What `distilled_loss` reads: logits; hidden, weight, bias; tokens, probabilities; by flat position, detached."""

    def flat(name: str, values: Tensor, width: int | None) -> Tensor:
        if values.shape[:-1] != targets.shape or (width is not None and values.shape[-1] != width):
            last = "m" if width is None else width
            raise SmolfastError(
                f"distill_loss: the teacher's {name} has shape {list(values.shape)}; expected {[*targets.shape, last]}"
            )
        return values.detach().reshape(targets.numel(), values.shape[-1])

    if isinstance(teacher, DenseTeacher):
        return flat("logits", teacher.logits, vocabulary), None, None, None, None, None
    if isinstance(teacher, HiddenTeacher):
        hidden, weight = flat("hidden", teacher.hidden, None), teacher.weight.detach()
        if weight.shape != (vocabulary, hidden.shape[1]):
            raise SmolfastError(
                f"distill_loss: the teacher's weight has shape {list(weight.shape)}; "
                f"expected {[vocabulary, hidden.shape[1]]}: teacher and student must share the vocabulary"
            )
        return None, hidden, weight, None if teacher.bias is None else teacher.bias.detach(), None, None
    if divergence != "forward":
        raise SmolfastError(
            f"distill_loss: divergence = '{divergence}' needs the teacher's whole distribution, and this teacher is "
            "stored pairs; choose forward, or a DenseTeacher or HiddenTeacher"
        )
    tokens = flat("tokens", teacher.tokens, None)
    probabilities = flat("probabilities", teacher.probabilities, tokens.shape[1])
    if tokens.dtype != torch.int64:
        raise SmolfastError(f"distill_loss: the teacher's tokens are {tokens.dtype}; expected int64")
    if tokens.device.type == "cpu" and tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) < vocabulary:
        raise SmolfastError(
            f"distill_loss: the teacher's tokens run from {int(tokens.min())} to {int(tokens.max())}, outside the "
            f"student's vocabulary of {vocabulary}; store them with the student's tokenizer"
        )
    return None, None, None, None, tokens, probabilities
