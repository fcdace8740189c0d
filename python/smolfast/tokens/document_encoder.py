"""Documents to token ids with any tokenizer, and a count of what it couldn't keep of the text."""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from smolfast.cluster import Engine
from smolfast.errors import SmolfastError
from smolfast.io.background import prefetch
from smolfast.io.documents import find_sources, read_batches, utf8_bytes
from smolfast.io.parquet.stretches import Stretch, cut
from smolfast.tokens.encoding import Encoded, Encoder
from smolfast.tokens.tokenizer_folder import changed_documents, open_tokenizer


class DocumentEncoder:
    """Encodes the documents of one input.

    Attributes:
        utf8_bytes: of the texts that were encoded.
        repairs: "replaced" and "skipped" documents.
        refused: which of the documents that were read the tokenizer couldn't encode; only with errors = "skip".
        losses: "changed_documents" (that don't come back from their ids as they were), "unknown_tokens" and
            "special_tokens_in_text" (characters that the tokenizer can't but read as a special token).
    """

    def __init__(self, encoder: Encoder, *, text_column: str, errors: str) -> None:
        self.encoder, self.tokenizer = encoder, encoder.folder
        self.text_column, self.errors = text_column, errors
        self.utf8_bytes = self._read = 0
        self.repairs: Counter[str] = Counter()
        self.refused: list[int] = []
        self.losses: Counter[str] = Counter()

    def encode(self, path: str | os.PathLike[str], engine: Engine) -> Iterator[Encoded]:
        """The ids of each document, batch by batch, without an end; of documents that have some.

        Raises:
            SmolfastError: as `read_batches`; a document that the tokenizer can't encode, unless errors = "skip".
            OtherIdsError: as `Encoder.encode`.
        """
        stretches = cut(find_sources([path]), fine=engine.spread)
        if not engine.spread:
            for stretch in stretches:
                yield from self._encoded(stretch)
            return
        work = partial(_encode_apart, self.tokenizer.path, self.encoder.fast, self.text_column, self.errors)
        for found in engine.stream(work, stretches):
            if isinstance(found, Encoded):
                yield found
                continue
            self.refused += [self._read + number for number in found.refused]
            self._read += found.read
            self.utf8_bytes += found.utf8_bytes
            self.repairs.update(found.repairs)
            self.losses.update(found.losses)

    def _encoded(self, stretch: Stretch) -> Iterator[Encoded]:
        row = stretch.row
        for column in prefetch(self._texts(stretch)):
            yield self._batch(column, f"{stretch.source.path}, document", row)
            row += len(column)

    def _texts(self, stretch: Stretch) -> Iterator[pa.Array]:
        for batch in read_batches(
            stretch.source,
            text_column=self.text_column,
            columns=[],
            errors=self.errors,
            batch_bytes=self.encoder.batch_bytes,
            counts=self.repairs,
            groups=stretch.groups,
        ):
            yield batch.column(self.text_column)

    def _batch(self, column: pa.Array, where: str, first_row: int) -> Encoded:
        found = self.encoder.encode_column(column)
        for index, reason in found.refused.items():
            if self.errors != "skip":
                text = column[index].as_py()[:40]
                raise SmolfastError(
                    f"{where} {first_row + index} ({text!r}…): the tokenizer of {self.tokenizer.path} "
                    f"can't encode it ({reason}); give --errors skip to leave it out, or another --tokenizer"
                )
            self.refused.append(self._read + index)
            self.repairs["skipped"] += 1
        self._read += len(column)
        if found.refused:
            kept = [index for index in range(len(column)) if index not in found.refused]
            column, found = column.take(pa.array(kept, pa.int64())), Encoded(found.ids, found.ends[kept])
        self.utf8_bytes += utf8_bytes(column)
        self._count_losses(column, found)
        return found

    def _count_losses(self, column: pa.Array, found: Encoded) -> None:
        if self.tokenizer.cuttable:  # into words that are bytes, and hold no special token
            return
        if not self.tokenizer.lossless:
            documents = [ids.tolist() for ids in found.split()]
            self.losses["changed_documents"] += changed_documents(self.tokenizer, column.to_pylist(), documents)
        if self.tokenizer.unknown is not None:
            self.losses["unknown_tokens"] += int(np.count_nonzero(found.ids == self.tokenizer.unknown))
        special = np.array(sorted(self.tokenizer.special), np.uint32)
        self.losses["special_tokens_in_text"] += int(np.count_nonzero(np.isin(found.ids, special)))


@dataclass(frozen=True)
class _Counted:
    """What a `DocumentEncoder` counted of a stretch."""

    read: int
    utf8_bytes: int
    repairs: Counter[str]
    refused: list[int]
    losses: Counter[str]


def _encode_apart(
    folder: str | os.PathLike[str], fast: bool, text_column: str, errors: str, stretch: Stretch
) -> Iterator[Encoded | _Counted]:
    """The ids of a stretch, in a process that has no encoder yet; then what was counted."""
    reader = DocumentEncoder(_encoder(os.fspath(folder), fast), text_column=text_column, errors=errors)
    yield from reader._encoded(stretch)
    yield _Counted(reader._read, reader.utf8_bytes, reader.repairs, reader.refused, reader.losses)


@functools.lru_cache(1)
def _encoder(folder: str, fast: bool) -> Encoder:
    return Encoder(open_tokenizer(folder), fast=fast)


def closed(found: Encoded, end: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """The ids of all documents, each closed by an end: dtype [N + D]."""
    ends = found.ends + np.arange(len(found.ends))
    tokens = np.empty(len(found.ids) + len(ends), dtype)
    of_text = np.ones(len(tokens), bool)
    of_text[ends] = False
    tokens[of_text] = found.ids
    tokens[ends] = end
    return tokens


def counted(prefix: str, counts: Counter[str]) -> dict[str, Any]:
    """What was counted at all, by names for a summary."""
    return {f"{prefix}_{name}": count for name, count in counts.items() if count}
