"""`smolfast classify`: labels and scores of documents by fastText's models."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smolfast.commands.options import (
    add_column_types,
    add_reading,
    add_threads,
    local_inputs,
    local_sources,
    reading_of,
    run_stage,
)
from smolfast.commands.parsers import CommandParser, add_output, command


def add_classify(commands: Any) -> None:
    """The parser of `smolfast classify`, and of its verbs."""
    parser: CommandParser = commands.add_parser(
        "classify", help=_SUMMARY, description=_SUMMARY
    )
    verbs = parser.add_subparsers(title="commands", required=True, metavar="predict", parser_class=CommandParser)
    _add_predict(verbs)


_SUMMARY = "Label documents by language, quality or anything else, with fastText's models."


def _add_predict(verbs: Any) -> None:
    parser = command(verbs, "predict", _predict, "Add each document's best label and its score as columns.")
    parser.set_defaults(extra="train")
    parser.add_argument("input", nargs="+", metavar="IN", help="files, folders or URLs")
    parser.add_argument("-m", "--model", type=Path, required=True, metavar="FILE", help="a model of fastText's")
    add_output(parser, "a .parquet or .jsonl[.gz|.zst] file", metavar="FILE")
    parser.add_argument(
        "--column", default="label", metavar="NAME", help="the label's column; NAME_score has the score (default: label)"
    )
    parser.add_argument(
        "--threshold", type=float, default=0.0, metavar="X", help="the least score of a label that is given (default: 0)"
    )
    parser.add_argument(
        "--newlines",
        choices=("space", "end", "fail"),
        default="space",
        help="a line feed is a space, ends the text (as for fastText), or is an error (default: space)",
    )
    add_reading(parser)
    add_column_types(parser)
    add_threads(parser)


def _predict(arguments: argparse.Namespace) -> Mapping[str, Any]:
    from smolfast.classify import label_documents

    options = {
        "column": arguments.column,
        "threshold": arguments.threshold,
        "newlines": arguments.newlines,
        **reading_of(arguments),
        "types": dict(arguments.column_type),
    }
    sources = local_sources(arguments, arguments.input)
    return run_stage(
        arguments,
        "classify",
        inputs={**local_inputs([source.path for source in sources]), "model": arguments.model},
        parameters={"input": arguments.input, **options, **sources.summary()},
        work=lambda path, progress: label_documents(
            arguments.input,
            path,
            model=arguments.model,
            **options,
            strict=arguments.strict,
            threads=arguments.threads,
            progress=progress,
        ),
    )
