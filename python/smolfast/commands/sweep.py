"""`smolfast sweep RECIPE --param … --objective … -o DIR`: trials over settings of a recipe."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from smolfast.commands.options import as_words
from smolfast.commands.parsers import at_least, command
from smolfast.commands.recipe_options import add_experiment_options, add_recipe_options
from smolfast.progress import Console


def add_sweep(commands: Any) -> None:
    """The parser of `smolfast sweep`."""
    parser = command(commands, "sweep", _sweep, after=_after)
    parser.set_defaults(goes_on=True, extra="sweep")
    add_recipe_options(parser)
    parser.add_argument(
        "--param",
        action="append",
        required=True,
        metavar="NAME=RANGE",
        help="a setting and its values: A,B,… or LOW..HIGH, with log:, int: or log-int: before it; :N behind it is how "
        "many a grid takes; may be given again",
    )
    parser.add_argument("--trials", type=at_least(1), default=20, metavar="N", help="trials in all (default: 20)")
    parser.add_argument(
        "--sampler",
        choices=("tpe", "random", "grid", "cmaes"),
        default="tpe",
        help="what chooses the next values (default: tpe)",
    )
    parser.add_argument(
        "--pruner",
        choices=("halving", "asha", "median", "none"),
        default="halving",
        help="which trials go on, by their held-out losses: halving pauses all of them and goes on with the best, asha "
        "and median compare each with those before it (default: halving)",
    )
    parser.add_argument(
        "--startup",
        type=at_least(1),
        default=5,
        metavar="N",
        help="trials before the sampler learns, and before the median is taken (default: 5)",
    )
    parser.add_argument("--seed", type=at_least(0), default=0, metavar="N", help="seed of the choices (default: 0)")
    add_experiment_options(parser, at_once="trials")


def _sweep(arguments: argparse.Namespace) -> Mapping[str, Any]:
    from smolfast.pipeline.sweeps.space import parse_parameter
    from smolfast.pipeline.sweeps.sweep import Sweep, sweep

    what = Sweep(
        recipe=arguments.recipe,
        parameters=tuple(map(parse_parameter, arguments.param)),
        objective=arguments.objective,
        sampler=arguments.sampler,
        pruner=arguments.pruner,
        maximize=arguments.maximize,
        seed=arguments.seed,
        startup=arguments.startup,
        at_once=arguments.jobs,
        profile=arguments.profile,
        settings=tuple(arguments.set),
    )
    return sweep(
        what,
        arguments.output,
        trials=arguments.trials,
        jobs=arguments.jobs,
        threads=arguments.threads,
        overwrite=arguments.overwrite,
        console=Console(quiet=arguments.quiet),
    )


def _after(arguments: argparse.Namespace, result: Mapping[str, Any]) -> list[str]:
    best = as_words("smolfast", "run", arguments.output / "best.toml", "--profile", "best", "-o", "best")
    return [f"open {result['page']} in a browser", *([best] if result["best_trial"] is not None else [])]
