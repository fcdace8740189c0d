"""Axes, thinning and where points go."""

from __future__ import annotations

import json
import math
import re
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smolfast.report.charts import (
    BarRow,
    Lane,
    Mark,
    Series,
    axis_from_zero,
    bar_chart,
    line_chart,
    log_ticks,
    nice_ticks,
    number,
    thin,
)

_FINITE = st.floats(-1e9, 1e9, allow_nan=False).map(lambda v: 0.0 if abs(v) < 1e-6 else v)


@given(_FINITE, _FINITE)
def test_ticks_are_round_and_enclose(a: float, b: float) -> None:
    low, high = min(a, b), max(a, b)
    if high - low < 1e-6 * max(abs(low), abs(high)):
        return
    ticks = nice_ticks(low, high, 5)
    step = ticks[1] - ticks[0]
    slack = 1e-6 * step
    assert ticks[0] <= low + slack and ticks[-1] >= high - slack
    assert 3 <= len(ticks) <= 8
    leading = float(f"{step:.6e}".split("e")[0])
    assert any(math.isclose(leading, factor, rel_tol=1e-4) for factor in (1, 2, 5, 10))
    assert all(math.isclose(t / step, round(t / step), abs_tol=1e-4) for t in ticks)


@given(st.floats(1e-8, 1e8), st.floats(1, 1e8))
def test_log_ticks_enclose(low: float, ratio: float) -> None:
    ticks = log_ticks(low, low * ratio)
    assert len(ticks) >= 2 and ticks == sorted(ticks)
    assert ticks[0] <= low * (1 + 1e-9) and ticks[-1] >= low * ratio * (1 - 1e-9)


def test_thinning_keeps_extremes_ends_and_breaks() -> None:
    x = list(range(100_000))
    y = [math.sin(v / 700) for v in x]
    y[12_345], y[54_321], y[77_777] = 9.0, -9.0, math.nan
    points = thin(x, y)
    assert len(points) <= 750 and points[0] == (0, y[0]) and points[-1] == (99_999, y[-1])
    assert (12_345, 9.0) in points and (54_321, -9.0) in points
    assert [at for at, value in points if math.isnan(value)] == [77_777]
    assert [at for at, _ in points] == sorted({at for at, _ in points})


def test_line_chart_puts_points_where_they_belong(fake: SimpleNamespace) -> None:
    chart = line_chart("k", "t", "d", [Series("s", [0, 5, 10], [0.0, 4.0, 20.0], 0)], y_name="y")
    path = next(a["d"] for a in fake.page(chart).all("path"))
    at = [tuple(map(float, pair)) for pair in re.findall(r"[ML]([\d.]+) ([\d.]+)", path or "")]
    # The axis runs from −1 to 21: five per cent of the range beyond the values at either end.
    assert at == [
        (0.0, pytest.approx(21 / 22 * 1000, abs=0.1)),
        (500.0, pytest.approx(17 / 22 * 1000, abs=0.1)),
        (1000.0, pytest.approx(1 / 22 * 1000, abs=0.1)),
    ]
    assert [t for t in ("0", "5", "10", "15", "20") if t not in fake.page(chart).words.split()] == []


def test_line_chart_breaks_at_values_that_are_not_finite(fake: SimpleNamespace) -> None:
    chart = line_chart("k", "t", "d", [Series("s", range(5), [1.0, 2.0, math.nan, 3.0, 4.0], 0)], y_name="y")
    path = next(a["d"] for a in fake.page(chart).all("path")) or ""
    assert re.sub(r"[\d. ]", "", path) == "MLML"


def test_chart_of_nothing_says_so(fake: SimpleNamespace) -> None:
    assert "no finite values" in line_chart("k", "Norm", "d", [Series("s", [1], [math.inf], 0)], y_name="y")
    one = fake.page(line_chart("k", "Norm", "d", [Series("s", [1], [3.0], 0)], y_name="y", log=True))
    assert one.all("path")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (3.14159, "3.142"),
        (0.00002, "2.00e−05"),
        (-1.5, "−1.5"),
        (123456.0, "123,456"),
        (1e20, "1.000e+20"),
        (math.nan, "not a number"),
        (-math.inf, "−∞"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text


def test_bars_of_an_axis_have_its_ticks_and_start_where_they_say(fake: SimpleNamespace) -> None:
    axis = axis_from_zero(25.0, "MB/s, CPU time")
    assert axis.ticks == ((0.0, "0"), (0.4, "10"), (0.8, "20"))
    rows = [BarRow("a", "1", (Lane(0.2, 0, start=0.5),)), BarRow("b", "2", (Lane(0.75, 0),))]
    page = fake.page(bar_chart("k", "t", "d", rows, axis))
    bars = [(a["x"], a["width"]) for a in page.all("rect")]
    assert bars == [("20.00%", "30.00%"), ("0.00%", "75.00%")]
    assert "0 10 20 MB/s, CPU time" in page.words
    assert len([a for a in page.all("line") if a["class"] == "grid"]) == 3


def test_an_axis_of_nothing_has_its_zero() -> None:
    assert axis_from_zero(0.0, "s").ticks == ((0.0, "0"),)


def test_marks_stand_where_they_happened_and_are_named(fake: SimpleNamespace) -> None:
    marks = [Mark(5, "rollback"), Mark(2.5, "loss spike"), Mark(5, "alarm"), Mark(5, "alarm"), Mark(11, "beyond")]
    page = fake.page(line_chart("k", "t", "d", [Series("s", [0, 10], [1, 2], 0)], y_name="y", marks=marks))
    assert [a["x1"] for a in page.all("line") if a["class"] == "mark"] == ["25.00%", "50.00%"]
    assert "step 2.5: loss spike step 5: rollback, alarm" in page.words and "beyond" not in page.words
    facts = json.loads(next(a["data-chart"] for a in page.all("div") if "data-chart" in a))
    assert facts["marks"] == [[2.5, "loss spike"], [5, "rollback, alarm"]]


def test_many_marks_are_lines_alone(fake: SimpleNamespace) -> None:
    marks = [Mark(x, f"event {x}") for x in range(100)]
    page = fake.page(line_chart("k", "t", "d", [Series("s", [0, 99], [1, 2], 0)], y_name="y", marks=marks))
    assert len([a for a in page.all("line") if a["class"] == "mark"]) == 100
    assert "event 7" not in page.words and not page.all("ol")
