"""`smolfast run RECIPE -o DIR`: every stage of a recipe that isn't done."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from smolfast.commands.dedup import parse_size
from smolfast.commands.options import add_threads, as_words
from smolfast.commands.parsers import at_least, command
from smolfast.commands.recipe_options import add_recipe_options, graph_of
from smolfast.progress import Console


def add_run(commands: Any) -> None:
    """The parser of `smolfast run`."""
    parser = command(commands, "run", _run, after=_after)
    parser.set_defaults(goes_on=True)
    add_recipe_options(parser)
    parser.add_argument(
        "--jobs", type=at_least(1), default=1, metavar="N", help="stages at once, where they don't need each other"
    )
    parser.add_argument(
        "--memory",
        type=parse_size,
        metavar="SIZE",
        help="such as 16g: what stages at once may take, by their last run (default: most of what is free)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what another recipe made in the folder")
    add_threads(parser)


def _run(arguments: argparse.Namespace) -> Mapping[str, Any]:
    from smolfast.pipeline.recipes import run

    console = Console(quiet=arguments.quiet)
    outcome = run(
        graph_of(arguments),
        arguments.output,
        console,
        jobs=arguments.jobs,
        memory=arguments.memory,
        threads=arguments.threads,
        overwrite=arguments.overwrite,
    )
    outcome.check(arguments.output / "stages")
    ran = len(outcome.summaries) - len(outcome.skipped)
    return {
        "stages": len(outcome.summaries),
        "ran": ran,
        "skipped": len(outcome.skipped),
        "seconds": round(outcome.seconds, 1),
        "page": str(arguments.output / "recipe.html"),
    }


def _after(arguments: argparse.Namespace, result: Mapping[str, Any]) -> list[str]:
    return [f"open {result['page']} in a browser", as_words("smolfast", "show", arguments.output) + "/STAGE"]
