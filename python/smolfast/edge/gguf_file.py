"""Write a model and its tokenizer as one GGUF file, tensor by tensor."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smolfast.edge.architecture import architecture_of, shape_keys
from smolfast.edge.tensors import as_array, named_weights
from smolfast.edge.vocabulary import vocabulary_keys
from smolfast.edge.weights import Kept, choose, quantized, size_of, type_of
from smolfast.errors import SmolfastError
from smolfast.model.network import SmolLM
from smolfast.tokens.tokenizer_folder import TokenizerFolder


def keys_of(model: SmolLM, tokenizer: TokenizerFolder, name: str) -> tuple[str, dict[str, Any]]:
    """The architecture and all keys of the file but the architecture's own and that of the weights' type.

    Raises:
        SmolfastError: llama.cpp can't compute what the model or its tokenizer does.
    """
    architecture = architecture_of(model.config)
    if tokenizer.vocab_size > model.vocab_size:
        raise SmolfastError(
            f"{tokenizer.path} has ids up to {tokenizer.vocab_size - 1}, the model a vocabulary of {model.vocab_size}; "
            "give the tokenizer that it was trained with"
        )
    shape = shape_keys(model.config, model.vocab_size)
    return architecture, {
        "general.type": "model",
        "general.name": name,
        **{f"{architecture}.{key}": value for key, value in shape.items()},
        **vocabulary_keys(tokenizer, model.vocab_size),
    }


def write_gguf(
    model: SmolLM, architecture: str, keys: Mapping[str, Any], path: Path, kind: str, file_type: int
) -> list[Kept]:
    """Write the file; give how each tensor lies in it. One tensor at a time is in memory twice.

    Args:
        kind: a type of `weights.PLAIN` or `weights.BLOCKS`, for all matrices that can have it.
        file_type: llama.cpp's number for such a file.

    Raises:
        SmolfastError: weights that aren't numbers, or too large for their type. OSError: the disk is full.
    """
    import gguf

    tied = model.config.tie_word_embeddings
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in keys.items():
        _add(writer, key, value)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_file_type(file_type)
    kept = []
    for name, weight in named_weights(model):
        shape = tuple(weight.shape)
        chosen, why = choose(name, shape, kind, tied)
        kept.append(Kept(name, shape, chosen, size_of(shape, chosen), why))
        writer.add_tensor_info(name, shape, np.dtype(np.float32), kept[-1].bytes, type_of(chosen))
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for tensor, (name, weight) in zip(kept, named_weights(model), strict=True):
            writer.write_tensor_data(_Written(quantized(as_array(weight), tensor.kind, name)))
    finally:
        writer.close()
    return kept


class _Written:
    """An array as GGUFWriter takes it. numpy's own `tofile` doesn't say why it fails, as on a full disk."""

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self._array, self.nbytes = np.ascontiguousarray(array), array.nbytes

    def byteswap(self, inplace: bool) -> _Written:
        """As GGUF files are little-endian, on a big-endian machine."""
        return _Written(self._array.byteswap(inplace))

    def tofile(self, file: Any) -> None:
        """Write the bytes."""
        file.write(self._array.data.cast("B"))


def _add(writer: Any, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)
