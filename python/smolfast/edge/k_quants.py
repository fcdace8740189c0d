"""llama.cpp's own quantiser, called in this process: types with 256 weights to a block, and importance matrices."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smolfast.edge.weights import Kept
from smolfast.errors import SmolfastError
from smolfast.machine import install_command

K_QUANTS = ("q6_k", "q5_k_m", "q5_k_s", "q4_k_m", "q4_k_s", "q3_k_m", "q2_k")
_WARNING = 3  # ggml_log_level


def load_llama_cpp(what: str) -> Any:
    """The module `llama_cpp`.

    Args:
        what: what needs it, for the message.

    Raises:
        SmolfastError: it isn't installed, or doesn't load.
    """
    try:
        import llama_cpp
    except (ImportError, OSError, RuntimeError) as error:
        missing = isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] == "llama_cpp"
        why = "" if missing else f" ({' '.join(str(error).split())[:200]})"
        raise SmolfastError(
            f"{what} needs llama-cpp-python{why}; install it with: {install_command('gguf')}; or give another "
            "--quantize, such as q8_0 or q5_1"
        ) from error
    return llama_cpp


def quantize(
    source: Path, output: Path, kind: str, importance: Mapping[str, npt.NDArray[np.float32]] | None = None
) -> None:
    """Write a file of 32-bit weights again in another type.

    Args:
        kind: such as "q4_k_m" or "q8_0".
        importance: mean square of each input of a tensor [H], by the tensor's name.

    Raises:
        SmolfastError: llama.cpp failed; says what it said. OSError: the disk is full.
    """
    llama_cpp = load_llama_cpp(f"--quantize {kind}")
    said: list[str] = []

    @llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
    def hear(level: int, text: bytes, _: Any) -> None:
        if level >= _WARNING:
            said.append(text.decode("utf-8", "replace").strip())

    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = file_type(kind)
    parameters.nthread = 1 if os.environ.get("OMP_NUM_THREADS") == "1" else 0
    matrix = _matrix(llama_cpp, importance or {})
    if importance:
        parameters.imatrix = ctypes.cast(matrix, type(parameters.imatrix))
    llama_cpp.llama_log_set(hear, ctypes.c_void_p(0))
    try:
        failed = llama_cpp.llama_model_quantize(os.fsencode(source), os.fsencode(output), ctypes.byref(parameters))
    finally:
        llama_cpp.llama_log_set(_silent(llama_cpp), ctypes.c_void_p(0))
    if failed:
        if shutil.disk_usage(output.parent).free < source.stat().st_size // 8:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(output))
        why = next((line for line in reversed(said) if line), "it gives no reason")
        raise SmolfastError(f"llama.cpp can't write {kind}: {' '.join(why.split())}; give another --quantize")


def file_type(kind: str) -> int:
    """llama.cpp's number for a file whose matrices are mostly of a type."""
    from gguf import LlamaFileType

    return int(LlamaFileType["ALL_F32" if kind == "f32" else f"MOSTLY_{_cased(kind)}"])


def _cased(kind: str) -> str:
    return kind.upper()


def kept_in(path: Path, asked: str) -> list[Kept]:
    """How the tensors lie in a file that llama.cpp wrote, with a reason where a type isn't of the family asked for."""
    from gguf import GGUFReader

    kept = []
    for tensor in GGUFReader(path).tensors:
        shape = tuple(int(size) for size in reversed(tensor.shape))
        kind = tensor.tensor_type.name.lower()
        kept.append(Kept(tensor.name, shape, kind, int(tensor.n_bytes), _why(shape, kind, asked)))
    return kept


def _why(shape: tuple[int, ...], kind: str, asked: str) -> str:
    if len(shape) == 1:
        return "norms stay exact"
    family = "_".join(asked.split("_")[:2])
    if kind == family:
        return ""
    if family.endswith("_k") and shape[-1] % 256:
        return f"rows of {shape[-1]} are no whole blocks of 256"
    return f"llama.cpp's mixture for {asked}"


def _matrix(llama_cpp: Any, importance: Mapping[str, npt.NDArray[np.float32]]) -> Any:
    """The importance matrix as a C array, ended by a nameless entry; the arrays must live as long as it."""
    entries = (llama_cpp.llama_model_imatrix_data * (len(importance) + 1))()
    for entry, (name, values) in zip(entries, importance.items(), strict=False):
        entry.name = name.encode()
        entry.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        entry.size = values.size
    return entries


def _silent(llama_cpp: Any) -> Any:
    """A log callback that says nothing, kept for as long as the process lives: C holds on to it."""
    if not hasattr(_silent, "callback"):
        _silent.callback = llama_cpp.llama_log_callback(lambda *_: None)  # type: ignore[attr-defined]
    return _silent.callback  # type: ignore[attr-defined]
