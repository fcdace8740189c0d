"""`smolfast export`: a folder that transformers loads."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smolfast.commands.options import as_words, check_model, run_stage
from smolfast.commands.parsers import add_output, command


def add_export(commands: Any) -> None:
    """The parser of `smolfast export`."""
    parser = command(
        commands,
        "export",
        _export,
        after=_after,
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="the model folder that `smolfast train` wrote")
    parser.add_argument(
        "--tokenizer",
        type=Path,
        required=True,
        metavar="DIR",
        help="its tokenizer folder (tokenize wrote TOKENS-tokenizer)",
    )
    add_output(parser, "folder to write")


def _after(arguments: argparse.Namespace, result: Mapping[str, Any]) -> list[str]:
    return [as_words("smolfast", "generate", arguments.output, "--prompt", "Once upon a time")]


def _export(arguments: argparse.Namespace) -> Mapping[str, Any]:
    from smolfast.model.export import export

    check_model(arguments.model)
    return run_stage(
        arguments,
        "export",
        inputs={"model": arguments.model, "tokenizer": arguments.tokenizer},
        parameters={},
        work=lambda path, progress: export(arguments.model, arguments.tokenizer, path),
    )
