"""What a run says of itself: the counts that the command prints, and the manifest's content."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from smolfast.crawl.files.finish import Finished
from smolfast.crawl.files.journal import Counts
from smolfast.io.sources import said


@dataclass(frozen=True)
class CrawlSummary:
    """Counts of a run; `bytes_in` are bytes of HTML, `bytes_out` UTF-8 bytes of text."""

    records: int
    """Of all kinds, and stretches that hold no readable record."""
    documents_in: int
    """Pages, those that can't be read among them."""
    bytes_in: int
    documents_out: int
    bytes_out: int
    rewritten: int
    """Kept documents whose text a filter changed."""
    fixed: int
    """Kept documents whose encoding was repaired."""
    redacted: int
    """Kept documents in which an address was replaced."""
    skipped: int = 0
    not_pages: dict[str, int] = field(default_factory=dict)
    """Records that hold no page, by what they are."""
    charsets: dict[str, int] = field(default_factory=dict)
    """Pages by what told their charset."""
    languages: dict[str, int] = field(default_factory=dict)
    """Kept documents by language, where several were asked for."""
    reasons: list[dict[str, Any]] = field(default_factory=list)
    """Of each `reason` its `stage` and `filter`, and the `documents` and `bytes` of text that went for it, in order."""
    passed_over: int = 0
    passed_over_files: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The fields by name; those on what was passed over only if something was."""
        return said(self, only_if_any=("languages",))


STAGES = ("read", "url", "extract")


def summary_of(
    counts: Counts, order: tuple[str, ...], rules: Mapping[str, Any] | None, finished: Finished
) -> dict[str, Any]:
    """The summary of all stages; `rules` is the summary of that stage, None if nothing came to it."""
    reasons = [_reason(stage, reason, "", number, 0) for stage, reason, number in _of_pages(counts.removed)]
    for stage in order:
        if stage == "rules" and rules is not None:
            reasons += [
                _reason(stage, one["reason"], one["filter"], one["documents"], one["bytes"]) for one in rules["reasons"]
            ]
        if stage == "language":
            reasons += [
                _reason(stage, reason, "language", number, finished.languages_gone_bytes[reason])
                for reason, number in sorted(finished.languages_gone.items())
            ]
        if stage == "dedup":
            reasons += [
                _reason(stage, f"{kind} duplicate", "", number, finished.duplicate_bytes[kind])
                for kind, number in sorted(finished.duplicates.items())
            ]
    return CrawlSummary(
        records=counts.records,
        documents_in=counts.pages,
        bytes_in=counts.html_bytes,
        documents_out=finished.documents,
        bytes_out=finished.bytes,
        rewritten=0 if rules is None else int(rules["rewritten"]),
        fixed=finished.fixed,
        redacted=finished.redacted,
        not_pages=dict(sorted(counts.not_pages.items())),
        charsets=dict(sorted(counts.charsets.items())),
        languages=dict(sorted(finished.languages.items())),
        reasons=reasons,
    ).as_dict()


def _of_pages(removed: Counter[str]) -> list[tuple[str, str, int]]:
    found = []
    for name, number in removed.items():
        stage, reason = name.split("/", 1)
        found.append((stage, reason, number))
    return sorted(found, key=lambda one: (STAGES.index(one[0]), -one[2], one[1]))


def _reason(stage: str, reason: str, filter_: str, documents: int, size: int) -> dict[str, Any]:
    return {"stage": stage, "reason": reason, "filter": filter_, "documents": documents, "bytes": size}
