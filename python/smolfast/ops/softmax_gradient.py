"""Rows of logits into the gradient of a loss, in C++ (`csrc/loss`) where a CPU's tensors and the options allow it."""

from __future__ import annotations

import torch
from torch import Tensor

from smolfast import _native, reference


def turn_for(logits: Tensor, options: reference.LossOptions, teacher: reference.Teacher | None) -> reference.Turn:
    """The fastest `Turn` for logits of this device and dtype."""
    native = (
        logits.device.type == "cpu"
        and logits.dtype in (torch.float32, torch.bfloat16)
        and not options.softcap
        and (teacher is None or (teacher.tokens is not None and teacher.temperature == 1.0))
    )
    return _turn if native else reference.turn_rows


def _turn(
    logits: Tensor, rows: reference.Rows, options: reference.LossOptions, teacher: reference.Teacher | None
) -> None:
    grad = rows.grad if teacher is None else rows.grad * teacher.ce_weight
    total = grad.sum(1)
    partition, columns, values = total, [rows.wanted], [(options.label_smoothing - 1) * grad]
    shares = []
    if teacher is not None:
        assert teacher.tokens is not None
        assert teacher.probabilities is not None
        for at, step in zip(rows.positions.t(), rows.grad.t() * teacher.weight, strict=True):
            share = teacher.probabilities[at].to(grad.dtype)
            partition = partition + step * share.sum(1)
            columns.append(teacher.tokens[at])
            values.append(-step[:, None] * share)
            shares.append(share)
    bits = logits if logits.dtype == torch.float32 else logits.view(torch.uint16)
    found = _native.softmax_gradient(
        bits.numpy(),
        partition.numpy(),
        (2 * options.z_loss * total).numpy(),
        (options.label_smoothing / logits.shape[1] * total).numpy(),
        torch.cat(columns, 1).numpy(),
        torch.cat(values, 1).numpy(),
        torch.get_num_threads(),
    )
    lse, highest, logit_sum, at_columns = (torch.from_numpy(array) for array in found)
    target_logits, *stored = torch.split(at_columns, [part.shape[1] for part in columns], 1)
    rows.lse.copy_(lse)
    rows.right.copy_(target_logits >= highest[:, None])
    rows.losses.copy_(reference.row_losses(lse, target_logits, logit_sum / logits.shape[1], options))
    for column, (share, z) in enumerate(zip(shares, stored, strict=True)):
        rows.divergences[:, column] = reference.stored_divergence(share, z - lse[:, None])
