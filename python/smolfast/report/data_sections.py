"""What happened to the documents: the funnel, and near-duplicates side by side."""

from __future__ import annotations

from typing import Any

from smolfast.progress import format_bytes
from smolfast.report.charts import BarRow, Lane, bar_chart
from smolfast.report.difference import compare, difference_table
from smolfast.report.examples import Example, near_duplicate_examples
from smolfast.report.markup import Markup, markup, table, tag
from smolfast.report.run import Run
from smolfast.report.section import Section, count, numeric, words

_COUNTS = ("documents_in", "bytes_in", "documents_out", "bytes_out")
_DOCUMENTS, _BYTES = 0, 2


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
            f"{count(summary['documents_out'])} documents · {_size(summary.get('bytes_out'))}",
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
    return Section("funnel", "Documents", markup((_key(), chart, numbers, tag("ul", more) if more else None)))


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
    intro = tag(
        "p",
        f"{removed:,} removed; {len(examples)} of them, chosen over the range of likeness, beside the document kept: ",
        tag("del", "only in the removed one"),
        ", ",
        tag("ins", "only in the one kept"),
        ". Jaccard is the share of word sequences that both have",
        "." if exact else ", as estimated from their MinHash signatures.",
    )
    body = (intro, [_example(example, exact=exact) for example in examples]) if examples else ()
    return Section("near-duplicates", title, markup((_histogram(run), *body)), lacking, examples=len(examples))


def _histogram(run: Run) -> Markup:
    """How alike the removed near-duplicates are to the documents kept for them."""
    found = run.summary("dedup").get("near_by_jaccard")
    counts = {str(name): numeric(value) or 0.0 for name, value in found.items()} if isinstance(found, dict) else {}
    most = max(counts.values(), default=0.0)
    if most <= 0:
        return Markup()
    rows = [BarRow(name, count(value), (Lane(value / most, _DOCUMENTS),)) for name, value in counts.items()]
    description = "Near-duplicates removed, by their Jaccard similarity to the document kept for each: " + "; ".join(
        f"{row.label}: {row.value}" for row in rows if row.value != "0"
    )
    chart = bar_chart("jaccard-chart", "Similarity of what was removed to what was kept", f"{description}.", rows)
    return markup((tag("figure", chart), tag("p", f"{description}.")))


def _example(example: Example, *, exact: bool) -> Markup:
    difference = compare(example.removed_text, example.kept_text)
    lines = "1 line differs" if difference.changed == 1 else f"{difference.changed:,} lines differ"
    hidden = f", {difference.hidden:,} of them not shown" if difference.hidden else ""
    heading = tag("h3", f"{'' if exact else 'Estimated '}Jaccard {example.jaccard:.3f}", class_="ids")
    return markup(
        (
            heading,
            difference_table(
                difference,
                tag("span", "removed: ", tag("code", example.removed_id)),
                tag("span", "kept: ", tag("code", example.kept_id)),
                f"{lines}{hidden}",
            ),
        )
    )


def _numbers(name: str, summary: dict[str, Any]) -> list[object]:
    before, after = numeric(summary.get("documents_in")), numeric(summary.get("documents_out"))
    gone = "–" if before is None or after is None else f"{before - after:,.0f}"
    if before and after is not None and before > after:
        gone += f" ({(before - after) / before:.1%})"
    return [name, count(before), count(after), gone, _size(summary.get("bytes_in")), _size(summary.get("bytes_out"))]


def _also(summary: dict[str, Any]) -> str:
    """The other whole numbers above zero that a stage reported: `221 exact duplicates, 325 near duplicates`."""
    return ", ".join(
        f"{count(value)} {words(key)}"
        for key, value in summary.items()
        if key not in _COUNTS and value and isinstance(value, int) and not isinstance(value, bool)
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
