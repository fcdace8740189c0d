"""From a model folder to one GGUF file that llama.cpp runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from smolfast.edge.gguf_file import keys_of, write_gguf
from smolfast.edge.importance import importance_of, windows_of
from smolfast.edge.k_quants import K_QUANTS, file_type, kept_in, load_llama_cpp, quantize
from smolfast.edge.weights import BLOCKS, PLAIN, table
from smolfast.errors import SmolfastError
from smolfast.files import final_path, remove, temporary_path
from smolfast.io.keep_apart import check_apart
from smolfast.machine import install_command
from smolfast.model.pretrained import load_pretrained
from smolfast.tokens.tokenizer_folder import open_tokenizer, refuse_another_vocabulary

TYPES = (*PLAIN, *BLOCKS, *K_QUANTS)


def export_gguf(
    model: str | os.PathLike[str],
    tokenizer: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    quantize_to: str = "f16",
    importance: Sequence[str | os.PathLike[str]] = (),
    name: str | None = None,
) -> dict[str, Any]:
    """Write a model with its tokenizer and chat template as a GGUF file.

    The rows of queries and keys are turned as llama.cpp wants them. Further prediction heads are left out. Nothing
    falls back unseen: the table says which type each tensor has, and why where it isn't the one asked for.

    Args:
        model: a folder of `export` or `train`, or one of transformers with a SmolLM3- or Llama-shaped model.
        tokenizer: its tokenizer's folder.
        output: the file.
        quantize_to: one of `TYPES`. Those of `K_QUANTS` are llama.cpp's own work, through llama-cpp-python.
        importance: files with text like the model's. llama.cpp then rounds with regard to what matters there.
        name: of the model, in the file; None for the folder's.

    Returns:
        architecture, quantize, pre_tokenizer, chat_template (whether there is one), parameters, bits_per_weight,
        tensor_types (rows of tensor, layers, type, shape, bytes, why), left_out.

    Raises:
        SmolfastError: a folder can't be read, llama.cpp can't compute what the model does, or a package is missing.
    """
    if quantize_to not in TYPES:
        raise SmolfastError(f"quantize = {quantize_to!r} is unknown; choose one of {', '.join(TYPES)}")
    try:
        import gguf  # noqa: F401
    except ModuleNotFoundError as error:
        raise SmolfastError(f"GGUF needs the gguf package; install it with: {install_command('gguf')}") from error
    own = quantize_to in K_QUANTS or bool(importance)
    if importance and quantize_to in PLAIN:
        raise SmolfastError(f"--importance has no use for {quantize_to}, which rounds by itself; leave it out")
    if own:
        load_llama_cpp("--importance" if importance else f"--quantize {quantize_to}")
    check_apart(output, [model, tokenizer, *importance])
    opened = open_tokenizer(tokenizer)
    network = load_pretrained(Path(model))
    refuse_another_vocabulary(Path(model), opened.fingerprint, str(tokenizer))
    folder = Path(model).absolute()
    architecture, keys = keys_of(network, opened, name or folder.name)
    path = Path(output)
    if own:
        windows = windows_of(importance, opened, network.config.max_position_embeddings) if importance else []
        measured = importance_of(network, windows) if windows else None
        whole = temporary_path(final_path(path).with_suffix(".f32.gguf"))
        try:
            write_gguf(network, architecture, keys, whole, "f32", file_type("f32"))
            quantize(whole, path, quantize_to, measured)
        finally:
            remove(whole)
        kept = kept_in(path, quantize_to)
    else:
        kept = write_gguf(network, architecture, keys, path, quantize_to, file_type(quantize_to))
    further = sum(parameter.numel() for parameter in network.mtp_heads.parameters())
    parameters = sum(parameter.numel() for parameter in network.parameters()) - further
    heads = f"{len(network.mtp_heads)} further prediction heads, {further:,} parameters"
    left_out = [f"{heads}: llama.cpp has no place for them"]
    return {
        "architecture": architecture,
        "quantize": quantize_to,
        "pre_tokenizer": keys["tokenizer.ggml.pre"],
        "chat_template": "tokenizer.chat_template" in keys,
        "parameters": parameters,
        "bits_per_weight": round(8 * sum(tensor.bytes for tensor in kept) / parameters, 2),
        "tensor_types": table(kept),
        **({"left_out": left_out} if further else {}),
    }
