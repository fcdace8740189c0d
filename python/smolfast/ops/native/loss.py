"""The sweep of the vocabulary in C++ (`csrc/loss`), for a CPU with AVX2 (fp32) or bf16's dot products."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from smolfast import _native, reference
from smolfast.ops.native import softmax_gradient
from smolfast.ops.native.flat_arrays import are_plain

# Rows whose logits exist at a time: 640 or 768 gain 1 to 2 % of the time.
_ROWS = 512
# What C++ fills them up to divides it.
_MULTIPLE = 96
# Threads share columns: below so many there are too few for them. Two threads, 4,096 rows, H = 256: V = 256 takes 1.8
# to 1.9 × the time of torch's products, 1,024 takes 1.05 (fp32) to 1.4 (bf16), 4,096 takes 0.93 to 0.99.
_LEAST_COLUMNS = 4096
# Numbers of the gradient of a block of rows times eight threads or more, each of which has sums of its own.
_MOST_SUMS = 1 << 25


def sweep_for(
    hidden: Tensor, weight: Tensor, options: reference.LossOptions, teacher: reference.Teacher | None
) -> reference.Sweep:
    """The fastest `Sweep` for this device, dtype and these options."""
    if serves(hidden, weight, options, teacher):
        return _sweep
    return functools.partial(reference.sweep_rows, turn=softmax_gradient.turn_for(hidden, options, teacher))


def serves(hidden: Tensor, weight: Tensor, options: reference.LossOptions, teacher: reference.Teacher | None) -> bool:
    """Whether C++ goes over the rows. It depends on nothing but kinds, sizes and the number of threads."""
    return (
        softmax_gradient.serves(hidden, options, teacher)
        and _native.loss_sweeps(hidden.dtype == torch.bfloat16)
        and are_plain(hidden, weight)
        and weight.stride(1) == 1
        and weight.numel() > 0
        and len(weight) >= _LEAST_COLUMNS
        and max(8, torch.get_num_threads()) * _ROWS * weight.shape[1] <= _MOST_SUMS
    )


def _array(x: Tensor) -> npt.NDArray[Any]:
    # Not by Tensor.numpy(): a storage that NumPy has seen that way can't be resized, as FSDP does with weights.
    x = x.detach()
    array: npt.NDArray[Any] = np.from_dlpack(x.view(torch.uint16) if x.dtype == torch.bfloat16 else x)
    return array


def _sweep(
    x: Tensor, weight: Tensor, bias: Tensor | None, rows: reference.Rows, options: reference.LossOptions,
    teacher: reference.Teacher | None, into: reference.Into,
) -> None:  # fmt: skip
    count, vocabulary = len(x), len(weight)
    height = min(_ROWS, reference.block_height(count, vocabulary, x.itemsize))
    room = _array(x.new_empty(-(-height // _MULTIPLE) * _MULTIPLE * vocabulary))
    weights, biases = _array(weight), None if bias is None else bias.detach().to(torch.float32, copy=True).numpy()
    dw, db = (None if grad is None else _array(grad) for grad in (into.weight, into.bias))
    for start in range(0, count, height):
        block = slice(start, min(start + height, count))
        terms = softmax_gradient.Terms(rows[block], vocabulary, options, teacher)
        dx = None if into.hidden is None else _array(into.hidden[block])
        found = _native.loss_sweep(
            _array(x[block].contiguous()), weights, biases, *terms.arrays, room, dx, dw, db, torch.get_num_threads()
        )
        terms.settle(found)
