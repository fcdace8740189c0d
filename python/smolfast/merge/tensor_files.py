"""Safetensors files, read and written a piece of a tensor at a time.

A file is a length of 8 bytes, a header of JSON, and the numbers. `safetensors` checks the header. It has no call for
writing parts in turn, so that is done here, and a merge needs no room for a whole model.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from smolfast.errors import SmolfastError
from smolfast.files import describe_os_error
from smolfast.io.sources import one_line

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_METADATA = "__metadata__"


@dataclass(frozen=True)
class Entry:
    """One tensor of a file: how it is stored, and where its numbers begin."""

    file: Path
    dtype: torch.dtype
    shape: tuple[int, ...]
    offset: int

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return int(torch.Size(self.shape).numel())

    def read(self, start: int, stop: int) -> Tensor:
        """Its numbers from `start` to `stop`, in the order of the file; [stop - start]."""
        width = self.dtype.itemsize
        try:
            with self.file.open("rb") as file:
                file.seek(self.offset + start * width)
                content = bytearray(file.read((stop - start) * width))
        except OSError as error:
            raise SmolfastError(f"can't read {self.file}: {describe_os_error(error)}") from error
        if len(content) != (stop - start) * width:
            raise SmolfastError(f"{self.file} became shorter while it was read; merge again")
        return torch.frombuffer(content, dtype=self.dtype) if content else torch.empty(0, dtype=self.dtype)


def read_entries(path: Path) -> dict[str, Entry]:
    """The tensors of a file by name; only its header is read.

    Raises:
        SmolfastError: the file is missing or damaged, or a tensor isn't of floating-point numbers.
    """
    try:
        with safe_open(path, "pt"):  # says what is wrong with a file
            pass
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header: dict[str, Any] = json.loads(file.read(length))
    except FileNotFoundError as error:
        raise SmolfastError(f"{path} is missing; give a folder from smolfast export or train") from error
    except OSError as error:
        raise SmolfastError(f"can't read {path}: {describe_os_error(error)}") from error
    except (SafetensorError, RuntimeError, ValueError, MemoryError) as error:
        raise SmolfastError(f"{path} is damaged ({one_line(error)}); export or train again") from error
    header.pop(_METADATA, None)
    entries = {}
    for name, said in header.items():
        if said["dtype"] not in DTYPES:
            raise SmolfastError(
                f"{path}: {name} is stored as {said['dtype']}, and a merge takes {', '.join(DTYPES)}; give weights "
                "that aren't quantised"
            )
        entries[name] = Entry(path, DTYPES[said["dtype"]], tuple(said["shape"]), 8 + length + said["data_offsets"][0])
    return entries


def write_tensors(
    file: BinaryIO, layout: Mapping[str, tuple[torch.dtype, tuple[int, ...]]], pieces: Iterable[Tensor]
) -> None:
    """Write a safetensors file of tensors of these types and shapes, whose numbers come in pieces, in this order."""
    header: dict[str, Any] = {_METADATA: {"format": "pt"}}
    end = 0
    for name, (dtype, shape) in layout.items():
        begin, end = end, end + torch.Size(shape).numel() * dtype.itemsize
        header[name] = {"dtype": _NAMES[dtype], "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    written = 0
    for piece in pieces:
        content = piece.contiguous().view(torch.uint8).numpy()
        written += file.write(content.tobytes())
    assert written == end, f"{written} bytes of {end}"
    file.flush()
    os.fsync(file.fileno())
