"""The section on a crawl: what became of its records, and what each stage took of its pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smolfast.progress import format_bytes
from smolfast.report.charts import BarRow, Lane, bar_chart
from smolfast.report.curation.run import Curation
from smolfast.report.markup import folded, markup, table, tag
from smolfast.report.section import Section, count

_WHAT = {
    "read": "records and pages that can't be read",
    "url": "the URL filter",
    "extract": "extraction of text",
    "language": "the model of languages",
    "dedup": "near-duplicates",
    "rules": "the rules, and models",
}


def crawl_section(run: Curation) -> Section:
    """From records to kept documents, stage by stage."""
    said: Mapping[str, Any] = run.manifest["summary"]
    stages = [str(stage) for stage in run.manifest["crawl"]["stages"]]
    went = {stage: sum(int(one["documents"]) for one in said["reasons"] if one["stage"] == stage) for stage in stages}
    # A stretch that is no record is counted among what can't be read, and is no page.
    all_pages = left = int(said["documents_out"]) + sum(went.values())
    rows = []
    for stage in stages:
        before, left = left, left - went[stage]
        lane = Lane(left / (all_pages or 1), 0, before=before / (all_pages or 1))
        rows.append(BarRow(stage, f"{went[stage]:,} pages ({_share(went[stage], all_pages)})", (lane,)))
    sentence = tag(
        "p",
        tag("strong", f"{_share(int(said['documents_out']), all_pages)} of pages stay"),
        f"{int(said['documents_out']):,} of {all_pages:,}; {format_bytes(said['bytes_out'])} of text from "
        f"{format_bytes(said['bytes_in'])} of HTML.",
        class_="headline",
    )
    numbers = "; ".join(f"{row.label} {row.value}" for row in rows)
    chart = bar_chart("crawl-chart", "Pages left after each stage", f"What each stage took: {numbers}.", rows)
    tiles = [
        ("records", count(said["records"])),
        ("extractor", str(run.manifest["crawl"]["extract"])),
        ("addresses replaced in", count(said["redacted"])),
        ("encodings repaired in", count(said["fixed"])),
    ]
    reasons = table(
        "What each stage took, and why",
        ("Stage", "Reason", "Pages", "of all"),
        [
            [
                tag("span", one["stage"], title=_WHAT.get(str(one["stage"]), "")),
                one["reason"],
                f"{one['documents']:,}",
                _share(int(one["documents"]), all_pages),
            ]
            for one in said["reasons"]
        ],
        numeric=range(2, 4),
    )
    languages = table(
        "Documents that stay, by language",
        ("Language", "Documents"),
        [[name, f"{number:,}"] for name, number in dict(said.get("languages", {})).items()],
        numeric=range(1, 2),
    )
    others = table(
        "Records that hold no page",
        ("What they are", "Records"),
        [[name, f"{number:,}"] for name, number in dict(said["not_pages"]).items()],
        numeric=range(1, 2),
    )
    charsets = table(
        "What told a page's charset",
        ("Told by", "Pages"),
        [[name, f"{number:,}"] for name, number in dict(said["charsets"]).items()],
        numeric=range(1, 2),
    )
    body = markup(
        (
            sentence,
            tag("dl", (tag("div", tag("dt", name), tag("dd", value)) for name, value in tiles), class_="tiles"),
            tag("figure", chart),
            folded("Languages", languages) if said.get("languages") else "",
            folded("Every reason, in the order of the stages", reasons),
            folded("Records without a page, and charsets", others, charsets),
        )
    )
    return Section("crawl", "From the crawl", body)


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "–"
