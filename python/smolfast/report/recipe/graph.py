"""A graph of stages drawn from top to bottom: a row for each distance from the start, a line for each need."""

from __future__ import annotations

from collections.abc import Sequence

from smolfast.progress import format_bytes, format_seconds
from smolfast.report.markup import Markup, tag
from smolfast.report.recipe.run import Stage

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y = 168, 50, 18, 34
_LETTERS = 18


def draw(stages: Sequence[Stage]) -> Markup:
    """The graph as SVG; each stage with its state in words, its time and the size of its output."""
    rows = _rows(stages)
    widest = max(map(len, rows))
    width = widest * (_WIDTH + _GAP_X) - _GAP_X
    height = len(rows) * (_HEIGHT + _GAP_Y) - _GAP_Y
    places = {}
    for y, row in enumerate(rows):
        left = (width - (len(row) * (_WIDTH + _GAP_X) - _GAP_X)) / 2
        for x, stage in enumerate(row):
            places[stage.name] = (left + x * (_WIDTH + _GAP_X), y * (_HEIGHT + _GAP_Y))
    lines = [_line(places[need], places[stage.name]) for stage in stages for need in stage.needs if need in places]
    boxes = [_box(stage, *places[stage.name]) for stage in stages]
    drawing = tag(
        "svg",
        tag("title", "The graph of stages; the table below says the same in words"),
        lines,
        boxes,
        viewBox=f"-4 -4 {width + 8:g} {height + 8:g}",
        width=f"{width + 8:g}",
        height=f"{height + 8:g}",
        role="img",
        class_="stages",
    )
    return tag("div", drawing, class_="scroll", tabindex=0, role="region", aria_label="Graph of stages")


def _rows(stages: Sequence[Stage]) -> list[list[Stage]]:
    """Stages by their distance from the start; in a row in the order of those above."""
    depth: dict[str, int] = {}
    for stage in stages:  # in an order in which each stands behind what it needs
        depth[stage.name] = 1 + max((depth.get(need, -1) for need in stage.needs), default=-1)
    rows: list[list[Stage]] = [[] for _ in range(1 + max(depth.values(), default=0))]
    for stage in stages:
        rows[depth[stage.name]].append(stage)
    at: dict[str, float] = {}
    for row in rows:
        row.sort(key=lambda stage: sum(at[n] for n in stage.needs if n in at) / max(1, len(stage.needs)))
        at.update({stage.name: (index + 0.5) / len(row) for index, stage in enumerate(row)})
    return [row for row in rows if row]


def _line(above: tuple[float, float], below: tuple[float, float]) -> Markup:
    x1, y1 = above[0] + _WIDTH / 2, above[1] + _HEIGHT
    x2, y2 = below[0] + _WIDTH / 2, below[1]
    bend = max(_GAP_Y / 2, (y2 - y1) / 2)
    return tag("path", d=f"M{x1:g} {y1:g}C{x1:g} {y1 + bend:g} {x2:g} {y2 - bend:g} {x2:g} {y2:g}", class_="need")


def _box(stage: Stage, x: float, y: float) -> Markup:
    name = stage.name if len(stage.name) <= _LETTERS else f"{stage.name[: _LETTERS - 1]}…"
    share = stage.share if stage.state == "running" and stage.share is not None else None
    return tag(
        "g",
        tag("title", f"{stage.name}: {state_in_words(stage)}"),
        tag("rect", x=f"{x:g}", y=f"{y:g}", width=_WIDTH, height=_HEIGHT, rx=8),
        None
        if share is None
        else tag("rect", x=f"{x:g}", y=f"{y + _HEIGHT - 4:g}", width=f"{_WIDTH * share:.1f}", height=4, class_="share"),
        tag("text", name, x=f"{x + 12:g}", y=f"{y + 20:g}", class_="name"),
        tag("text", _short(stage), x=f"{x + 12:g}", y=f"{y + 38:g}"),
        class_=stage.state,
    )


def _short(stage: Stage) -> str:
    if stage.state in ("done", "skipped") and stage.seconds is not None:
        size = f" · {format_bytes(stage.size)}" if stage.size is not None else ""
        return f"{format_seconds(stage.seconds)}{size}"
    return state_in_words(stage)


def state_in_words(stage: Stage) -> str:
    """What a stage is doing."""
    if stage.state == "running" and stage.share:
        return f"running, {stage.share:.0%}"
    return {"skipped": "done before", "blocked": "needs what failed"}.get(stage.state, stage.state)
