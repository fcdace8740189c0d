"""Bits per byte by position: by how many tokens of its document the model saw before the one that it codes."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
import numpy.typing as npt

from smolfast.errors import SmolfastError
from smolfast.model.network import PackedBatch
from smolfast.tokens.files import TokenFile
from smolfast.tokens.tokenizer_folder import open_tokenizer

# The first bin: below, there are few tokens, and the figures of one document are those of its first words.
_FIRST = 16


class Positions:
    """Sums over tokens in bins of 1 to 15, 16 to 31, 32 to 63, … tokens seen before.

    Args:
        token_bytes: UTF-8 bytes that each id stands for [V].
    """

    def __init__(self, token_bytes: npt.NDArray[np.int64]) -> None:
        self._token_bytes = token_bytes
        self._nats, self._bytes, self._tokens = np.zeros(64), np.zeros(64, np.int64), np.zeros(64, np.int64)

    def add(self, batch: PackedBatch, coded: npt.NDArray[np.bool_], losses: npt.NDArray[np.float64]) -> None:
        """Add the tokens after the coded places of a batch [T], with their losses in nats [T]."""
        seen = batch.position_ids.numpy()[coded] + 1
        bins = np.log2(np.maximum(seen, _FIRST - 1) / (_FIRST / 2)).astype(np.int64)
        np.add.at(self._nats, bins, losses[coded])
        np.add.at(self._bytes, bins, self._token_bytes[batch.targets.numpy()[coded]])
        np.add.at(self._tokens, bins, 1)

    def table(self) -> list[dict[str, Any]]:
        """Each bin that has tokens: from, to (the last), tokens, bytes, bits_per_byte (None of no bytes)."""
        return [
            {
                "from": 1 if place == 0 else _FIRST << (place - 1),
                "to": (_FIRST << place) - 1,
                "tokens": int(self._tokens[place]),
                "bytes": int(self._bytes[place]),
                "bits_per_byte": float(self._nats[place] / math.log(2) / self._bytes[place])
                if self._bytes[place]
                else None,
            }
            for place in np.flatnonzero(self._tokens).tolist()
        ]


def token_bytes(tokenizer: str | os.PathLike[str], tokens: TokenFile) -> npt.NDArray[np.int64]:
    """UTF-8 bytes of the text that each id of token files stands for [V]; 0 for special tokens.

    Raises:
        SmolfastError: the tokenizer isn't theirs, or its tokens are no pieces of bytes.
    """
    folder = open_tokenizer(tokenizer)
    if tokens.vocabulary is not None and folder.fingerprint != tokens.vocabulary:
        raise SmolfastError(f"{tokenizer} is not the tokenizer that {tokens.path} was made with; give that one")
    if not folder.lossless:
        raise SmolfastError(
            f"{tokenizer}: the tokens are no pieces of a text's bytes (a {folder.kind} tokenizer that changes texts), "
            "so bytes can't be counted by position; leave out --by-position"
        )
    added = {token["id"]: token for token in folder.content.get("added_tokens", ())}
    found = np.zeros(max(folder.vocab_size, tokens.vocab_size), np.int64)
    for token, index in folder.tokenizer.get_vocab(with_added_tokens=True).items():
        if index in folder.special:
            continue
        # A byte-level token has a character for each of its bytes; a word that was added is text.
        found[index] = len(token.encode()) if index in added else len(token)
    return found
