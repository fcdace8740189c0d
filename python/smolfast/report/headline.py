"""The figure that counts: held-out bits per byte beside simple models of the same text."""

from __future__ import annotations

import math

from smolfast.progress import format_bytes, format_seconds
from smolfast.report.charts import BarRow, Lane, bar_chart
from smolfast.report.markup import Markup, markup, tag
from smolfast.report.run import Run
from smolfast.report.section import Section, count, numeric

_REFERENCES = (
    ("unigram_bits_per_byte", "unigram model of bytes"),
    ("zlib_bits_per_byte", "zlib -9"),
    ("xz_bits_per_byte", "xz -9e"),
)
_MODEL, _OTHER = 0, 4


def headline(run: Run) -> Section:
    """Bits per byte against a unigram model, zlib and xz, and the run in a few figures."""
    found = run.evaluation
    ours = numeric(found.get("bits_per_byte"))
    lacking = []
    body: list[Markup] = []
    if ours is None or not math.isfinite(ours):
        lacking.append(
            "There is no held-out evaluation in this run (evaluate/evaluation.json), so no bits per byte."
            if ours is None
            else "The held-out bits per byte of this run are not a finite number: training diverged."
        )
    else:
        references = [(name, value) for key, name in _REFERENCES if (value := numeric(found.get(key))) is not None]
        body.append(_sentence(run, ours, dict(references)))
        body.append(_chart(ours, references))
    tiles = [tag("div", tag("dt", name), tag("dd", value)) for name, value in _figures(run)]
    body.append(tag("dl", tiles, class_="tiles") if tiles else Markup())
    return Section("result", "Result", markup(body), lacking)


def _sentence(run: Run, ours: float, references: dict[str, float]) -> Markup:
    zlib = references.get("zlib -9")
    against = ""
    if zlib:
        share = abs(1 - ours / zlib)
        against = f", {share:.0%} {'below' if ours < zlib else 'above'} zlib -9 on the same text"
    size = numeric(run.evaluation.get("bytes"))
    documents = run.evaluation.get("documents")
    of = f" ({count(documents)} document{'s' * (documents != 1)}, {format_bytes(size)})" if size is not None else ""
    return tag(
        "p",
        tag("strong", f"{ours:.3f} bits per byte"),
        f"on held-out text{of}{against}. Lower is better.",
        class_="headline",
    )


def _chart(ours: float, references: list[tuple[str, float]]) -> Markup:
    entries = [("this model", ours, _MODEL), *((name, value, _OTHER) for name, value in references)]
    entries.sort(key=lambda entry: entry[1])
    most = max((value for _, value, _ in entries if math.isfinite(value)), default=1.0) or 1.0
    rows = [BarRow(name, f"{value:.3f}", (Lane(value / most, colour),)) for name, value, colour in entries]
    description = (
        "Bits needed for a byte of held-out text: "
        + ", ".join(f"{name} {value:.3f}" for name, value, _ in entries)
        + "."
    )
    caption = tag("figcaption", tag("strong", "Bits per byte of the same held-out text"), " (shorter is better)")
    return tag("figure", caption, bar_chart("bits-per-byte", "Bits per byte of held-out text", description, rows))


def _figures(run: Run) -> list[tuple[str, str]]:
    """The tiles; those whose files are missing are left out."""
    figures: list[tuple[str, str]] = []
    collected, kept = run.summary("collect"), run.summary("dedup")
    if (documents := numeric(collected.get("documents_out"))) is not None:
        figures.append(("documents", count(documents)))
    if (documents := numeric(kept.get("documents_out"))) is not None:
        figures.append(("kept by dedup", count(documents)))
    if parameters := sum(math.prod(shape) for shape in run.shapes.values()):
        figures.append(("parameters", f"{parameters:,}"))
    if run.metrics:
        last = run.metrics[-1]
        figures.append(("training steps", count(last["step"])))
        tokens, seconds = numeric(last.get("tokens")), numeric(last.get("seconds"))
        if tokens and seconds:
            figures.append(("tokens trained on", count(tokens)))
            figures.append(("tokens a second", count(tokens / seconds)))
    if run.stages:
        figures.append(("time, all stages", format_seconds(sum(run.seconds.values()))))
        peak = max(numeric(stage.get("peak_rss_bytes")) or 0.0 for stage in run.stages)
        if peak:
            figures.append(("peak memory", format_bytes(peak)))
    return figures
