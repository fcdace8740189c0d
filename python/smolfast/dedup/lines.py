"""Lines that occur again across the corpus, and texts without them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from smolfast import _native
from smolfast.dedup.store import DocumentStore

_RECORD_BYTES = 40
"""A line's share of one pass: its hash and place, and their sorted order."""
_BLOCK = 1 << 20


class RepeatedLines:
    """Which lines of the documents that stay are also in an earlier one of those, or earlier in the same."""

    def __init__(
        self, store: DocumentStore, kept: npt.NDArray[np.bool_], least: int, memory: int, protected: int = 0
    ) -> None:
        """Compare all lines by hash (64 bits).

        Args:
            least: bytes from which on a line was hashed.
            memory: bytes for sorting; lines are read in several passes, by hash, where they don't fit.
            protected: documents of lower number are compared with, but lose no lines.
        """
        self._least = least
        self._ends = store.load("line-end")
        lines = int(self._ends[-1]) if len(self._ends) else 0
        self._repeated = np.zeros(-(-lines // 8), np.uint8)  # a bit a line
        self._first = int(self._ends[protected - 1]) if protected else 0
        self.count = 0
        """Lines to take out."""
        passes = max(1, -(-_RECORD_BYTES * lines // max(1, memory)))
        for number in range(passes):
            hashes, places = [], []
            for first, block in _blocks(store.pieces("line")):
                document = np.searchsorted(self._ends, np.arange(first, first + len(block)), side="right")
                chosen = kept[document] & (block % np.uint64(passes) == number)
                hashes.append(block[chosen])
                places.append(np.nonzero(chosen)[0] + first)
            if hashes:
                self._mark(np.concatenate(hashes), np.concatenate(places))

    def _mark(self, hashes: npt.NDArray[np.uint64], places: npt.NDArray[np.int64]) -> None:
        order = np.argsort(hashes, kind="stable")
        ordered = hashes[order]
        again = places[order[1:][ordered[1:] == ordered[:-1]]]
        again = again[again >= self._first]
        np.bitwise_or.at(self._repeated, again >> 3, (1 << (again & 7)).astype(np.uint8))
        self.count += len(again)

    def drop(self, first: int, text: pa.Array) -> pa.Array:
        """The texts of documents `first`, `first` + 1, … without those lines."""
        begin = int(self._ends[first - 1]) if first else 0
        places = np.arange(begin, int(self._ends[first + len(text) - 1]) if len(text) else begin)
        flags = self._repeated[places >> 3] >> (places & 7).astype(np.uint8) & 1
        return pa.array(_native.drop_lines(text, self._least, flags)) if flags.any() else text


def _blocks(pieces: list[npt.NDArray[Any]]) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """A column in blocks, each with the number of its first value."""
    first = 0
    for piece in pieces:
        for start in range(0, len(piece), _BLOCK):
            yield first + start, np.asarray(piece[start : start + _BLOCK])
        first += len(piece)
