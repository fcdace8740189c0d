"""The losses by torch's own operations alone, the logits whole: what can be differentiated in any way and any often."""

from __future__ import annotations

import torch
from torch import Tensor

from smolfast.reference.loss import LossOptions


def plain_losses(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, options: LossOptions
) -> tuple[Tensor, Tensor, Tensor]:
    """Losses [k, N], log-sum-exp [h, N] and right [k, N], as `token_losses_forward` gives them."""
    compute = torch.float64 if hidden.dtype == torch.float64 else torch.float32
    z = hidden.to(compute) @ weight.to(compute).t()
    if bias is not None:
        z = z + bias.to(compute)
    if options.softcap:
        z = torch.tanh(z / options.softcap) * options.softcap
    lse = torch.logsumexp(z, -1)
    valid = targets != options.ignore_index
    wanted = torch.where(valid, targets, 0)
    depths = z.expand(*targets.shape, z.shape[-1])
    target_logits = depths.gather(-1, wanted.unsqueeze(-1)).squeeze(-1)
    losses = lse - (1 - options.label_smoothing) * target_logits
    if options.label_smoothing:
        losses = losses - options.label_smoothing * z.mean(-1)
    if options.z_loss:
        losses = losses + options.z_loss * lse.square()
    right = (target_logits >= depths.amax(-1)) & valid
    return torch.where(valid, losses, 0.0), lse, right
