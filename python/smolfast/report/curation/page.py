"""The page of a curation: the funnel by reason, each measured number with its threshold, and what lies just beyond."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from smolfast.files import naming
from smolfast.progress import ProgressCallback, format_bytes
from smolfast.report.charts import BarRow, Lane, bar_chart, number
from smolfast.report.curation.crawl import crawl_section
from smolfast.report.curation.histogram import Limit, histogram
from smolfast.report.curation.run import MANIFEST, Check, Curation, Example, examples, in_words, read_curation
from smolfast.report.document import document, save_page
from smolfast.report.markup import Markup, folded, markup, pairs, table, tag
from smolfast.report.section import Section, count, counted, share

_DOCUMENTS, _BYTES = 0, 2
_MOST_CHARACTERS = 1500


def write_curation_report(
    folder: str | os.PathLike[str], output_html: str | os.PathLike[str], progress: ProgressCallback | None = None
) -> dict[str, Any]:
    """Write one self-contained HTML page about what `smolfast curate` judged, from the files of its folder.

    The same files give the same bytes.

    Returns:
        `bytes` of the page, `examples` shown, and `missing`: titles of the sections that lack something.

    Raises:
        SmolfastError: the folder's manifest is damaged, or the page can't be written.
    """
    run = read_curation(Path(folder))
    makers: list[Callable[[Curation], Section]] = [_result, _funnel, _signals, _beyond, _again]
    if "crawl" in run.manifest:
        makers.insert(0, crawl_section)
    sections = []
    for index, make in enumerate(makers):
        if progress is not None:
            progress(index, len(makers), make.__name__.strip("_"))
        with naming(run.folder / MANIFEST, "run curate again"):
            sections.append(make(run))
    page = document(f"smolfast curate {run.folder.resolve().name}", sections, "the files of the output folder")
    save_page(output_html, page)
    return {
        "bytes": len(page.encode()),
        "examples": sum(section.examples for section in sections),
        "missing": [section.title for section in sections if section.missing],
    }


def _result(run: Curation) -> Section:
    """How much stays."""
    summary = run.summary
    before, after = int(summary["documents_in"]), int(summary["documents_out"])
    sizes = [format_bytes(summary[name]) for name in ("bytes_out", "bytes_in")]
    sentence = tag(
        "p",
        tag("strong", f"{share(after, before)} of documents stay"),
        f"by the rules {run.manifest['rules']['name']}: {after:,} of {before:,}; {sizes[0]} of {sizes[1]} of text "
        f"({share(summary['bytes_out'], summary['bytes_in'])}).",
        class_="headline",
    )
    tiles = [
        ("language", ", ".join(sorted(run.manifest["languages"]))),
        ("words", str(run.manifest["parameters"]["words"])),
        ("removed", count(before - after)),
        ("rewritten", count(summary["rewritten"])),
    ]
    if summary["skipped"]:
        tiles.append(("not readable", count(summary["skipped"])))
    return Section(
        "result",
        "Result",
        markup(
            (
                sentence,
                tag("dl", (tag("div", tag("dt", name), tag("dd", value)) for name, value in tiles), class_="tiles"),
            )
        ),
    )


def _funnel(run: Curation) -> Section:
    """Documents and bytes that are left after each check that took some."""
    summary = run.summary
    documents, size = int(summary["documents_in"]), int(summary["bytes_in"])
    rows = []
    left, bytes_left = documents, size
    for one in run.reasons:
        went, bytes_went = int(one["documents"]), int(one["bytes"])
        rows.append(
            BarRow(
                str(one["reason"]),
                f"{counted(went, 'document')} ({share(went, documents)}) · {format_bytes(bytes_went)}",
                (
                    Lane((left - went) / (documents or 1), _DOCUMENTS, before=left / (documents or 1)),
                    Lane((bytes_left - bytes_went) / (size or 1), _BYTES, before=bytes_left / (size or 1)),
                ),
            )
        )
        left, bytes_left = left - went, bytes_left - bytes_went
    if not rows:
        return Section("funnel", "What went, and why", Markup(), ["Every document stays: no check took one."])
    said = "; ".join(f"{row.label} {row.value}" for row in rows)
    chart = bar_chart(
        "funnel-chart", "Documents and bytes left after each check", f"What each check took: {said}.", rows
    )
    numbers = table(
        "What each check took, in the order in which they are made",
        ("Reason", "Filter", "Documents", "of all", "Bytes", "of all"),
        [
            [
                tag("a", one["reason"], href=f"#beyond-{in_words(one['reason'])}"),
                one["filter"],
                f"{one['documents']:,}",
                share(one["documents"], documents),
                format_bytes(one["bytes"]),
                share(one["bytes"], size),
            ]
            for one in run.reasons
        ],
        numeric=range(2, 6),
    )
    intro = tag(
        "p",
        "A document goes for the first check that it fails. Each bar is what is left after a check; its pale end is "
        "what the check took.",
    )
    return Section("funnel", "What went, and why", markup((intro, _key(), tag("figure", chart), numbers)))


def _key() -> Markup:
    entries = ((f"fill s{_DOCUMENTS}", "documents left"), (f"fill s{_BYTES}", "bytes left"), ("ghost", "taken"))
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


def _signals(run: Curation) -> Section:
    """A histogram of each measured number with the thresholds on it."""
    by_signal: dict[str, list[Check]] = {}
    for check in run.checks:
        if check.signal is not None:
            by_signal.setdefault(check.signal, []).append(check)
    figures = []
    for signal, checks in by_signal.items():
        several = sum(len(check.limits) for check in checks) > 1
        limits = [
            Limit(limit.at, limit.above, ", ".join(filter(None, (check.reason if several else "", limit.name))))
            for check in checks
            for limit in check.limits
        ]
        figures.append(histogram(f"signal-{in_words(signal)}", signal, run.bins(signal), limits))
    intro = tag(
        "p",
        "How each number is spread over the documents that it was measured on. The upright line is the threshold. "
        "Documents beyond it stand in the other colour; some of them went for an earlier check.",
    )
    lacking = [] if figures else ["These rules measure no number."]
    return Section("signals", "Measured numbers", markup((intro, tag("div", figures, class_="two"))), lacking)


def _beyond(run: Curation) -> Section:
    """For each reason the removed documents nearest to its threshold."""
    parts: list[Markup] = []
    shown = 0
    lacking = []
    for one in run.reasons:
        found = examples(run, str(one["reason"]))
        shown += len(found)
        if not found:
            lacking.append(f"The removed documents of {one['reason']} aren't in this folder.")
        heading = tag(
            "h3",
            f"{one['reason']} ",
            tag("span", f"{one['filter']}", class_="muted"),
            id=f"beyond-{in_words(one['reason'])}",
        )
        parts.append(markup((heading, [_example(example) for example in found])))
    intro = tag("p", "The documents that each check took with the least cause: would you have kept them?")
    body = markup((intro, parts)) if parts else Markup()
    return Section("beyond", "Just beyond the threshold", body, lacking, examples=shown)


def _example(example: Example) -> Markup:
    measured = ""
    if example.value is not None and example.threshold is not None and math.isfinite(example.value):
        measured = f"{number(example.value)}, threshold {number(example.threshold)} · "
    text = example.text
    more = ""
    if len(text) > _MOST_CHARACTERS:
        more = f"… and {len(text) - _MOST_CHARACTERS:,} characters more"
        text = text[:_MOST_CHARACTERS]
    return folded(
        f"{measured}{example.id} · {_first_words(example.text)}",
        tag("pre", text, tabindex=0),
        tag("p", more, class_="muted") if more else None,
    )


def _first_words(text: str) -> str:
    line = " ".join(text[:400].split())
    return line if len(line) <= 60 else f"{line[:60]}…"


def _again(run: Curation) -> Section:
    """The options and rules, and what was read."""
    parameters = {name: value for name, value in run.manifest["parameters"].items() if value not in (None, "", {})}
    body: list[Markup] = [
        pairs("Options", [(name.replace("_", " "), _value(value)) for name, value in parameters.items()]),
        folded("Every threshold, in the order of the checks", _thresholds(run.checks)),
        folded(
            "What was read",
            table(
                "xxh3-128 of each input",
                ("File", "Fingerprint"),
                [[tag("code", one["path"]), tag("code", one["xxh3_128"])] for one in run.manifest["inputs"]],
            ),
        ),
        tag("p", f"Made by smolfast {run.manifest['smolfast']}.", class_="muted"),
    ]
    return Section("again", "Rules and input", markup(body))


def _thresholds(checks: Sequence[Check]) -> Markup:
    rows = [
        [
            check.filter,
            check.reason,
            "; ".join(
                f"{'above' if limit.above else 'below'} {number(limit.at)}{f' ({limit.name})' if limit.name else ''}"
                for limit in check.limits
            )
            or "by what it finds",
        ]
        for check in checks
    ]
    return table("A document goes if its number lies", ("Filter", "Reason", "Goes"), rows)


def _value(value: Any) -> str:
    return value if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
