"""The figure that counts: held-out bits per byte beside simple models of the same text."""

from __future__ import annotations

import math

from smolfast.progress import format_bytes, format_seconds
from smolfast.report.charts import BarRow, Lane, bar_chart
from smolfast.report.markup import Markup, markup, tag
from smolfast.report.section import Section, count, counted, numeric
from smolfast.report.training.left_out import capped
from smolfast.report.training.run import Run
from smolfast.report.training.verdict import normal, verdict

_REFERENCES = (
    ("unigram_bits_per_byte", "unigram model of bytes"),
    ("zlib_bits_per_byte", "zlib -9"),
    ("xz_bits_per_byte", "xz -9e"),
)
_MODEL, _OTHER = 0, 4
_NEWS = {True: ("Good. ", "good"), False: ("Not good. ", "bad"), None: ("Worth a look. ", None)}


def headline(run: Run) -> Section:
    """Bits per byte, what is good and what isn't, what is normal, and the run in a few figures."""
    found = run.evaluation
    ours = numeric(found.get("bits_per_byte"))
    lacking = []
    body: list[Markup] = []
    if ours is None and not run.whole:
        lacking.append("Training alone leaves no bits per byte. `smolfast evaluate` measures them.")
    elif ours is None:
        lacking.append("There is no held-out evaluation in this run (evaluate/evaluation.json), so no bits per byte.")
    elif not math.isfinite(ours):
        lacking.append("The held-out bits per byte of this run are not a finite number: training diverged.")
    if ours is None or not math.isfinite(ours):
        body.append(_findings(run))
    else:
        references = [(name, value) for key, name in _REFERENCES if (value := numeric(found.get(key))) is not None]
        body += [_sentence(run, ours), _findings(run), _meaning(run), _chart(ours, references)]
    tiles = [
        tag("div", tag("dt", name), tag("dd", value, tag("small", note) if note else None))
        for name, value, note in _figures(run)
    ]
    body.append(tag("dl", tiles, class_="tiles") if tiles else Markup())
    return Section("result", "Result", markup(body), lacking)


def _sentence(run: Run, ours: float) -> Markup:
    size, documents = numeric(run.evaluation.get("bytes")), numeric(run.evaluation.get("documents"))
    there = numeric(run.summary("split").get("held_out_documents"))
    of = ""
    if size is not None and documents is not None:
        cut = there is not None and documents < there
        every = f"{count(documents)} of {counted(there or 0, 'document')}" if cut else counted(documents, "document")
        cap = f", up to the cap of {capped(run, 'evaluate', 'max_bytes')}" if cut else ""
        of = f": {every}, {format_bytes(size)}{cap}"
    return tag(
        "p",
        tag("strong", f"{ours:.3f} bits per byte"),
        f"on held-out text{of}. Lower is better.",
        class_="headline",
    )


def _findings(run: Run) -> Markup:
    items = [
        tag("li", tag("strong", title), one.text, class_=class_)
        for one in verdict(run)
        for title, class_ in (_NEWS[one.good],)
    ]
    return tag("ul", items, class_="verdict") if items else Markup()


def _meaning(run: Run) -> Markup:
    meaning = (
        "Bits per byte say how many bits it takes to write down a byte of text that the model has not seen, if its "
        "predictions are used as well as possible. The text as it is takes 8. The figure doesn't depend on the "
        "tokenizer, so compressors have it too. They see the held-out text alone; the model has seen the training text."
    )
    return markup((tag("p", meaning), tag("p", known) if (known := normal(run)) else None))


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


def _figures(run: Run) -> list[tuple[str, str, str]]:
    """The tiles: name, value, and what was left out; those whose files are missing aren't there."""
    figures: list[tuple[str, str, str]] = []
    for stage, name in (("collect", "documents"), ("dedup", "unique documents")):
        before, after = (numeric(run.summary(stage).get(f"documents_{way}")) for way in ("in", "out"))
        if after is not None:
            gone = f"of {count(before)}" if before is not None and before > after else ""
            if stage == "collect" and run.summary(stage).get("full"):
                gone = f"up to the cap of {capped(run, 'collect', 'max_bytes')}"
            figures.append((name, count(after), gone))
    if parameters := sum(math.prod(shape) for shape in run.shapes.values()):
        figures.append(("parameters", f"{parameters:,}", ""))
    if run.metrics:
        last = run.metrics[-1]
        figures.append(("training steps", count(last["step"]), ""))
        tokens, seconds = numeric(last.get("tokens")), numeric(last.get("seconds"))
        if tokens and seconds:
            figures.append(("tokens trained on", count(tokens), ""))
            figures.append(("tokens a second", count(tokens / seconds), ""))
    if run.stages:
        figures.append(("time, all stages", format_seconds(sum(run.seconds.values())), ""))
        peak = max(numeric(stage.get("peak_rss_bytes")) or 0.0 for stage in run.stages)
        if peak:
            figures.append(("peak memory", format_bytes(peak), ""))
    return figures
