"""`smolfast report`: the page of a quickstart run, written again."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smolfast.commands.parsers import command, output_path


def add_report(commands: Any) -> None:
    """The parser of `smolfast report`."""
    parser = command(
        commands, "report", _report, "Write the report page of a run again, or lay runs over each other.", _after
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="the run folder of quickstart, or of train")
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
    from smolfast.report import write_report

    output = arguments.output or arguments.folder / "report.html"
    return {"report": str(output), **write_report(arguments.folder, output, others=arguments.others)}
