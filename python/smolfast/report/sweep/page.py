"""The page of a sweep: its best trial, what each parameter did, and all trials in a table that can be sorted."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from smolfast.errors import SmolfastError
from smolfast.files import naming, read_json
from smolfast.report.charts import BarRow, Lane, Series, bar_chart, line_chart, log_ticks
from smolfast.report.document import document, save_page
from smolfast.report.markup import Markup, command, markup, table, tag
from smolfast.report.names import HELD_OUT, LOSS_UNIT
from smolfast.report.section import Section, counted

Trial = Mapping[str, Any]
_WORDS = {
    "done": "done",
    "pruned": "ended early, behind others",
    "diverged": "diverged",
    "stopped": "stopped by a monitor",
    "failed": "failed",
    "running": "not ended",
}
"""What the states of trials are called."""


def write_sweep_report(folder: str | os.PathLike[str], output_html: str | os.PathLike[str]) -> dict[str, Any]:
    """Write one self-contained HTML page about a sweep, from the files of its folder.

    Returns:
        `bytes` of the page.

    Raises:
        SmolfastError: the folder holds no sweep, a file is damaged, or the page can't be written.
    """
    folder = Path(folder)
    path = folder / "sweep.json"
    if not path.is_file():
        raise SmolfastError(f"{folder} holds no sweep; give the output folder of smolfast sweep")
    with naming(path, "run the sweep again"):
        said = read_json(path)
        trials = [read_json(record) for record in sorted((folder / "trials").glob("*.json"))]
        sections = [
            _best(folder, said, trials),
            _curves(said, trials),
            _parameters(said, trials),
            _trials(said, trials),
        ]
    page = document(
        f"smolfast sweep of {said['identity']['recipe']}",
        [section for section in sections if section.body],
        "the files of the sweep's folder",
    )
    save_page(output_html, page)
    return {"bytes": len(page.encode())}


def _best(folder: Path, said: Mapping[str, Any], trials: Sequence[Trial]) -> Section:
    counts = [
        f"{sum(t['state'] == s for t in trials)} {_WORDS[s]}" for s in _WORDS if any(t["state"] == s for t in trials)
    ]
    steps = sum(trial["steps"] for trial in trials)
    body = [
        tag("p", f"{counted(len(trials), 'trial')}: {', '.join(counts)}. They took {counted(steps, 'training step')}.")
    ]
    if stopped := said.get("stopped"):
        ended = sum(trial["state"] != "running" for trial in trials)
        text = f"Stopped by {stopped['by']} when {ended} of {stopped['trials']} trials had ended."
        if ended >= stopped["trials"]:
            text = f"Stopped by {stopped['by']} while the best trials trained on."
        body.append(tag("p", tag("strong", text), " The same command goes on.", class_="missing"))
    if said.get("best") is not None:
        best = trials[said["best"]]
        objective = said["identity"]["objective"]
        values = ", ".join(f"{name} = {_value(value)}" for name, value in best["params"].items())
        body.append(
            tag("p", tag("strong", f"Trial {best['number']}: {objective} {best['value']:.6g}"), f" with {values}.")
        )
        body.append(command(f"smolfast run {folder.name}/best.toml --profile best -o best"))
    return Section("best", "The best", markup(body))


def _curves(said: Mapping[str, Any], trials: Sequence[Trial]) -> Section:
    series = []
    ends = [trial for trial in trials if trial["curve"]]
    best = said.get("best")
    for trial in sorted(ends, key=lambda trial: trial["number"] == best):
        points = sorted((int(step), loss) for step, loss in trial["curve"].items())
        is_best = trial["number"] == best
        series.append(
            Series(
                f"trial {trial['number']}, the best" if is_best else f"trial {trial['number']}",
                [step for step, _ in points],
                [loss for _, loss in points],
                0 if is_best else 4,
                "line" if is_best else "thin",
            )
        )
    marks: dict[str, list[tuple[float, float]]] = {
        "ended early": [_last(trial) for trial in ends if trial["state"] == "pruned"],
        "diverged or stopped": [_last(trial) for trial in ends if trial["state"] in ("diverged", "stopped")],
        "event": [place for trial in ends for event in trial.get("events", ()) if (place := _at(trial, event["step"]))],
    }
    for colour, (name, places) in enumerate(marks.items(), 1):
        if places:
            series.insert(0, Series(name, [step for step, _ in places], [loss for _, loss in places], colour, "points"))
    if not series:
        return Section("curves", "Curves", Markup())
    text = "One thin line a trial; dots mark where one was ended, and where its training noted an event."
    return Section("curves", "Curves", line_chart("curves", HELD_OUT, text, series, y_name=LOSS_UNIT))


def _last(trial: Trial) -> tuple[float, float]:
    return max((int(step), loss) for step, loss in trial["curve"].items())


def _at(trial: Trial, step: int) -> tuple[float, float] | None:
    """The place of a step on a trial's curve, between the evaluations beside it; None before the first of them."""
    points = sorted((int(at), loss) for at, loss in trial["curve"].items())
    before = max((point for point in points if point[0] <= step), default=None)
    after = min((point for point in points if point[0] >= step), default=before)
    if before is None or after is None:
        return None
    share = (step - before[0]) / (after[0] - before[0]) if after[0] > before[0] else 0.0
    return min(step, points[-1][0]), before[1] + share * (after[1] - before[1])


def _parameters(said: Mapping[str, Any], trials: Sequence[Trial]) -> Section:
    parameters = said["identity"]["parameters"]
    body: list[Markup] = []
    if importance := said.get("importance"):
        rows = [BarRow(name, f"{share:.0%}", (Lane(share, 0),)) for name, share in importance.items()]
        text = "The share of each parameter in what sets the best trials apart (PED-ANOVA)."
        if said["identity"]["pruner"] == "halving" and any(trial["state"] == "pruned" for trial in trials):
            text += " By their held-out losses where all of them paused."
        body.append(tag("figure", tag("figcaption", text), bar_chart("importance", "Importance", text, rows)))
    done = [trial for trial in trials if trial["state"] == "done" and trial["value"] is not None]
    shown, what, text = _compared(said, trials, done)
    for index, (name, parameter) in enumerate(parameters.items()):
        dots = [
            Series(words, [_place(parameter, t["params"][name]) for t, _ in known], [y for _, y in known], k, "points")
            for k, (words, known) in enumerate(shown.items())
            if known
        ]
        if dots:
            places = _places(parameter, [x for one in dots for x in one.x])
            body.append(line_chart(f"slice-{index}", name, text, dots, x_name=name, y_name=what, places=places))
    if len(done) > 1 and len(parameters) > 1:
        body.append(_parallel(said, done))
    return Section("parameters", "What each parameter did", markup(body))


def _compared(
    said: Mapping[str, Any], trials: Sequence[Trial], done: Sequence[Trial]
) -> tuple[dict[str, list[tuple[Trial, float]]], str, str]:
    """Trials with a number that all of them have, what it is called, and the text above it.

    The objective; or, where some were ended early and have none, the held-out loss at the last step that all reached.
    """
    ended = [trial for trial in trials if trial["state"] == "pruned" and trial["curve"]]
    common = set.intersection(*({int(step) for step in trial["curve"]} for trial in (*done, *ended))) if done else set()
    if not ended or not common:
        return (
            {"trials that are done": [(t, t["value"]) for t in done]},
            said["identity"]["objective"],
            "One dot a trial.",
        )
    step = max(common)
    known = {
        words: [(trial, trial["curve"][str(step)]) for trial in some]
        for words, some in (("went on to the end", done), ("ended early", ended))
    }
    text = f"One dot a trial: its held-out loss at step {step}, the last that all of them reached."
    return known, f"held-out loss at step {step}", text


def _places(parameter: Mapping[str, Any], shown: Sequence[float]) -> list[tuple[float, str]] | None:
    """Words on a parameter's axis: its choices, or round numbers of a logarithmic one."""
    if parameter["kind"] == "choice":
        return [(float(place), _value(value)) for place, value in enumerate(parameter["choices"])]
    if not str(parameter["kind"]).startswith("log"):
        return None
    low, high = 10.0 ** min(shown), 10.0 ** max(shown)
    ticks = [tick for tick in log_ticks(low, high) if low * 0.999 <= tick <= high * 1.001] or sorted({low, high})
    tens = [tick for tick in ticks if abs(math.log10(tick) - round(math.log10(tick))) < 1e-9]
    return [(math.log10(tick), f"{tick:.3g}") for tick in (tens if len(tens) > 2 else ticks)]


def _parallel(said: Mapping[str, Any], done: Sequence[Trial]) -> Markup:
    """Parallel coordinates: an axis for each parameter and the objective, a line for each trial."""
    parameters = said["identity"]["parameters"]
    columns = [[_place(parameter, trial["params"][name]) for trial in done] for name, parameter in parameters.items()]
    columns.append([trial["value"] for trial in done])
    names = [*parameters, said["identity"]["objective"]]
    scaled = [[_share(value, column) for value in column] for column in columns]
    axes = [float(axis + 1) for axis in range(len(names))]
    best = said.get("best")
    series = [
        Series(
            f"trial {trial['number']}, the best" if trial["number"] == best else f"trial {trial['number']}",
            axes,
            [column[index] for column in scaled],
            0 if trial["number"] == best else 4,
            "line" if trial["number"] == best else "thin",
        )
        for index, trial in sorted(enumerate(done), key=lambda pair: pair[1]["number"] == best)
    ]
    text = "A line for each trial, from axis to axis: " + ", ".join(f"{i} is {name}" for i, name in enumerate(names, 1))
    return line_chart(
        "parallel",
        "All together",
        f"{text}. Of trials that are done.",
        series,
        x_name="axis",
        y_name="from the least (0) to the most (1)",
        places=[(axis, f"{axis:g}") for axis in axes],
    )


def _trials(said: Mapping[str, Any], trials: Sequence[Trial]) -> Section:
    parameters = list(said["identity"]["parameters"])
    headers = ("Trial", "State", said["identity"]["objective"], *parameters, "Steps", "Events", "Error")
    rows = [
        (
            trial["number"],
            "done, the best" if trial["number"] == said.get("best") else _WORDS[trial["state"]].partition(",")[0],
            "–" if trial["value"] is None else f"{trial['value']:.6g}",
            *(_value(trial["params"].get(name)) for name in parameters),
            f"{trial['steps']:,}",
            _events(trial),
            trial["error"] or "–",
        )
        for trial in trials
    ]
    right = (2, *range(3, 3 + len(parameters)), 3 + len(parameters))
    return Section("trials", "Trials", table("All trials", headers, rows, numeric=right, class_="scroll sortable"))


def _events(trial: Trial, most: int = 3) -> str:
    words = [f"step {event['step']}: {event['what']}" for event in trial.get("events", ())]
    return "; ".join(words[:most]) + (f"; and {len(words) - most} more" if len(words) > most else "") or "–"


def _place(parameter: Mapping[str, Any], value: Any) -> float:
    if parameter["kind"] == "choice":
        return float(parameter["choices"].index(value))
    return math.log10(value) if str(parameter["kind"]).startswith("log") else float(value)


def _share(value: float, column: Sequence[float]) -> float:
    low, high = min(column), max(column)
    return (value - low) / (high - low) if high > low else 0.5


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
