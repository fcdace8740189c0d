"""Encoding by fastokens, many times as fast as `tokenizers`, where it is known to give the same ids.

fastokens (https://github.com/crusoecloud/fastokens, Apache-2.0) doesn't read every tokenizer as `tokenizers` does. So
only tokenizers of one shape are given to it. They are byte-level BPE whose words a known pattern cuts. They have no
normalizer, and no added token that can be found in two ways. For this shape both were compared on every code point and
on text of many languages (`tests/check_encoding.py`). Each run compares them again, on difficult strings and on samples
of its own text.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from importlib import metadata
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from smolfast.tokens.text_pieces import PIECE
from smolfast.tokens.tokenizer_folder import TokenizerFolder, encode, is_of_the_library

# The oldest that was compared. Earlier ones lack an array of ids, or special tokens as plain characters.
_LEAST_VERSION = (0, 3, 5)
# Of each batch so many texts, up to so many characters of each, are encoded by both. Of the first batch more.
_SAMPLES, _FIRST_SAMPLES, _SAMPLE_CHARACTERS = 4, 16, 2048
# Tokenizers with more added words than this are left to `tokenizers`: each pair of them has to be looked at.
_MOST_ADDED = 256
# What patterns, case folding, classes of characters and caches of words could take in different ways.
DIFFICULT = (
    "",
    " ",
    "\n",
    "I'm you'll he'S THEY'RE '\u017f '\u212a 'll' ''s don\u2019t",
    " a  b   c\t\td \t e\u00a0f\u2003g\u3000h\u0085i\u200bj\u2028k\ufeff",
    "x\r\ny\r\n\r\nz\n\n\n  w \n \r\n\t\n end  \n",
    "1 12 123 1234 12345678901234567890 \u0661\u0662\u0663\u0664 \u0967\u0968 \u00b2\u00bd \u2167 3.14e-10",
    "!!! ??!?...--- \u2026\u00ab\u00bb (a)[b]{c} <|x|> </s> == ===\n//\n#include<a.h>\r\n",
    "Stra\u00dfe \u0130I\u0131i \ufb01n na\u00efve nai\u0308ve \u1e9e \u01c5 \u02b0 \u0345\u0301",
    "\u65e5\u672c\u8a9e\u306e\u6587\u7ae0\u3002\u4e2d\u6587\uff0c\ud55c\uad6d\uc5b4 "
    "\u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22 \u0939\u093f\u0928\u094d\u0926\u0940",
    "\u0627\u0644\u0639\u064e\u0631\u064e\u0628\u0650\u064a\u0651\u0629 \u05e2\u05d1\u05e8\u05d9\u05ea "
    "\u0440\u0443\u0441\u0441\u043a\u0438\u0439 \u1f19\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03ac",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea \u2764\ufe0f 1\ufe0f\u20e3 "
    "\U0001d54f \U00020000 \U0003134a",
    "\x00\x01\x1b[0m\x7f\u0080\u009f\ufffd\ufffe\uffff\ue000\U000e0001\U0010ffff",
    "a" * 300 + " " * 300 + "=" * 300 + "\n" * 300 + "7" * 300 + "\u00e9" * 300,
    "aGVsbG8gd29ybGQ/IT09Cg== 0x7fff_ffff https://x.org/a?b=c&d=%20#e user@host.org C:\\a\\b snake_case camelCase",
)  # fmt: skip


class OtherIdsError(Exception):
    """fastokens gave other ids than `tokenizers`; the message says for which text."""


class FastEncoder:
    """One tokenizer, read by fastokens."""

    def __init__(self, folder: TokenizerFolder, fast: Any) -> None:
        self._folder, self._fast = folder, fast
        self._chance = random.Random(0)
        self._began = False

    @classmethod
    def load(cls, folder: TokenizerFolder) -> Self | None:
        """The tokenizer as fastokens reads it; None without fastokens, or where its ids aren't known to be the same.

        Raises:
            OtherIdsError: they differ on strings that are known to be difficult.
        """
        if not _is_of_the_known_shape(folder):
            return None
        try:
            import fastokens

            if _version() < _LEAST_VERSION:
                return None
            fast = fastokens.Tokenizer.from_json_str(folder.tokenizer.to_str())
            encoder = cls(folder, fast)
            marks = [token.content for token in folder.tokenizer.get_added_tokens_decoder().values()][:_MOST_ADDED]
            texts = [*DIFFICULT, *(f"{mark} a{mark}b {mark}{mark}\n{mark[:-1]} {mark[1:]}" for mark in marks)]
            encoder._compare(texts)
        except OtherIdsError:
            raise
        except BaseException as error:
            # Not installed, built for another machine, or a tokenizer that it doesn't read: it says so in many ways.
            if not is_of_the_library(error):
                raise
            return None
        return encoder

    def encode(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]] | None:
        """The ids of all texts, uint32 [N], and where each ends, int64 [T]; None if `tokenizers` has to do it.

        Raises:
            OtherIdsError: `tokenizers` has other ids for a sample of these texts.
        """
        # `tokenizers` refuses some very long texts, such as ten million blanks. Who encodes mustn't change what is
        # refused.
        if max(map(len, texts)) > 4 * PIECE:
            return None
        try:
            found = self._flat(texts)
        except BaseException as error:
            if not is_of_the_library(error):
                raise
            return None
        samples = _SAMPLES if self._began else _FIRST_SAMPLES
        self._began = True
        # Long texts more often, and at no regular distance: turns of a conversation come in turn.
        some = self._chance.choices(texts, [len(text) + 1 for text in texts], k=samples)
        self._compare([text[:_SAMPLE_CHARACTERS] for text in some])
        return found

    def _flat(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
        # Without split_special_tokens a text that holds <|endoftext|> would end a document.
        ids, offsets = self._fast.encode_batch_flat(list(texts), split_special_tokens=True)
        return np.frombuffer(ids, "<u4"), np.frombuffer(offsets, "<u8")[1:].astype(np.int64)

    def _compare(self, texts: Sequence[str]) -> None:
        ids, ends = self._flat(texts)
        theirs = encode(self._folder.tokenizer, texts)
        for text, ours, expected in zip(texts, np.split(ids, ends[:-1]), theirs, strict=True):
            if ours.tolist() != expected:
                raise OtherIdsError(f"its ids differ from those of tokenizers for {text[:40]!a}")


def _is_of_the_known_shape(folder: TokenizerFolder) -> bool:
    model = folder.tokenizer.model
    if not folder.known_words or getattr(model, "byte_fallback", False):
        return False
    added = list(folder.tokenizer.get_added_tokens_decoder().values())
    if any(token.lstrip or token.rstrip or token.single_word for token in added):
        return False
    words = [token.content for token in added if not token.special]
    # An added word that overlaps another token can be found in two ways.
    return len(words) <= _MOST_ADDED and not any(
        _overlap(word, other.content) for word in words for other in added if other.content != word
    )


def _overlap(a: str, b: str) -> bool:
    return a in b or b in a or any(a.endswith(b[:n]) or b.endswith(a[:n]) for n in range(1, min(len(a), len(b))))


def _version() -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", metadata.version("fastokens"))[:3])
