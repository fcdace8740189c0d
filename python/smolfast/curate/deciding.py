"""Decisions from numbers already measured, so that thresholds can be chosen without reading the text again."""

from __future__ import annotations

import json
from os import PathLike
from typing import Any

import numpy as np
import pyarrow as pa

from smolfast.curate.judging import METADATA, describe, verdict_columns
from smolfast.curate.rules import Rules, load_rules
from smolfast.errors import SmolfastError


def decide(signals: pa.Table, rules: str | PathLike[str] | Rules, language: str | None = None) -> pa.Table:
    """`keep` and `reason` as `judge` would give them, from the columns that it made with `signals=True`.

    Thresholds may differ from those of that call, and filters that don't rewrite may be left out. What says what is
    measured may not differ: n-gram sizes, stop words, C4's rules for lines.

    Args:
        signals: the table, or one with its columns. Other columns are passed over.
        rules: as `judge` takes them.
        language: for rules with numbers by language; None: that of the call that measured.

    Raises:
        SmolfastError: a column is missing, or the rules measure something else.
    """
    measured = _measured_by(signals)
    chosen = load_rules(rules, language or measured.get("language"))
    if measured:
        _check_measures(measured["filters"], describe(chosen)["filters"])
    rows = signals.num_rows
    verdicts = np.zeros(rows, np.int32)
    reasons: list[str] = []
    seen = np.zeros(rows, bool)

    def remove(where: np.ndarray[Any, Any], reason: str) -> None:
        reasons.append(reason)
        verdicts[where & (verdicts == 0)] = len(reasons)

    for kind in chosen.filters:
        for check in kind.checks():
            name = kind.column(check.signal)
            if name not in signals.column_names:
                raise SmolfastError(f"signals: no column {name}; make them with judge(…, rules, signals=True)")
            column = signals.column(name)
            present = np.asarray(column.is_valid())
            seen |= present
            if check.off:
                continue
            values = np.asarray(column.cast(pa.float64()).fill_null(np.inf if check.sides == "below" else -np.inf))
            removed = values < check.limit if check.sides == "below" else values > check.limit
            if check.spared is not None:
                removed &= values != check.spared
            removed &= present
            if check.undefined is not None:
                remove(present & np.isnan(values), check.undefined)
            remove(removed, check.reason)
    if any(kind.checks() for kind in chosen.filters):
        verdicts[~seen] = -1
    return pa.table(verdict_columns(verdicts, reasons, chosen))


def _measured_by(signals: pa.Table) -> dict[str, Any]:
    written = (signals.schema.metadata or {}).get(METADATA)
    return json.loads(written) if written else {}


def _check_measures(measured: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    """Each wanted filter was measured alike, in this order, on the same text."""
    left = list(measured)
    for filter_ in wanted:
        name = filter_["name"]
        if name not in [other["name"] for other in left]:
            raise SmolfastError(
                f"rules: filter {name} wasn't measured, or stood elsewhere; judge the texts with these rules"
            )
        while left[0]["name"] != name:
            if left[0]["name"] in ("c4_quality", "symbol_lines"):
                raise SmolfastError(
                    f"rules: without {left[0]['name']}, filters after it see another text; judge the texts anew"
                )
            del left[0]
        other = left.pop(0)
        for key, value in filter_.items():
            if other[key] != value:
                raise SmolfastError(
                    f"rules: {name} was measured with {key} = {json.dumps(other[key], ensure_ascii=False)}, "
                    "and it says what is measured; judge the texts anew to change it"
                )
