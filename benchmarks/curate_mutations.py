"""Documents that try the filters' edges: real text, damaged in ways that their checks look for; seeded."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

PHRASES = [
    "lorem ipsum",
    "Lorem Ipsum dolor",
    "javascript",
    "Enable JavaScript now",
    "terms of use",
    "Privacy Policy",
    "cookie policy",
    "this site uses cookies",
    "use of cookies",
    "use cookies",
    "{",
    "}",
    "[1]",
    "[edit]",
    "[citation needed]",
    "[]",
    "[12345]",
    "...",
    "…",
    "#",
    "##",
    "http://example.org/a?b=c&d=e#f",
    "me@example.org",
    "IS_ALPHA",
    "U.S.A.",
    "e.g.",
    "i.e.",
    "can't",
    "don't",
    "o'clock",
    "it's",
    "I'm",
    "Mr.",
    "p.m.",
    "10km",
    "$5.00",
    "€7,50",
    "1,000.5",
    "3.14",
    "100%",
    "C++",
    ":-)",
    "¯\\_(ツ)_/¯",
    "naïve",
    "日本語のテキスト。",
    "हिन्दी।",
    "ภาษาไทย",
    "العربية؟",
    "ñ",
    "İstanbul",
    "ẞtraße",
    "ǅ",
    "ﬁ",
    "e\u0301",
    "\u200b",
    "\ufeff",
    "\u00ad",
    "👍🏽",
    "👨‍👩‍👧",
    "🇸🇰",
    "stinkword",
    "Stinkword",
    "smelly phrase",
    "a.b",
    "x" * 1001,
    "--",
    "—",
    "«»",
    "''",
    '""',
    "''",
    "“quoted”",
    "!?",
    "?!",
    "!",
    "?",
    "。",
    '."',
    ".)",
    "|",
    "| | |",
    "•",
    "· ",
    "- ",
    "* ",
]
BREAKS = [
    "\n",
    "\n\n",
    "\n\n\n",
    "\r\n",
    "\r",
    "\v",
    "\f",
    "\x1c",
    "\x1d",
    "\x1e",
    "\x1f",
    "\x85",
    "\u2028",
    "\u2029",
    " \n",
    "\n ",
    "\t\n",
    "\n\u00a0\n",
]
BLANKS = [" ", "  ", "   ", "\t", "\u00a0", "\u2003", "\u3000", "\u200b", "\x00", "\x1f", "\x0b"]
ODD = [
    ".",
    "...",
    "…",
    "\n",
    "",
    " ",
    "\n\n\n",
    "\x00",
    "a",
    "{",
    "•",
    "…\n" * 20,
    "\u2028" * 5,
    "\u00a0",
    "\x1c\x1d",
    "word " * 60,
    "the of " * 40,
    "🙂" * 120,
    "🙂 " * 80,
    "# " * 70,
    "1 2 3 " * 40,
    "a\n" * 80,
    "- item\n" * 40,
    "The end.\n" * 30,
    "-" * 500,
    "." * 400,
    "|\n" * 30,
    "| a |\n|---|\n" * 20,
    "x" * 1200,
]

Mutation = Callable[[str, random.Random], str]


def mutated(texts: dict[str, list[str]], count: int, seed: int = 21, most: int = 1_500) -> Iterator[tuple[str, str]]:
    """`count` pairs (language, text) of texts up to some 3,000 characters."""
    draw = random.Random(seed)
    languages = sorted(texts)
    for _ in range(count):
        language = draw.choice(languages)
        if draw.random() < 0.01:
            text = draw.choice(ODD) + (draw.choice(ODD) if draw.random() < 0.5 else "")
        else:
            text = passage(draw.choice(texts[language]), draw, most)
        for _ in range(draw.choice((0, 1, 1, 1, 2, 2, 3, 5))):
            text = draw.choice(MUTATIONS)(text, draw)
        yield language, text[:3_000]


def passage(text: str, draw: random.Random, most: int) -> str:
    """Whole lines of it from somewhere, up to `most` characters; mostly half that or less."""
    length = int(most * draw.random())
    start = draw.randrange(max(1, len(text) - length))
    return text[text.rfind("\n", 0, start) + 1 :][: max(length, 200)]


def lines_of(change: Callable[[list[str], random.Random], None]) -> Mutation:
    def mutate(text: str, draw: random.Random) -> str:
        lines = text.split("\n")
        change(lines, draw)
        return "\n".join(lines)

    return mutate


def words_of(change: Callable[[list[str], random.Random], None]) -> Mutation:
    def mutate(text: str, draw: random.Random) -> str:
        words = text.split(" ")
        change(words, draw)
        return " ".join(words)

    return mutate


def double_some(parts: list[str], draw: random.Random) -> None:
    for _ in range(draw.choice((1, 1, 2, 3, 5))):
        parts.insert(draw.randrange(len(parts) + 1), draw.choice(parts))


def double_run(parts: list[str], draw: random.Random) -> None:
    start = draw.randrange(len(parts))
    run = parts[start : start + draw.randint(2, 14)]
    for _ in range(draw.choice((1, 1, 2, 4))):
        at = draw.randrange(len(parts) + 1)
        parts[at:at] = run


def drop_some(parts: list[str], draw: random.Random) -> None:
    share = draw.choice((0.05, 0.2, 0.5))
    parts[:] = [part for part in parts if draw.random() > share] or parts[:1]


def cut_inside(parts: list[str], draw: random.Random) -> None:
    for i in draw.sample(range(len(parts)), max(1, len(parts) // draw.choice((4, 10, 30)))):
        parts[i] = parts[i][: draw.randrange(len(parts[i]) + 1)]


def add_phrases(parts: list[str], draw: random.Random) -> None:
    for _ in range(draw.choice((1, 1, 2, 4, 12))):
        parts.insert(draw.randrange(len(parts) + 1), draw.choice(PHRASES))


def flood(parts: list[str], draw: random.Random) -> None:
    """One phrase at a share of the places."""
    phrase, share = draw.choice(PHRASES[:-70] or PHRASES), draw.choice((0.05, 0.1, 0.12, 0.3))
    parts[:] = [piece for part in parts for piece in ((part, phrase) if draw.random() < share else (part,))]


def begin_with(parts: list[str], draw: random.Random) -> None:
    mark, share = draw.choice(("• ", "- ", "  -", "•", "\u00a0• ", "* ")), draw.choice((0.85, 0.9, 0.95, 1.0))
    parts[:] = [mark + part if draw.random() < share else part for part in parts]


def end_with(parts: list[str], draw: random.Random) -> None:
    mark = draw.choice(("...", "…", ".", "… ", ".\r", ". ", "!", "?", '"', "'", "”", "।", "。", " .", "....", ":"))
    share = draw.choice((0.1, 0.3, 0.35, 0.7, 1.0))
    parts[:] = [part + mark if draw.random() < share else part for part in parts]


def short_lines(text: str, draw: random.Random) -> str:
    width, share = draw.choice((20, 28, 31, 40)), draw.random()
    return (
        "".join(c if c != " " or i % width or draw.random() > share else "\n" for i, c in enumerate(text))
        if draw.random() < 0.5
        else "\n".join(text[i : i + width] for i in range(0, len(text), width))
    )


def other_breaks(text: str, draw: random.Random) -> str:
    mark, share = draw.choice(BREAKS), draw.choice((0.1, 0.5, 1.0))
    return "".join(mark if c == "\n" and draw.random() < share else c for c in text)


def other_blanks(text: str, draw: random.Random) -> str:
    mark, share = draw.choice(BLANKS), draw.choice((0.02, 0.2, 1.0))
    return "".join(mark if c == " " and draw.random() < share else c for c in text)


def pad_ends(text: str, draw: random.Random) -> str:
    before, after = ("".join(draw.choice(BREAKS + BLANKS) for _ in range(draw.randrange(5))) for _ in "12")
    return before + text + after


def odd_characters(text: str, draw: random.Random) -> str:
    chars = list(text)
    for _ in range(draw.choice((1, 3, 10, 40))):
        code = draw.choice(
            (
                draw.randrange(0x20),
                draw.randrange(0x20, 0x250),
                draw.randrange(0x250, 0xD7FF),
                draw.randrange(0x2000, 0x2070),
                draw.randrange(0x1F300, 0x1FAFF),
                draw.randrange(0xE000, 0x110000),
            )
        )
        chars.insert(draw.randrange(len(chars) + 1), chr(code))
    return "".join(chars)


def turn_case(text: str, draw: random.Random) -> str:
    return draw.choice((str.upper, str.lower, str.title, str.swapcase))(text)


def paragraphs(text: str, draw: random.Random) -> str:
    parts = text.replace("\n", "\n\n").split("\n\n")
    double_run(parts, draw) if draw.random() < 0.5 else double_some(parts, draw)
    return draw.choice(("\n\n", "\n\n\n", "\n")).join(parts)


def numbers(parts: list[str], draw: random.Random) -> None:
    share = draw.choice((0.1, 0.2, 0.25, 0.5))
    parts[:] = [str(draw.randrange(10_000)) if draw.random() < share else part for part in parts]


def change_lengths(parts: list[str], draw: random.Random) -> None:
    mean = draw.choice((1, 2, 3, 9, 11))
    parts[:] = [(part * mean)[: draw.randint(1, 2 * mean)] or part for part in parts]


def join_words(text: str, draw: random.Random) -> str:
    mark, share = (
        draw.choice(("", "-", "/", "_", ".", ",", "'", "’", "&", ":", "…", "–")),
        draw.choice((0.05, 0.3, 0.8)),
    )
    return "".join(mark if c == " " and draw.random() < share else c for c in text)


def sentences(text: str, draw: random.Random) -> str:
    mark = draw.choice((". ", "! ", "? ", ".\n", "。", "… ", ".. ", ' ." '))
    return "".join(mark if c == " " and draw.random() < 0.1 else c for c in text)


def table(text: str, draw: random.Random) -> str:
    lines = text.split("\n")
    for _ in range(draw.choice((1, 3, 8))):
        lines.insert(
            draw.randrange(len(lines) + 1),
            draw.choice(("|", "| |", "|||", " | ", "---", "***", "|-|", "• •", "«", "\u00a0|")),
        )
    return "\n".join(lines)


MUTATIONS: list[Mutation] = [
    *map(lines_of, (double_some, double_run, drop_some, cut_inside, add_phrases, begin_with, end_with, end_with)),
    *map(
        words_of,
        (double_some, double_run, double_run, drop_some, cut_inside, add_phrases, flood, numbers, change_lengths),
    ),
    short_lines,
    other_breaks,
    other_blanks,
    pad_ends,
    odd_characters,
    turn_case,
    paragraphs,
    join_words,
    sentences,
    table,
]
