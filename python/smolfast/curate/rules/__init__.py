"""Rules: which filters, in which order, with which thresholds; shipped by name and version, or the user's own file."""

from __future__ import annotations

from smolfast.curate.rules.filters import (
    C4BadWords,
    C4Paragraphs,
    C4Quality,
    Check,
    Filter,
    FineWebQuality,
    GopherQuality,
    GopherRepetition,
    SymbolLines,
)
from smolfast.curate.rules.loading import load_rules, shipped_rules
from smolfast.curate.rules.ruleset import Rules

__all__ = [
    "C4BadWords",
    "C4Paragraphs",
    "C4Quality",
    "Check",
    "Filter",
    "FineWebQuality",
    "GopherQuality",
    "GopherRepetition",
    "Rules",
    "SymbolLines",
    "load_rules",
    "shipped_rules",
]
