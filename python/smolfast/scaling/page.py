"""The page of a fit: the law with its band, equal compute, the best sizes, runs done and planned, held-out runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from smolfast.errors import SmolfastError
from smolfast.report.charts import Series, line_chart, number
from smolfast.report.document import document, save_page
from smolfast.report.markup import Markup, markup, table, tag
from smolfast.report.section import Section
from smolfast.scaling.diagnostics import RunDiagnosis, diagnose, warnings
from smolfast.scaling.fitting import Fit, Interval
from smolfast.scaling.isoflop import IsoFlop, budgets, isoflop
from smolfast.scaling.law import Array

_POINTS = 41
_MOST_BUDGETS = 8
_MOST_ROWS = 40
_LEVEL = 0.9


@dataclass(frozen=True)
class HeldOut:
    """A run that the fit didn't see: what was predicted, and what came."""

    name: str
    params: float
    tokens: float
    loss: float
    predicted: Interval

    @property
    def inside(self) -> bool:
        """Whether it came inside of the interval."""
        return self.predicted.low <= self.loss <= self.predicted.high


def write_page(
    path: str | os.PathLike[str],
    fitted: Fit,
    *,
    flops: Array | None = None,
    planned: Sequence[tuple[float, float]] = (),
    held_out: Sequence[HeldOut] = (),
) -> None:
    """Write one self-contained HTML page.

    Args:
        flops: of the fit's runs, [n]; 6 N D if None. planned: N and D of runs that are to come.

    Raises:
        SmolfastError: another file stands there, or the page can't be written.
    """
    spent = 6 * fitted.params * fitted.tokens if flops is None else flops
    sections = [_law(fitted), _loss(fitted, held_out), _budgets(fitted, spent), _best(fitted, planned, held_out)]
    if held_out:
        sections.append(_held_out(held_out))
    sections.append(_runs(fitted))
    save_page(path, document("smolfast scaling", sections, "the runs of the fit", f"{len(fitted.losses)} runs"))


def _law(fitted: Fit) -> Section:
    law = fitted.law
    said = (
        f"L(N, D) = {number(law.E)} + {number(law.A)} / N^{number(law.alpha)} + {number(law.B)} / D^{number(law.beta)}"
    )
    rows: list[list[object]] = []
    missing = list(warnings(fitted))
    for name in ("E", "A", "B", "alpha", "beta", "exponent"):
        value = float(getattr(fitted, name))
        try:
            found = fitted.interval(name)
            rows.append([name, number(value), f"{number(found.low)} to {number(found.high)}"])
        except SmolfastError as error:
            rows.append([name, number(value), "–"])
            if name == "E":
                missing.append(str(error))
    body = (
        tag("p", tag("strong", said), class_="headline"),
        tag(
            "p",
            f"Loss in nats a token, of {len(fitted.losses)} runs; Huber sum of log losses {fitted.objective:.6g}. The "
            "exponent is a in N ∝ C^a, the best size for a compute of C = 6 N D.",
        ),
        table("Parameters", ("Parameter", "Value", "95 % interval"), rows, numeric=(1, 2)),
    )
    return Section("law", "The law", markup(body), missing)


def _loss(fitted: Fit, held_out: Sequence[HeldOut]) -> Section:
    """Losses by compute, and the least that the law promises, with its band."""
    done = np.log10(6 * fitted.params * fitted.tokens)
    ends = [done.min(), *(np.log10(6 * run.params * run.tokens) for run in held_out), done.max()]
    x = np.linspace(min(ends), max(ends) + 1, _POINTS)
    line, low, high = [], [], []
    for at in x:
        point = fitted.law.compute_optimal(10**at)
        line.append(float(fitted.law.loss(*point)))
        band = _band(fitted, *point)
        low.append(band[0])
        high.append(band[1])
    series = [
        Series("least loss of the law", x.tolist(), line, 0),
        Series(f"{_LEVEL:.0%} interval, from", x.tolist(), low, 0, "dashed"),
        Series(f"{_LEVEL:.0%} interval, to", x.tolist(), high, 0, "dashed"),
        Series("runs", done.tolist(), fitted.losses.tolist(), 1, "points"),
    ]
    for values, name, colour in (
        ([run.loss for run in held_out], "held-out runs", 2),
        ([run.predicted.value for run in held_out], "predicted for them", 3),
    ):
        if held_out:
            series.append(
                Series(
                    name, [float(np.log10(6 * run.params * run.tokens)) for run in held_out], values, colour, "points"
                )
            )
    chart = line_chart(
        "loss-chart", "Loss by compute", "Above the line lie sizes and lengths that aren't the best for their cost.",
        series, x_name="log₁₀ of 6 N D", y_name="loss, nats a token",
    )  # fmt: skip
    return Section("loss", "Loss by compute", chart)


def _band(fitted: Fit, params: float, tokens: float) -> tuple[float, float]:
    try:
        found = fitted.predict(params, tokens, _LEVEL, noise=False)
    except SmolfastError:  # too few runs, which the first section says
        return float("nan"), float("nan")
    return found.low, found.high


def _budgets(fitted: Fit, flops: Array) -> Section:
    """Loss by size at equal compute: runs, the law, parabolas."""
    found: IsoFlop | None = None
    missing = []
    try:
        found = isoflop(fitted.params, fitted.tokens, fitted.losses, fitted.law, flops)
    except SmolfastError as error:
        missing.append(str(error))
    groups = [runs for runs in budgets(flops) if len(np.unique(fitted.params[runs])) >= 3]
    if not groups:
        return Section("budgets", "Equal compute", Markup(), ["No three runs have the same compute."])
    kept = [groups[index] for index in sorted({round(i) for i in np.linspace(0, len(groups) - 1, _MOST_BUDGETS)})]
    series: list[Series] = []
    for colour, runs in enumerate(kept):
        budget = float(np.exp(np.log(flops[runs]).mean()))
        n = np.geomspace(fitted.params[runs].min(), fitted.params[runs].max(), _POINTS)
        each = np.exp(
            np.interp(
                np.log(n), *_sorted(np.log(fitted.params[runs]), np.log(flops / fitted.params / fitted.tokens)[runs])
            )
        )
        series += [
            Series(
                f"{budget:.2g} operations",
                np.log10(n).tolist(),
                fitted.law.loss(n, budget / each / n).tolist(),
                colour % 6,
            ),
            Series("", np.log10(fitted.params[runs]).tolist(), fitted.losses[runs].tolist(), colour % 6, "points"),
        ]
    series = [Series(one.name or "its runs", one.x, one.y, one.colour, one.style) for one in series]
    body: list[Any] = [
        line_chart(
            "budgets-chart", "Loss by size at equal compute", "Lines are the law, dots are runs.", series,
            x_name="log₁₀ of N", y_name="loss, nats a token",
        )
    ]  # fmt: skip
    if found is not None:
        rows = [
            [
                f"{one.flops:.3g}",
                f"{one.params:.4g}",
                f"{fitted.law.compute_optimal(one.flops)[0]:.4g}",
                number(one.loss),
            ]
            for one in found.parabolas
        ]
        body += [
            tag("p", describe_isoflop(found, fitted.exponent)),
            table(
                "Lowest points",
                ("Operations", "N of the parabola", "N of the law, 6 N D", "Loss"),
                rows,
                numeric=(1, 2, 3),
            ),
        ]
    return Section("budgets", "Equal compute", markup(body), missing)


def describe_isoflop(found: IsoFlop, exponent: float) -> str:
    """What parabolas say, with their bias."""
    return (
        f"Parabolas (approach 2) give N ∝ C^{found.exponent:.4f}, the law {exponent:.4f}. On the law's own losses, "
        f"without noise, they are off by {found.bias:+.4f} in the exponent, and by a factor of {found.factor:.3f} in N "
        "at the largest budget."
    )


def _best(fitted: Fit, planned: Sequence[tuple[float, float]], held_out: Sequence[HeldOut]) -> Section:
    """The best size by compute, and where runs lie."""
    sizes = [*fitted.params, *(n for n, _ in planned), *(run.params for run in held_out)]
    lengths = [*fitted.tokens, *(d for _, d in planned), *(run.tokens for run in held_out)]
    spent = np.log10(6 * np.array(sizes) * np.array(lengths))
    x = np.linspace(spent.min(), spent.max() + 1, _POINTS)
    best = [float(np.log10(fitted.law.compute_optimal(10**at)[0])) for at in x]
    series = [Series("best size", x.tolist(), best, 0)]
    try:
        draws = np.log10([[law.compute_optimal(10**at)[0] for at in x] for law in fitted.draws])
        for name, share in (("from", (1 - _LEVEL) / 2), ("to", (1 + _LEVEL) / 2)):
            ends = np.quantile(draws, share, axis=0)
            series.append(Series(f"{_LEVEL:.0%} interval, {name}", x.tolist(), ends.tolist(), 0, "dashed"))
    except SmolfastError:
        pass
    for name, points, colour in (
        ("runs done", list(zip(fitted.params, fitted.tokens, strict=True)), 1),
        ("runs planned", list(planned), 4),
        ("held-out runs", [(run.params, run.tokens) for run in held_out], 2),
    ):
        if points:
            at = [float(np.log10(6 * n * d)) for n, d in points]
            series.append(Series(name, at, [float(np.log10(n)) for n, _ in points], colour, "points"))
    chart = line_chart(
        "best-chart", "The best size by compute", "Where the law has its least loss for 6 N D operations.", series,
        x_name="log₁₀ of 6 N D", y_name="log₁₀ of N",
    )  # fmt: skip
    return Section("best", "The best size", chart)


def _held_out(runs: Sequence[HeldOut]) -> Section:
    rows = [
        [
            run.name,
            f"{run.params:.4g}",
            f"{run.tokens:.4g}",
            number(run.predicted.value),
            f"{number(run.predicted.low)} to {number(run.predicted.high)}",
            number(run.loss),
            f"{run.loss / run.predicted.value - 1:+.2%}",
            "yes" if run.inside else "no",
        ]
        for run in runs
    ]
    heads = ("Run", "N", "D", "Predicted", f"{_LEVEL:.0%} interval", "Came", "Off by", "Inside")
    body = table("Predicted beside what came", heads, rows, numeric=range(1, 7))
    return Section("held-out", "Held-out runs", body)


def _runs(fitted: Fit) -> Section:
    """Residuals, and which runs matter."""
    x = np.log10(fitted.params).tolist()
    chart = line_chart(
        "residuals-chart", "Residuals by size", "Log of what came over what the law says: no pattern should show.",
        [Series("runs", x, fitted.residuals.tolist(), 1, "points"), Series("the law", [min(x), max(x)], [0.0, 0.0], 0)],
        x_name="log₁₀ of N", y_name="log residual",
    )  # fmt: skip
    found = diagnose(fitted)
    heads = (
        "Run",
        "N",
        "D",
        "Loss",
        "Residual",
        "Leverage",
        "alpha without it",
        "beta without it",
        "Loss 100 times as far",
    )
    body = table("Runs, those that matter most first", heads, map(_row, found[:_MOST_ROWS]), numeric=range(1, 9))
    note = f" The first {_MOST_ROWS} of {len(found)} are shown." if len(found) > _MOST_ROWS else ""
    said = tag(
        "p",
        "Leverage is the share of its own prediction that a run decides. The last column says by how much the loss of "
        f"ten times the parameters and tokens changes without the run.{note}",
    )
    return Section("runs", "The runs", markup((chart, said, body)))


def _row(run: RunDiagnosis) -> list[object]:
    return [
        run.name,
        f"{run.params:.4g}",
        f"{run.tokens:.4g}",
        number(run.loss),
        f"{run.residual:+.2%}",
        f"{run.leverage:.2f}",
        f"{run.alpha:+.4f}",
        f"{run.beta:+.4f}",
        f"{run.target:+.2%}",
    ]


def _sorted(x: Array, y: Array) -> tuple[Array, Array]:
    order = np.argsort(x)
    return x[order], y[order]
