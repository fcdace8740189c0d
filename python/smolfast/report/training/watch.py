"""What the training loop watched: events and alarms, each source's held-out loss, the features of each layer."""

from __future__ import annotations

import json
import math
from typing import Any

from smolfast.report.charts import Mark, Series, line_chart, number
from smolfast.report.markup import Markup, folded, markup, table, tag
from smolfast.report.names import HELD_OUT, LOSS_UNIT
from smolfast.report.section import counted, numeric, words
from smolfast.report.training.run import Run

_MOST_EVENTS = 200
_MOST_LAYERS = 5


def watch(run: Run) -> Markup:
    """All of it; where a run left none, that is said of events and nothing of the rest."""
    return markup((_events(run), _logits(run), _sources(run), _features(run)))


def marks(run: Run) -> list[Mark]:
    """Where the charts show that something happened."""
    return [
        Mark(step, _happened(event))
        for event in run.events
        if (step := numeric(event.get("step"))) is not None and math.isfinite(step)
    ]


def _happened(event: dict[str, Any]) -> str:
    """`alarm, attention entropy, layer 1`, `monitor, loss, lower rate`; of most events the name alone."""
    named = [event.get("event", "event"), event.get("measure")]
    named += [event.get("metric"), event.get("reaction")] if event.get("event") == "monitor" else []
    named += [f"{place} {event[place]}" for place in ("layer", "head") if place in event]
    return ", ".join(words(str(part)) for part in named if part is not None)


def _events(run: Run) -> Markup:
    if not run.events:
        return tag("p", "No spike, rollback or alarm was recorded.")
    shown = run.events[:_MOST_EVENTS]
    rows = []
    for event in shown:
        details = {key: value for key, value in event.items() if key not in ("step", "event")}
        rows.append(
            (
                str(event.get("step", "–")),
                words(str(event.get("event", "–"))),
                ", ".join(f"{words(key)} {_plain(value)}" for key, value in details.items()),
            )
        )
    more = f" The first {_MOST_EVENTS} are shown." if len(run.events) > len(shown) else ""
    ended = next((event for event in run.events if str(event.get("reaction", "")).startswith("stop")), None)
    last = f" A monitor ended the training at step {ended.get('step')}: {ended.get('rule')}." if ended else ""
    title = f"{counted(len(run.events), 'event')}: spikes, reactions and alarms.{more}{last}"
    return markup((tag("p", title), table("Events", ("Step", "Event", "Details"), rows)))


def _logits(run: Run) -> Markup:
    """The largest attention logit of each layer, where a monitor looked at them."""
    found: list[tuple[list[float], list[float]]] = []
    for entry in run.metrics:
        attention = entry.get("attention")
        layers = attention.get("max_logit") if isinstance(attention, dict) else None
        for layer, heads in enumerate(layers if isinstance(layers, list) else ()):
            values = [value for one in heads if (value := numeric(one)) is not None] if isinstance(heads, list) else []
            if layer == len(found):
                found.append(([], []))
            found[layer][0].append(float(entry["step"]))
            found[layer][1].append(max(values, default=math.nan))
    if not found:
        return Markup()
    order = sorted(range(len(found)), key=lambda layer: -max(filter(math.isfinite, found[layer][1]), default=0.0))
    shown = sorted(order[:_MOST_LAYERS])
    most = f" The {_MOST_LAYERS} layers with the largest are shown." if len(found) > _MOST_LAYERS else ""
    return line_chart(
        "attention-logits",
        "Largest attention logit",
        f"Of each layer's heads, layers counted from 0.{most}",
        [Series(f"layer {layer}", *found[layer], colour) for colour, layer in enumerate(shown)],
        y_name="logit",
        marks=marks(run),
    )


def _sources(run: Run) -> Markup:
    """Curves of the held-out losses of runs on several sources."""
    found: dict[str, tuple[list[float], list[float]]] = {}
    for entry in run.metrics:
        losses = entry.get("held_out_losses")
        for name, loss in losses.items() if isinstance(losses, dict) else ():
            value = numeric(loss)
            if value is not None and math.isfinite(value):
                steps, values = found.setdefault(str(name), ([], []))
                steps.append(float(entry["step"]))
                values.append(value)
    if not found:
        return Markup()
    series = [Series(name, steps, values, index % 5) for index, (name, (steps, values)) in enumerate(found.items())]
    ends = ", ".join(f"{name} {number(values[-1])}" for name, (_, values) in found.items())
    return line_chart(
        "source-loss",
        f"{HELD_OUT.capitalize()}, by source",
        f"In {LOSS_UNIT}; at the end {ends}.",
        series,
        y_name=LOSS_UNIT,
        marks=marks(run),
    )


def _features(run: Run) -> Markup:
    """The last look at each layer's features."""
    last = next((entry for entry in reversed(run.metrics) if isinstance(entry.get("features"), dict)), None)
    if last is None:
        return Markup()
    columns = [(name, values) for name, values in last["features"].items() if isinstance(values, list)]
    layers = max((len(values) for _, values in columns), default=0)
    rows = [
        [str(layer + 1), *(_plain(values[layer]) if layer < len(values) else "–" for _, values in columns)]
        for layer in range(layers)
    ]
    shown = table(
        f"Features at step {last['step']}",
        ("Layer", *(words(name) for name, _ in columns)),
        rows,
        numeric=range(1, len(columns) + 1),
    )
    return folded("Features of each layer at the last look (alarms only: they don't predict quality)", shown)


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else "not finite"
    return "not finite" if value is None else value if isinstance(value, str) else json.dumps(value)
