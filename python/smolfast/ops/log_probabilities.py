"""`log_probabilities`: of each target, from hidden states; the logits never exist whole, nor is a softmax kept."""

from __future__ import annotations

from torch import Tensor

from smolfast import reference
from smolfast.ops.differentiation import is_transformed
from smolfast.ops.loss import autocast, check_loss, token_losses


def log_probabilities(
    hidden: Tensor, weight: Tensor, targets: Tensor, *, bias: Tensor | None = None, ignore_index: int = -100
) -> Tensor:
    """log softmax(hidden @ weightᵀ + bias) at the targets: `-linear_cross_entropy(..., reduction="none")`, which keeps
    the softmax of a small vocabulary where this keeps nothing.

    Args:
        hidden: [..., H]. weight: unembedding [V, H]; bias: [V].
        targets: int64 [...]. ignore_index: targets that don't count; their rows are in no product on a CPU.

    Returns:
        [...] in fp32 (fp64 for fp64 input), 0 where ignored. Its gradient may differ from target to target.

    Raises:
        SmolfastError: shapes that don't fit together; a target outside the vocabulary.
    """
    rows, flat = hidden.reshape(1, -1, hidden.shape[-1]), targets.reshape(-1)
    check_loss(rows[0], weight, flat, bias, 1, True, 0.0, 0.0, "none")
    rows, weight, bias = autocast(rows, weight, bias)
    if is_transformed():
        losses = reference.plain_losses(rows, weight, bias, flat[None], reference.LossOptions(ignore_index))[0]
    else:
        losses = token_losses(rows, weight, bias, flat[None], ignore_index, 0.0, 0.0, 0.0, False)[0]
    return losses.neg().reshape(targets.shape)
