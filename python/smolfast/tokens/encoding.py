"""Texts to ids in one array: natively where that may be trusted, else by `tokenizers`. The ids are the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from smolfast.io.schemas.columns import byte_lengths
from smolfast.tokens.fast_encoder import FastEncoder, OtherIdsError
from smolfast.tokens.text_pieces import PIECE, pieces
from smolfast.tokens.tokenizer_folder import TokenizerFolder, encode

Result = TypeVar("Result")


@dataclass(frozen=True)
class Encoded:
    """The ids of T texts.

    Attributes:
        ids: uint32 [N], of all texts one after another.
        ends: int64 [T]; text i is `ids[ends[i - 1]:ends[i]]`.
        refused: why a text has no ids, by its number.
    """

    ids: npt.NDArray[np.uint32]
    ends: npt.NDArray[np.int64]
    refused: Mapping[int, str] = field(default_factory=dict)

    def split(self) -> list[npt.NDArray[np.uint32]]:
        """The ids of each text, uint32 [N_i]."""
        return np.split(self.ids, self.ends[:-1]) if len(self.ends) else []


class Encoder:
    """Encodes batches of texts.

    Args:
        folder: the tokenizer.
        fast: natively, as far as `FastEncoder.load` allows.

    Raises:
        OtherIdsError: the native encoder has other ids than `tokenizers` for strings that are known to be difficult.
    """

    def __init__(self, folder: TokenizerFolder, *, fast: bool = True) -> None:
        self.folder, self.fast = folder, fast
        self._fast = FastEncoder.load(folder) if fast else None

    @property
    def batch_bytes(self) -> int:
        """How much text to give at once. `tokenizers` holds a hundred bytes and more for each byte of it."""
        return 2 << 20 if self._fast is None else 8 << 20

    def encode_column(self, column: pa.Array) -> Encoded:
        """The ids of each text of a string column without nulls; as `encode`, and without a list of its texts."""
        longest = int(pc.max(byte_lengths(column)).as_py() or 0)
        if self._fast is not None and len(column) and longest <= 2 * PIECE:  # such texts aren't cut
            flat = self._fast.encode(column)
            if flat is not None:
                return Encoded(*flat)
        return self.encode(column.to_pylist())

    def encode(self, texts: Sequence[str]) -> Encoded:
        """The ids of each text; a long one in pieces, where these have together the ids of the whole.

        Raises:
            OtherIdsError: the native encoder has other ids than `tokenizers` for a sample of these texts.
        """
        if not self.folder.cuttable or max(map(len, texts), default=0) <= 2 * PIECE:
            return self._encode(texts)
        parts: list[str] = []
        last: list[int] = []
        for text in texts:
            parts.extend(pieces(text))
            last.append(len(parts) - 1)
        if self._fast is None:  # one at a time: an encoding takes much memory until its ids are taken out
            found = _joined([ids for part in parts for ids in encode(self.folder.tokenizer, [part])])
        else:
            found = self._encode(parts)
        refused = {int(np.searchsorted(last, part)): reason for part, reason in found.refused.items()}
        if refused:  # the rest of a text without one of its parts
            whole = [
                np.empty(0, np.uint32) if index in refused else ids
                for index, ids in enumerate(np.split(found.ids, found.ends[last][:-1]))
            ]
            return Encoded(np.concatenate(whole), np.cumsum([len(ids) for ids in whole]), refused)
        return Encoded(found.ids, found.ends[last])

    def _encode(self, texts: Sequence[str]) -> Encoded:
        if self._fast is not None and texts:
            flat = self._fast.encode(texts)
            if flat is not None:
                return Encoded(*flat)
        return _joined(encode(self.folder.tokenizer, texts))


def with_encoder(folder: TokenizerFolder, work: Callable[[Encoder], Result]) -> tuple[Result, dict[str, Any]]:
    """Do work with an encoder; all of it again by `tokenizers` where other ids come out.

    Returns:
        The work's result, and for a summary `native_encoder_not_used` with the reason in that case.
    """
    try:
        return work(Encoder(folder)), {}
    except OtherIdsError as found:
        return work(Encoder(folder, fast=False)), {"native_encoder_not_used": str(found)}


def _joined(found: Sequence[list[int] | str]) -> Encoded:
    refused = {index: ids for index, ids in enumerate(found) if isinstance(ids, str)}
    lists = [np.array([] if isinstance(ids, str) else ids, np.uint32) for ids in found]
    ends = np.cumsum([len(ids) for ids in lists], dtype=np.int64)
    return Encoded(np.concatenate([np.empty(0, np.uint32), *lists]), ends, refused)
