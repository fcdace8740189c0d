"""Compare the words and sentences of `rules="spacy"` with spaCy's own, on real text and on text made odd.

    python tests/check_spacy.py LANGUAGE FILE.parquet [--column text] [--words N] [--skip N] [--mutate] [--seed N]

Needs spaCy 3.8. It runs apart from the tests, since spaCy reads about 0.3 MB a second. Says how many words were
compared; prints each document that differs from the first token on that does, and exits with 1 if there is any.
With --mutate each document is changed first: affixes, symbols, emoji, URLs, exceptions and odd spaces are put in.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator

import pyarrow.parquet as pq
import spacy
from spacy.language import Language

from smolfast import text

AFFIXES = [
    *".,:;!?…'\"“”‘’«»„()[]{}<>_#*&%$€£§=+-–—~/\\|^@°²³µ·。？！，、；：「」『』（）〔〕【】《》〈〉⟦⟧¿¡؟؛٪۔،।",
    *("...", "..", "……", "--", "---", "——", "'s", "'S", "’s", "n't", "n’t",),
    *("US$", "km", "km²", "кг", "kg", "10", "1", "a", "A"),
    *("Ä", "ß", "я", "Я", "ё", "é", "L'", "l’", "d'", "s'", "10%", "5€", "°C",),
    *("°C.", "10km", "C++", "e.g.", "i.e.", "Mr."),
    *("p.m.", "8am", "12:30", "1990s", "-la", "-t-il", "ul.", "z.B.", "т.е.", "и т. д.", "‑", "‐", "\u0301", "\u0300"),
    *(":)", ":-)", "(:", ":'(", "<3", "xD", "^_^", "(╯°□°）╯︵┻━┻",),
    *("¯\\(ツ)/¯", "😀", "👍🏽", "👩‍👩‍👧", "🇩🇪", "☺", "©", "™", "\ufe0f"),
    *("http://example.com", "https://a.b.co/x?y=1#z", "www.foo.de", "me@example.org", "1.2.3.4", "ftp://u:p@h.io:8080/"),
    *("foo.bar", "Foo.Bar", "a/b", "and/or", "x=y", "A.B.C.", "漢字",),
    *("カタカナ", "한국어", "ไทย", "עברית", "عربي", "हिन्दी", "አማርኛ"),
    *("\x00", "\x7f", "\xad", "\u200b", "\u200d", "\ufeff", "\ufffd",),
    *("Ǆ", "ﬁ", "İ", "٣", "५", "Ⅳ", "①", "½", "\U00020000"),
]  # fmt: skip
SPACES = [
    " ",
    "  ",
    "\n",
    "\t",
    " \n ",
    "\u00a0",
    "\u2003",
    "\u3000",
    "\x1c",
    "\x85",
    "\u2028",
    "\r\n",
    "\v",
    "\u200a",
    " \u00a0",
]


def mutated(document: str, draw: random.Random, exceptions: list[str]) -> str:
    """The document with one change about every 12 characters."""
    out, at = [], 0
    while at < len(document):
        step = draw.randrange(1, 24)
        piece = document[at : at + step]
        at += step
        kind = draw.random()
        if kind < 0.45:
            piece += "".join(draw.choices(AFFIXES, k=draw.choice((1, 1, 1, 2, 3))))
        elif kind < 0.6:
            piece += draw.choice(("", "", " ", "(", ".", "-")) + draw.choice(exceptions)
        elif kind < 0.75:
            piece += draw.choice(SPACES)
        elif kind < 0.8:
            piece = piece.upper()
        elif kind < 0.85:
            piece = piece.replace(" ", "")
        elif kind < 0.87:
            piece += draw.choice(AFFIXES) * draw.randrange(2, 9)
        out.append(piece)
    return "".join(out)


def documents(path: str, column: str) -> Iterator[str]:
    for batch in pq.ParquetFile(path).iter_batches(256, columns=[column]):
        yield from (value for value in batch.column(0).to_pylist() if value)


def ours(document: str, language: str) -> list[str]:
    data = document.encode()
    return [
        data[begin:end].decode() for begin, end in text.words([document], rules="spacy", language=language)[0].as_py()
    ]


def theirs(nlp: Language, document: str) -> tuple[list[str], int]:
    """As datatrove 0.10.1 has them: stripped, empty ones dropped."""
    nlp.max_length = len(document) + 10
    with nlp.memory_zone():
        parsed = nlp(document)
        words = [stripped for token in parsed if (stripped := token.text.strip())]
        return words, sum(bool(sentence.text.strip()) for sentence in parsed.sents)


def difference(a: list[str], b: list[str]) -> str:
    at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return f"ours {a[max(at - 2, 0) : at + 6]!r} spaCy's {b[max(at - 2, 0) : at + 6]!r}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("language")
    parser.add_argument("file")
    parser.add_argument("--column", default="text")
    parser.add_argument("--words", type=int, default=5_000_000)
    parser.add_argument("--skip", type=int, default=0, help="documents to pass over")
    parser.add_argument("--mutate", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    nlp = spacy.blank(arguments.language)
    nlp.add_pipe("sentencizer")
    draw = random.Random(arguments.seed)
    exceptions = sorted(nlp.tokenizer.rules)
    compared = differing = count = 0
    for number, document in enumerate(documents(arguments.file, arguments.column)):
        if number < arguments.skip:
            continue
        if arguments.mutate:
            document = mutated(document, draw, exceptions)
        count += 1
        words, sentences = theirs(nlp, document)
        compared += len(words)
        found = ours(document, arguments.language)
        counted = int(text.count_sentences([document], language=arguments.language)[0])
        if found != words:
            differing += 1
            print(f"document {number}: {difference(found, words)}", flush=True)
        elif counted != sentences:
            differing += 1
            print(f"document {number}: {counted} sentences, spaCy has {sentences}", flush=True)
        if compared >= arguments.words:
            break
    kind = "made odd, " if arguments.mutate else ""
    print(f"{arguments.language}: {compared} words of {count} documents, {kind}{differing} documents differ")
    sys.exit(differing != 0)


if __name__ == "__main__":
    main()
