"""A training run with our parts beside the same one without."""

from collections.abc import Sequence

import torch
from torch import nn


def compare(expected: Sequence[float], theirs: nn.Module, losses: Sequence[float], ours: nn.Module) -> dict[str, float]:
    """How far the losses and the weights at the end are apart; losses further than 1e-4 of theirs are an error."""
    torch.testing.assert_close(torch.tensor(losses), torch.tensor(expected), rtol=1e-4, atol=0)
    return {
        "first loss": losses[0],
        "last loss": losses[-1],
        "largest difference of a loss": max(abs(a - b) for a, b in zip(losses, expected, strict=True)),
        "largest difference of a weight": max(
            (ours.get_parameter(name) - weight).abs().max().item() for name, weight in theirs.named_parameters()
        ),
    }
