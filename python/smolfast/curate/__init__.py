"""Judge documents by FineWeb's and FineWeb-2's filters: datatrove's decisions, and the numbers behind them."""

from __future__ import annotations

from smolfast.curate.deciding import decide
from smolfast.curate.judging import judge
from smolfast.curate.rehydration import rehydrate
from smolfast.curate.rules import (
    C4BadWords,
    C4Paragraphs,
    C4Quality,
    Filter,
    FineWebQuality,
    GopherQuality,
    GopherRepetition,
    Rules,
    SymbolLines,
    load_rules,
)

__all__ = [
    "C4BadWords",
    "C4Paragraphs",
    "C4Quality",
    "Filter",
    "FineWebQuality",
    "GopherQuality",
    "GopherRepetition",
    "Rules",
    "SymbolLines",
    "decide",
    "judge",
    "load_rules",
    "rehydrate",
]
