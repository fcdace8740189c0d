"""`mtp_loss` and `linear_cross_entropy`: cross-entropy from hidden states, for one or several tokens ahead."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Sequence
from types import ModuleType
from typing import Any, Literal

import torch
from torch import Tensor

from smolfast import reference
from smolfast.errors import SmolfastError
from smolfast.ops.differentiation import anchor_of, is_transformed, refuse_second_order
from smolfast.ops.native.loss import serves, sweep_for
from smolfast.ops.precision import without_autocast
from smolfast.reference import MAX_STORED_COLUMNS

Reduction = Literal["mean", "sum", "none"]

# Up to here the softmax is kept for the backward pass, which saves a third of its multiplications.
_STORE_BYTES = 128 << 20


def mtp_loss(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    head_weights: Sequence[float],
    bias: Tensor | None = None,
    ignore_index: int = -100,
    z_loss: float = 0.0,
    softcap: float = 0.0,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    document_ids: Tensor | None = None,
    num_items: float | Tensor | Sequence[float] | None = None,
    return_metrics: bool = False,
) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
    """Multi-token-prediction loss (Gloeckle et al., arXiv 2404.19737): Σⱼ head_weights[j] · mean of depth j.

    `targets[i]` is the token after position i; depth j's target at position i is `targets[i + j]`.

    Args:
        hidden: [k, ..., N, H], one per depth, or [..., N, H] shared by all k depths. k = len(head_weights).
        weight: unembedding [V, H]; bias: [V].
        targets: int64 [..., N]; sequences along the leading dimensions don't see each other.
        ignore_index: targets that don't count.
        z_loss: adds z_loss · (log-partition)² per target (PaLM, arXiv 2204.02311 §5).
        softcap: c > 0 replaces each logit z by c · tanh(z / c).
        label_smoothing: as in `torch.nn.functional.cross_entropy`.
        reduction: "mean" as above; "sum" without the division; "none" gives the weighted losses [k, ..., N].
        document_ids: [..., N], the document of each position, or [..., N + 1] with that of the token after the last.
            A target counts only if it lies in its position's document. Without the last id, the last document goes on.
        num_items: divide by this (one number, or one per depth) instead of the counts of valid targets: with gradient
            accumulation, the counts of the whole batch.
        return_metrics: also a dict of detached [k] tensors, from the same pass: "loss" (each depth's own mean),
            "accuracy" (a target counts as found if no logit is above its own), "log_partition" (mean) and "count"
            (valid targets).

    Gradients of gradients (`create_graph=True`) need reduction = "none", and there the logits exist whole; so they do
    under `torch.func` and forward-mode differentiation.

    Returns:
        the loss, fp32 (fp64 for fp64 input), or (loss, metrics). A depth without valid targets contributes 0.

    Raises:
        SmolfastError: shapes or options that don't fit together; a target outside the vocabulary.
    """
    depths = len(head_weights)
    shared = hidden.ndim == targets.ndim + 1
    check_loss(hidden, weight, targets, bias, depths, shared, softcap, label_smoothing, reduction)
    return shifted_mtp_loss(
        hidden,
        weight,
        shift(targets, depths, ignore_index, document_ids),
        head_weights=head_weights,
        bias=bias,
        ignore_index=ignore_index,
        z_loss=z_loss,
        softcap=softcap,
        label_smoothing=label_smoothing,
        reduction=reduction,
        num_items=num_items,
        return_metrics=return_metrics,
    )


def shifted_mtp_loss(
    hidden: Tensor,
    weight: Tensor,
    shifted: Tensor,
    *,
    head_weights: Sequence[float],
    bias: Tensor | None = None,
    ignore_index: int = -100,
    z_loss: float = 0.0,
    softcap: float = 0.0,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    num_items: float | Tensor | Sequence[float] | None = None,
    return_metrics: bool = False,
) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
    """`mtp_loss` of the targets that `shift` makes, [k, ..., N], or of some of their positions: which token a depth
    predicts may stand where this call has none."""
    depths, shared = len(head_weights), hidden.ndim == shifted.ndim
    hidden, weight, bias = autocast(hidden, weight, bias)
    positions = shifted[0].numel()
    flat_targets = shifted.reshape(depths, positions)
    rows = hidden.reshape(1 if shared else depths, positions, hidden.shape[-1])
    itemsize = 8 if hidden.dtype == torch.float64 else 4
    valid = flat_targets != ignore_index
    counts = valid.sum(1)
    scale = torch.tensor(head_weights, dtype=torch.float64 if itemsize == 8 else torch.float32, device=hidden.device)
    if reduction == "mean":
        scale = scale / divisor(num_items, counts, depths)
    if is_transformed():
        options = reference.LossOptions(ignore_index, z_loss, softcap, label_smoothing)
        losses, lse, right = reference.plain_losses(rows, weight, bias, flat_targets, options)
        return _reduced(losses, lse, right, valid, counts, scale, shifted.shape, reduction, return_metrics)
    differentiable = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in (hidden, weight, bias))
    loss: Tensor
    if differentiable and reduction != "none" and sums_at_once(hidden, weight):
        needs_weight = weight.requires_grad or (bias is not None and bias.requires_grad)
        loss, losses, lse, right, *_ = _summed_loss(
            rows, weight, bias, flat_targets, scale, ignore_index, z_loss, softcap, label_smoothing,
            hidden.requires_grad, needs_weight, anchor_of(hidden, weight, bias),
        )  # fmt: skip
        return (loss, metrics_of(losses, lse, right, valid, counts)) if return_metrics else loss
    store = (
        differentiable
        and not softcap
        and weight.shape[0] <= MAX_STORED_COLUMNS
        and hidden.device.type not in _USE_KERNEL_ON
        and rows.shape[0] * positions * weight.shape[0] * itemsize <= _STORE_BYTES
    )
    losses, lse, right, _ = token_losses(
        rows, weight, bias, flat_targets, ignore_index, z_loss, softcap, label_smoothing, store
    )
    return _reduced(losses, lse, right, valid, counts, scale, shifted.shape, reduction, return_metrics)


def _reduced(
    losses: Tensor, lse: Tensor, right: Tensor, valid: Tensor, counts: Tensor, scale: Tensor, shape: torch.Size,
    reduction: Reduction, return_metrics: bool,
) -> Tensor | tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
    loss = (losses * scale[:, None]).reshape(shape) if reduction == "none" else (losses.sum(1) * scale).sum()
    return (loss, metrics_of(losses, lse, right, valid, counts)) if return_metrics else loss


def metrics_of(losses: Tensor, lse: Tensor, right: Tensor, valid: Tensor, counts: Tensor) -> dict[str, Tensor]:
    with torch.no_grad():
        safe = counts.clamp(min=1)
        return {
            "loss": losses.detach().sum(1) / safe,
            "accuracy": right.sum(1) / safe,
            "log_partition": (lse.detach() * valid).sum(1) / safe,
            "count": counts,
        }


def sums_at_once(hidden: Tensor, weight: Tensor) -> bool:
    """Whether gradients come with the loss. fp16 would lose them: they are divided by the count before the products."""
    return (
        hidden.device.type not in _USE_KERNEL_ON
        and hidden.dtype == weight.dtype
        and (
            hidden.dtype in (torch.float32, torch.float64)
            or (hidden.dtype == torch.bfloat16 and _multiplies_bfloat16())
        )
    )


_USE_KERNEL_ON = {"cuda"}  # torch's name for ROCm too; the tests add "cpu", where Triton's interpreter runs the kernels


def loss_kernel(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> ModuleType | None:
    """The Triton kernels, where they serve the device and dtypes."""
    if hidden.device.type not in _USE_KERNEL_ON or hidden.dtype not in (torch.float16, torch.bfloat16, torch.float32):
        return None
    if weight.dtype != hidden.dtype or (bias is not None and bias.dtype != hidden.dtype):
        return None
    try:
        return importlib.import_module("smolfast.kernels.mtp_loss")
    except ModuleNotFoundError:  # no Triton for this platform
        return None


@functools.cache
def _multiplies_bfloat16() -> bool:
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    reduction: Reduction = "mean",
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float = 0.0,
) -> Tensor:
    """`cross_entropy(linear(input, linear_weight, linear_bias), target)` without the logits: `mtp_loss` with one depth.

    Args: as `torch.nn.functional.linear_cross_entropy`: input [..., H], linear_weight [V, H], target int64 [...].
    """
    loss = mtp_loss(
        input.reshape(-1, input.shape[-1]),
        linear_weight,
        target.reshape(-1),
        head_weights=(1.0,),
        bias=linear_bias,
        ignore_index=ignore_index,
        z_loss=z_loss,
        softcap=softcap,
        label_smoothing=label_smoothing,
        reduction=reduction,
    )
    assert isinstance(loss, Tensor)
    return loss.reshape(target.shape) if reduction == "none" else loss


def check_loss(
    hidden: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None, depths: int, shared: bool, softcap: float,
    label_smoothing: float, reduction: str,
) -> None:  # fmt: skip
    if depths == 0:
        raise SmolfastError(
            "mtp_loss: head_weights is empty; give one weight per predicted token, (1.0,) for next-token only"
        )
    if targets.ndim == 0 or targets.dtype != torch.int64:
        raise SmolfastError(f"mtp_loss: targets is {targets.dtype} {list(targets.shape)}; expected int64 [..., N]")
    expected = targets.shape if shared else (depths, *targets.shape)
    if hidden.ndim not in (targets.ndim + 1, targets.ndim + 2) or hidden.shape[:-1] != torch.Size(expected):
        raise SmolfastError(
            f"mtp_loss: hidden has shape {list(hidden.shape)} for targets {list(targets.shape)} and {depths} head "
            f"weights; expected {[*targets.shape, 'H']} or {[depths, *targets.shape, 'H']}"
        )
    if weight.ndim != 2 or weight.shape[1] != hidden.shape[-1]:
        raise SmolfastError(f"mtp_loss: weight has shape {list(weight.shape)}; expected [V, {hidden.shape[-1]}]")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise SmolfastError(f"mtp_loss: bias has shape {list(bias.shape)}; expected [{weight.shape[0]}]")
    if softcap < 0 or not 0 <= label_smoothing <= 1:
        raise SmolfastError("mtp_loss: softcap must be at least 0 and label_smoothing within [0, 1]")
    if reduction not in ("mean", "sum", "none"):
        raise SmolfastError(f"mtp_loss: reduction = '{reduction}' is unknown; choose mean, sum or none")


def autocast(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    device = hidden.device.type
    if torch.is_autocast_enabled(device) and hidden.dtype != torch.float64:
        dtype = torch.get_autocast_dtype(device)
        return hidden.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    return hidden, weight, bias


def shift(targets: Tensor, depths: int, ignore_index: int, document_ids: Tensor | None) -> Tensor:
    """[..., N] → [k, ..., N]: depth j's targets, those past the end or in another document replaced by ignore_index."""
    length = targets.shape[-1]
    if document_ids is not None:
        if document_ids.shape not in (targets.shape, (*targets.shape[:-1], length + 1)):
            raise SmolfastError(
                f"mtp_loss: document_ids has shape {list(document_ids.shape)}; "
                f"expected {list(targets.shape)} or {[*targets.shape[:-1], length + 1]}"
            )
        if document_ids.shape[-1] == length and length:
            document_ids = torch.cat([document_ids, document_ids[..., -1:]], -1)
    shifted = []
    for depth in range(depths):
        kept = max(length - depth, 0)
        target = torch.nn.functional.pad(targets[..., length - kept :], (0, length - kept), value=ignore_index)
        if document_ids is not None and kept:
            same = document_ids[..., :kept] == document_ids[..., depth + 1 : depth + 1 + kept]
            target = target.masked_fill(~torch.nn.functional.pad(same, (0, length - kept), value=False), ignore_index)
        shifted.append(target)
    return torch.stack(shifted)


def divisor(num_items: float | Tensor | Sequence[float] | None, counts: Tensor, depths: int) -> Tensor:
    if num_items is None:
        return counts.clamp(min=1)
    items = (
        num_items.to(counts.device) if isinstance(num_items, Tensor) else torch.tensor(num_items, device=counts.device)
    )
    if items.ndim > 1 or (items.ndim == 1 and items.shape[0] not in (1, depths)):
        raise SmolfastError(f"mtp_loss: num_items has shape {list(items.shape)}; give one number, or {depths}")
    return torch.where(counts > 0, items, torch.ones_like(items))  # 0 / 0 where nothing is learned


def check_targets(targets: Tensor, ignore_index: int, vocabulary: int) -> None:
    wrong = (targets != ignore_index) & ((targets < 0) | (targets >= vocabulary))
    if targets.device.type == "cpu" and bool(wrong.any()):
        depth, position = wrong.nonzero()[0].tolist()
        raise SmolfastError(
            f"mtp_loss: target {int(targets[depth, position])} of position {position + depth} is outside the "
            f"vocabulary of {vocabulary}; fix the tokens, or set ignore_index to leave such targets out"
        )


def _sweeps(hidden: Tensor, weight: Tensor, options: reference.LossOptions) -> bool:
    """Whether C++ takes losses by token, too. It leaves out rows without a target."""
    return hidden.dtype == weight.dtype and serves(hidden, weight, options, None)


@torch.library.custom_op("smolfast::token_losses", mutates_args=())
def token_losses(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    ignore_index: int,
    z_loss: float,
    softcap: float,
    label_smoothing: float,
    store: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    check_targets(targets, ignore_index, weight.shape[0])
    options = reference.LossOptions(ignore_index, z_loss, softcap, label_smoothing)
    kernel = loss_kernel(hidden, weight, bias)
    with without_autocast(hidden):
        if kernel is not None and not store:
            losses, lse, right = kernel.forward(
                hidden, weight, bias, targets, ignore_index, z_loss, softcap, label_smoothing
            )
            return losses, lse, right, losses.new_empty((0, 0))
        if not store and _sweeps(hidden, weight, options):
            losses, lse, right, *_ = reference.summed_loss(
                hidden, weight, bias, targets, hidden.new_zeros(len(targets)), options, (False, False),
                sweep=sweep_for(hidden, weight, options, None),
            )  # fmt: skip
            return losses, lse, right, losses.new_empty((0, 0))
        return reference.token_losses_forward(hidden, weight, bias, targets, options, store)


@token_losses.register_fake
def _(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, ignore_index: int, z_loss: float,
    softcap: float, label_smoothing: float, store: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    dtype = torch.float64 if hidden.dtype == torch.float64 else torch.float32
    rows = hidden.shape[:2]
    return (
        hidden.new_empty(targets.shape, dtype=dtype),
        hidden.new_empty(rows, dtype=dtype),
        targets.new_empty(targets.shape, dtype=torch.bool),
        hidden.new_empty((rows[0] * rows[1], weight.shape[0]) if store else (0, 0), dtype=dtype),
    )


@torch.library.custom_op("smolfast::token_losses_backward", mutates_args=())
def _token_losses_backward(
    grad_losses: Tensor,
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    lse: Tensor,
    stored: Tensor,
    ignore_index: int,
    z_loss: float,
    softcap: float,
    label_smoothing: float,
    needs_hidden: bool,
    needs_weight: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    options = reference.LossOptions(ignore_index, z_loss, softcap, label_smoothing)
    kernel = loss_kernel(hidden, weight, bias)
    with without_autocast(hidden):
        if kernel is not None and not stored.numel():
            gradients: tuple[Tensor, Tensor, Tensor] = kernel.backward(
                grad_losses, hidden, weight, bias, targets, lse, ignore_index, z_loss, softcap, label_smoothing,
                (needs_hidden, needs_weight),
            )  # fmt: skip
            return gradients
        if not stored.numel() and _sweeps(hidden, weight, options):
            _, _, _, *found, _ = reference.summed_loss(
                hidden, weight, bias, targets, grad_losses, options, (needs_hidden, needs_weight),
                sweep=sweep_for(hidden, weight, options, None),
            )  # fmt: skip
            dx, dw, db = found
            return dx, dw, db if bias is not None and needs_weight else weight.new_zeros(0)
        return reference.token_losses_backward(
            grad_losses, hidden, weight, bias, targets, lse, stored, options, (needs_hidden, needs_weight)
        )


@_token_losses_backward.register_fake
def _(
    grad_losses: Tensor, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, lse: Tensor,
    stored: Tensor, ignore_index: int, z_loss: float, softcap: float, label_smoothing: float, needs_hidden: bool,
    needs_weight: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    return (
        hidden.new_empty(hidden.shape if needs_hidden else 0),
        weight.new_empty(weight.shape if needs_weight else 0),
        weight.new_empty(0) if bias is None or not needs_weight else bias.new_empty(bias.shape),
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    hidden, weight, bias, targets = inputs[:4]
    _, lse, _, stored = output
    ctx.save_for_backward(hidden, weight, bias, targets, lse, stored)
    ctx.options = inputs[4:8]
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, grad_losses: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, ...]:
    nothing = (None,) * 6
    if grad_losses is None:
        return (None, None, None, *nothing)
    hidden, weight, bias, targets, lse, stored = ctx.saved_tensors
    needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
    if torch.is_grad_enabled():  # gradients of gradients are wanted
        return (*_differentiable_gradients(ctx, grad_losses), *nothing)
    needs_weight = needs_weight or needs_bias
    dx, dw, db = _token_losses_backward(
        grad_losses, hidden, weight, bias, targets, lse, stored, *ctx.options, needs_hidden, needs_weight
    )
    return (
        dx if needs_hidden else None,
        dw if needs_weight else None,
        None if bias is None or not needs_weight else db,
        *nothing,
    )


def _differentiable_gradients(ctx: Any, grad_losses: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Of hidden, weight and bias, as functions of them and of `grad_losses`; the logits exist whole."""
    hidden, weight, bias, targets = ctx.saved_tensors[:4]
    inputs, needs = (hidden, weight, bias), ctx.needs_input_grad[:3]
    with without_autocast(hidden):
        losses, _, _ = reference.plain_losses(hidden, weight, bias, targets, reference.LossOptions(*ctx.options))
    wanted = [x for x, needed in zip(inputs, needs, strict=True) if needed]
    found = iter(torch.autograd.grad(losses, wanted, grad_losses, create_graph=True))
    dx, dw, db = (next(found) if needed else None for needed in needs)
    return dx, dw, db


token_losses.register_autograd(_backward, setup_context=_setup_context)


@torch.library.custom_op("smolfast::summed_loss", mutates_args=())
def _summed_loss(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    scale: Tensor,
    ignore_index: int,
    z_loss: float,
    softcap: float,
    label_smoothing: float,
    needs_hidden: bool,
    needs_weight: bool,
    anchor: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The loss, then what `reference.summed_loss` returns without a teacher."""
    check_targets(targets, ignore_index, weight.shape[0])
    options = reference.LossOptions(ignore_index, z_loss, softcap, label_smoothing)
    with without_autocast(hidden):
        losses, lse, right, dx, dw, db, _ = reference.summed_loss(
            hidden, weight, bias, targets, scale, options, (needs_hidden, needs_weight),
            sweep=sweep_for(hidden, weight, options, None),
        )  # fmt: skip
    return (losses.sum(1) * scale).sum(), losses, lse, right, dx, dw, db


@_summed_loss.register_fake
def _(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, scale: Tensor, ignore_index: int,
    z_loss: float, softcap: float, label_smoothing: float, needs_hidden: bool, needs_weight: bool,
    anchor: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    return (
        scale.new_empty(()),
        scale.new_empty(targets.shape),
        scale.new_empty(hidden.shape[:2]),
        targets.new_empty(targets.shape, dtype=torch.bool),
        hidden.new_empty(hidden.shape if needs_hidden else 0),
        weight.new_empty(weight.shape if needs_weight else 0),
        weight.new_empty(0) if bias is None or not needs_weight else bias.new_empty(bias.shape),
    )


def keep_gradients(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """Set-up of the backward pass of a loss that comes with its gradients: the loss and three numbers, then they. The
    last input is the anchor."""
    ctx.mark_non_differentiable(*output[1:])
    ctx.save_for_backward(*output[4:7], inputs[-1])
    ctx.set_materialize_grads(False)


def scale_gradients(
    name: str, instead: str, ctx: Any, grad: Tensor | None, *_: Tensor | None
) -> tuple[Tensor | None, ...]:
    """The kept gradients times the loss's own; they belong to the first three inputs.

    Args:
        name, instead: as in `refuse_second_order`.
    """
    *kept, anchor = ctx.saved_tensors
    wanted = ctx.needs_input_grad[:3] if grad is not None else (False,) * 3
    scaled = tuple(x * grad if wants else None for wants, x in zip(wanted, kept, strict=True))
    return (*refuse_second_order(name, instead, scaled, anchor), *(None,) * (len(ctx.needs_input_grad) - 3))


_summed_loss.register_autograd(
    functools.partial(
        scale_gradients, "mtp_loss", 'take the sum of mtp_loss(..., reduction="none"), whose gradients can be'
    ),
    setup_context=keep_gradients,
)
