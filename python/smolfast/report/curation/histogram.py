"""Histograms as inline SVG: how a measured number is spread over documents, and where thresholds cut it.

Counts stand on a logarithmic scale: what lies just beyond a threshold is seldom one hundredth of what lies at zero.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass

from smolfast.report.charts import nice_ticks, number
from smolfast.report.markup import Markup, folded, table, tag
from smolfast.report.section import counted, share

_BARS = 100
_NICE = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
"""Edges within a decade where the axis is logarithmic."""
_FEW = 0.2
"""Of a bar's documents, on the other side of a threshold within it: below this share they get no bar of their own."""
_QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


@dataclass(frozen=True)
class Bin:
    """So many documents whose number is `low` (if `exact`), or lies between it and the next of two digits."""

    low: float
    exact: bool
    count: int


@dataclass(frozen=True)
class Limit:
    """A threshold: what lies above it goes, or what lies below. `name` says whose it is, if there are several."""

    at: float
    above: bool
    name: str = ""

    def passes(self, one: Bin) -> bool:
        """Whether a bin of documents stays."""
        if self.above:
            return one.low < self.at or (one.exact and one.low == self.at)
        return one.low >= self.at


@dataclass(frozen=True)
class _Bar:
    """So many documents between two places of the axis, all of which stay or all of which go by this number."""

    low: float
    high: float
    count: int
    stays: bool


def histogram(key: str, title: str, bins: Sequence[Bin], limits: Sequence[Limit]) -> Markup:
    """A figure of the bins, in ascending order, cut by the limits, and the quantiles.

    Bins have edges of two digits, as most thresholds do, so that a bin lies on one side of a threshold.
    """
    total = sum(one.count for one in bins)
    if not total:
        return tag("p", f"{title}: measured on no document.", class_="missing")
    top, log = _extent(bins, limits)
    edges = _log_edges(bins, limits, top) if log else _linear_edges(top)
    bars = _bars(bins, edges, limits)
    most = max((bar.count for bar in bars), default=1)
    shown_limits = [limit for limit in limits if edges[0] <= limit.at <= edges[-1]]

    def across(value: float) -> float:
        if log:
            return math.log(value / edges[0]) / math.log(edges[-1] / edges[0])
        return (value - edges[0]) / (edges[-1] - edges[0])

    def down(count: float) -> float:
        return 1 - math.log1p(count) / math.log1p(most)

    paths: dict[bool, list[str]] = {True: [], False: []}
    for bar in bars:
        left, right, height = (1000 * share for share in (across(bar.low), across(bar.high), down(bar.count)))
        paths[bar.stays].append(f"M{left:.1f} 1000V{height:.1f}H{right:.1f}V1000Z")
    drawn = [
        tag("path", d="".join(parts), class_=f"fill s{0 if stays else 1}") for stays, parts in paths.items() if parts
    ]
    stretched = tag("svg", drawn, viewBox="0 0 1000 1000", preserveAspectRatio="none", width="100%", height="100%")
    ticks = [count for count in _powers(most) if count <= most]
    grid = [tag("line", x1=0, x2="100%", y1=_percent(down(t)), y2=_percent(down(t)), class_="grid") for t in ticks]
    labels = [tag("text", f"{t:,}", x=0, dx=-8, y=_percent(down(t)), dy="0.32em", text_anchor="end") for t in ticks]
    for tick in _log_ticks(edges) if log else nice_ticks(edges[0], edges[-1], 6):
        if edges[0] <= tick <= edges[-1]:
            at = _percent(across(tick))
            grid.append(tag("line", x1=at, x2=at, y1="100%", y2="100%", class_="tick", transform="translate(0 5)"))
            labels.append(tag("text", f"{tick:,.10g}", x=at, y="100%", dy=20, text_anchor="middle"))
    lines = [
        tag("line", x1=_percent(across(one.at)), x2=_percent(across(one.at)), y1=0, y2="100%", class_="limit")
        for one in shown_limits
    ]
    description = _described(bins, limits, total)
    drawing = tag(
        "svg",
        tag("title", title, id=f"{key}-title"),
        tag("desc", description, id=f"{key}-description"),
        grid,
        tag("g", labels, class_="labels"),
        stretched,
        lines,
        role="img",
        aria_labelledby=f"{key}-title {key}-description",
        width="100%",
        height="100%",
    )
    beyond = sum(one.count for one in bins if one.low >= edges[-1])
    more = f" Further right, not drawn: {counted(beyond, 'document')}." if beyond else ""
    return tag(
        "figure",
        tag("figcaption", tag("strong", title), f" {description}{more}"),
        tag("p", "documents (logarithmic), by the number measured", class_="axis"),
        tag("div", drawing, class_="plot"),
        folded("The numbers as a table", _quantiles(title, bins, total)),
        class_="chart",
    )


def _described(bins: Sequence[Bin], limits: Sequence[Limit], total: int) -> str:
    beyond = sum(one.count for one in bins if not all(limit.passes(one) for limit in limits))
    if not limits:
        return f"Measured on {total:,} documents; nothing is decided by it."
    cut = " or ".join(
        f"{'above' if one.above else 'below'} {number(one.at)}{f' ({one.name})' if one.name else ''}" for one in limits
    )
    about = "" if all(_is_edge(one.at) for one in limits) else "about "
    lie = f"{about}{beyond:,} ({share(beyond, total)}) {'lies' if beyond == 1 else 'lie'}" if beyond else "none lies"
    return f"Of {counted(total, 'document')} {lie} {cut}."


def _is_edge(value: float) -> bool:
    return float(f"{value:.2g}") == value


def _extent(bins: Sequence[Bin], limits: Sequence[Limit]) -> tuple[float, bool]:
    """How far right to draw, and whether the axis is logarithmic: numbers of several magnitudes need one."""
    most = max([_quantile(bins, 0.995), *(1.25 * limit.at for limit in limits)])
    least = min([limit.at for limit in limits if limit.at > 0], default=_quantile(bins, 0.05))
    return most or 1.0, most > 200 * max(least, 0.05)


def _linear_edges(top: float) -> list[float]:
    """A hundred edges or fewer, each a multiple of 1, 2 or 5 times a power of ten that is one of two digits."""
    power = math.floor(math.log10(top / _BARS) + 1e-9)
    step, digits = next(
        (factor * 10.0**power, power) for factor in (1, 2, 5, 10) if factor * 10.0**power * _BARS >= top * 0.999
    )
    coarse = math.ceil(math.log10(top) - 1e-9) - 2  # the width of a bin of two digits just below
    if step < 10.0**coarse * 0.999:
        step, digits = 10.0**coarse, coarse
    places = max(0, -digits)
    return [round(index * step, places) for index in range(math.floor(top / step + 1e-9) + 2)]


def _log_edges(bins: Sequence[Bin], limits: Sequence[Limit], top: float) -> list[float]:
    least = min([_quantile(bins, 0.001), *(limit.at for limit in limits if limit.at > 0)])
    low = max(least, 10.0 ** (math.floor(math.log10(top)) - 6), 1e-3)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(top)) + 1)
    edges = [float(f"{factor}e{power}") for power in powers for factor in _NICE]
    first = max(0, bisect.bisect_right(edges, low) - 1)
    return edges[first : max(first + 1, bisect.bisect_left(edges, top)) + 1]


def _bars(bins: Sequence[Bin], edges: Sequence[float], limits: Sequence[Limit]) -> list[_Bar]:
    """A bar between two edges; two of half the width where a threshold parts the documents between them.

    Where hardly any lie on its other side, the bar has the colour of the many: a sliver would look like a gap.
    """
    found: dict[int, dict[bool, int]] = {}
    for one in bins:
        place = max(0, bisect.bisect_right(edges, one.low) - 1)
        if place < len(edges) - 1 and one.count:
            counts = found.setdefault(place, {})  # the side of the lower numbers comes first
            stays = all(limit.passes(one) for limit in limits)
            counts[stays] = counts.get(stays, 0) + one.count
    bars = []
    for place, counts in found.items():
        if min(counts.values()) < _FEW * sum(counts.values()):
            counts = {max(counts, key=counts.__getitem__): sum(counts.values())}
        low, wide = edges[place], (edges[place + 1] - edges[place]) / len(counts)
        for index, (stays, count) in enumerate(counts.items()):
            bars.append(_Bar(low + index * wide, low + (index + 1) * wide, count, stays))
    return bars


def _quantile(bins: Sequence[Bin], share: float) -> float:
    """The beginning of the bin in which so much of all documents lies at or below."""
    wanted, seen = share * sum(one.count for one in bins), 0
    for one in bins:
        seen += one.count
        if seen >= wanted:
            return one.low
    return 0.0


def _quantiles(title: str, bins: Sequence[Bin], total: int) -> Markup:
    rows = [[f"{share:.0%}", number(_quantile(bins, share))] for share in _QUANTILES]
    return table(
        f"{title}: so many of {total:,} documents lie at or below", ("Documents", "Number"), rows, numeric=(1,)
    )


def _powers(most: int) -> list[int]:
    return [10**power for power in range(len(str(most)))]


def _log_ticks(edges: Sequence[float]) -> list[float]:
    first, last = math.floor(math.log10(edges[0])), math.ceil(math.log10(edges[-1]))
    return [float(f"1e{power}") for power in range(first, last + 1)]


def _percent(share: float) -> str:
    return f"{max(0.0, min(1.0, share)) * 100:.2f}%"
