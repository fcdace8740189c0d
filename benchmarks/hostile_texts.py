"""Texts that ask the filters for the most work per byte: functions of ordinary text, to be cut or repeated."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

_ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def distinct_words(length: int, separator: str = " ") -> str:
    """Words of `length` letters, none twice until they are used up."""
    words = map("".join, itertools.islice(itertools.product(_ALPHABET, repeat=length), 300_000))
    return separator.join(words)


def shuffled(text: str) -> str:
    words = text.split()[:200_000]
    random.Random(0).shuffle(words)
    return " ".join(words)


def same_ends(separator: str) -> str:
    """Words whose joins collide: ab + c is a + bc."""
    draw = random.Random(1)
    return separator.join("a" * draw.randint(1, 3) + "b" * draw.randint(0, 2) for _ in range(300_000))


HOSTILE: dict[str, Callable[[str], str]] = {
    "one letter a word": lambda _: "a ",
    "two letters in turn": lambda _: "a b ",
    "distinct words of 3 letters": lambda _: distinct_words(3),
    "distinct words of 4 letters": lambda _: distinct_words(4),
    "distinct words, a line each": lambda _: distinct_words(4, "\n"),
    "one word without end": lambda _: "a",
    "distinct characters without blanks": lambda _: "".join(chr(c) for c in range(0x4E00, 0x9FFF)),
    "line feeds": lambda _: "\n",
    "line feeds and letters": lambda _: "a\n",
    "blanks": lambda _: " ",
    "tabs and no-break spaces": lambda _: "\t\u00a0",
    "every kind of line break": lambda _: "a\v\f\x1c\x1d\x1e\x85\u2028\u2029\r\n",
    "NUL": lambda _: "\0",
    "one emoji": lambda _: "🙂",
    "emoji and blanks": lambda _: "🙂 ",
    "emoji with modifiers": lambda _: "👨‍👩‍👧👍🏽🇸🇰",
    "combining marks": lambda _: "e\u0301\u0302\u0303",
    "full stops": lambda _: ".",
    "ellipses": lambda _: "... … ",
    "full stops and letters": lambda _: "a.",
    "capitals and full stops": lambda _: "A.b.C. ",
    "quotes": lambda _: "'",
    "quotes around letters": lambda _: "'a'\"b\"",
    "brackets": lambda _: "([{<",
    "brackets around words": lambda _: "((((word)))) ",
    "prefixes without end": lambda _: "$" * 999 + "a ",
    "suffixes without end": lambda _: "a" + "!" * 999 + " ",
    "hyphens between letters": lambda _: "a-b--c—d",
    "slashes and colons": lambda _: "a/b:c/d",
    "digits and units": lambda _: "10km 5kg 3GB 100% $5 ",
    "numbers with commas": lambda _: "1,234,567.89-",
    "contractions": lambda _: "can't don't I'd've y'all'd we're ",
    "smileys": lambda _: ":-) :-( ;) :D <3 xD ",
    "addresses": lambda _: "http://www.example.org/a/b?c=d&e=f#g user@example.org ",
    "words like addresses": lambda _: "http:/ www. a@b .com :// ",
    "citations": lambda _: "[1][23][edit][citation needed] ",
    "half citations": lambda _: "[123[123[edi[citation neede ",
    "half phrases": lambda _: "lorem ipsu javascrip terms of us privacy polic cookie polic uses cookie use of cookie ",
    "curly brackets": lambda _: "}{",
    "lines of javascript": lambda _: "all of this is javascript.\n",
    "lines of bars": lambda _: "| | |\n",
    "bullets": lambda _: "• - item\n",
    "words of 1,001 letters": lambda _: "x" * 1001 + " ",
    "sentences of a word": lambda _: "No. Yes! Who? ",
    "equal lines": lambda _: "The same line of some words again.\n",
    "equal paragraphs": lambda text: text[:300].replace("\n", " ") + "\n\n",
    "equal halves": lambda text: text[:500_000] * 2,
    "ordinary words shuffled": shuffled,
    "ordinary words, a line each": lambda text: "\n".join(text.split()[:200_000]),
    "ordinary text in one line": lambda text: text[:1_000_000].replace("\n", " "),
    "ordinary text in capitals": lambda text: text[:1_000_000].upper(),
    "joins that collide": lambda _: same_ends(" "),
    "Chinese without blanks": lambda _: "我们在这里写一些中文句子。",
    "Thai without blanks": lambda _: "ภาษาไทยไม่มีช่องว่างระหว่างคำ",
    "Hindi sentences": lambda _: "यह एक वाक्य है। ",
    "Arabic": lambda _: "هذه جملة عربية؟ ",
}
