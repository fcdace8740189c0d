"""Runs read from folders of `smolfast train` and from CSV files."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from smolfast.errors import SmolfastError
from smolfast.files import describe_os_error, naming, read_json
from smolfast.scaling.law import Array

# What others call a column, in small letters with nothing but letters between.
_CALLED = {
    "params": ("params", "parameters", "n", "modelsize", "nonembeddingparams", "nparams"),
    "tokens": ("tokens", "d", "trainingtokens", "ntokens"),
    "loss": ("loss", "l", "heldoutloss", "finalloss", "validationloss", "valloss"),
    "flops": ("flops", "flop", "c", "compute", "trainingflop", "trainingflops"),
    "unique": ("unique", "uniquetokens"),
    "name": ("name", "run", "id"),
    "group": ("group",),
}
_RUN_FILE = "run.json"


@dataclass(frozen=True)
class Runs:
    """What is known of each run, in order.

    Attributes:
        names, groups: text. params, tokens, losses: [n]; NaN where a file has none.
        flops: exact operations of training where they are known, else 6 N D, [n].
        unique: different tokens that there were to train on; infinite where unknown, [n].
        dropped: by reason, what was passed over while reading.
    """

    names: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    rows: list[tuple[float, float, float, float, float]] = field(default_factory=list)
    dropped: dict[str, list[str]] = field(default_factory=dict)

    params = property(lambda self: self._column(0))
    tokens = property(lambda self: self._column(1))
    losses = property(lambda self: self._column(2))
    flops = property(lambda self: self._column(3))
    unique = property(lambda self: self._column(4))

    def _column(self, index: int) -> Array:
        return np.array([row[index] for row in self.rows], np.float64)

    def add(
        self, name: str, params: float, tokens: float, loss: float, flops: float, unique: float, group: str
    ) -> None:
        self.names.append(name)
        self.groups.append(group)
        self.rows.append((params, tokens, loss, flops, unique))


def read_runs(
    paths: Iterable[str | os.PathLike[str]],
    *,
    columns: Mapping[str, str] | None = None,
    embeddings: bool = False,
    unfinished: str = "fail",
) -> Runs:
    """Read run folders, folders of run folders, and CSV files with a header.

    Of a run folder N counts the layers' matrices, without embeddings and further heads; D is the tokens trained on, the
    loss the held-out one at the end, the operations those of `flops_per_token`.

    Args:
        columns: names in the CSV files by ours: params, tokens, loss, and where there are any flops (from which tokens
            follow if they are left out), unique, name, group.
        embeddings: count the embedding's weights as parameters too.
        unfinished: "fail" or "drop" runs that have no final loss.

    Raises:
        SmolfastError: nothing to read, a damaged file, a missing column, an unfinished run.
    """
    runs = Runs()
    for path in map(Path, paths):
        if path.is_dir():
            _read_folder(path, runs, embeddings, unfinished)
        else:
            _read_csv(path, runs, columns or {})
    if not runs.rows:
        raise SmolfastError("there are no runs to fit; give folders of `smolfast train` or CSV files")
    return runs


def _read_folder(folder: Path, runs: Runs, embeddings: bool, unfinished: str) -> None:
    found = [folder] if (folder / _RUN_FILE).exists() else sorted(path.parent for path in folder.glob(f"*/{_RUN_FILE}"))
    if not found:
        raise SmolfastError(f"{folder} holds no {_RUN_FILE}, nor does a folder in it; give folders of `smolfast train`")
    for run in found:
        record = read_json(run / _RUN_FILE)
        with naming(run / _RUN_FILE, "leave this run out"):
            summary = record.get("summary")
            if summary is None or summary.get("held_out_loss") is None:
                if unfinished == "drop":
                    runs.dropped.setdefault("unfinished", []).append(str(run))
                    continue
                raise SmolfastError(
                    f"{run} has no held-out loss at its end: it isn't finished; run its `smolfast train` again to go "
                    "on, or give --bad drop to leave it out"
                )
            params, per_token = sizes_of_run(run, record, embeddings)
            tokens = float(summary["tokens"])
            unique = float(sum(source["tokens"] for source in record["data"].values()))
            runs.add(run.name, params, tokens, float(summary["held_out_loss"]), per_token * tokens, unique, str(run))


def sizes_of_run(run: Path, record: Mapping[str, Any], embeddings: bool) -> tuple[float, float]:
    """N, and operations a token, of a run folder."""
    from smolfast.config import ModelConfig
    from smolfast.model.flops import flops_per_token

    with naming(run / "model" / "config.json", "leave this run out"):
        vocabulary = int(read_json(run / "model" / "config.json")["vocab_size"])
    config = ModelConfig.model_validate(record["model"])
    plain = flops_per_token(config.model_copy(update={"mtp_heads": 1}), vocabulary, 1)
    params = plain["matrices"] / 6
    if embeddings:
        params += vocabulary * config.hidden_size * (1 if config.tie_word_embeddings else 2)
    return params, sum(flops_per_token(config, vocabulary, int(record["train"]["sequence_length"])).values())


def _read_csv(path: Path, runs: Runs, columns: Mapping[str, str]) -> None:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = list(csv.reader(file))
    except OSError as error:
        raise SmolfastError(f"can't read {path}: {describe_os_error(error)}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise SmolfastError(f"{path} is no CSV file in UTF-8 ({error}); give run folders or CSV files") from error
    if not lines:
        raise SmolfastError(f"{path} is empty; give a CSV file with a header and a line for each run")
    places = _places(path, lines[0], columns)
    for number, line in enumerate(lines[1:], 2):
        if not any(cell.strip() for cell in line):
            continue

        def cell(name: str, line: Sequence[str] = line, number: int = number) -> float:
            place = places.get(name)
            text = line[place].strip() if place is not None and place < len(line) else ""
            if text.lower() in ("", "nan", "null", "none", "na"):
                return float("nan")
            try:
                return float(text.replace("_", ""))
            except ValueError:
                raise SmolfastError(f"{path}, line {number}: {name} = {text!r} is no number; correct it") from None

        params, tokens, flops, unique = (cell(name) for name in ("params", "tokens", "flops", "unique"))
        if np.isnan(tokens) and "tokens" not in places:
            tokens = flops / 6 / params if params else float("nan")
        place, grouping = places.get("name"), places.get("group")
        name = line[place] if place is not None and place < len(line) and line[place] else f"{path.name}, line {number}"
        group = line[grouping] if grouping is not None and grouping < len(line) else ""
        runs.add(
            name, params, tokens, cell("loss"), 6 * params * tokens if np.isnan(flops) else flops,
            np.inf if np.isnan(unique) else unique, group or f"{path}:{number}",
        )  # fmt: skip


def _places(path: Path, header: Sequence[str], columns: Mapping[str, str]) -> dict[str, int]:
    """Where our columns stand."""
    plain = ["".join(filter(str.isalnum, name.lower())) for name in header]
    places: dict[str, int] = {}
    for ours, called in _CALLED.items():
        if ours in columns:
            if columns[ours] not in header:
                raise SmolfastError(f"{path} has no column {columns[ours]!r}; it has {', '.join(header)}")
            places[ours] = list(header).index(columns[ours])
            continue
        found = [place for place, name in enumerate(plain) if name in called]
        if len(found) > 1:
            both = " and ".join(header[place] for place in found)
            raise SmolfastError(f"{path}: {both} may both be {ours}; say which with --column {ours}=NAME")
        if found:
            places[ours] = found[0]
    missing = [name for name in ("params", "loss") if name not in places]
    if "tokens" not in places and "flops" not in places:
        missing.append("tokens")
    if missing:
        raise SmolfastError(
            f"{path} has no column {' nor '.join(missing)}, but {', '.join(header)}; say which it is with "
            f"--column {missing[0]}=NAME"
        )
    return places
