"""What makes runs unfit for a fit, by name: which rows, what is wrong with them, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from smolfast.errors import SmolfastError
from smolfast.scaling.law import NAMES, Array

Bad = Literal["fail", "drop", "keep"]
LEAST_RUNS = len(NAMES)
_LEAST_DIFFERENT = 3
_SAME = 0.01  # sizes within a hundredth are one size
_DIVERGED = 0.1
_FEWEST, _MOST = 0.1, 1e6


@dataclass(frozen=True)
class Checked:
    """Runs that can be fitted.

    Attributes:
        params, tokens, losses: [n]. kept: their rows in what was given, [n].
        dropped: rows that were left out, by reason.
    """

    params: Array
    tokens: Array
    losses: Array
    kept: npt.NDArray[np.intp]
    dropped: dict[str, list[int]]


def check_runs(
    params: Any,
    tokens: Any,
    losses: Any,
    *,
    names: Sequence[str] | None = None,
    bad: Bad = "fail",
    plausible: bool = True,
) -> Checked:
    """Numbers [n] each as arrays, once they are known to be fit for a fit.

    Args:
        names: of the rows, for messages; their numbers from 0 on if None.
        bad: rows with no finite number above 0, given twice, or of diverged runs are an error ("fail"), left out and
            named ("drop"), or taken as they are ("keep", not where a number is missing).
        plausible: whether tokens a parameter are looked at, which shows a wrong unit.

    Raises:
        SmolfastError: as above; different lengths; fewer runs than parameters, fewer than three sizes or lengths.
    """
    if bad not in ("fail", "drop", "keep"):
        raise SmolfastError(f"bad = {bad!r}: choose fail, drop or keep")
    columns = [_numbers(name, column) for name, column in zip(("params", "tokens", "losses"), (params, tokens, losses),
                                                              strict=True)]  # fmt: skip
    lengths = [len(column) for column in columns]
    if len(set(lengths)) > 1:
        raise SmolfastError(
            f"params, tokens and losses are of {', '.join(map(str, lengths))} runs; give one of each for every run"
        )
    named = [f"row {row}" for row in range(lengths[0])] if names is None else list(names)
    kept, dropped = np.arange(lengths[0]), {}
    for reason, find in (("no finite number above 0", _unusable), ("given twice", _repeated), ("diverged", _diverged)):
        rows = kept[find(*(column[kept] for column in columns))]
        if not len(rows) or (bad == "keep" and find is not _unusable):
            continue
        if bad != "drop":
            keep = "" if find is _unusable else ", or bad='keep' (--bad keep) to take them"
            raise SmolfastError(
                f"{_listed([named[row] for row in rows])}: {_MEANING[reason]}; correct them, or give bad='drop' "
                f"(--bad drop) to leave them out{keep}"
            )
        dropped[reason] = [int(row) for row in rows]
        kept = np.setdiff1d(kept, rows)
    n, d, losses_ = (column[kept] for column in columns)
    _check_enough(n, d)
    if plausible:
        _check_units(n, d)
    return Checked(n, d, losses_, kept, dropped)


_MEANING = {
    "no finite number above 0": "a count or loss is missing, not finite or not above 0",
    "given twice": "the same params, tokens and loss as an earlier run, which would count twice",
    "diverged": f"over {_DIVERGED:.0%} more loss than a run of no more parameters and tokens, so it diverged",
}


def different(values: Array) -> int:
    """How many values there are that are more than a hundredth apart."""
    return 1 + int((np.diff(np.sort(np.log(values))) > _SAME).sum()) if len(values) else 0


def _numbers(name: str, column: Any) -> Array:
    try:
        array = np.asarray(column, np.float64)
    except (TypeError, ValueError) as error:
        raise SmolfastError(f"{name} has something that is no number; give one number for each run") from error
    if array.ndim != 1:
        raise SmolfastError(f"{name} has the shape {list(array.shape)}; give one number for each run")
    return array


def _unusable(n: Array, d: Array, losses: Array) -> npt.NDArray[np.bool_]:
    return np.asarray(~np.all([np.isfinite(column) & (column > 0) for column in (n, d, losses)], 0), np.bool_)


def _repeated(n: Array, d: Array, losses: Array) -> npt.NDArray[np.bool_]:
    rows = np.stack([n, d, losses], -1)
    first = np.unique(rows, axis=0, return_index=True)[1]
    return ~np.isin(np.arange(len(rows)), first)


def _diverged(n: Array, d: Array, losses: Array) -> npt.NDArray[np.bool_]:
    smaller = (n <= n[:, None]) & (d <= d[:, None])
    return np.asarray((smaller & (losses * (1 + _DIVERGED) < losses[:, None])).any(1), np.bool_)


def _check_enough(n: Array, d: Array) -> None:
    if len(n) < LEAST_RUNS:
        raise SmolfastError(
            f"{len(n)} runs, and the law has {LEAST_RUNS} parameters ({', '.join(NAMES)}); train at least "
            f"{LEAST_RUNS - len(n)} more, of other sizes and lengths"
        )
    for what, values, letters in (("sizes", n, "A and alpha"), ("numbers of tokens", d, "B and beta")):
        found = different(values)
        if found < _LEAST_DIFFERENT:
            raise SmolfastError(
                f"the runs have {found} different {what}, and {letters} show in no fewer than {_LEAST_DIFFERENT}; "
                f"train runs of {_LEAST_DIFFERENT - found} more"
            )


def _check_units(n: Array, d: Array) -> None:
    each = float(np.median(d / n))
    if not _FEWEST <= each <= _MOST:
        raise SmolfastError(
            f"the median run has {each:.3g} tokens a parameter ({d[0]:.4g} tokens, {n[0]:.4g} parameters in the "
            "first): are they in millions or billions? Multiply them, or give plausible=False (--implausible) if they "
            "are right"
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
