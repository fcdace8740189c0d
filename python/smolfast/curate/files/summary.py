"""What a run says of itself: the manifest's content, and the counts that a command prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from smolfast.curate.files.journal import Part
from smolfast.curate.files.options import Options
from smolfast.curate.files.tallies import Tallies, bin_name
from smolfast.io.sources import said


@dataclass(frozen=True)
class CurateSummary:
    """Counts of a run; bytes are UTF-8 bytes of text."""

    documents_in: int
    bytes_in: int
    documents_out: int
    bytes_out: int
    rewritten: int
    """Kept documents whose text a filter changed."""
    skipped: int
    """Rows left out because their text was not UTF-8 or missing (`errors="skip"`)."""
    reasons: list[dict[str, Any]] = field(default_factory=list)
    """Of each `reason` its `filter`, and the `documents` and `bytes` that went for it, in the order of the checks."""
    passed_over: int = 0
    """Files and folders of the given folders that weren't read."""
    passed_over_files: str = ""
    """Their names, by reason."""

    def as_dict(self) -> dict[str, Any]:
        """The fields by name; those on what was passed over only if something was."""
        return said(self)

    @staticmethod
    def of(manifest: Mapping[str, Any], passed_over: Mapping[str, Any]) -> CurateSummary:
        """The summary that a manifest holds.

        Raises:
            KeyError, TypeError: it holds none.
        """
        return CurateSummary(**manifest["summary"], **passed_over)


def manifest_of(
    parts: Sequence[Part], tallies: Tallies, options: Options, skipped: int, sources: int
) -> dict[str, Any]:
    """What `curate.json` says of finished parts."""
    order: dict[str, int] = {}
    for language in sorted(tallies.languages):
        for place, check in enumerate(options.checks(language)):
            order.setdefault(check.reason, place)
    reasons = sorted(tallies.reasons, key=lambda reason: (order.get(reason, len(order)), reason))
    return {
        "outputs": {name: print_ for part in parts for name, (_, print_) in part.files.items()},
        "summary": {
            "documents_in": tallies.documents_in,
            "bytes_in": tallies.bytes_in,
            "documents_out": tallies.documents_out,
            "bytes_out": tallies.bytes_out,
            "rewritten": tallies.rewritten,
            "skipped": skipped,
            "reasons": [
                {"reason": reason, "filter": filter_, "documents": documents, "bytes": size}
                for reason in reasons
                for filter_, documents, size in [tallies.reasons[reason]]
            ],
        },
        "rules": {
            "name": options.rules.name,
            "toml": {language: options.rules.of(language).to_toml() for language in sorted(tallies.languages)},
        },
        "checks": {
            language: [check.as_dict() for check in options.checks(language)] for language in sorted(tallies.languages)
        },
        "languages": {
            language: {"documents_in": came, "documents_out": stays}
            for language, (came, stays) in sorted(tallies.languages.items())
        },
        "first_documents": _starts(parts, sources),
        "parts": [[part.first, part.end] for part in parts],
        "rewritten_in": [part.number for part in parts if part.tallies.rewritten],
        "signals": {
            name: {bin_name(place): count for place, count in sorted(bins.items())}
            for name, bins in tallies.signals.items()
        },
        "nearest": {
            reason: [[document, part, row] for _, document, part, row in tallies.nearest[reason]] for reason in reasons
        },
    }


def _starts(parts: Sequence[Part], sources: int) -> list[int]:
    """The number of each source's first document; of a source without any, that of the next one's."""
    known = {source: first for part in parts for source, first in part.starts.items()}
    starts, after = [], parts[-1].end if parts else 0
    for source in reversed(range(sources)):
        after = known.get(source, after)
        starts.append(after)
    return starts[::-1]
