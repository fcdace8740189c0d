"""Rows of logits into the gradient of a loss, in C++ (`csrc/loss`) where a CPU's tensors and the options allow it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from smolfast import _native, reference


def serves(logits: Tensor, options: reference.LossOptions, teacher: reference.Teacher | None) -> bool:
    """Whether C++ knows the gradient of logits of this device and dtype."""
    return (
        logits.device.type == "cpu"
        and logits.dtype in (torch.float32, torch.bfloat16)
        and not options.softcap
        and (teacher is None or (teacher.tokens is not None and teacher.temperature == 1.0))
    )


def turn_for(logits: Tensor, options: reference.LossOptions, teacher: reference.Teacher | None) -> reference.Turn:
    """The fastest `Turn` for logits of this device and dtype."""
    return _turn if serves(logits, options, teacher) else reference.turn_rows


class Terms:
    """What gradients of rows of logits are made of, as C++ takes it, and what comes of its statistics.

    With a teacher, one of stored pairs at temperature 1.
    """

    def __init__(
        self, rows: reference.Rows, vocabulary: int, options: reference.LossOptions, teacher: reference.Teacher | None
    ) -> None:
        grad = rows.grad if teacher is None else rows.grad * teacher.ce_weight
        total = grad.sum(1)
        partition, columns, values = total, [rows.wanted], [(options.label_smoothing - 1) * grad]
        self._shares = []
        if teacher is not None:
            assert teacher.tokens is not None
            assert teacher.probabilities is not None
            for at, step in zip(rows.positions.t(), rows.grad.t() * teacher.weight, strict=True):
                share = teacher.probabilities[at].to(grad.dtype)
                partition = partition + step * share.sum(1)
                columns.append(teacher.tokens[at])
                values.append(-step[:, None] * share)
                self._shares.append(share)
        self._widths = [part.shape[1] for part in columns]
        self._rows, self._vocabulary, self._options = rows, vocabulary, options
        self.arrays = (
            partition.numpy(),
            (2 * options.z_loss * total).numpy(),
            (options.label_smoothing / vocabulary * total).numpy(),
            torch.cat(columns, 1).numpy(),
            torch.cat(values, 1).numpy(),
        )

    def settle(self, found: Sequence[npt.NDArray[np.float32]]) -> None:
        """Writes the rows' losses, from what C++ found out about their logits."""
        rows = self._rows
        lse, highest, logit_sum, at_columns = (torch.from_numpy(array) for array in found)
        target_logits, *stored = torch.split(at_columns, self._widths, 1)
        rows.lse.copy_(lse)
        rows.right.copy_(target_logits >= highest[:, None])
        rows.losses.copy_(reference.row_losses(lse, target_logits, logit_sum / self._vocabulary, self._options))
        for column, (share, z) in enumerate(zip(self._shares, stored, strict=True)):
            rows.divergences[:, column] = reference.stored_divergence(share, z - lse[:, None])


def _turn(
    logits: Tensor, rows: reference.Rows, options: reference.LossOptions, teacher: reference.Teacher | None
) -> None:
    terms = Terms(rows, logits.shape[1], options, teacher)
    bits = logits if logits.dtype == torch.float32 else logits.view(torch.uint16)
    terms.settle(_native.softmax_gradient(bits.numpy(), *terms.arrays, torch.get_num_threads()))
