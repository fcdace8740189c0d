"""`smolfast show PATH`: what made a file or folder, and what of, back to the sources."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smolfast.commands.parsers import command


def add_show(commands: Any) -> None:
    """The parser of `smolfast show`."""
    parser = command(commands, "show", _show)
    parser.add_argument("path", type=Path, metavar="PATH", help="a file or folder that smolfast made")
    parser.add_argument("--settings", action="store_true", help="also print the settings of the stage that made it")


def _show(arguments: argparse.Namespace) -> Mapping[str, Any] | None:
    from smolfast.pipeline.recipes.provenance import described, trace

    made = trace(arguments.path)
    if arguments.json:
        return made.as_dict()
    print("\n".join(described(made)))
    if arguments.settings:
        print(json.dumps(made.record.get("parameters", {}), indent=2))
    return None
