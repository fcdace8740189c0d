"""A fit as a JSON file, from which it comes back whole: intervals are drawn again from the runs and the seed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from smolfast.errors import SmolfastError
from smolfast.files import naming, read_json, write_json
from smolfast.scaling.fitting import Fit
from smolfast.scaling.law import NAMES, Law

KIND = "smolfast scaling fit"


def write_fit(path: str | os.PathLike[str], fitted: Fit, more: Mapping[str, Any] | None = None) -> None:
    """Write a fit; `more` is shown beside it and never read."""
    columns = {name: getattr(fitted, name).tolist() for name in ("params", "tokens", "losses")}
    write_json(
        path,
        {
            "kind": KIND,
            "law": fitted.law.as_dict(),
            "objective": fitted.objective,
            "delta": fitted.delta,
            "bootstraps": fitted.bootstraps,
            "seed": fitted.seed,
            "resample": fitted.resample,
            "dropped": fitted.dropped,
            "runs": {"names": list(fitted.names), "groups": list(map(str, fitted.groups)), **columns},
            **(more or {}),
        },
    )


def is_fit(path: Path) -> bool:
    """Whether a file may be one that `write_fit` wrote."""
    return path.is_file() and path.suffix == ".json"


def read_fit(path: str | os.PathLike[str]) -> Fit:
    """Read what `write_fit` wrote.

    Raises:
        SmolfastError: it is missing or damaged, or no such file.
    """
    values = read_json(path)
    if not isinstance(values, dict) or values.get("kind") != KIND:
        raise SmolfastError(f"{path} is no fit; give the fit.json of `smolfast scaling fit -o DIR`, or the runs")
    with naming(path, "fit the runs again"):
        law = Law(*(float(values["law"][name]) for name in NAMES))
        runs = values["runs"]
        columns = [np.array(runs[name], np.float64) for name in ("params", "tokens", "losses")]
        if len({len(column) for column in (*columns, runs["names"], runs["groups"])}) != 1:
            raise ValueError("columns of different lengths")
        return Fit(
            law,
            float(values["objective"]),
            columns[0],
            columns[1],
            columns[2],
            names=tuple(runs["names"]),
            groups=np.array(runs["groups"]),
            dropped=dict(values["dropped"]),
            delta=float(values["delta"]),
            bootstraps=int(values["bootstraps"]),
            seed=int(values["seed"]),
            resample="residuals" if values["resample"] == "residuals" else "runs",
        )
