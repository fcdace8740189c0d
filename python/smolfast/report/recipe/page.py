"""The page of a recipe's run."""

from __future__ import annotations

import os
from typing import Any

from smolfast.progress import format_bytes, format_seconds
from smolfast.report.charts import number
from smolfast.report.document import document, save_page
from smolfast.report.markup import Markup, command, markup, table, tag
from smolfast.report.recipe.graph import draw, state_in_words
from smolfast.report.recipe.run import RecipeRun, Stage, read_recipe_run
from smolfast.report.section import Section, counted

_IN_WORDS = {
    "running": "It is running.",
    "done": "It is done.",
    "failed": "A stage failed.",
    "interrupted": "It was interrupted; the same command goes on from there.",
}


def write_recipe_report(folder: str | os.PathLike[str], output_html: str | os.PathLike[str]) -> dict[str, Any]:
    """Write one self-contained HTML page about a run of a recipe, from the files of its folder.

    Returns:
        `bytes` of the page.

    Raises:
        SmolfastError: no recipe ran in the folder, a file is damaged, or the page can't be written.
    """
    page = recipe_page(folder)
    save_page(output_html, page)
    return {"bytes": len(page.encode())}


def recipe_page(folder: str | os.PathLike[str]) -> str:
    """That page as text."""
    run = read_recipe_run(folder)
    failures = [_failures(run)] if run.count("failed") else []
    sections = [_now(run), *failures, _monitors(run), _graph(run), _stages(run), _pages(run)]
    found = [section for section in sections if section.body]
    return document(
        f"smolfast recipe {run.name}", found, "the files of the run's folder", subtitle=f"begun {_time(run.begun)}"
    )


def _now(run: RecipeRun) -> Section:
    done, total = run.count("done", "skipped"), len(run.stages)
    parts = [f"{done} of {counted(total, 'stage')} done"]
    if before := run.count("skipped"):
        parts[0] += f", {before} of them before"
    parts += [
        f"{run.count(state)} {word}"
        for state, word in (
            ("running", "running"),
            ("failed", "failed"),
            ("blocked", "not run, for they need what failed"),
        )
        if run.count(state)
    ]
    took = sum(stage.seconds or 0 for stage in run.stages if stage.state in ("done", "skipped"))
    body = tag(
        "p", f"{_IN_WORDS.get(run.state, '')} {', '.join(parts)}. The stages that are done took {format_seconds(took)}."
    )
    return Section("state", "State", body)


def _failures(run: RecipeRun) -> Section:
    failed = [stage for stage in run.stages if stage.state == "failed"]
    said = [
        (
            tag("h3", stage.name),
            tag("p", stage.note),
            tag("pre", tag("code", "\n".join(stage.log)), tabindex=0) if stage.log else None,
        )
        for stage in failed
    ]
    return Section("failed", "What failed", markup((said, tag("p", "Run the same command again to go on from here."))))


def _monitors(run: RecipeRun) -> Section:
    rows = [
        (stage.name, event.get("rule"), number(value) if (value := event.get("value")) is not None else "not finite",
         event.get("reaction"))
        for stage in run.stages
        for event in stage.events
    ]  # fmt: skip
    seen = table("Rules that held", ("Stage", "Rule", "Value", "Reaction"), rows, numeric=(2,)) if rows else Markup()
    return Section("monitors", "What monitors saw", seen)


def _graph(run: RecipeRun) -> Section:
    key = tag("p", "Each box is a stage, with its time and the size of what it made. A line leads to what needs it.")
    return Section("graph", "Graph", markup((key, draw(run.stages))))


def _stages(run: RecipeRun) -> Section:
    headers = ("Stage", "Kind", "State", "Time", "Output", "Size", "Peak memory")
    return Section(
        "stages", "Stages", table("Stages in their order", headers, map(_row, run.stages), numeric=(3, 5, 6))
    )


def _row(stage: Stage) -> tuple[object, ...]:
    state = state_in_words(stage) + (f": {stage.note}" if stage.note and stage.state == "running" else "")
    return (
        stage.name,
        stage.kind,
        state,
        "–" if stage.seconds is None else format_seconds(stage.seconds),
        stage.output,
        "–" if stage.size is None else format_bytes(stage.size),
        "–" if not stage.memory else format_bytes(stage.memory),
    )


def _pages(run: RecipeRun) -> Section:
    made = [
        stage.output for stage in run.stages if stage.output.endswith(".html") and (run.folder / stage.output).is_file()
    ]
    links = tag("ul", (tag("li", tag("a", name, href=name)) for name in made)) if made else Markup()
    first = next((stage.output for stage in reversed(run.stages) if stage.state in ("done", "skipped")), None)
    trace = (
        (tag("p", "Where an output came from:"), command(f"smolfast show {run.folder.name}/{first}")) if first else None
    )
    return Section("pages", "Further", markup((links, trace)))


def _time(text: str) -> str:
    return text[:16].replace("T", " ") + " UTC"
