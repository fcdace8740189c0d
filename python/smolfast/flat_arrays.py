"""Tensors as the C++ of `csrc/layers` takes them: fp32 numbers side by side in a CPU's memory."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn


def are_flat_floats(*tensors: Tensor) -> bool:
    """Whether all are plain fp32 tensors of a CPU. Subclasses (fake, sharded, functional) stay with torch."""
    return all(
        type(x) in (Tensor, nn.Parameter) and x.dtype == torch.float32 and x.device.type == "cpu" for x in tensors
    )


def flat(tensor: Tensor) -> npt.NDArray[np.float32]:
    """The numbers where they lie, or a copy if they don't lie side by side."""
    numbers: npt.NDArray[np.float32] = tensor.detach().contiguous().view(-1).numpy()
    return numbers
