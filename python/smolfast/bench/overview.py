"""The first thing on the benchmarks' page: ours beside the fastest peer in every job, and every case that we lose."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from smolfast.bench import names
from smolfast.bench.results import Results, Row
from smolfast.report.charts import Axis, BarRow, Lane, bar_chart, log_ticks
from smolfast.report.markup import Markup, markup, tag
from smolfast.report.section import Section, counted

_OURS, _THEIRS = 0, 4
_ALONE = ("threads", "check")
"""Parts that compare ours with itself or with the truth."""


@dataclass(frozen=True)
class Beside:
    """How many times as fast ours is as the fastest peer of a case."""

    job: str
    case: str
    peer: str
    times: float


def overview(results: Sequence[Results]) -> Section:
    """A bar for each job from 1 on a logarithmic axis, and one for each case in which a peer is faster."""
    found = [one for each in results for one in beside(each)]
    if not found:
        nobody = tag("p", "No peer was measured in these results, so there is nothing to compare with.")
        return Section("overview", "At a glance", nobody)
    lost = sorted((one for one in found if one.times < 1), key=lambda one: one.times)
    jobs: dict[str, list[Beside]] = {}
    for one in found:
        jobs.setdefault(one.job, []).append(one)
    body = [
        tag(
            "p",
            "How many times as fast smolfast is as the fastest peer that was measured. A bar to the left of 1, in "
            "grey, is a loss. All took turns on the same input in one run.",
        ),
        _jobs(jobs),
        _losses(lost, len(found)),
    ]
    return Section("overview", "At a glance", markup(body))


def beside(results: Results) -> list[Beside]:
    """Each case that ours and a peer have a rate in."""
    found = []
    title = names.title(results.benchmark)
    for part, case in dict.fromkeys((row.part, row.case) for row in results.rows if row.part not in _ALONE):
        rows = largest(row for row in results.rows if (row.part, row.case) == (part, case) and row.rate() is not None)
        rated = [(row, rate.median) for row in rows if (rate := row.rate()) is not None]
        ours = next((rate for row, rate in rated if row.role == "ours"), None)
        peers = [(rate, row.name) for row, rate in rated if row.role == "peer"]
        if ours is not None and peers:
            best, name = max(peers)
            job = f"{title}: {names.part(results.benchmark, part)}"
            found.append(Beside(job, names.case(case), names.contender(name), ours / best))
    return found


def largest(rows: Iterable[Row]) -> list[Row]:
    """Of several sizes or threads of one contender, the largest input and the fewest threads."""
    best: dict[str, Row] = {}
    for row in rows:
        held = best.get(row.name)
        rank = (row.facts.get("size", 0), -(row.threads or 0))
        if held is None or rank > (held.facts.get("size", 0), -(held.threads or 0)):
            best[row.name] = row
    return list(best.values())


def times(value: float) -> str:
    """`0.63 ×`, `5.4 ×`, `194 ×`."""
    return f"{value:,.0f} ×" if value >= 20 else f"{value:.1f} ×" if value >= 2 else f"{value:.2f} ×"


def _jobs(jobs: dict[str, list[Beside]]) -> Markup:
    least = min(one.times for found in jobs.values() for one in found)
    most = max(one.times for found in jobs.values() for one in found)
    axis, place = _axis(least, most)
    means = {job: math.exp(sum(math.log(one.times) for one in found) / len(found)) for job, found in jobs.items()}
    bars = []
    for job, mean in sorted(means.items(), key=lambda entry: -entry[1]):
        found = [one.times for one in jobs[job]]
        spread = f" ({times(min(found))[:-2]} to {times(max(found))[:-2]})" if len(found) > 1 else ""
        lane = Lane(
            place(mean),
            _OURS if mean >= 1 else _THEIRS,
            start=place(1.0),
            low=place(min(found)),
            high=place(max(found)),
        )
        bars.append(BarRow(job, f"{times(mean)}{spread}", (lane,)))
    caption = " The bar is the geometric mean over the cases of a job. The line goes from the worst case to the best."
    return _figure("overview-jobs", "Times as fast as the fastest peer", caption, bars, axis)


def _losses(lost: Sequence[Beside], cases: int) -> Markup:
    title = "What we lose"
    if not lost:
        return markup((tag("h3", title), tag("p", f"None of {counted(cases, 'case')}.")))
    axis, place = _axis(lost[0].times, 1.0)
    bars = [
        BarRow(
            f"{one.job}, {one.case}",
            f"{times(one.times)} {one.peer}",
            (Lane(place(one.times), _THEIRS, start=place(1.0)),),
        )
        for one in lost
    ]
    caption = f" A peer is faster in {len(lost)} of {counted(cases, 'case')}."
    return _figure("overview-losses", title, caption, bars, axis)


def _figure(key: str, title: str, caption: str, bars: Sequence[BarRow], axis: Axis) -> Markup:
    description = "; ".join(f"{bar.label} {bar.value}" for bar in bars) + "."
    return tag(
        "figure",
        tag("figcaption", tag("strong", title), caption),
        bar_chart(key, title, description, bars, axis),
    )


def _axis(least: float, most: float) -> tuple[Axis, Callable[[float], float]]:
    """A logarithmic axis around 1, and where a ratio lies on it."""
    ticks = log_ticks(min(least, 1.0), max(most, 1.0))
    low, high = min(least, ticks[0]), max(most, ticks[-1])

    def place(value: float) -> float:
        return math.log(value / low) / math.log(high / low)

    name = "times as fast as the fastest peer, on a logarithmic axis"
    return Axis(name, tuple((place(tick), f"{tick:,g}") for tick in ticks)), place
