"""Bar and line charts as inline SVG that keeps its type size at every width.

A drawing scaled by a viewBox is unreadable on a phone: 12 px of a 720 px drawing are 6 px at 360. So positions are
percentages of the space there is, only the curves are stretched (with strokes that aren't), and text stays as set.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from smolfast.report.markup import Markup, folded, table, tag

_MOST_POINTS = 600
_LANE = 14
_MARGIN = 0.05
_MOST_MARKS = 24


@dataclass(frozen=True)
class Lane:
    """One bar from `start` to `share` of the full width in colour `series`, on a ghost of `before` (what there was).

    `low` and `high` are the ends of a whisker, where it isn't the same share twice.
    """

    share: float
    series: int
    before: float = 0.0
    low: float = 0.0
    high: float = 0.0
    start: float = 0.0


@dataclass(frozen=True)
class BarRow:
    """A label, what it comes to in words, and its bars. A mark across them at `limit` is what nothing passes."""

    label: str
    value: str
    lanes: tuple[Lane, ...]
    limit: float | None = None


@dataclass(frozen=True)
class Axis:
    """What a bar's length says: the quantity with its unit, and (share of the full width, text) of each tick."""

    name: str
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Mark:
    """Something that happened at `x`: an upright line through a chart, and what it was in a few words."""

    x: float
    label: str


@dataclass(frozen=True)
class Series:
    """A named curve; values that aren't finite break it.

    Attributes:
        style: "line", "dashed", "points"; or "thin" and, lighter, "faint" for a curve with neither legend nor read-out.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int
    style: str = "line"


def axis_from_zero(most: float, name: str) -> Axis:
    """The axis of bars whose full width is `most`: round ticks from 0 on."""
    ticks = [tick for tick in nice_ticks(0.0, most, 4) if tick <= most * 1.0001] if most > 0 else [0.0]
    return Axis(name, tuple((tick / most if most > 0 else 0.0, _tick(tick)) for tick in ticks))


def bar_chart(key: str, title: str, description: str, rows: Sequence[BarRow], axis: Axis | None = None) -> Markup:
    """Horizontal bars, label and value above each (two lines where both don't fit). `key` makes ids unique."""
    parts: list[Markup] = [_bar_row(row) for row in rows]
    if axis is not None:
        places = [(_percent(share), text) for share, text in axis.ticks]
        upright = [tag("line", x1=at, x2=at, y1=0, y2="100%", class_="grid") for at, _ in places]
        parts.insert(0, tag("svg", upright, width="100%", height="100%", class_="bar-grid"))
    body = [tag("div", parts, class_="bar-rows")]
    if axis is not None:
        anchors = [_anchor(share) for share, _ in axis.ticks]
        labels = [
            tag("text", text, x=at, y=14, text_anchor=anchor)
            for (at, text), anchor in zip(places, anchors, strict=True)
        ]
        body += [tag("svg", labels, width="100%", height=20), tag("div", axis.name, class_="axis-name")]
    named = (tag("span", title, id=f"{key}-title"), tag("span", description, id=f"{key}-description"))
    # The rows are HTML, so that a long label takes a line of its own only where there is no room beside the value.
    return tag(
        "div",
        tag("div", named, hidden=True),
        body,
        role="img",
        aria_labelledby=f"{key}-title {key}-description",
        class_="bars",
    )


def _bar_row(row: BarRow) -> Markup:
    drawn: list[Markup] = []
    for place, lane in enumerate(row.lanes):
        top = place * (_LANE + 2)
        if lane.before > 0:
            drawn.append(tag("rect", x=0, y=top, width=_percent(lane.before), height=_LANE - 2, rx=2, class_="ghost"))
        drawn.append(
            tag(
                "rect",
                x=_percent(min(lane.start, lane.share)),
                y=top,
                width=_percent(abs(lane.share - lane.start)),
                height=_LANE - 2,
                rx=2,
                class_=f"fill s{lane.series}",
            )
        )
        if lane.high > lane.low:
            at = top + _LANE / 2 - 1
            ends = {"x1": _percent(lane.low), "x2": _percent(lane.high)}
            drawn.append(tag("line", **ends, y1=at, y2=at, class_="whisker"))
    height = len(row.lanes) * (_LANE + 2) - 4
    if row.limit is not None:
        across = _percent(row.limit)
        drawn.append(tag("line", x1=across, x2=across, y1=-2, y2=height + 2, class_="limit"))
    head = (tag("span", row.label, class_="bar-label"), tag("span", row.value, class_="bar-value"))
    return tag(
        "div",
        tag("div", head, class_="bar-head"),
        tag("svg", drawn, width="100%", height=height),
        class_="bar-row",
    )


def line_chart(
    key: str,
    title: str,
    description: str,
    series: Sequence[Series],
    *,
    x_name: str = "step",
    y_name: str,
    log: bool = False,
    from_zero: bool = False,
    marks: Sequence[Mark] = (),
    places: Sequence[tuple[float, str]] | None = None,
) -> Markup:
    """Curves over a shared x axis, marks, a legend, a read-out and the numbers as a folded table.

    `places` are words on the x axis in place of round numbers. The read-out follows the pointer, a finger and the arrow
    keys. More than two dozen marks are drawn without names.
    """
    shown = [s for s in series if any(_usable(x, y, log) for x, y in zip(s.x, s.y, strict=True))]
    points = [(x, y) for s in shown for x, y in zip(s.x, s.y, strict=True) if _usable(x, y, log)]
    if not points:
        return tag("p", f"{title}: no finite values to draw.", class_="missing")
    x_low, x_high = min(x for x, _ in points), max(x for x, _ in points)
    y_low, y_high = min(y for _, y in points), max(y for _, y in points)
    worded = places is not None
    if places is None:
        places = [(tick, _tick(tick)) for tick in nice_ticks(x_low, x_high, 6)]
    else:
        x_low, x_high = min([x_low, *(x for x, _ in places)]), max([x_high, *(x for x, _ in places)])
    places = [(x, text) for x, text in places if x_low <= x <= x_high]
    if log:
        y_ticks = log_ticks(y_low, y_high)
        y_low, y_high = min(y_ticks[0], y_low), max(y_ticks[-1], y_high)
    else:
        y_low = 0.0 if from_zero else y_low
        margin = _MARGIN * (y_high - y_low) or abs(y_high) * 0.1 or 1.0
        y_low, y_high = y_low - (0.0 if from_zero else margin), y_high + margin
        y_ticks = [tick for tick in nice_ticks(y_low, y_high, 5) if y_low <= tick <= y_high]

    def across(x: float) -> float:
        return (x - x_low) / (x_high - x_low) if x_high > x_low else 0.5

    def down(y: float) -> float:
        if log:
            return math.log(y_high / y) / math.log(y_high / y_low)
        return (y_high - y) / (y_high - y_low)

    grid = [tag("line", x1=0, x2="100%", y1=_percent(down(t)), y2=_percent(down(t)), class_="grid") for t in y_ticks]
    labels = [tag("text", _tick(t), x=0, dx=-8, y=_percent(down(t)), dy="0.32em", text_anchor="end") for t in y_ticks]
    for x, text in places:
        at = _percent(across(x))
        grid.append(tag("line", x1=at, x2=at, y1="100%", y2="100%", class_="tick", transform="translate(0 5)"))
        anchor = _anchor(across(x)) if worded else "middle"
        labels.append(tag("text", text, x=at, y="100%", dy=20, text_anchor=anchor))
    curves: list[Markup] = []
    dots: list[Markup] = []
    for one in shown:
        if one.style == "points":
            dots += [
                tag("circle", cx=_percent(across(x)), cy=_percent(down(y)), r=4, class_=f"dot s{one.colour}")
                for x, y in zip(one.x, one.y, strict=True)
                if _usable(x, y, log)
            ]
            continue
        path = _path([(across(x), down(y) if _usable(x, y, log) else math.nan) for x, y in thin(one.x, one.y)])
        curves.append(
            tag("path", d=path, class_=f"curve {one.style} s{one.colour}", vector_effect="non-scaling-stroke")
        )
    marks = _joined_marks([mark for mark in marks if x_low <= mark.x <= x_high])
    numbered = len(marks) <= _MOST_MARKS
    upright: list[Markup] = []
    for place, mark in enumerate(marks, 1):
        at = _percent(across(mark.x))
        upright.append(tag("line", x1=at, x2=at, y1=0, y2="100%", class_="mark"))
        if numbered:
            upright.append(tag("text", str(place), x=at, y=0, dy=-3, text_anchor="middle", class_="mark-number"))
    stretched = tag(
        "svg",
        curves,
        viewBox="0 0 1000 1000",
        preserveAspectRatio="none",
        width="100%",
        height="100%",
        overflow="visible",
    )
    cursor = tag("line", x1=0, x2=0, y1=0, y2="100%", class_="cursor")
    drawing = _svg(
        key,
        title,
        description,
        [grid, tag("g", labels, class_="labels"), upright, stretched, dots, cursor],
        height="100%",
    )

    named = [s for s in shown if s.style not in ("thin", "faint")]
    legend = tag("ul", (tag("li", _swatch(s), s.name) for s in named), class_="legend")
    facts: dict[str, object] = {"low": x_low, "high": x_high, "x": x_name, "series": [_readout(s) for s in named]}
    if marks:
        facts["marks"] = [[mark.x, mark.label] for mark in marks]
    happened = [tag("li", f"{x_name} {_tick(mark.x)}: {mark.label}") for mark in marks]
    plot = tag("div", drawing, class_="plot", data_chart=json.dumps(facts, separators=(",", ":"), ensure_ascii=False))
    return tag(
        "figure",
        tag("figcaption", tag("strong", title), f" {description}"),
        legend,
        tag("p", f"{y_name}, by {x_name}", class_="axis"),
        plot,
        tag("p", Markup("&nbsp;"), class_="readout", aria_live="polite"),
        tag("ol", happened, class_="marks", aria_label="Marks in the chart") if marks and numbered else None,
        folded("The numbers as a table", _numbers(title, named, x_name)),
        class_="chart",
    )


def nice_ticks(low: float, high: float, about: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten that enclose [low, high] in some `about` steps."""
    if high <= low:
        pad = abs(low) * 0.1 or 1.0
        low, high = low - pad, high + pad
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Ticks of a logarithmic axis around [low, high]: powers of ten, with 2 and 5 between them below two decades."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    factors = (1, 2, 5) if last - first <= 2 else (1,)
    ticks = [factor * 10.0**power for power in range(first, last + 1) for factor in factors]
    below = max((tick for tick in ticks if tick <= low), default=ticks[0])
    above = min((tick for tick in ticks if tick >= high), default=ticks[-1])
    if above <= below:
        above = below * 10
    return [tick for tick in ticks if below <= tick <= above] or [below, above]


def thin(x: Sequence[float], y: Sequence[float]) -> list[tuple[float, float]]:
    """At most about 600 points with the extremes kept: in each of 150 stretches the first, lowest, highest and last."""
    if len(x) <= _MOST_POINTS:
        return list(zip(x, y, strict=True))
    kept: list[int] = []
    stretches = _MOST_POINTS // 4
    for index in range(stretches):
        span = range(len(x) * index // stretches, len(x) * (index + 1) // stretches)
        finite = [at for at in span if math.isfinite(y[at])]
        chosen = {span[0], span[-1]}
        if finite:
            chosen |= {min(finite, key=lambda at: y[at]), max(finite, key=lambda at: y[at])}
        # A break inside the stretch stays a break.
        chosen |= set([at for at in span if not math.isfinite(y[at])][:1])
        kept += sorted(chosen)
    return [(x[at], y[at]) for at in kept]


def number(value: float) -> str:
    """Four significant digits, thousands set apart."""
    if not math.isfinite(value):
        return {math.inf: "∞", -math.inf: "−∞"}.get(value, "not a number")
    if value == 0 or 1e-4 <= abs(value) < 999.95:
        text = f"{value:.4g}"
    elif abs(value) < 1e15:
        text = f"{value:,.0f}" if abs(value) >= 999.95 else f"{value:.2e}"
    else:
        text = f"{value:.3e}"
    return text.replace("-", "−")


def _joined_marks(marks: Sequence[Mark]) -> list[Mark]:
    """By x, those of one x as one."""
    found: dict[float, list[str]] = {}
    for mark in sorted(marks, key=lambda mark: mark.x):
        labels = found.setdefault(mark.x, [])
        if mark.label not in labels:
            labels.append(mark.label)
    return [Mark(x, ", ".join(labels)) for x, labels in found.items()]


def _anchor(share: float) -> str:
    """Text at either edge stays inside."""
    return "start" if share < 0.02 else "end" if share > 0.98 else "middle"


def _usable(x: float, y: float, log: bool) -> bool:
    return math.isfinite(x) and math.isfinite(y) and (y > 0 or not log)


def _percent(share: float) -> str:
    return f"{max(0.0, min(1.0, share)) * 100:.2f}%"


def _tick(value: float) -> str:
    if value and abs(value) < 1e-3:
        return f"{value:.0e}".replace("e-0", "e-").replace("-", "−")
    return f"{value:,.10g}".replace("-", "−")


def _path(points: Sequence[tuple[float, float]]) -> str:
    parts: list[str] = []
    pen = "M"
    for x, y in points:
        if math.isfinite(y):
            parts.append(f"{pen}{x * 1000:.1f} {y * 1000:.1f}")
            pen = "L"
        else:
            pen = "M"
    return "".join(parts)


def _svg(key: str, title: str, description: str, children: object, *, height: str, class_: str | None = None) -> Markup:
    return tag(
        "svg",
        tag("title", title, id=f"{key}-title"),
        tag("desc", description, id=f"{key}-description"),
        children,
        role="img",
        aria_labelledby=f"{key}-title {key}-description",
        width="100%",
        height=height,
        class_=class_,
    )


def _swatch(series: Series) -> Markup:
    mark = (
        tag("circle", cx=11, cy=6, r=4, class_=f"dot s{series.colour}")
        if series.style == "points"
        else tag("line", x1=0, x2=22, y1=6, y2=6, class_=f"curve {series.style} s{series.colour}")
    )
    return tag("svg", mark, width=22, height=12, aria_hidden="true")


def _readout(series: Series) -> dict[str, object]:
    points = thin(series.x, series.y)
    return {
        "name": series.name,
        "x": [x for x, _ in points],
        "y": [float(f"{y:.5g}") if math.isfinite(y) else None for _, y in points],
    }


def _numbers(title: str, series: Sequence[Series], x_name: str) -> Markup:
    """A dozen steps spread over the run, and every step that has points."""
    steps = sorted({x for s in series for x in s.x})
    marked = {x for s in series if s.style == "points" for x in s.x}
    spread = {steps[round(index * (len(steps) - 1) / 11)] for index in range(12)} if steps else set()
    if len(marked) > 24:
        ordered = sorted(marked)
        marked = {ordered[round(index * (len(ordered) - 1) / 23)] for index in range(24)}
    by_step = [dict(zip(s.x, s.y, strict=True)) for s in series]
    rows = [
        [_tick(x), *(number(values[x]) if x in values else "–" for values in by_step)] for x in sorted(spread | marked)
    ]
    return table(title, [x_name, *(s.name for s in series)], rows, numeric=range(1, 1 + len(series)))
