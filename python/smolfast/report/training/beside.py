"""Other runs laid over this one: figures side by side, settings that differ, losses in one chart."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from smolfast.errors import SmolfastError
from smolfast.progress import format_seconds
from smolfast.report.charts import Series, line_chart
from smolfast.report.markup import Markup, markup, missing, table, tag
from smolfast.report.names import HELD_OUT, LOSS_UNIT, NEXT_TOKEN
from smolfast.report.section import Section, numeric
from smolfast.report.smoothing import smoothed
from smolfast.report.training.run import Run
from smolfast.report.training.training_sections import half_window, next_token_losses

MOST = 4
"""Other runs: as many as there are colours left."""


def beside(runs: Sequence[Run]) -> Section:
    """This run, the first, and up to four others.

    Raises:
        SmolfastError: more runs than colours.
    """
    if len(runs) > MOST + 1:
        raise SmolfastError(f"report: {len(runs) - 1} runs to lay over; give --with at most {MOST} times")
    names = _names(runs)
    body: list[Markup] = [missing(text) for text in _not_comparable(runs)]
    body.append(table("Figures", ("Figure", *names), _figures(runs), numeric=range(1, 1 + len(runs))))
    differing = _settings(runs)
    if differing:
        body.append(table("Settings that differ", ("Setting", *names), differing))
    else:
        body.append(tag("p", "No setting differs."))
    body.append(_chart("beside-steps", "Losses by step", "step", runs, names))
    if all(_seconds(run) for run in runs):
        body.append(_chart("beside-minutes", "The same by time", "minutes of training", runs, names))
    return Section("beside", "Beside other runs", markup(body))


def _names(runs: Sequence[Run]) -> list[str]:
    """The folders' names; with the folder above where two are equal, and with a number where these are too."""
    folders = [run.folder.resolve() for run in runs]
    names = [folder.name for folder in folders]
    if len(set(names)) < len(names):
        names = [f"{folder.parent.name}/{folder.name}" for folder in folders]
    if len(set(names)) < len(names):
        names = [f"{name} ({place})" for place, name in enumerate(names, 1)]
    return names


def _not_comparable(runs: Sequence[Run]) -> list[str]:
    notes = []
    texts = _several(runs, "evaluate", "held_out")
    if texts:
        notes.append("The held-out texts differ, so neither bits per byte nor held-out losses can be compared exactly.")
    if _several(runs, "tokenize", "tokenizer"):
        rest = "" if texts else " Bits per byte can."
        notes.append(f"The tokenizers differ, so losses per token can't be compared.{rest}")
    return notes


def _several(runs: Sequence[Run], stage: str, name: str) -> bool:
    """Whether a stage of these runs had different inputs of that name."""
    inputs = (one.get("inputs", {}).get(name) for run in runs for one in run.stages if one["stage"] == stage)
    return len({str(fingerprint) for fingerprint in inputs if fingerprint}) > 1


def _figures(runs: Sequence[Run]) -> list[list[object]]:
    def row(name: str, values: Sequence[str | None]) -> list[object]:
        return [name, *(value or "–" for value in values)]

    def shown(value: Any, form: str = ",.0f") -> str | None:
        found = numeric(value)
        return None if found is None else f"{found:{form}}"

    rows = [row("bits per byte", [shown(run.evaluation.get("bits_per_byte"), ".4f") for run in runs])]
    for key, name in (("zlib", "zlib -9"), ("xz", "xz -9e")):
        of_run = [shown(run.evaluation.get(f"{key}_bits_per_byte"), ".4f") for run in runs]
        rows.append(row(f"bits per byte, {name}", of_run))
    last = [run.metrics[-1] if run.metrics else {} for run in runs]
    held = [[v for entry in run.metrics if (v := numeric(entry.get("held_out_loss"))) is not None] for run in runs]
    rows.append(row(f"{HELD_OUT}, at the end", [shown(values[-1], ".4f") if values else None for values in held]))
    rows.append(row("training steps", [shown(entry.get("step")) for entry in last]))
    rows.append(row("tokens trained on", [shown(entry.get("tokens")) for entry in last]))
    rows.append(row("time of training", [format_seconds(s) if (s := _seconds(run)) else None for run in runs]))
    parameters = [sum(math.prod(shape) for shape in run.shapes.values()) for run in runs]
    rows.append(row("parameters", [shown(value or None) for value in parameters]))
    rows.append(row("documents kept", [shown(run.summary("dedup").get("documents_out")) for run in runs]))
    rows.append(row("commit", [str(run.about.get("commit") or "–")[:12] for run in runs]))
    return rows


def _settings(runs: Sequence[Run]) -> list[list[object]]:
    flat = [_flat(run.config) for run in runs]
    for settings, run in zip(flat, runs, strict=True):
        settings |= {key: run.about.get(key) for key in ("input", "minutes")}
    keys = list(dict.fromkeys(key for settings in flat for key in settings))
    return [
        [key, *(_plain(settings.get(key)) for settings in flat)]
        for key in keys
        if any(settings.get(key) != flat[0].get(key) for settings in flat)
    ]


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in config.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def _plain(value: Any) -> str:
    if value in (None, [], ""):
        return "–"
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return ", ".join(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _chart(key: str, title: str, x_name: str, runs: Sequence[Run], names: Sequence[str]) -> Markup:
    series: list[Series] = []
    for colour, (run, name) in enumerate(zip(runs, names, strict=True)):
        x = [entry["step"] if x_name == "step" else _time(entry) / 60 for entry in run.metrics]
        losses = next_token_losses(run)
        style = "line" if colour % 2 == 0 else "dashed"
        series.append(Series(f"{name}: {NEXT_TOKEN}", x, smoothed(losses, half_window(len(x))), colour, style))
        held = [(at, v) for at, entry in zip(x, run.metrics, strict=True) if (v := numeric(entry.get("held_out_loss")))]
        if held:
            points = [at for at, _ in held], [value for _, value in held]
            series.append(Series(f"{name}: {HELD_OUT}", *points, colour, "points"))
    what = f"In {LOSS_UNIT}. Training losses are smoothed as in the chart under “Training”."
    return line_chart(key, title, what, series, x_name=x_name, y_name=LOSS_UNIT)


def _time(entry: dict[str, Any]) -> float:
    return numeric(entry.get("seconds")) or 0.0


def _seconds(run: Run) -> float:
    return _time(run.metrics[-1]) if run.metrics else 0.0
