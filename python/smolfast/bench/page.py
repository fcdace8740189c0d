"""One self-contained page about benchmark results: ratios first, bars with min–max, versions last."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence

from smolfast.bench import names
from smolfast.bench.overview import largest, overview, times
from smolfast.bench.results import Results, Row, Spread
from smolfast.report.charts import BarRow, Lane, Series, axis_from_zero, bar_chart, line_chart, number
from smolfast.report.document import document, save_page
from smolfast.report.markup import Markup, folded, markup, pairs, table, tag
from smolfast.report.section import Section, counted, words

Rated = Sequence[tuple[Row, Spread]]
_COLOURS = {"ours": 0, "peer": 4}
_SIZES = {"attention": "tokens", "dedup": "documents", "optim": "rows of the matrix"}
_MOST_CURVES = 5


def write_page(path: str | os.PathLike[str], results: Sequence[Results]) -> None:
    """Write the page about these results; the same results give the same bytes.

    Raises:
        SmolfastError: the page can't be written.
    """
    jobs = [_section(one, index) for index, one in enumerate(results)]
    sections = [overview(results), _how_to_read(results), *jobs, _where(results)]
    save_page(path, document("smolfast beside its peers", sections, "the results of its benchmarks"))


def _how_to_read(results: Sequence[Results]) -> Section:
    quick = any(one.settings.get("quick") for one in results)
    body = [
        tag("p", "Small inputs and three rounds (--quick): a look, no claim.", class_="missing") if quick else None,
        tag(
            "p",
            "Every bar is the median of the rounds. The line in it runs from the slowest round to the fastest. Blue is "
            "smolfast, grey is everybody else. All took turns in one run, so ratios hold better than rates. Rates are "
            "by CPU time on one thread where that was taken, else by wall-clock time.",
        ),
        tag(
            "p",
            "The upright mark is a reference: memcpy of the same bytes, or a matrix product of as many operations by "
            "torch. It is no limit. Code that returns its input untouched passes it, and so does code that needs fewer "
            "operations or multiplies faster.",
        ),
    ]
    return Section("read", "How to read the charts", markup(body))


def _where(results: Sequence[Results]) -> Section:
    first = results[0]
    versions = {name: version for one in results for name, version in one.versions.items()}
    shown = {name: value for name, value in first.machine.items() if name not in ("threads", "memory_bytes")}
    if memory := first.machine.get("memory_bytes"):
        shown["memory"] = f"{memory / 1e9:.1f} GB"
    where = [*((words(name), _plain(value)) for name, value in shown.items()), ("date", first.date)]
    body = tag("div", pairs("Where the first of them ran", where), pairs("Versions", versions.items()), class_="two")
    return Section("where", "Hardware and versions", body)


def _section(results: Results, index: int) -> Section:
    key = f"{results.benchmark}-{index}"
    figures = [tag("p", _provenance(results), class_="muted")]
    if note := names.NOTES.get(results.benchmark):
        figures.append(tag("p", note))
    if checks := [row for row in results.rows if row.part == "check"]:
        right = sum(not row.failed for row in checks)
        figures.append(tag("p", f"{right} of {len(checks)} comparisons with fp64 are right."))
    for part in dict.fromkeys(row.part for row in results.rows):
        rows = [row for row in results.rows if row.part == part]
        title = names.part(results.benchmark, part)
        for draw in (_bars, _by_size, _by_threads):
            figures.append(draw(f"{key}-{_slug(part)}", title, rows))
    failed = [
        (_name(row), f"{names.part(results.benchmark, row.part)}, {names.case(row.case)}", row.failed)
        for row in results.rows
        if row.failed
    ]
    if failed:
        figures.append(folded("Who didn't run, and why", table("Who didn't run", ("Name", "Case", "Why"), failed)))
    measured = [row for row in results.rows if row.rate() is not None or row.seconds() is not None]
    figures.append(folded("All figures as a table", _table(results, measured)))
    return Section(key, names.title(results.benchmark), markup(figures))


def _provenance(results: Results) -> str:
    about = results.machine
    settings = "; ".join(
        f"{words(name)} {_plain(value)}"
        for name, value in results.settings.items()
        if value not in ("", None, [], "^$", False) and name != "note"
    )
    processors = f"{about['processors']} processors" if "processors" in about else None
    known = (about.get("processor"), processors, about.get("instructions"), about.get("device"))
    where = ", ".join(str(each) for each in known if each)
    said = [
        f"{results.date}, on {where}",
        f"Settings: {settings}" if settings else "",
        results.settings.get("note", ""),
    ]
    return " ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in said if sentence)


def _bars(key: str, part: str, rows: Sequence[Row]) -> Markup:
    """A chart for each case of a part in which somebody's rate can be compared."""
    cases: list[tuple[str, Rated, Rated]] = []
    for case in dict.fromkeys(row.case for row in rows if row.part != "threads"):
        measured = largest(row for row in rows if row.case == case and row.rate() is not None)
        rated = [(row, rate) for row in measured if (rate := row.rate()) is not None]
        own = [(row, rate) for row, rate in rated if row.role != "floor"]
        if own:
            cases.append((case, own, [(row, rate) for row, rate in rated if row.role == "floor"]))
    if not cases:
        return Markup()
    title = tag("h3", _capital(part))
    if len(cases) > 1 and all(len(own) == 1 for _, own, _ in cases):
        return markup([title, _alone(key, part, cases)])
    charts = [_case(f"{key}-{_slug(case)}", part, names.case(case), own, floors) for case, own, floors in cases]
    return markup([title, tag("div", charts, class_="two")])


def _alone(key: str, part: str, cases: Sequence[tuple[str, Rated, Rated]]) -> Markup:
    """One chart of all cases, where each has but one contender."""
    most = max(own[0][1].most for _, own, _ in cases)
    axis = axis_from_zero(most / _unit(cases[0][1][0][0])[0], _axis_name(own[0][0] for _, own, _ in cases))
    bars = []
    for case, own, floors in cases:
        row, rate = own[0]
        value = _rate(row, rate.median)
        if floors:
            value += f" · {rate.median / floors[0][1].median:.1%} of {_name(floors[0][0])}"
        lane = Lane(rate.median / most, _COLOURS[row.role], low=rate.least / most, high=rate.most / most)
        bars.append(BarRow(names.case(case), value, (lane,)))
    description = ", ".join(f"{bar.label} {bar.value}" for bar in bars) + "."
    name = _name(cases[0][1][0][0])
    caption = tag("figcaption", tag("strong", name), " alone: no peer that does this was measured.")
    return tag("figure", caption, bar_chart(key, f"{part}, {name}", description, bars, axis))


def _case(key: str, part: str, case: str, own: Rated, floors: Rated) -> Markup:
    most = max(rate.most for _, rate in own)
    floor = max((rate.median for _, rate in floors), default=0.0)
    # A reference far away would squeeze the bars to nothing: then it is said, not drawn.
    drawn = floor <= 4 * most
    scale = max(most, floor) if drawn else most
    ours = next((rate.median for row, rate in own if row.role == "ours"), 0.0)
    bars = []
    for row, rate in sorted(own, key=lambda entry: -entry[1].median):
        value = _rate(row, rate.median)
        if row.role == "peer" and ours:
            value += f" · ours {times(ours / rate.median)}"
        lane = Lane(rate.median / scale, _COLOURS[row.role], low=rate.least / scale, high=rate.most / scale)
        bars.append(BarRow(_name(row), value, (lane,), floor / scale if floor and drawn else None))
    axis = axis_from_zero(scale / _unit(own[0][0])[0], _axis_name(row for row, _ in own))
    note = ""
    if floor:
        what = f"{_name(floors[0][0])}, {_rate(floors[0][0], floor)}"
        note = f" Reference: {what}" + ("." if drawn else f", {floor / most:.0f} × the fastest: off the scale.")
    description = ", ".join(f"{bar.label} {bar.value}" for bar in bars) + "."
    caption = tag("figcaption", tag("strong", _capital(case)), note)
    return tag("figure", caption, bar_chart(key, f"{part}, {case}", description, bars, axis))


def _by_size(key: str, part: str, rows: Sequence[Row]) -> Markup:
    """Rates over the size of the input, where several sizes of one family were measured."""
    families: dict[tuple[str, str], list[tuple[float, float, Row]]] = {}
    threads = max((row.threads or 1 for row in rows), default=1)
    sizes = {row.case: row.facts["size"] for row in rows if row.role == "ours" and "size" in row.facts}
    for row in rows:
        rate = row.rate()
        # A floor is of a case, whatever its size.
        size = sizes.get(row.case) if row.role == "floor" else row.facts.get("size")
        if isinstance(size, int | float) and rate is not None and row.threads in (threads, None):
            family = re.sub(r"(?<![A-Za-z\d])\d[\d,.]*k?", "", row.case)  # not the digits of fp32
            families.setdefault((family, row.name), []).append((float(size), rate.median, row))
    series: list[Series] = []
    families = {key: points for key, points in families.items() if len({size for size, _, _ in points}) > 1}
    several = len({family for family, _ in families}) > 1
    for (family, _), points in families.items():
        ordered = sorted({size: (size, rate) for size, rate, _ in points}.values())
        row = points[0][2]
        values = [rate / _unit(row)[0] for _, rate in ordered]
        place = sum((one.colour == _COLOURS["ours"]) == (row.role == "ours") for one in series)
        name = f"{_name(row)}, {' '.join(family.split())}" if several else _name(row)
        series.append(Series(name, [size for size, _ in ordered], values, *_look(row, place)))
    if not any(one.colour == _COLOURS["ours"] for one in series):
        return Markup()
    more = (
        f" {counted(len(series) - _MOST_CURVES, 'more curve')} in the table below."
        if len(series) > _MOST_CURVES
        else ""
    )
    return line_chart(
        f"{key}-size",
        f"{_capital(part)}: by size",
        f"More is better.{more}",
        series[:_MOST_CURVES],
        x_name=_SIZES.get(key.partition("-")[0], "size of the input"),
        y_name=_axis_name(rows),
        from_zero=True,
    )


def _by_threads(key: str, part: str, rows: Sequence[Row]) -> Markup:
    """How much more two threads do than one: bars of the ratio, with the ideal marked."""
    rates: dict[tuple[str, str, str], dict[int, float]] = {}
    for row in rows:
        if row.threads and row.wall is not None and (work := row.bytes or row.operations):
            rates.setdefault((row.case, row.name, row.role), {})[row.threads] = work / row.wall.median
    rates = {key: found for key, found in rates.items() if len(found) > 1}
    scale = max((1.1 * max(found) / min(found) for found in rates.values()), default=1.0)
    scale = max([scale, *(found[max(found)] / found[min(found)] for found in rates.values())])
    bars = []
    for (case, name, role), found in rates.items():
        few, many = min(found), max(found)
        gain, ideal = found[many] / found[few], many / few
        lane = Lane(gain / scale, _COLOURS["ours" if role == "ours" else "peer"])
        label = f"{name} (what the machine gives)" if case == name else f"{names.case(case)}, {names.contender(name)}"
        bars.append(BarRow(label, f"{gain:.2f} × on {many} threads", (lane,), ideal / scale))
    if not bars:
        return Markup()
    title = f"{_capital(part)}: wall-clock rate by threads"
    caption = tag("figcaption", tag("strong", title), " The mark is the ideal.")
    description = ", ".join(f"{bar.label} {bar.value}" for bar in bars) + "."
    axis = axis_from_zero(scale, "times the rate of the fewest threads")
    return tag("figure", caption, bar_chart(f"{key}-threads", title, description, bars, axis))


def _table(results: Results, rows: Sequence[Row]) -> Markup:
    def milliseconds(spread: Spread | None) -> str:
        if spread is None:
            return "–"
        return f"{number(1e3 * spread.median)} ({number(1e3 * spread.least)}–{number(1e3 * spread.most)})"

    headers = ("Job", "Case", "Who", "Threads", "Rounds", "CPU ms (min–max)", "Wall ms (min–max)", "Rate", "Peak MB")
    cells = [
        (names.part(results.benchmark, row.part), names.case(row.case), _name(row), row.threads or "–",
         row.rounds or "–", milliseconds(row.cpu), milliseconds(row.wall),
         "–" if (rate := row.rate()) is None else _rate(row, rate.median),
         "–" if row.peak_bytes is None else number(row.peak_bytes / 1e6))
        for row in rows
    ]  # fmt: skip
    return table(f"{results.benchmark}, {results.date}", headers, cells, numeric=range(3, 9))


def _name(row: Row) -> str:
    return names.contender(row.name)


def _capital(words: str) -> str:
    """The first letter large, but for a function's name."""
    return words if words.partition(" ")[0] in names.FUNCTIONS else f"{words[0].upper()}{words[1:]}"


def _look(row: Row, place: int) -> tuple[int, str]:
    """Colour and style of the curve of one of ours or of others, by its place among them: our colour is ours alone."""
    if row.role == "ours":
        return _COLOURS["ours"], "line" if place == 0 else "dashed"
    return _COLOURS["peer"] if row.role == "floor" else 1 + place % 3, "line"


def _unit(row: Row) -> tuple[float, str]:
    return (1e6, "MB/s") if row.bytes else (1e9, "GFLOP/s")


def _axis_name(rows: Iterable[Row]) -> str:
    """`MB/s of CPU time, one thread`: the unit and what it was taken by."""
    rows = list(rows)
    unit = _unit(rows[0])[1]
    threads = {row.threads for row in rows if row.threads}
    on = f", {counted(threads.pop(), 'thread')}" if len(threads) == 1 else ""
    by_cpu = all(row.seconds() is row.cpu for row in rows if row.seconds() is not None)
    return f"{unit} of {'CPU' if by_cpu else 'wall-clock'} time{on}"


def _rate(row: Row, rate: float) -> str:
    divisor, unit = (1e12, "TFLOP/s") if rate >= 1e13 and row.operations else _unit(row)
    return f"{number(rate / divisor)} {unit}"


def _plain(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{k} {v}" for k, v in value.items()) or "–"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _slug(text: str) -> str:
    return re.sub(r"\W+", "-", text.lower()).strip("-")
