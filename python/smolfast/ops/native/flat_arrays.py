"""Which tensors C++ can read, and those of `csrc/layers` as it takes them: fp32 numbers side by side."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn


def are_plain(*tensors: Tensor) -> bool:
    """Subclasses (fake, sharded, functional) have no numbers to read."""
    return all(type(x) in (Tensor, nn.Parameter) for x in tensors)


def are_flat_floats(*tensors: Tensor) -> bool:
    """Whether all are plain fp32 tensors of a CPU."""
    return are_plain(*tensors) and all(x.dtype == torch.float32 and x.device.type == "cpu" for x in tensors)


def flat(tensor: Tensor) -> npt.NDArray[np.float32]:
    """The numbers where they lie, or a copy if they don't lie side by side."""
    numbers: npt.NDArray[np.float32] = tensor.detach().contiguous().view(-1).numpy()
    return numbers
