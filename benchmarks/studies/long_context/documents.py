"""Documents of a made language that state facts and ask for them, for models that are to learn to look back.

Every word is drawn anew from syllables, and so is every document's wording: which words stand before a key, between key
and value, and in the question. So nothing can be learned by heart; what pays is to find the key above and to go on
as there. No word of `smolfast evaluate --needle` is among them: not its keys, values, questions or haystack.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from smolfast.errors import SmolfastError
from smolfast.evaluate.needles.words import ADJECTIVES, NOISE, NOUNS, VALUES


def _parts(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_BEGIN = _parts("b c ch d f fl g gr h j k l m n p pl qu r s sh sp st t th tr v w y z")
_MIDDLE = _parts("a a e e i i o o u ea oo ai")
_END = _parts("n r l s t m ck st ng p d w x b y")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
# The words of the tasks' sentences.
_WORDING = _parts("the secret word of is what box holds in end that comes most often this list")


def words_of(text: str) -> set[str]:
    """Its words in small letters."""
    return set(re.findall(r"[a-z]+", text.lower()))


FORBIDDEN = {*ADJECTIVES, *NOUNS, *VALUES, *_WORDING, *words_of(" ".join(NOISE))}
"""Words of the test."""


def word(chance: random.Random) -> str:
    """A word that the test doesn't have: one to three syllables, or letters in any order."""
    while True:
        if chance.random() < 0.2:
            found = "".join(chance.choices(_LETTERS, k=chance.randint(3, 7)))
        else:
            found = "".join(_syllable(chance) for _ in range(chance.choices((1, 2, 3), (4, 5, 1))[0]))
        if found not in FORBIDDEN:
            return found


def _syllable(chance: random.Random) -> str:
    begin = chance.choice(_BEGIN) if chance.random() < 0.9 else ""
    return begin + chance.choice(_MIDDLE) + (chance.choice(_END) if chance.random() < 0.4 else "")


def short_word(chance: random.Random) -> str:
    """A word of two or three letters, such as stand between others."""
    while True:
        found = chance.choice("bcdfghklmnprstvwy ").strip() + chance.choice("aeiou") + chance.choice("bdfgklmnprstxy")
        if found not in FORBIDDEN:
            return found


def words(chance: random.Random, least: int, most: int) -> list[str]:
    return [word(chance) for _ in range(chance.randint(least, most))]


def document(chance: random.Random, size: int, once: float, alike: float = 0.0) -> str:
    """About `size` words: facts among other sentences.

    Args:
        once: the chance that each fact is asked for once only.
        alike: the chance that a value begins as a word of the other sentences does, so that its beginning alone
            doesn't say how it goes on. Above 0, some of those words are far more frequent than others.
    """
    key_words = chance.choice((1, 2, 2))
    wordings = [_wording(chance) for _ in range(chance.choice((1, 1, 2)))]
    vocabulary = [*words(chance, 5, 30), *(short_word(chance) for _ in range(chance.randint(2, 10)))]
    if alike:
        vocabulary = chance.choices(vocabulary, [1 / rank for rank in range(1, len(vocabulary) + 1)], k=60)
    noise = _noise(chance, vocabulary)

    def fact() -> _Fact:
        wording, key, value = chance.choice(wordings), " ".join(word(chance) for _ in range(key_words)), word(chance)
        if alike and chance.random() < alike:
            value = _beginning_as(chance, vocabulary)
        return _Fact(*wording, key, value)

    lines = _asked_once if chance.random() < once else _asked_often
    return "".join(lines(chance, size, fact, noise))


def _beginning_as(chance: random.Random, vocabulary: list[str]) -> str:
    """A word whose first letters are those of one of these."""
    while True:
        found = chance.choice(vocabulary)[: chance.randint(1, 3)] + word(chance)[1:]
        if found not in FORBIDDEN:
            return found


def _noise(chance: random.Random, vocabulary: list[str]) -> Callable[[], str]:
    """Sentences of a small vocabulary: few that come again and again, or ever new ones."""

    def sentence() -> str:
        parts = chance.choices(vocabulary, k=chance.randint(4, 12))
        if chance.random() < 0.4:
            parts[len(parts) // 2] += ","
        return _sentence(parts)

    if chance.random() < 0.5:
        return sentence
    kept = [sentence() for _ in range(chance.randint(1, 14))]
    return lambda: chance.choice(kept)


def _asked_often(chance: random.Random, size: int, fact: Callable[[], _Fact], noise: Callable[[], str]) -> list[str]:
    """Facts that are stated and asked for again and again."""
    most = max(1, round(size * chance.choice((0.01, 0.02, 0.04, 0.06))))
    noisy = chance.choice((0.0, 0.2, 0.5))
    known: list[_Fact] = []
    lines: list[str] = []
    length = 0
    while length < size:
        if known and chance.random() < noisy:
            lines.append(noise())
        elif len(known) < most and (not known or chance.random() < 0.5):
            known.append(fact())
            lines.append(known[-1].stated())
        else:
            again = chance.choice(known)
            lines.append(again.asked() if chance.random() < 0.6 else again.stated())
        length += lines[-1].count(" ") + 1
    return lines


def _asked_once(chance: random.Random, size: int, fact: Callable[[], _Fact], noise: Callable[[], str]) -> list[str]:
    """Facts that are stated once and asked for once; all distances are equally likely."""
    placed: list[tuple[float, str]] = []
    for _ in range(max(1, round(size * chance.choice((0.01, 0.02, 0.03, 0.04))))):
        one, distance = fact(), chance.random()
        place = (1 - distance) * chance.random()
        placed += [(place, one.stated()), (place + distance, one.asked())]
    length = sum(line.count(" ") + 1 for _, line in placed)
    while length < size:
        placed.append((chance.random(), noise()))
        length += placed[-1][1].count(" ") + 1
    return [line for _, line in sorted(placed)]


@dataclass(frozen=True)
class _Fact:
    """Words before the key, between key and value, and of the question; the key and the value."""

    before: list[str]
    between: list[str]
    asking: list[str]
    key: str
    value: str

    def stated(self) -> str:
        return _sentence([*self.before, self.key, *self.between, self.value])

    def asked(self) -> str:
        return f"{_sentence([*self.asking, *self.before, self.key])[:-2]}? {self.stated()}"


def _sentence(parts: list[str]) -> str:
    text = " ".join(parts)
    return f"{text[0].upper()}{text[1:]}.\n"


def _wording(chance: random.Random) -> tuple[list[str], list[str], list[str]]:
    before, between, asking = (
        [short_word(chance) if chance.random() < 0.5 else word(chance) for _ in range(chance.randint(least, most))]
        for least, most in ((0, 5), (1, 2), (1, 2))
    )
    return before, between, asking


@dataclass(frozen=True)
class Set:
    """Documents of between `size` words, `words` together; `once` and `alike` as of `document`."""

    seed: int
    size: tuple[int, int]
    once: float
    words: int
    alike: float = 0.0


SETS = {
    "short": Set(1, (10, 24), 0.0, 1_200_000),  # for windows of 64 tokens
    "middle": Set(3, (50, 68), 0.5, 1_200_000),  # of 256
    "long": Set(6, (210, 290), 0.7, 1_200_000),  # of 1,024
    "alike": Set(8, (210, 290), 0.8, 1_300_000, 0.7),  # of 1,024, values that begin as other words do
    "held_out": Set(2, (50, 68), 0.5, 12_000),
    "held_out_long": Set(7, (210, 290), 0.7, 15_000),
}
"""The sets of the study, by the names of their files."""


def documents(kind: Set) -> Iterator[str]:
    """The documents of a set."""
    chance = random.Random(kind.seed)
    left = kind.words
    while left > 0:
        wanted = chance.randint(*kind.size)
        yield document(chance, wanted, kind.once, kind.alike)
        left -= wanted


def write_documents(folder: Path) -> None:
    """A parquet file of each set that isn't there.

    Raises:
        SmolfastError: a word of the test is among them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, kind in SETS.items():
        path = folder / f"{name}.parquet"
        if path.exists():
            continue
        texts = list(documents(kind))
        if found := FORBIDDEN & words_of(" ".join(texts)):
            raise SmolfastError(f"{name}: words of the test among the documents: {sorted(found)}; forbid them")
        table = pa.table({"id": [f"{kind.seed}-{number}" for number in range(len(texts))], "text": texts})
        pq.write_table(table, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)
