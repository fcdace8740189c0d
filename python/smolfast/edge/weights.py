"""Types of numbers in a GGUF file: which tensor gets which, and the bytes of its weights.

The `gguf` package quantises these; those with 256 weights to a block are llama.cpp's own (`k_quants`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from smolfast.errors import SmolfastError

if TYPE_CHECKING:
    from gguf import GGMLQuantizationType

PLAIN = ("f32", "f16", "bf16")
BLOCKS = ("q8_0", "q5_1", "q5_0", "q4_1", "q4_0")
_LARGEST_F16 = 65504.0
# Errors in what logits are made with aren't evened out by later layers.
_COARSE = ("q5_1", "q5_0", "q4_1", "q4_0")


@dataclass(frozen=True)
class Kept:
    """How one tensor lies in a file.

    Attributes:
        name: llama.cpp's. shape: rows first, as torch has it. kind: the type, such as "q8_0". bytes: its size.
        why: the reason where the type isn't the one that was asked for, else "".
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    bytes: int
    why: str = ""


def choose(name: str, shape: tuple[int, ...], asked: str, tied: bool) -> tuple[str, str]:
    """The type of one tensor, and why it is another than the one asked for, or "".

    Args:
        tied: the embedding also makes the logits.
    """
    if len(shape) == 1:
        return "f32", "" if asked == "f32" else "norms stay exact"
    if asked in PLAIN:
        return asked, ""
    if shape[-1] % 32:
        return "f16", f"rows of {shape[-1]} are no whole blocks of 32"
    makes_logits = name == "output.weight" or (name == "token_embd.weight" and tied)
    if asked in _COARSE and makes_logits:
        return "q8_0", "it makes the logits"
    return asked, ""


def quantized(weight: npt.NDArray[np.float32], kind: str, name: str) -> npt.NDArray[Any]:
    """The weight's bytes in a type of `PLAIN` or `BLOCKS`.

    Raises:
        SmolfastError: a weight is too large for f16.
    """
    from gguf import quants

    if kind == "f16" and float(np.abs(weight).max(initial=0)) > _LARGEST_F16:
        raise SmolfastError(f"{name} has weights beyond {_LARGEST_F16:g}, the largest of f16; give --quantize bf16")
    if kind == "f32":
        return weight
    if kind == "f16":
        return weight.astype(np.float16)
    blocks: npt.NDArray[Any] = quants.quantize(weight, type_of(kind))
    return blocks


def type_of(kind: str) -> GGMLQuantizationType:
    """gguf's number for a type."""
    from gguf import GGMLQuantizationType

    return GGMLQuantizationType[kind.upper()]


def size_of(shape: tuple[int, ...], kind: str) -> int:
    """Bytes that a tensor takes in a type."""
    from gguf import GGML_QUANT_SIZES

    block, size = GGML_QUANT_SIZES[type_of(kind)]
    return int(math.prod(shape) // block * size)


def table(tensors: Iterable[Kept]) -> list[dict[str, Any]]:
    """Tensors as rows; those of equal part, type, shape and reason are one, with their layers."""
    groups: dict[tuple[Any, ...], list[Kept]] = {}
    for tensor in tensors:
        part = ".".join(tensor.name.split(".")[2:]) if tensor.name.startswith("blk.") else tensor.name
        groups.setdefault((part, tensor.kind, tensor.shape, tensor.why), []).append(tensor)
    rows = []
    for (part, kind, shape, why), members in groups.items():
        layers = [int(member.name.split(".")[1]) for member in members if member.name.startswith("blk.")]
        rows.append(
            {
                "tensor": part.removesuffix(".weight"),
                "layers": _ranges(layers),
                "type": kind,
                "shape": " × ".join(map(str, shape)),
                "bytes": sum(member.bytes for member in members),
                "why": why,
            }
        )
    return rows


def _ranges(numbers: list[int]) -> str:
    """Rising numbers as ranges: 0-3, 5."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
