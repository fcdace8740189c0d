"""Tasks whose answer stands somewhere in a long prompt, made locally from a seed.

After RULER (Hsieh et al., arXiv 2404.06654): one needle, several of which one is asked for, variables that are handed
on, and the word that comes most often. All text is ours. The question begins the needle's sentence again, so that a
model that was never taught to answer can go on with it.

A prompt is made of pieces that are encoded apart, and has at most the tokens asked for, its answer included.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from smolfast.errors import SmolfastError
from smolfast.evaluate.needles.words import ADJECTIVES, NOUNS, VALUES

Encode = Callable[[str], list[int]]
"""The ids of a piece of text."""


class TooShortError(SmolfastError):
    """A length without room for a question and its answer. `least`: the tokens that this prompt takes."""

    def __init__(self, length: int, least: int) -> None:
        super().__init__(
            f"needles.lengths: {length} tokens are too few for a question and its answer; give {least} or more"
        )
        self.length, self.least = length, least


@dataclass(frozen=True)
class Prompt:
    """A task for a model: ids of the prompt, and those that it must go on with. `depth` is the asked needle's."""

    tokens: list[int]
    answer: list[int]
    text: str
    depth: float


@dataclass(frozen=True)
class Haystack:
    """Lines of text that needles are put between: ids of each, in order; read on from the start at the end."""

    lines: Sequence[list[int]]
    texts: Sequence[str]

    def fill(self, room: int, start: int) -> list[int]:
        """Numbers of the lines from number `start` on that together take at most `room` tokens.

        A line that is too long for what is left ends it.
        """
        taken: list[int] = []
        for step in range(room):  # a line has at least one token
            number = (start + step) % len(self.lines)
            room -= len(self.lines[number])
            if room < 0:
                break
            taken.append(number)
        return taken


def needle(haystack: Haystack, encode: Encode, length: int, depth: float, chance: random.Random) -> Prompt:
    """One sentence that names a value, and the question for it."""
    return _planted(haystack, encode, length, depth, chance, others=0)


def needles(haystack: Haystack, encode: Encode, length: int, depth: float, chance: random.Random) -> Prompt:
    """Four such sentences of different keys; one is asked for, the others are anywhere."""
    return _planted(haystack, encode, length, depth, chance, others=3)


def _planted(
    haystack: Haystack, encode: Encode, length: int, depth: float, chance: random.Random, others: int
) -> Prompt:
    adjectives, nouns = chance.sample(ADJECTIVES, others + 1), chance.sample(NOUNS, others + 1)
    keys = [f"{adjective} {noun}" for adjective, noun in zip(adjectives, nouns, strict=True)]
    values = chance.sample(VALUES, others + 1)
    facts = [f"The secret word of the {key} is {value}.\n" for key, value in zip(keys, values, strict=True)]
    question = f"What is the secret word of the {keys[0]}? The secret word of the {keys[0]} is"
    places = [depth, *(chance.random() for _ in range(others))]
    return _laid_out(haystack, encode, length, chance, list(zip(places, facts, strict=True)), question, f" {values[0]}")


def tracking(haystack: Haystack, encode: Encode, length: int, depth: float, chance: random.Random) -> Prompt:
    """A value handed on twice, from box to box, beside a second chain; asked is what the last box holds."""
    names = chance.sample(NOUNS, 6)
    values = chance.sample(VALUES, 2)
    placed: list[tuple[float, str]] = []
    for chain, (boxes, value) in enumerate(zip((names[:3], names[3:]), values, strict=True)):
        begin = depth if chain == 0 else chance.random()
        at = sorted([begin, *(begin + (1 - begin) * chance.random() for _ in range(2))])
        placed.append((at[0], f"The {boxes[0]} box holds {value}.\n"))
        for before, box, place in zip(boxes, boxes[1:], at[1:], strict=False):
            placed.append((place, f"The {box} box holds what the {before} box holds.\n"))
    question = f"What is in the {names[2]} box? In the end, the {names[2]} box holds"
    return _laid_out(haystack, encode, length, chance, placed, question, f" {values[0]}")


def counting(haystack: Haystack, encode: Encode, length: int, depth: float, chance: random.Random) -> Prompt:
    """A list of words in which one comes three times as often as each other; it is asked for.

    Haystack and depth don't matter: the whole prompt is the list.
    """
    words = chance.sample(VALUES, 13)
    question = "The word that comes most often in this list is"
    line = {word: encode(f"{word}\n") for word in words}
    most = words[0]
    fixed = len(encode(question)) + len(encode(f" {most}"))
    each = 3 * len(line[most]) + sum(len(line[word]) for word in words[1:])
    rounds = (length - fixed) // each
    if rounds < 1:
        raise TooShortError(length, fixed + each)
    order = [most] * (3 * rounds) + [word for word in words[1:] for _ in range(rounds)]
    chance.shuffle(order)
    tokens = [token for word in order for token in line[word]] + encode(question)
    text = "".join(f"{word}\n" for word in order) + question
    return Prompt(tokens, encode(f" {most}"), text, depth)


TASKS: dict[str, Callable[[Haystack, Encode, int, float, random.Random], Prompt]] = {
    "needle": needle,
    "needles": needles,
    "tracking": tracking,
    "counting": counting,
}
"""The tasks by name."""


def _laid_out(
    haystack: Haystack,
    encode: Encode,
    length: int,
    chance: random.Random,
    placed: Sequence[tuple[float, str]],
    question: str,
    answer: str,
) -> Prompt:
    """Lines of the haystack with sentences at shares of their tokens, then the question."""
    sentences = [(place, text, encode(text)) for place, text in sorted(placed, key=lambda item: item[0])]
    asked, wanted = encode(question), encode(answer)
    room = length - len(asked) - len(wanted) - sum(len(ids) for _, _, ids in sentences)
    if room < 0:
        raise TooShortError(length, length - room)
    lines = haystack.fill(room, chance.randrange(len(haystack.lines)))
    total = sum(len(haystack.lines[number]) for number in lines)
    tokens: list[int] = []
    text: list[str] = []
    passed = 0
    left = list(sentences)
    for number in [*lines, None]:
        # A sentence stands before the first line that begins at its depth or behind it.
        while left and (number is None or left[0][0] * total <= passed):
            tokens += left[0][2]
            text.append(left[0][1])
            del left[0]
        if number is not None:
            tokens += haystack.lines[number]
            text.append(haystack.texts[number])
            passed += len(haystack.lines[number])
    return Prompt([*tokens, *asked], wanted, "".join([*text, question]), placed[0][0])
