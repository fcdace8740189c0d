"""`smolfast split`: train and held-out documents."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from smolfast.commands.options import (
    add_column_types,
    add_config_options,
    add_reading,
    as_words,
    load_config,
    local_sources,
    reading_of,
    run_stage,
)
from smolfast.commands.parsers import add_output, command


def add_split(commands: Any) -> None:
    """The parser of `smolfast split`."""
    parser = command(commands, "split", _split, after=_after)
    parser.set_defaults(extra="config")
    parser.add_argument("input", metavar="KEPT.parquet", help="deduplicated documents")
    add_output(parser, "folder for train.parquet and held_out.parquet")
    add_reading(parser)
    add_column_types(parser)
    add_config_options(parser)


def _after(arguments: argparse.Namespace, result: Mapping[str, Any]) -> list[str]:
    train, held_out = (arguments.output / f"{name}.parquet" for name in ("train", "held_out"))
    return [as_words("smolfast", "tokenize", train, "--held-out", held_out, "-o", "tokens")]


def _split(arguments: argparse.Namespace) -> Mapping[str, Any]:
    from smolfast.pipeline.split import split_documents

    config = load_config(arguments)
    fraction, reading = config.split.held_out_fraction, reading_of(arguments)
    if arguments.column_type:
        reading["types"] = dict(arguments.column_type)
    sources = local_sources(arguments, [arguments.input])
    summary = run_stage(
        arguments,
        "split",
        files=[source.path for source in sources],
        parameters={"held_out_fraction": fraction, "seed": config.seed, **reading, **sources.summary()},
        work=lambda path, progress: split_documents(
            arguments.input, path, held_out_fraction=fraction, seed=config.seed, **reading, progress=progress
        ),
    )
    return {**summary, **sources.summary()}
