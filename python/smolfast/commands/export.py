"""`smolfast export`: a folder that transformers loads, or a file that llama.cpp runs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smolfast.commands.options import as_words, check_model, holds, run_stage
from smolfast.commands.parsers import add_output, command
from smolfast.errors import SmolfastError

_TYPES = {
    "transformers": ("f32", "int8", "int4"),
    # As `smolfast.edge` has them; reading it here would load torch for --help.
    "gguf": (
        *("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"),
        *("q6_k", "q5_k_m", "q5_k_s", "q4_k_m", "q4_k_s", "q3_k_m", "q2_k"),
    ),
}


def add_export(commands: Any) -> None:
    """The parser of `smolfast export`."""
    parser = command(
        commands,
        "export",
        _export,
        after=_after,
    )
    parser.add_argument(
        "model",
        type=Path,
        metavar="MODEL",
        help="a model folder: of `smolfast train` or export, or of transformers with a SmolLM3- or Llama-shaped model",
    )
    parser.add_argument(
        "--tokenizer",
        type=Path,
        metavar="DIR",
        help="its tokenizer folder (tokenize wrote TOKENS-tokenizer); needed where MODEL holds no tokenizer.json",
    )
    parser.add_argument(
        "--format",
        choices=tuple(_TYPES),
        default="transformers",
        help="a folder for transformers, or one file for llama.cpp (default: transformers)",
    )
    parser.add_argument(
        "--quantize",
        metavar="TYPE",
        help=f"of the weights. transformers: {', '.join(_TYPES['transformers'])} (default: f32). "
        f"gguf: {', '.join(_TYPES['gguf'])} (default: f16); the last seven need llama-cpp-python",
    )
    parser.add_argument(
        "--importance",
        action="append",
        default=[],
        metavar="TEXT",
        help="of gguf: a file with text like the model's; rounding errors go where they matter least to it",
    )
    add_output(parser, "folder or file to write", metavar="PATH")


def _after(arguments: argparse.Namespace, result: Mapping[str, Any]) -> list[str]:
    if arguments.format == "gguf":
        return [as_words("llama-cli", "-m", arguments.output)]
    if arguments.quantize in ("int8", "int4"):
        return []
    return [as_words("smolfast", "generate", arguments.output, "--prompt", "Once upon a time")]


def _export(arguments: argparse.Namespace) -> Mapping[str, Any]:
    check_model(arguments.model)
    tokenizer = arguments.tokenizer or arguments.model
    if arguments.tokenizer is None and not holds(arguments.model, "tokenizer.json"):
        raise SmolfastError(
            f"{arguments.model} holds no tokenizer.json; give --tokenizer with the folder of the model's tokenizer"
        )
    inputs = {"model": arguments.model, "tokenizer": tokenizer}
    if arguments.format == "gguf":
        return _gguf(arguments, inputs)
    if arguments.importance:
        raise SmolfastError("--importance belongs to --format gguf; leave it out, or give that")
    if arguments.quantize not in (None, *_TYPES["transformers"]):
        raise _unknown(arguments)
    if arguments.quantize in ("int8", "int4"):
        from smolfast.edge.compressed import export_compressed

        return run_stage(
            arguments,
            "export",
            inputs=inputs,
            parameters={"quantize": arguments.quantize},
            work=lambda path, progress: export_compressed(arguments.model, tokenizer, path, arguments.quantize),
        )
    from smolfast.model.export import export

    return run_stage(
        arguments,
        "export",
        inputs=inputs,
        parameters={},
        work=lambda path, progress: export(arguments.model, tokenizer, path),
    )


def _gguf(arguments: argparse.Namespace, inputs: Mapping[str, Path]) -> Mapping[str, Any]:
    from smolfast.edge.gguf_export import TYPES, export_gguf

    kind = arguments.quantize or "f16"
    if kind not in TYPES:
        raise _unknown(arguments)
    texts = [Path(text) for text in arguments.importance]
    return run_stage(
        arguments,
        "export",
        inputs={**inputs, **{f"importance {number}": text for number, text in enumerate(texts, 1)}},
        parameters={"format": "gguf", "quantize": kind, "name": arguments.model.absolute().name},
        work=lambda path, progress: export_gguf(
            arguments.model, inputs["tokenizer"], path, quantize_to=kind, importance=texts
        ),
    )


def _unknown(arguments: argparse.Namespace) -> SmolfastError:
    choices = ", ".join(_TYPES[arguments.format])
    return SmolfastError(f"--format {arguments.format} has no --quantize {arguments.quantize}; choose one of {choices}")
