"""`smolfast ablate RECIPE CHANGE… --objective … -o DIR`: one change at a time from a baseline."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smolfast.commands.parsers import at_least, command
from smolfast.commands.recipe_options import add_experiment_options, add_recipe_options
from smolfast.progress import Console
from smolfast.recipes import change_sets


def add_ablate(commands: Any) -> None:
    """The parser of `smolfast ablate`."""
    parser = command(commands, "ablate", _ablate, after=_after)
    parser.set_defaults(goes_on=True)
    add_recipe_options(parser)
    parser.add_argument(
        "changes",
        nargs="+",
        type=Path,
        metavar="CHANGE",
        help=f"TOML files with settings as a profile has them, or sets that ship: {', '.join(change_sets())}",
    )
    parser.add_argument(
        "--also", action="append", default=[], metavar="STAGE.NUMBER", help="compare this number too; decides nothing"
    )
    parser.add_argument("--seeds", type=at_least(1), default=3, metavar="N", help="of the trainings (default: 3)")
    add_experiment_options(parser, at_once="stages")


def _ablate(arguments: argparse.Namespace) -> Mapping[str, Any]:
    from smolfast.pipeline.sweeps.ablation import Ablation, ablate, read_changes

    what = Ablation(
        recipe=arguments.recipe,
        changes=read_changes(arguments.changes, arguments.recipe),
        objective=arguments.objective,
        seeds=arguments.seeds,
        maximize=arguments.maximize,
        profile=arguments.profile,
        settings=tuple(arguments.set),
        also=tuple(arguments.also),
    )
    return ablate(
        what,
        arguments.output,
        jobs=arguments.jobs,
        threads=arguments.threads,
        overwrite=arguments.overwrite,
        console=Console(quiet=arguments.quiet),
    )


def _after(arguments: argparse.Namespace, result: Mapping[str, Any]) -> list[str]:
    return [f"open {result['page']} in a browser"]
