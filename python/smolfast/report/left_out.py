"""What didn't go in, and which cap or rule left it out, with the setting's name."""

from __future__ import annotations

from collections.abc import Iterator

from smolfast.progress import format_bytes
from smolfast.report.markup import Markup, folded, markup
from smolfast.report.run import Run
from smolfast.report.section import counted, numeric

PACKAGE_SHARE = 8
"""No package of a Python installation gives more than this part of the cap."""


def left_out(run: Run) -> list[Markup | str]:
    """A sentence for each cap that cut something off and each rule that left documents out."""
    return [*_collect(run), *_evaluate(run)]


def _collect(run: Run) -> Iterator[Markup | str]:
    summary = run.summary("collect")
    cap = capped(run, "collect", "max_bytes")
    if summary.get("full"):
        yield f"Collecting stopped at the cap of {cap}. What came after it in the input was not read."
    for key, reason in (
        ("package_cap", f"cap of 1/{PACKAGE_SHARE} of {cap} for one package"),
        ("too_long", f"longer than {capped(run, 'collect', 'max_document_bytes')}"),
        ("too_short", f"shorter than {capped(run, 'collect', 'min_document_bytes')}"),
        ("not_utf8", "not UTF-8"),
        ("table", "mostly numbers, not text"),
        ("unreadable", "can't be read"),
    ):
        if number := numeric(summary.get(f"skipped_{key}")):
            yield f"{counted(number, 'document')} left out: {reason}."
    if passed := numeric(summary.get("passed_over")):
        text = f"{counted(passed, 'file')} of the given folders passed over."
        which = summary.get("passed_over_files")
        yield markup((text, folded("Which files", str(which)))) if which else text


def _evaluate(run: Run) -> Iterator[str]:
    coded, held_out = numeric(run.evaluation.get("documents")), numeric(run.summary("split").get("held_out_documents"))
    if coded is not None and held_out is not None and coded < held_out:
        cap = capped(run, "evaluate", "max_bytes")
        yield (
            f"{counted(held_out - coded, 'held-out document')} of {held_out:,.0f} not evaluated: "
            f"bits per byte are of whole documents up to the cap of {cap}."
        )


def capped(run: Run, section: str, key: str) -> str:
    """A cap as `24.0 MB (collect.max_bytes)`, or the name alone where the configuration isn't recorded."""
    found = run.config.get(section)
    value = numeric(found.get(key)) if isinstance(found, dict) else None
    return f"{section}.{key}" if value is None else f"{format_bytes(value)} ({section}.{key})"
