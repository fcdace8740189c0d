"""Training curves, what each stage cost, the model's shape and a sample of its text."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from smolfast.progress import format_bytes, format_seconds
from smolfast.report.charts import BarRow, Lane, Series, bar_chart, line_chart
from smolfast.report.markup import Markup, folded, markup, pairs, table, tag
from smolfast.report.names import HELD_OUT, LOSS_UNIT, TOTAL, figure_name, head_name
from smolfast.report.section import Section, count, counted, numeric, share, words
from smolfast.report.smoothing import smoothed
from smolfast.report.training.run import Run
from smolfast.report.training.watch import marks, watch

_SMOOTH_FROM = 40
_HELD_OUT, _NORM = 2, 3
_SPREAD_FOR_LOG = 30.0
_RATES = (("muon_learning_rate", "Muon (matrices)"), ("adamw_learning_rate", "AdamW (the rest)"))


def training(run: Run) -> Section:
    """Loss a head with held-out points, learning rates, gradient norm."""
    title = "Training"
    if not run.metrics:
        return Section("training", title, Markup(), ["There are no training steps in this run (train/metrics.jsonl)."])
    steps = [float(entry["step"]) for entry in run.metrics]
    broken = sum(not math.isfinite(value) for value in _column(run, "loss"))
    lacking = [f"The loss is missing or not finite in {broken:,} of {len(steps):,} steps."] if broken else []

    series = _loss_series(run, steps)
    held = [(s, v) for s, v in zip(steps, _column(run, "held_out_loss"), strict=True) if math.isfinite(v)]
    if held:
        series.append(Series(HELD_OUT, [s for s, _ in held], [v for _, v in held], _HELD_OUT, "points"))
    smoothing = (
        f" Faint: every step. Full: a line through the {half_window(len(steps))} steps before and after each, so it "
        "doesn't lag behind."
        if len(steps) >= _SMOOTH_FROM
        else ""
    )
    events = marks(run)
    marked = " Upright dashes: events, listed below." if events else ""
    body: list[Markup] = [
        line_chart(
            "loss",
            "Training and held-out loss",
            f"Cross-entropy in {LOSS_UNIT}: {_ends(series)}.{smoothing}{marked}",
            series,
            y_name=LOSS_UNIT,
            marks=events,
        )
    ]
    rates = []
    for colour, (key, name) in enumerate(_RATES):
        values = _column(run, key)
        if any(math.isfinite(value) for value in values):
            rates.append(Series(name, steps, values, colour))
    norms = _column(run, "gradient_norm")
    finite = [value for value in norms if math.isfinite(value) and value > 0]
    body.append(
        tag(
            "div",
            line_chart(
                "learning-rate",
                "Learning rate",
                "Warm-up, plateau, decay." if len(steps) > 2 else "",
                rates,
                y_name="learning rate",
                from_zero=True,
                marks=[mark for mark in events if mark.label.startswith(("monitor", "rollback"))],
            ),
            line_chart(
                "gradient-norm",
                "Gradient norm",
                "Global norm before clipping.",
                [Series("gradient norm", steps, norms, _NORM)],
                y_name="norm",
                log=bool(finite) and max(finite) / min(finite) > _SPREAD_FOR_LOG,
                from_zero=True,
                marks=events,
            ),
            class_="two",
        )
    )
    body.append(watch(run))
    return Section("training", title, markup(body), lacking)


def stages(run: Run) -> Section:
    """Seconds and peak memory of each stage, and what each said of itself."""
    title = "Time and memory"
    if not run.stages:
        return Section("stages", title, Markup(), ["No stage has left its record in this run (stages/*.json)."])
    memory = [(str(s["stage"]), numeric(s.get("peak_rss_bytes")) or 0.0) for s in run.stages]
    time_chart = _stage_bars("stage-time", "Time of each stage", list(run.seconds.items()), _short, 0)
    memory_chart = _stage_bars(
        "stage-memory", "Peak memory of each stage", memory, lambda v: format_bytes(v) if v else "not known", 3
    )
    reported = table(
        "What each stage reported",
        ("Stage", "Name", "Value"),
        [
            [str(stage["stage"]), figure_name(str(key)), _plain(value)]
            for stage in run.stages
            if isinstance(stage["summary"], dict)
            for key, value in stage["summary"].items()
        ],
    )
    total = format_seconds(sum(run.seconds.values()))
    intro = tag("p", f"{total} in all. Memory is the peak of the whole process while the stage ran.")
    return Section(
        "stages",
        title,
        markup(
            (
                intro,
                tag("div", time_chart, memory_chart, class_="two"),
                folded("Everything the stages reported", reported),
            )
        ),
    )


def model(run: Run) -> Section:
    """Width, heads, layers with and without rotary embedding, and where the parameters are."""
    title = "Model"
    configured = run.config.get("model")
    shape: dict[str, Any] = configured if isinstance(configured, dict) else {}
    lacking = []
    body: list[Markup] = []
    total = sum(math.prod(dimensions) for dimensions in run.shapes.values())
    if total:
        body.append(tag("p", tag("strong", f"{total:,} parameters"), f" in {counted(len(run.shapes), 'tensor')}."))
        groups: Counter[str] = Counter()
        for name, dimensions in run.shapes.items():
            groups[_group(name, tied=bool(shape.get("tie_word_embeddings")))] += math.prod(dimensions)
        rows = [
            BarRow(name, f"{size:,} ({share(size, total)})", (Lane(size / total, 0),))
            for name, size in groups.most_common()
        ]
        description = "Parameters: " + ", ".join(f"{row.label} {row.value}" for row in rows) + "."
        body.append(
            tag(
                "figure",
                tag("figcaption", tag("strong", "Where the parameters are")),
                bar_chart("parameters", "Parameters by part", description, rows),
            )
        )
    else:
        lacking.append(
            "The trained model (train/model/*.safetensors) is not in this run, so its parameters aren't counted."
        )
    if shape:
        body.append(_layers(shape))
        vocabulary = [("vocabulary", f"{s[0]:,}") for name, s in run.shapes.items() if "embed_tokens" in name and s]
        body.append(pairs("Shape", [*vocabulary, *((words(str(key)), _plain(value)) for key, value in shape.items())]))
    else:
        lacking.append("The model's configuration (run.json) is not in this run.")
    return Section("model", title, markup(body), lacking)


def sample(run: Run) -> Section:
    """A generated text, the prompt set off."""
    title = "Sample"
    text = run.sample.get("text")
    if not isinstance(text, str):
        return Section("sample", title, Markup(), ["There is no generated text in this run (generate/sample.json)."])
    prompt = str(run.sample.get("prompt") or "")
    settings = [f"{name} {_plain(run.sample[name])}" for name in ("temperature", "seed") if name in run.sample]
    intro = tag(
        "p",
        "Written by the model after the prompt (in bold)",
        f", {', '.join(settings)}" if settings else "",
        ". Nothing was picked by hand.",
    )
    return Section("sample", title, markup((intro, tag("pre", tag("span", prompt, class_="prompt"), text, tabindex=0))))


def _column(run: Run, key: str) -> list[float]:
    return [math.nan if (value := numeric(entry.get(key))) is None else value for entry in run.metrics]


def next_token_losses(run: Run) -> list[float]:
    """The training loss of the next token at each step; the loss of all heads where there are no heads."""
    return _curves(run)[0][1]


def _loss_series(run: Run, steps: Sequence[float]) -> list[Series]:
    """Each head, or the total where there are none; with many steps the raw values faint under a smoothed curve."""
    curves = _curves(run)
    series: list[Series] = []
    colours = (0, 1, 3, 4)
    for index, (name, values) in enumerate(curves):
        colour = colours[min(index, len(colours) - 1)]
        if len(steps) >= _SMOOTH_FROM:
            series.append(Series(name, steps, values, colour, "faint"))
            values = smoothed(values, half_window(len(steps)))
        series.append(Series(name, steps, values, colour))
    return series


def _curves(run: Run) -> list[tuple[str, list[float]]]:
    """The name and values of each head's loss, or of the total where there are none."""
    heads = max((len(entry.get("head_losses") or ()) for entry in run.metrics), default=0)
    curves: list[tuple[str, list[float]]] = []
    for head in range(heads):
        values = []
        for entry in run.metrics:
            losses = entry.get("head_losses") or ()
            value = numeric(losses[head]) if head < len(losses) else None
            values.append(math.nan if value is None else value)
        curves.append((head_name(head), values))
    if not curves:
        curves.append((TOTAL, _column(run, "loss")))
    return curves


def half_window(steps: int) -> int:
    """Steps on either side that a curve of so many is smoothed over."""
    return max(4, min(50, steps // 25))


def _ends(series: Sequence[Series]) -> str:
    """`from 8.300 to 4.100 (training loss, next token)`: what a listener needs of the curves."""
    parts = []
    for one in series:
        finite = [value for value in one.y if math.isfinite(value)]
        if finite and one.style != "faint":
            first, last = f"{finite[0]:.3f}", f"{finite[-1]:.3f}"
            parts.append(f"{last} ({one.name})" if len(finite) == 1 else f"from {first} to {last} ({one.name})")
    return "; ".join(parts) or "no finite values"


def _short(seconds: float) -> str:
    return format_seconds(seconds) if seconds >= 0.05 else "<0.1 s"


def _stage_bars(key: str, title: str, values: Sequence[tuple[str, float]], say: Any, colour: int) -> Markup:
    most = max(value for _, value in values) or 1.0
    rows = [BarRow(name, say(value), (Lane(value / most, colour),)) for name, value in values]
    description = title + ": " + ", ".join(f"{row.label} {row.value}" for row in rows) + "."
    return tag("figure", tag("figcaption", tag("strong", title)), bar_chart(key, title, description, rows))


def _group(name: str, *, tied: bool) -> str:
    for part, group in (
        ("mtp", "further prediction heads"),
        ("embed", "embedding (tied)" if tied else "embedding"),
        ("lm_head", "output layer"),
        ("norm", "norms"),
        ("attn", "attention"),
        ("mlp", "feed-forward"),
    ):
        if part in name:
            return group
    return "other"


def _layers(shape: dict[str, Any]) -> Markup:
    layers, interval = numeric(shape.get("num_hidden_layers")), numeric(shape.get("no_rope_layer_interval"))
    if not layers or not interval or layers > 200:
        return Markup()
    marks = []
    for index in range(1, int(layers) + 1):
        nope = index % int(interval) == 0
        marks.append(tag("li", f"{index} {'NoPE' if nope else 'RoPE'}", class_="nope" if nope else None))
    text = f"{count(layers)} layers, bottom to top; RoPE: rotary position embedding, NoPE: none."
    return markup((tag("p", text, class_="muted layers-note"), tag("ol", marks, class_="layers")))


def _plain(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
