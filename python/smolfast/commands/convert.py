"""`smolfast convert IN… -o OUT`: documents from any format that is read to one that is written, nothing changed."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from typing import Any

from smolfast.commands.options import (
    add_column_types,
    add_reading,
    add_threads,
    as_words,
    local_sources,
    reading_of,
    run_stage,
)
from smolfast.commands.parsers import command, output_path
from smolfast.errors import SmolfastError


def add_convert(commands: Any) -> None:
    """The parser of `smolfast convert`."""
    parser = command(commands, "convert", _convert, after=_after)
    parser.add_argument(
        "input",
        nargs="+",
        metavar="IN",
        help="files, folders or URLs (.parquet .arrow .jsonl .json .csv .tsv .txt .md .rst .py, packed too)",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=output_path,
        required=True,
        metavar="FILE",
        help="a name that ends in .parquet or .jsonl; JSON lines also packed: .jsonl.gz, .zst, .bz2 or .xz",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an output made from other input or settings")
    add_reading(parser)
    add_column_types(parser)
    add_threads(parser)


def _after(arguments: argparse.Namespace, result: Mapping[str, Any]) -> list[str]:
    return [as_words("smolfast", "dedup", arguments.output, "-o", "unique")]


def _convert(arguments: argparse.Namespace) -> Mapping[str, Any]:
    from smolfast.pipeline.normalize import FILE_SUFFIXES, normalize_documents
    from smolfast.pipeline.text_rules import TextRules

    if not arguments.output.name.lower().endswith(FILE_SUFFIXES):
        raise SmolfastError(
            f"convert writes one file of parquet or JSON lines; end the name {arguments.output} in .parquet or .jsonl "
            "(or .jsonl.gz, .zst, .bz2 or .xz)"
        )
    # No rule at all: every text comes out as it went in.
    options = {**dataclasses.asdict(TextRules(form=None)), **reading_of(arguments)}
    types = dict(arguments.column_type)
    sources = local_sources(arguments, arguments.input)
    return run_stage(
        arguments,
        "convert",
        files=[source.path for source in sources],
        parameters={"input": arguments.input, **options, "types": types, **sources.summary()},
        work=lambda path, progress: normalize_documents(
            arguments.input,
            path,
            **options,
            types=types,
            strict=arguments.strict,
            threads=arguments.threads,
            progress=progress,
        ),
    )
