"""Encoding natively, many times as fast as `tokenizers`, where it is known to give the same ids.

That is for tokenizers of one shape. They are byte-level BPE whose words a known pattern cuts. They have no normalizer,
and no added token that can be found in two ways. For this shape both were compared on every code point and on text of
many languages (`tests/check_encoding.py`). Each run compares them again, on difficult strings and on samples of its own
text.
"""

from __future__ import annotations

import operator
import random
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from smolfast import _native
from smolfast.errors import SmolfastError
from smolfast.tokens.text_pieces import PIECE
from smolfast.tokens.tokenizer_folder import SPLIT_PATTERN, TokenizerFolder, encode

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
    # Letters and numbers of Unicode 14 to 16, which an older `tokenizers` doesn't know as such.
    "\u0870a\U00010570 \U00010d40\U00010d4a \U0001e4d0 \U00013460x \u1c89 \ua7cb \U00016d80 \U0001ccf0 \U000105c0 "
    "\U0002ebf0",
    "aGVsbG8gd29ybGQ/IT09Cg== 0x7fff_ffff https://x.org/a?b=c&d=%20#e user@host.org C:\\a\\b snake_case camelCase",
)  # fmt: skip


class OtherIdsError(Exception):
    """The native encoder gave other ids than `tokenizers`; the message says for which text."""


class FastEncoder:
    """One tokenizer, read natively."""

    def __init__(self, folder: TokenizerFolder, native: _native.BpeEncoder) -> None:
        self._folder, self._native = folder, native
        self._chance = random.Random(0)
        self._began = False

    @classmethod
    def load(cls, folder: TokenizerFolder) -> Self | None:
        """The tokenizer as it is read natively; None where its ids aren't known to be the same.

        Raises:
            OtherIdsError: they differ on strings that are known to be difficult.
        """
        if not _is_of_the_known_shape(folder):
            return None
        native = _read(folder)
        if native is None:
            return None
        encoder = cls(folder, native)
        marks = [token.content for token in folder.tokenizer.get_added_tokens_decoder().values()][:_MOST_ADDED]
        encoder._compare([*DIFFICULT, *(f"{mark} a{mark}b {mark}{mark}\n{mark[:-1]} {mark[1:]}" for mark in marks)])
        return encoder

    def encode(self, texts: Sequence[str] | pa.Array) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]] | None:
        """The ids of all texts, uint32 [N], and where each ends, int64 [T]; None if `tokenizers` has to do it.

        Raises:
            OtherIdsError: `tokenizers` has other ids for a sample of these texts.
        """
        # `tokenizers` refuses some very long texts, such as ten million blanks. Who encodes mustn't change what is
        # refused.
        if isinstance(texts, Sequence) and max(map(len, texts)) > 4 * PIECE:
            return None
        try:
            ids, ends, left = self._native.encode(texts, threads=0)
        except SmolfastError:  # a lone surrogate
            return None
        samples = _SAMPLES if self._began else _FIRST_SAMPLES
        self._began = True
        # Where ids are many, so is text. At no regular distance: turns of a conversation come in turn.
        places = np.searchsorted(ends, [self._chance.randrange(max(1, len(ids))) for _ in range(samples)], "right")
        some = [str(texts[place]) for place in places[places < len(texts)].tolist()]
        if some:
            self._compare([text[:_SAMPLE_CHARACTERS] for text in some])
        return self._with_left(texts, ids, ends, left) if len(left) else (ids, ends)

    def _with_left(
        self,
        texts: Sequence[str] | pa.Array,
        ids: npt.NDArray[np.uint32],
        ends: npt.NDArray[np.int64],
        left: npt.NDArray[np.int64],
    ) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]] | None:
        """With the ids that `tokenizers` has for texts of characters that not every version of Unicode knows."""
        theirs = encode(self._folder.tokenizer, [str(texts[place]) for place in left.tolist()])
        if any(isinstance(found, str) for found in theirs):
            return None
        parts = np.split(ids, ends[:-1])
        for place, found in zip(left.tolist(), theirs, strict=True):
            parts[place] = np.array(found, np.uint32)
        return np.concatenate(parts), np.cumsum([len(part) for part in parts], dtype=np.int64)

    def _compare(self, texts: Sequence[str]) -> None:
        ids, ends, left = self._native.encode(texts, threads=1)
        theirs = encode(self._folder.tokenizer, texts)
        not_ours = set(left.tolist())
        for place, (text, ours, expected) in enumerate(zip(texts, np.split(ids, ends[:-1]), theirs, strict=True)):
            if place not in not_ours and ours.tolist() != expected:
                raise OtherIdsError(f"its ids differ from those of tokenizers for {text[:40]!a}")


def _read(folder: TokenizerFolder) -> _native.BpeEncoder | None:
    """None for a tokenizer that is too large, or whose model lacks a byte."""
    content = folder.content
    model = content["model"]
    vocab: dict[str, int] = model["vocab"]
    pairs = [pair if isinstance(pair, list) else pair.split(" ") for pair in model["merges"]]
    first, second = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    names = (first, second, map(operator.add, first, second))
    merges = np.array([list(map(vocab.__getitem__, each)) for each in names], np.uint32).T
    byte_of = {name: byte for byte, name in enumerate(_BYTE_NAMES)}
    if not vocab.keys() >= byte_of.keys():  # some are added tokens alone
        return None
    whole = []
    if model.get("ignore_merges"):
        known = [(name, index) for name, index in vocab.items() if byte_of.keys() >= set(name)]
        whole = [(bytes(byte_of[character] for character in name), index) for name, index in known]
    added = [
        (token["content"].encode(), token["id"])
        for token in content.get("added_tokens") or []
        if not token.get("special")
    ]
    try:
        return _native.BpeEncoder(
            pattern=_pattern(content),
            bytes=np.array([vocab[name] for name in _BYTE_NAMES], np.uint32),
            merges=merges,
            whole=whole,
            added=added,
        )
    except SmolfastError:
        return None


def _byte_names() -> list[str]:
    """The characters that GPT-2 writes bytes as: themselves where they can be seen, the others from U+0100 on."""
    seen = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in seen else next(others)) for byte in range(256)]


_BYTE_NAMES = _byte_names()


def _pattern(content: Mapping[str, Any]) -> str:
    pre_tokenizer = content["pre_tokenizer"]
    if pre_tokenizer["type"] == "ByteLevel":
        return "gpt2"
    first = pre_tokenizer["pretokenizers"][0]
    if first["type"] == "ByteLevel":
        return "gpt2"
    return "llama3" if first["pattern"]["Regex"] == SPLIT_PATTERN else "qwen"


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
