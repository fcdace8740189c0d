"""Documents to token ids with any tokenizer, and a count of what it couldn't keep of the text."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from smolfast.errors import SmolfastError
from smolfast.io.documents import find_sources, read_batches, utf8_bytes
from smolfast.tokens.text_pieces import PIECE, pieces
from smolfast.tokens.tokenizer_folder import TokenizerFolder, changed_documents, encode

# An encoding holds about a hundred bytes for each byte of text until its ids are taken out.
_ENCODE_BYTES = 2 << 20


class DocumentEncoder:
    """Encodes the documents of one input.

    Attributes:
        utf8_bytes: of the texts that were encoded.
        repairs: "replaced" and "skipped" documents.
        refused: which of the documents that were read the tokenizer couldn't encode; only with errors = "skip".
        losses: "changed_documents" (that don't come back from their ids as they were), "unknown_tokens" and
            "special_tokens_in_text" (characters that the tokenizer can't but read as a special token).
    """

    def __init__(self, tokenizer: TokenizerFolder, *, text_column: str, errors: str) -> None:
        self.tokenizer, self.text_column, self.errors = tokenizer, text_column, errors
        self.utf8_bytes = self._read = 0
        self.repairs: Counter[str] = Counter()
        self.refused: list[int] = []
        self.losses: Counter[str] = Counter()

    def encode(self, path: str | os.PathLike[str]) -> Iterator[list[list[int]]]:
        """The ids of each document, batch by batch, without an end.

        Raises:
            SmolfastError: as `read_batches`; a document that the tokenizer can't encode, unless errors = "skip".
        """
        for source in find_sources([path]):
            row = 0
            for batch in read_batches(
                source,
                text_column=self.text_column,
                columns=[],
                errors=self.errors,
                batch_bytes=_ENCODE_BYTES,
                counts=self.repairs,
            ):
                yield self._batch(batch.column(self.text_column), f"{source.path}, document", row)
                row += batch.num_rows

    def _batch(self, column: pa.Array, where: str, first_row: int) -> list[list[int]]:
        texts: list[str] = column.to_pylist()
        kept: list[list[int]] = []
        kept_texts: list[str] = []
        for index, ids in enumerate(self._encode(texts)):
            if isinstance(ids, str):
                if self.errors != "skip":
                    raise SmolfastError(
                        f"{where} {first_row + index} ({texts[index][:40]!r}…): the tokenizer of {self.tokenizer.path} "
                        f"can't encode it ({ids}); give --errors skip to leave it out, or another --tokenizer"
                    )
                self.refused.append(self._read + index)
                self.repairs["skipped"] += 1
            else:
                kept.append(ids)
                kept_texts.append(texts[index])
        self._read += len(texts)
        self.utf8_bytes += utf8_bytes(column) if len(kept) == len(texts) else sum(len(t.encode()) for t in kept_texts)
        self._count_losses(kept_texts, kept)
        return kept

    def _encode(self, texts: Sequence[str]) -> list[list[int] | str]:
        if not self.tokenizer.cuttable or not texts or max(map(len, texts)) <= 2 * PIECE:
            return encode(self.tokenizer.tokenizer, texts)
        return [self._encode_long(text) for text in texts]

    def _encode_long(self, text: str) -> list[int] | str:
        ids: list[int] = []
        for piece in pieces(text):
            (some,) = encode(self.tokenizer.tokenizer, [piece])
            if isinstance(some, str):
                return some
            ids += some
        return ids

    def _count_losses(self, texts: Sequence[str], documents: Sequence[Sequence[int]]) -> None:
        if self.tokenizer.cuttable:  # into words that are bytes, and hold no special token
            return
        self.losses["changed_documents"] += changed_documents(self.tokenizer, texts, documents)
        for ids in documents:
            found = Counter(ids)
            if self.tokenizer.unknown is not None:
                self.losses["unknown_tokens"] += found[self.tokenizer.unknown]
            self.losses["special_tokens_in_text"] += sum(found[token] for token in self.tokenizer.special)


def counted(prefix: str, counts: Counter[str]) -> dict[str, Any]:
    """What was counted at all, by names for a summary."""
    return {f"{prefix}_{name}": count for name, count in counts.items() if count}
