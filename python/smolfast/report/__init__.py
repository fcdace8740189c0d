"""One self-contained HTML page about a run, a curation or a recipe, made from the files of its folder alone."""

from __future__ import annotations

from smolfast.report.curation.page import write_curation_report
from smolfast.report.recipe.page import write_recipe_report
from smolfast.report.training.page import write_report

__all__ = ["write_curation_report", "write_recipe_report", "write_report"]
