"""Windows that hold whole documents: packing by length, so that a conversation isn't cut where a window ends."""

from __future__ import annotations

from bisect import bisect_left, insort

import numpy as np
import numpy.typing as npt

from smolfast.errors import SmolfastError
from smolfast.tokens.files import PackedWindows, TokenFile, shuffled


class FittedWindows(PackedWindows):
    """Training batches as `PackedWindows` has them, of documents that are whole wherever a window can hold them.

    Documents are put into windows of S + 1 tokens by best-fit decreasing (Ding and others, arXiv 2404.10830): the
    longest first, each into the fullest window that still has room. A document of more than S + 1 tokens is cut into
    parts that share one token. What is left of a window repeats the file's last token, and is never learned.

    Which documents of one length share a window differs from epoch to epoch, and so does the order of windows.
    """

    def _count(self) -> int:
        """Lays out the windows; their number is the same in every epoch."""
        lengths = self.tokens.lengths(self._documents)
        size = self.sequence_length + 1
        # Parts of long documents: part k begins at token k · S of its document.
        parts = np.maximum(1, -(-(lengths - 1) // self.sequence_length))
        of = np.repeat(np.arange(len(lengths)), parts)
        number = np.arange(len(of)) - np.repeat(np.cumsum(parts) - parts, parts)
        begin = number * self.sequence_length
        self._part_starts = self.tokens.document_starts[self._documents[of]] + begin
        self._part_lengths = np.minimum(lengths[of] - begin, size)
        self._falling = np.sort(self._part_lengths)[::-1]
        self._bins = best_fit(self._falling, size)
        self._of_bin = np.argsort(self._bins, kind="stable")
        count = int(self._bins.max()) + 1
        self._bin_starts = np.searchsorted(self._bins[self._of_bin], np.arange(count + 1))
        return count

    def _too_little(self) -> SmolfastError:
        length, size, count = self.sequence_length, self.batch_size, self._windows_in_file
        return SmolfastError(
            f"too little text to train on: the documents of {self.tokens.path} fit into {count} windows, and a batch "
            f"has {size}; give more text or lower train.sequence_length ({length}) or train.batch_size ({size})"
        )

    def _start_epoch(self, epoch: int) -> None:
        order = shuffled(len(self._part_lengths), self.seed, 2 * epoch)
        order = order[np.argsort(-self._part_lengths[order], kind="stable")]
        self._placed = self._part_starts[order][self._of_bin]
        self._placed_lengths = self._falling[self._of_bin]
        self._windows = shuffled(self._windows_in_file, self.seed, 2 * epoch + 1)
        self._epoch = epoch

    def _locate(self, epoch: int, first: int, count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        if epoch != self._epoch:
            self._start_epoch(epoch)
        positions = np.full((count, self.sequence_length + 1), len(self.tokens.tokens) - 1)
        places = np.zeros_like(positions)
        for row, window in enumerate(self._windows[first : first + count]):
            within = slice(self._bin_starts[window], self._bin_starts[window + 1])
            starts, lengths = self._placed[within], self._placed_lengths[within]
            ends = np.cumsum(lengths)
            filled = int(ends[-1])
            places[row] = np.searchsorted(ends, np.arange(positions.shape[1]), side="right")
            positions[row, :filled] = np.arange(filled) + np.repeat(starts - (ends - lengths), lengths)
        return positions, places

    def learned(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_] | None:
        """Which of the tokens at these places are to be predicted; those that fill windows up never are."""
        last = len(self.tokens.tokens) - 1
        before = np.full_like(positions, -1)
        before[..., 1:] = positions[..., :-1]
        real: npt.NDArray[np.bool_] = (positions != last) | (before == last - 1)
        if self.tokens.learned is not None:
            real &= self.tokens.learned[positions]
        return real


def best_fit(lengths: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int64]:
    """The bin of each length, int64 [N]: the fullest that has room for it, else a new one.

    Args:
        lengths: int64 [N], none above `size`; falling ones need the fewest bins.
    """
    found = np.empty(len(lengths), np.int64)
    rooms: list[int] = []  # that some bin has, rising
    bins: dict[int, list[int]] = {}
    count = 0
    for index, length in enumerate(lengths.tolist()):
        place = bisect_left(rooms, length)
        if place < len(rooms):
            room = rooms[place]
            bin_ = bins[room].pop()
            if not bins[room]:
                del bins[room], rooms[place]
        else:
            room, bin_ = size, count
            count += 1
        found[index] = bin_
        if left := room - length:
            if left not in bins:
                insort(rooms, left)
            bins.setdefault(left, []).append(bin_)
    return found


def windows_of(
    packing: str,
    tokens: TokenFile,
    sequence_length: int,
    batch_size: int,
    seed: int,
    documents: npt.NDArray[np.int64] | None = None,
) -> PackedWindows:
    """Windows by `train.packing`: "stream" or "fit"; of all documents, or of those with these numbers."""
    kind = FittedWindows if packing == "fit" else PackedWindows
    return kind(tokens, sequence_length, batch_size, seed, documents)
