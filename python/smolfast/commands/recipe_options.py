"""What the commands on recipes share: a recipe, its folder, changes to it; and what experiments ask for."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from smolfast.commands.options import add_threads
from smolfast.commands.parsers import at_least, output_path

if TYPE_CHECKING:
    from smolfast.pipeline.recipes import Graph


def add_recipe_options(parser: argparse.ArgumentParser) -> None:
    """The recipe, `-o`, `--profile` and `--set`."""
    parser.add_argument("recipe", metavar="RECIPE", help="TOML file, or one of `smolfast recipes`")
    parser.add_argument("-o", "--output", type=output_path, required=True, metavar="DIR", help="folder of the run")
    parser.add_argument("--profile", metavar="NAME", help="settings of the recipe's [profiles.NAME], such as smoke")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="one setting, of a stage or a section of the configuration, for example --set train.steps=100",
    )


def graph_of(arguments: argparse.Namespace) -> Graph:
    """The graph of the recipe that these options name."""
    from smolfast.pipeline.recipes import load_recipe

    return load_recipe(arguments.recipe, profile=arguments.profile, settings=arguments.set)


def add_experiment_options(parser: argparse.ArgumentParser, *, at_once: str) -> None:
    """`--objective`, `--maximize`, `--jobs`, `--overwrite` and `--threads`; `at_once` says what `--jobs` counts."""
    parser.add_argument("--objective", required=True, metavar="STAGE.NUMBER", help="what is to be small")
    parser.add_argument("--maximize", action="store_true", help="it is to be large")
    parser.add_argument("--jobs", type=at_least(1), default=1, metavar="N", help=f"{at_once} at once (default: 1)")
    parser.add_argument("--overwrite", action="store_true", help="replace another one in the folder")
    add_threads(parser)
