"""What happened to the documents: the funnel, and near-duplicates side by side."""

from __future__ import annotations

from typing import Any

from smolfast.progress import format_bytes
from smolfast.report.charts import BarRow, Lane, bar_chart
from smolfast.report.difference import compare, difference_table, in_words, shared_ngrams
from smolfast.report.markup import Markup, markup, table, tag
from smolfast.report.names import figure_counted
from smolfast.report.section import Section, count, counted, numeric, words
from smolfast.report.training.examples import Example, near_duplicate_examples
from smolfast.report.training.left_out import left_out
from smolfast.report.training.run import Run

_COUNTS = ("documents_in", "bytes_in", "documents_out", "bytes_out")
_DOCUMENTS, _BYTES = 0, 2
_AS = {"tokenize": " of tokens"}
_SIZES = {"train_bytes": "to train on", "held_out_bytes": "held out"}


def funnel(run: Run) -> Section:
    """Documents and bytes into and out of each data stage."""
    stages = [
        (str(stage["stage"]), stage["summary"])
        for stage in run.stages
        if isinstance(stage["summary"], dict) and numeric(stage["summary"].get("documents_out")) is not None
    ]
    if not stages:
        return Section("funnel", "Documents", Markup(), ["No data stage has finished in this run (stages/*.json)."])
    most = {
        unit: max(numeric(summary.get(f"{unit}_{way}")) or 0.0 for _, summary in stages for way in ("in", "out")) or 1.0
        for unit in ("documents", "bytes")
    }

    def lane(summary: dict[str, Any], unit: str, colour: int) -> Lane:
        after = (numeric(summary.get(f"{unit}_out")) or 0.0) / most[unit]
        return Lane(after, colour, before=(numeric(summary.get(f"{unit}_in")) or 0.0) / most[unit])

    rows = [
        BarRow(
            name,
            f"{counted(summary['documents_out'], 'document')} · {_size(summary.get('bytes_out'))}{_AS.get(name, '')}",
            (lane(summary, "documents", _DOCUMENTS), lane(summary, "bytes", _BYTES)),
        )
        for name, summary in stages
    ]
    description = "What comes out of each stage: " + "; ".join(f"{row.label} {row.value}" for row in rows) + "."
    chart = tag("figure", bar_chart("funnel-chart", "Documents and bytes after each stage", description, rows))
    numbers = table(
        "Documents and bytes by stage",
        ("Stage", "Documents in", "Documents out", "Left out", "Bytes in", "Bytes out"),
        [_numbers(name, summary) for name, summary in stages],
        numeric=range(1, 6),
    )
    more = [tag("li", tag("strong", name), f": {also}") for name, summary in stages if (also := _also(summary))]
    gone = left_out(run)
    why = (tag("h3", "Left out, and why"), tag("ul", (tag("li", line) for line in gone))) if gone else None
    others = (tag("h3", "Also counted"), tag("ul", more)) if more else None
    return Section("funnel", "Documents", markup((_key(), chart, numbers, why, others)))


def near_duplicates(run: Run) -> Section:
    """Pairs of near-duplicates with their differences marked."""
    title = "Near-duplicates"
    examples, removed = near_duplicate_examples(run.folder)
    exact = run.config.get("dedup", {}).get("verify") == "exact"
    lacking = []
    if not (run.folder / "dedup" / "removed.parquet").exists():
        lacking.append("The record of removed documents (dedup/removed.parquet) is not in this run.")
    elif not removed:
        lacking.append("No near-duplicates were found in this text, so there is none to show.")
    elif not examples:
        lacking.append(
            f"{removed:,} near-duplicates were removed, but none can be shown: "
            "their texts are gone from the run, or equal those kept."
        )
    shown = (
        "it is" if len(examples) == removed == 1 else f"{len(examples)} of them {'is' if len(examples) == 1 else 'are'}"
    )
    n = _ngram(run)
    intro = tag(
        "p",
        f"{counted(removed, 'near-duplicate')} removed; {shown} shown beside the document kept: ",
        tag("del", "only in the removed one"),
        ", ",
        tag("ins", "only in the one kept"),
        f". White space isn't compared; a sign counts as a word. Jaccard is the share of {_sequences(n)} in both",
        "." if exact else ". Deduplication estimated it from MinHash signatures; here it is counted.",
    )
    body = (intro, [_example(example, n, exact=exact) for example in examples]) if examples else ()
    return Section("near-duplicates", title, markup((_histogram(run), *body)), lacking, examples=len(examples))


def _histogram(run: Run) -> Markup:
    """How alike the removed near-duplicates are to the documents kept for them."""
    found = run.summary("dedup").get("near_by_jaccard")
    counts = {str(name): numeric(value) or 0.0 for name, value in found.items()} if isinstance(found, dict) else {}
    most = max(counts.values(), default=0.0)
    if most <= 0:
        return Markup()
    first = next(place for place, value in enumerate(counts.values()) if value)  # empty ranges below say nothing
    shown = list(counts.items())[first:]
    rows = [BarRow(name, count(value), (Lane(value / most, _DOCUMENTS),)) for name, value in shown]
    description = "Near-duplicates removed, by their Jaccard similarity to the document kept for each: " + "; ".join(
        f"{row.label}: {row.value}" for row in rows if row.value != "0"
    )
    chart = bar_chart("jaccard-chart", "Similarity of what was removed to what was kept", f"{description}.", rows)
    return tag("figure", tag("figcaption", tag("strong", "How alike they are"), f" {description}."), chart)


def _example(example: Example, n: int, *, exact: bool) -> Markup:
    difference = compare(example.removed_text, example.kept_text)
    shared = shared_ngrams(example.removed_text, example.kept_text, n)
    estimated = "" if exact else f" (estimated {example.jaccard:.3f})"
    caption = f"{shared.common:,} of {shared.all:,} {_sequences(n)} shared; {in_words(difference)}."
    return markup(
        (
            tag("h3", f"Jaccard {shared.jaccard:.3f}{estimated}", class_="ids"),
            difference_table(
                difference,
                tag("span", "removed: ", tag("code", example.removed_id)),
                tag("span", "kept: ", tag("code", example.kept_id)),
                caption,
            ),
        )
    )


def _ngram(run: Run) -> int:
    """Words in a sequence, as the run's configuration has it."""
    found = numeric(run.config.get("dedup", {}).get("ngram"))
    return int(found) if found and 1 <= found <= 1000 else 5


def _sequences(n: int) -> str:
    return "words" if n == 1 else f"sequences of {n} words"


def _numbers(name: str, summary: dict[str, Any]) -> list[object]:
    before, after = numeric(summary.get("documents_in")), numeric(summary.get("documents_out"))
    gone = "–" if before is None or after is None else f"{before - after:,.0f}"
    if before and after is not None and before > after:
        gone += f" ({(before - after) / before:.1%})"
    return [name, count(before), count(after), gone, _size(summary.get("bytes_in")), _size(summary.get("bytes_out"))]


def _also(summary: dict[str, Any]) -> str:
    """The other whole numbers above zero that a stage reported: `221 exact duplicates, 325 near-duplicates`."""
    return ", ".join(
        f"{_size(value)} {_SIZES.get(key) or words(key.removesuffix('_bytes'))}"
        if key.endswith("_bytes")
        else figure_counted(key, value)
        for key, value in summary.items()
        if key not in _COUNTS
        and not key.startswith(("skipped_", "passed_over"))
        and value
        and isinstance(value, int)
        and not isinstance(value, bool)
    )


def _size(value: Any) -> str:
    found = numeric(value)
    return "–" if found is None else format_bytes(found)


def _key() -> Markup:
    entries = ((f"fill s{_DOCUMENTS}", "documents out"), (f"fill s{_BYTES}", "bytes out"), ("ghost", "came in"))
    return tag(
        "p",
        (
            tag(
                "span",
                tag(
                    "svg", tag("rect", width=14, height=12, rx=2, class_=kind), width=14, height=12, aria_hidden="true"
                ),
                name,
            )
            for kind, name in entries
        ),
        class_="key",
    )
