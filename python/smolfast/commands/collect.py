"""`smolfast collect`: documents gathered into one file."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from smolfast.commands.options import (
    add_config_options,
    add_reading,
    as_words,
    load_config,
    local_sources,
    run_stage,
)
from smolfast.commands.parsers import add_output, command


def add_collect(commands: Any) -> None:
    """The parser of `smolfast collect`."""
    parser = command(commands, "collect", _collect, after=_after)
    parser.set_defaults(extra="config")
    parser.add_argument(
        "input", nargs="*", metavar="IN", help="files, folders or URLs; none for this Python installation's text"
    )
    add_output(parser, "folder for documents.parquet")
    add_reading(parser)
    add_config_options(parser)


def _after(arguments: argparse.Namespace, result: Mapping[str, Any]) -> list[str]:
    return [as_words("smolfast", "normalize", arguments.output / "documents.parquet", "-o", "clean.parquet", "--clean")]


def _collect(arguments: argparse.Namespace) -> Mapping[str, Any]:
    from smolfast.pipeline import collect

    config = load_config(arguments)
    if arguments.input:
        local_sources(arguments, arguments.input)
    sources = collect.list_inputs(arguments.input, without=arguments.output, strict=arguments.strict)
    return run_stage(
        arguments,
        "collect",
        inputs={},
        parameters={
            **config.collect.model_dump(),
            "sources": collect.signature(sources),
            "errors": arguments.errors,
            "text_column": arguments.text_column,
        },
        work=lambda path, progress: collect.collect(
            sources,
            path,
            config.collect,
            errors=arguments.errors,
            text_column=arguments.text_column,
            progress=progress,
        ),
    )
