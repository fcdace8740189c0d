"""Recipes: a graph of stages in a TOML file, planned with reasons and run.

`reading` takes the file in, `graph` makes the stages of it, `kinds/` says what each kind of stage does, `flow` binds
them to a folder, `planning` and `running` go through them, `worker` runs one in a process of its own, and `provenance`
leads from a file back to its sources.
"""

from __future__ import annotations

from smolfast.pipeline.recipes.graph import Graph, load_recipe
from smolfast.pipeline.recipes.planning import Planned, plan
from smolfast.pipeline.recipes.running import Outcome, run

__all__ = ["Graph", "Outcome", "Planned", "load_recipe", "plan", "run"]
