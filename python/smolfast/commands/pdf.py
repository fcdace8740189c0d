"""`smolfast pdf IN… -o OUT`: the text of PDF files, in reading order, as documents."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from smolfast.commands.options import add_strict, add_threads, as_words
from smolfast.commands.parsers import add_output, at_least, command
from smolfast.progress import Console, describe_end


def add_pdf(commands: Any) -> None:
    """The parser of `smolfast pdf`."""
    parser = command(commands, "pdf", _run, after=_after)
    parser.set_defaults(goes_on=True, extra="pdf")
    parser.add_argument(
        "input", nargs="+", metavar="IN", help="PDF files, folders of them, or files of parquet with a column of PDFs"
    )
    add_output(parser, "folder for kept, removed and pdf.json")
    parser.add_argument("--bytes-column", metavar="NAME", help="column of PDFs (default: the only one of bytes)")
    parser.add_argument(
        "--page-seconds",
        type=float,
        default=60.0,
        metavar="S",
        help="CPU time after which a page is left (default: 60)",
    )
    parser.add_argument(
        "--memory", type=at_least(256), default=2048, metavar="MIB", help="of each worker at most (default: 2048)"
    )
    add_strict(parser)
    add_threads(parser)


def _run(arguments: argparse.Namespace) -> Mapping[str, Any]:
    from smolfast.pdf import extract_pdfs

    console = Console(quiet=arguments.quiet)
    with console.watch("pdf") as watch:
        summary = extract_pdfs(
            arguments.input,
            arguments.output,
            bytes_column=arguments.bytes_column,
            page_seconds=arguments.page_seconds,
            memory=arguments.memory << 20,
            strict=arguments.strict,
            threads=arguments.threads,
            overwrite=arguments.overwrite,
            progress=watch,
        )
    said = summary.as_dict()
    if (seconds := watch.seconds) is None:
        console.line(f"{'pdf':<11} unchanged, skipped; {arguments.output} holds the result")
    else:
        rate = summary.pages / max(seconds, 1e-3)
        console.line(f"{'pdf':<11} {describe_end(said, seconds)}; {summary.pages:,} pages, {rate:,.0f} pages/s")
    return said


def _after(arguments: argparse.Namespace, result: Mapping[str, Any]) -> list[str]:
    if not result["documents_out"]:
        return []
    return [as_words("smolfast", "curate", arguments.output / "kept", "-o", "curated")]
