"""`smolfast plan RECIPE -o DIR`: what a run would do, and why; writes nothing."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from smolfast.commands.parsers import command
from smolfast.commands.recipe_options import add_recipe_options, graph_of


def add_plan(commands: Any) -> None:
    """The parser of `smolfast plan`."""
    parser = command(commands, "plan", _plan)
    add_recipe_options(parser)


def _plan(arguments: argparse.Namespace) -> Mapping[str, Any] | None:
    from smolfast.pipeline.recipes import plan
    from smolfast.pipeline.recipes.planning import described, left_over

    graph = graph_of(arguments)
    planned = plan(graph, arguments.output)
    if arguments.json:
        return {
            "stages": [
                {
                    "name": one.node.name,
                    "action": one.outlook.action,
                    "reasons": list(one.outlook.reasons),
                    "certain": one.certain,
                    "seconds_last_time": one.outlook.seconds,
                }
                for one in planned
            ]
        }
    print("\n".join([*described(planned), *left_over(graph, arguments.output)]))
    return None
