"""The folder of `smolfast curate`, read into plain values for its page: curate.json, and a few removed documents."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from smolfast.errors import SmolfastError
from smolfast.files import naming, read_json
from smolfast.report.curation.histogram import Bin, Limit

MANIFEST = "curate.json"


@dataclass(frozen=True)
class Check:
    """One check of a filter; `limits` are its thresholds, one a language."""

    filter: str
    reason: str
    signal: str | None
    limits: tuple[Limit, ...]


@dataclass(frozen=True)
class Curation:
    """A finished run."""

    folder: Path
    manifest: Mapping[str, Any]
    checks: tuple[Check, ...]
    """In the order in which they are made."""

    @property
    def summary(self) -> Mapping[str, Any]:
        """Documents and bytes in, out, and by reason; of a crawl those of the rules."""
        return dict(self.manifest["rules_summary" if "crawl" in self.manifest else "summary"])

    @property
    def reasons(self) -> list[dict[str, Any]]:
        """What went, by reason, in the order of the checks."""
        return list(self.summary["reasons"])

    def bins(self, signal: str) -> list[Bin]:
        """How a measured number is spread."""
        found = dict(self.manifest["signals"]).get(signal, {})
        return sorted(
            (Bin(float(name.removesuffix("+")), not name.endswith("+"), int(count)) for name, count in found.items()),
            key=lambda one: (one.low, not one.exact),
        )


@dataclass(frozen=True)
class Example:
    """A removed document that lies just beyond a threshold."""

    id: str
    value: float | None
    threshold: float | None
    text: str


def is_curation(folder: Path) -> bool:
    """Whether a folder is one that curate wrote."""
    return (folder / MANIFEST).is_file()


def read_curation(folder: Path) -> Curation:
    """Read the folder of a finished run.

    Raises:
        SmolfastError: its manifest is damaged.
    """
    path = folder / MANIFEST
    with naming(path, "run curate again"):
        manifest = dict(read_json(path))
        run = Curation(folder, manifest, _checks(manifest["checks"]))
        for reason in run.reasons:
            int(reason["documents"]), int(reason["bytes"]), str(reason["reason"]), str(reason["filter"])
        return run


def _checks(by_language: Mapping[str, Any]) -> tuple[Check, ...]:
    """The checks of all languages, each once, with the thresholds that differ."""
    found: dict[tuple[str, str], Check] = {}
    for language, checks in by_language.items():
        for one in checks:
            key = (str(one["filter"]), str(one["reason"]))
            signal = None if one["signal"] is None else str(one["signal"])
            limits = found[key].limits if key in found else ()
            if one["threshold"] is not None:
                at, above = float(one["threshold"]), bool(one["above"])
                same = [limit for limit in limits if limit.at == at]
                name = ", ".join([*(limit.name for limit in same), str(language)])
                limits = (*(limit for limit in limits if limit.at != at), Limit(at, above, name))
            found[key] = Check(*key, signal, limits)
    if len(by_language) < 2:
        found = {
            key: Check(*key, check.signal, tuple(Limit(limit.at, limit.above) for limit in check.limits))
            for key, check in found.items()
        }
    return tuple(found.values())


def examples(run: Curation, reason: str) -> list[Example]:
    """The removed documents nearest to a reason's threshold, as far as their files are there.

    Raises:
        SmolfastError: a file of removed documents is damaged.
    """
    parameters = run.manifest["parameters"]
    names = {name: str(parameters["prefix"]) + name for name in ("value", "threshold", "document")}
    found = []
    for document, part, row in dict(run.manifest["nearest"]).get(reason, []):
        path = run.folder / "removed" / f"part-{int(part):05}.parquet"
        if not path.exists():
            continue
        at = _row(path, int(row), [str(parameters["id_column"]), str(parameters["text_column"]), *names.values()])
        if at is None or at[names["document"]] != document:
            raise SmolfastError(f"{path} isn't what {run.folder / MANIFEST} says of it; run curate again")
        name = at.get(str(parameters["id_column"]))
        found.append(
            Example(
                f"document {document}" if name is None else str(name),
                at[names["value"]],
                at[names["threshold"]],
                str(at[str(parameters["text_column"])]),
            )
        )
    return found


def _row(path: Path, row: int, columns: list[str]) -> dict[str, Any] | None:
    """One row of a parquet file; None beyond its end."""
    try:
        with path.open("rb") as stream, pq.ParquetFile(stream) as file:
            wanted = [name for name in dict.fromkeys(columns) if name in file.schema_arrow.names]
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if row < rows:
                    return dict(file.read_row_group(group, columns=wanted).slice(row, 1).to_pylist()[0])
                row -= rows
    except (pa.ArrowException, OSError) as error:
        raise SmolfastError(f"{path} can't be read ({' '.join(str(error).split())}); run curate again") from error
    return None


def in_words(reason: str) -> str:
    """A reason as an anchor."""
    return re.sub(r"[^a-z0-9]+", "-", reason.lower()).strip("-") or "reason"
