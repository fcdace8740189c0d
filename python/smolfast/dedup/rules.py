"""What counts as a duplicate, which one stays, and how documents are read: the options that decide the output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import numpy as np

from smolfast.dedup.banding import band_threshold, choose_bands
from smolfast.dedup.minhash import MinHasher
from smolfast.dedup.store import Column
from smolfast.errors import SmolfastError
from smolfast.io.documents import ErrorPolicy

Verify = Literal["none", "signature", "exact"]
Exact = Literal["text", "simplified"]

DEFAULT_BANDS = 14
DEFAULT_ROWS = 8


@dataclass(frozen=True)
class Rules:
    """Options of `deduplicate`, each as it says there; two runs of equal rules and input are one."""

    hasher: MinHasher
    bands: int
    rows: int
    threshold: float
    verify: Verify
    chains: bool
    keep: str
    exact: Exact
    lines: int | None
    text_column: str
    id_column: str
    types: Mapping[str, str]
    errors: ErrorPolicy
    prefix: str

    @staticmethod
    def checked(
        hasher: MinHasher, bands: int | None, rows: int | None, threshold: float | None, **others: Any
    ) -> Rules:
        """The rules, with bands, rows and threshold chosen for each other where they aren't given.

        Raises:
            SmolfastError: an option out of range.
        """
        chosen_bands, chosen_rows = (
            (DEFAULT_BANDS, DEFAULT_ROWS) if threshold is None else choose_bands(hasher.num_perm, threshold)
        )
        if (bands is None) != (rows is None):
            raise SmolfastError("give both bands and rows, or neither")
        bands, rows = (chosen_bands, chosen_rows) if bands is None or rows is None else (bands, rows)
        if bands < 1 or rows < 1 or bands * rows > hasher.num_perm:
            raise SmolfastError(f"bands × rows = {bands} × {rows} must be from 1 to num_perm = {hasher.num_perm}")
        if threshold is None:
            threshold = band_threshold(bands, rows)
        rules = Rules(hasher, bands, rows, threshold, **others)
        if rules.verify not in get_args(Verify):
            raise SmolfastError(f"verify = {rules.verify!r}: choose one of {', '.join(get_args(Verify))}")
        if rules.exact not in get_args(Exact):
            raise SmolfastError(f"exact = {rules.exact!r}: choose one of {', '.join(get_args(Exact))}")
        if rules.lines is not None and rules.lines < 1:
            raise SmolfastError(f"lines = {rules.lines}: expected bytes of a line, at least 1")
        return rules

    def check_index(self) -> None:
        """Refuse what an index doesn't keep."""
        if self.lines is not None:
            raise SmolfastError("an index keeps no lines to compare with; leave out lines, or use against")
        if self.verify == "exact":
            raise SmolfastError("an index keeps no shingle sets, which verify = 'exact' compares; use 'signature'")

    def parameters(self) -> dict[str, Any]:
        """The rules as JSON has them."""
        own = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "hasher"}
        return {**self.hasher.parameters(), **own, "types": dict(self.types)}

    def signed_by(self) -> dict[str, Any]:
        """What the documents of an index must share with these."""
        return {**self.hasher.parameters(), "bands": self.bands, "rows": self.rows, "exact": self.exact}

    @property
    def score_column(self) -> str | None:
        """The column whose highest value stays, if one was named."""
        return None if self.keep in ("first", "longest") else self.keep

    @property
    def text_decides(self) -> bool:
        """Whether documents of one text are of one signature."""
        return self.exact == "text" or self.hasher.simplify

    def layout(self) -> dict[str, Column]:
        """The columns of numbers that a run needs."""
        layout = {f"band-{band:03}": Column(np.dtype(np.uint64)) for band in range(self.bands)}
        layout["text-high"] = layout["text-low"] = Column(np.dtype(np.uint64))
        layout["length"] = Column(np.dtype(np.int64))
        layout["source"] = Column(np.dtype(np.uint32))
        layout["signature"] = Column(self.hasher.dtype, self.hasher.num_perm)
        if self.score_column is not None:
            layout["score"] = layout["score-rest"] = Column(np.dtype(np.float64))
        if self.verify == "exact":
            layout["shingle"] = Column(np.dtype(np.uint32), 0)
            layout["shingle-end"] = Column(np.dtype(np.int64))
        if self.lines is not None:
            layout["line"] = Column(np.dtype(np.uint64), 0)
            layout["line-end"] = Column(np.dtype(np.int64))
        return layout
