"""`smolfast report`: the page of a folder that a command wrote, made from its files."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smolfast.commands.parsers import command, output_path
from smolfast.errors import SmolfastError


def add_report(commands: Any) -> None:
    """The parser of `smolfast report`."""
    parser = command(
        commands,
        "report",
        _report,
        after=_after,
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder of quickstart, train or curate")
    parser.add_argument(
        "--with",
        dest="others",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="lay another run over it; may be given up to four times",
    )
    parser.add_argument("-o", "--output", type=output_path, metavar="FILE", help="HTML file (default: DIR/report.html)")


def _after(arguments: argparse.Namespace, result: Mapping[str, Any]) -> list[str]:
    return [f"open {result['report']} in a browser"]


def _report(arguments: argparse.Namespace) -> Mapping[str, Any]:
    from smolfast.report import write_curation_report, write_report
    from smolfast.report.curation.run import is_curation

    output = arguments.output or arguments.folder / "report.html"
    if is_curation(arguments.folder):
        if arguments.others:
            raise SmolfastError(
                f"{arguments.folder} is what curate judged, which isn't laid over runs; leave out --with"
            )
        return {"report": str(output), **write_curation_report(arguments.folder, output)}
    return {"report": str(output), **write_report(arguments.folder, output, others=arguments.others)}
