"""`smolfast watch DIR`: the page of a recipe's run, served on this machine and refreshed while the run goes on."""

from __future__ import annotations

import argparse
import secrets
from pathlib import Path
from typing import Any

from smolfast.commands.parsers import at_least, command
from smolfast.progress import Console


def add_watch(commands: Any) -> None:
    """The parser of `smolfast watch`."""
    parser = command(commands, "watch", _watch)
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder of smolfast run")
    parser.add_argument("--port", type=at_least(0), default=0, metavar="N", help="port; 0 for a free one (default: 0)")
    parser.add_argument(
        "--refresh", type=at_least(1), default=2, metavar="S", help="seconds between two looks (default: 2)"
    )


def _watch(arguments: argparse.Namespace) -> None:
    from smolfast.report.recipe.run import read_recipe_run
    from smolfast.report.recipe.serving import serve

    read_recipe_run(arguments.folder)
    with serve(arguments.folder, secrets.token_urlsafe(16), port=arguments.port, refresh=arguments.refresh) as server:
        print(server.address, flush=True)
        Console(quiet=arguments.quiet).line(f"{'watch':<11} open it in a browser of this machine; Ctrl-C ends it")
        server.serve_forever()
