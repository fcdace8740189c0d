"""What a worker measures of a document's text, so that who writes it has less to do."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import xxhash

_GARBLED = re.compile("[\ufffd\ue000-\uf8ff\U000f0000-\U0010ffff]")


class Measures(NamedTuple):
    """Of a text. White space doesn't count."""

    garbled: float
    """The share of characters that stand for no letter: U+FFFD, those of private use, and guessed ones."""
    by_page: list[float]
    key: str
    """Equal for texts that differ in white space alone."""


def pages_of(text: str, starts: Sequence[int]) -> list[str]:
    """The text of each page, by where they start."""
    return [text[start:end] for start, end in pairwise([*starts, len(text)])]


def measures_of(text: str, starts: Sequence[int], guessed: Mapping[int, float]) -> Measures:
    """Measure a text.

    Args:
        text: of all pages.
        starts: where each begins; the first at 0.
        guessed: of pages, by number from 1, the share of letters that no font explains. It counts where it is higher
            than what the text shows.
    """
    digest = xxhash.xxh3_128()
    shares, bad, size = [], 0.0, 0
    for number, page in enumerate(pages_of(text, starts), 1):
        letters = "".join(page.split())
        digest.update(letters.encode())
        share = max(len(_GARBLED.findall(letters)) / len(letters), guessed.get(number, 0.0)) if letters else 0.0
        shares.append(share)
        bad += share * len(letters)
        size += len(letters)
    return Measures(bad / size if size else 0.0, shares, digest.hexdigest())


def key_of(text: str) -> str:
    """The key alone."""
    return xxhash.xxh3_128_hexdigest("".join(text.split()).encode())
