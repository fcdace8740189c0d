"""Documents to token ids with any tokenizer, and a count of what it couldn't keep of the text."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from smolfast.errors import SmolfastError
from smolfast.io.background import prefetch
from smolfast.io.documents import find_sources, read_batches, utf8_bytes
from smolfast.tokens.encoding import Encoded, Encoder
from smolfast.tokens.tokenizer_folder import changed_documents


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

    def encode(self, path: str | os.PathLike[str]) -> Iterator[Encoded]:
        """The ids of each document, batch by batch, without an end; of documents that have some.

        Raises:
            SmolfastError: as `read_batches`; a document that the tokenizer can't encode, unless errors = "skip".
            OtherIdsError: as `Encoder.encode`.
        """
        for source in find_sources([path]):
            row = 0
            for column, texts in prefetch(self._texts(source)):
                yield self._batch(column, texts, f"{source.path}, document", row)
                row += len(texts)

    def _texts(self, source: Any) -> Iterator[tuple[pa.Array, list[str]]]:
        for batch in read_batches(
            source,
            text_column=self.text_column,
            columns=[],
            errors=self.errors,
            batch_bytes=self.encoder.batch_bytes,
            counts=self.repairs,
        ):
            column = batch.column(self.text_column)
            yield column, column.to_pylist()

    def _batch(self, column: pa.Array, texts: list[str], where: str, first_row: int) -> Encoded:
        found = self.encoder.encode(texts)
        for index, reason in found.refused.items():
            if self.errors != "skip":
                raise SmolfastError(
                    f"{where} {first_row + index} ({texts[index][:40]!r}…): the tokenizer of {self.tokenizer.path} "
                    f"can't encode it ({reason}); give --errors skip to leave it out, or another --tokenizer"
                )
            self.refused.append(self._read + index)
            self.repairs["skipped"] += 1
        self._read += len(texts)
        self.utf8_bytes += utf8_bytes(column)
        if found.refused:
            kept = [index for index in range(len(texts)) if index not in found.refused]
            self.utf8_bytes -= sum(len(texts[index].encode()) for index in found.refused)
            texts, found = [texts[index] for index in kept], Encoded(found.ids, found.ends[kept])
        self._count_losses(texts, found)
        return found

    def _count_losses(self, texts: Sequence[str], found: Encoded) -> None:
        if self.tokenizer.cuttable:  # into words that are bytes, and hold no special token
            return
        if not self.tokenizer.lossless:
            documents = [ids.tolist() for ids in found.split()]
            self.losses["changed_documents"] += changed_documents(self.tokenizer, texts, documents)
        if self.tokenizer.unknown is not None:
            self.losses["unknown_tokens"] += int(np.count_nonzero(found.ids == self.tokenizer.unknown))
        special = np.array(sorted(self.tokenizer.special), np.uint32)
        self.losses["special_tokens_in_text"] += int(np.count_nonzero(np.isin(found.ids, special)))


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
