"""`smolfast quickstart`: every stage in order, from text to a report."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smolfast.commands.options import add_config_options, add_reading, add_threads, as_words, load_config
from smolfast.commands.parsers import command, minutes, output_path
from smolfast.curate.files.crawls import holds_crawls
from smolfast.errors import SmolfastError
from smolfast.progress import Console


def add_quickstart(commands: Any) -> None:
    """The parser of `smolfast quickstart`."""
    parser = command(
        commands,
        "quickstart",
        _quickstart,
        after=_after,
    )
    parser.set_defaults(goes_on=True)
    parser.add_argument(
        "--input",
        nargs="+",
        default=[],
        metavar="IN",
        help="files, folders, globs or URLs (.txt .md .rst .py .jsonl .json .csv .tsv, compressed too; .parquet "
        ".arrow); or of a crawl (.warc .wet), of which documents are made in DIR-crawl; without it, the Python sources "
        "and documentation of this installation",
    )
    parser.add_argument(
        "-o",
        "--output",
        "--out",
        type=output_path,
        default=Path("smolfast-out"),
        metavar="DIR",
        help="run folder (default: smolfast-out)",
    )
    parser.add_argument("--minutes", type=minutes, metavar="M", help="fit the whole run into about M minutes")
    parser.add_argument("--overwrite", action="store_true", help="replace a run with other input or settings")
    add_reading(parser)
    add_threads(parser)
    add_config_options(parser)


def _after(arguments: argparse.Namespace, result: Mapping[str, Any]) -> list[str]:
    return [
        f"open {result['report']} in a browser",
        as_words("smolfast", "generate", result["export"], "--prompt", "Once upon a time"),
    ]


def _quickstart(arguments: argparse.Namespace) -> Mapping[str, Any]:
    from smolfast.pipeline.quickstart import Options, quickstart

    console = Console(quiet=arguments.quiet)
    options = Options(
        out=arguments.output,
        inputs=documents_of(arguments, console)
        if holds_crawls(arguments.input, arguments.output, _crawl_folder(arguments))
        else arguments.input,
        text_column=arguments.text_column,
        errors=arguments.errors,
        strict=arguments.strict,
        minutes=arguments.minutes,
        threads=arguments.threads,
        overwrite=arguments.overwrite,
    )
    return quickstart(load_config(arguments), options, console)


def _crawl_folder(arguments: argparse.Namespace) -> Path:
    return Path(f"{os.path.realpath(arguments.output)}-crawl")  # "." has no name of its own


def documents_of(arguments: argparse.Namespace, console: Console) -> list[str]:
    """The documents that FineWeb's rules keep of a crawl, without near-duplicates, in a folder beside the run's."""
    from smolfast.crawl.files.job import crawl_files

    folder = _crawl_folder(arguments)
    show = console.progress("crawl")
    try:
        summary = crawl_files(
            arguments.input,
            folder,
            dedup=True,
            strict=arguments.strict,
            threads=arguments.threads,
            overwrite=arguments.overwrite,
            progress=show,
        )
    finally:
        console.clear()
    console.line(f"{'crawl':<11} {summary.documents_in:,} pages, {summary.documents_out:,} kept in {folder / 'kept'}")
    if not summary.documents_out:
        raise SmolfastError(
            f"FineWeb's rules keep no page of this crawl; {as_words('smolfast', 'report', folder)} shows why. Choose "
            "other rules with smolfast curate, and give what it kept as --input"
        )
    return [str(folder / "kept")]
