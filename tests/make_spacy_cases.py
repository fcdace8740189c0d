"""Writes tests/data/spacy_words.json.xz: strings of ours by language, cut by spaCy, each with its count of sentences.

    python tests/make_spacy_cases.py

Needs spaCy 3.8, on CPython 3.11 as the rules' tables do. Strings are of these kinds: each exception alone, with affixes
and apart; each affix before, behind and between words of five kinds; units, currencies, dots, dashes, quotes, elisions,
URLs, smileys, spaces, sentences; and words put together by chance. Languages of their own rules get all of them.
U+001F stands around each word, and in none of the strings.
"""

from __future__ import annotations

import json
import lzma
import random
from pathlib import Path

import spacy
from check_spacy import AFFIXES, SPACES, mutated, theirs

from smolfast import text

MARK = "\x1f"
WORDS = ["word", "Word", "WORD", "слово", "Ärger", "12", "東京", "x", "U"]
HANDWRITTEN = [
    "Don't you think it's theirs? I'd've gone, y'all'd not; we'll, they're, who's, CAN'T, cannot, gonna, Cannot.",
    "l'homme qu'il n'est-ce pas? Aujourd'hui, jusqu'à la mer; donne-moi, va-t-en, après-midi, grand'mère, J.-C.",
    "L'altro c'è dell'arte; un'idea, po', 10º, l'11 settembre, all'inizio.",
    "z.B. die 3-jährige, d.h. »so« – „ja“, u.a. die Nr. 5, 2. Mai, GmbH & Co. KG, geht's?",
    "т.е. так; и т. д., ул. Ленина, г. Москва, 5 км/ч, 10 руб., кто-то, из-за, «слово».",
    "np. ulica, m.in. tak, prof. dr hab., czerwono-biały, 10-letni, 5 zł.",
    "např. ulice č. 5, tj. dům, 1. května 2020, česko-slovenský.",
    "It cost $5.50, £3, 10€, US$20, 5 km, 5km, 10kg, 3m², 20°C, 20°C., -5°F., 50%, 5+, +5, 1,000.5, "
    "10-20, 3x4, 2*2, 2^3.",
    'He said: "Stop!" ‘No’, “Never”, «jamais», ‚nie‘, `code`, ``quoted\'\', (maybe) [1] {x} <y>.',
    "a.b A.B a.B A.b word.Word Word.word ABC.DEF abc.DEF. U.S.A. u.s. e.g. i.e., p.m. 5p.m. 11:30am. A.. B... c…",
    "red-green--blue---white — black–grey ~ on/off x=y a<b>c: d:e 5:6 a,b 1,2 a,1 word,word;word",
    "http://example.com/a?b=c#d, https://user:pw@host.example.org:8080/x. (www.example.com) "
    "example.co.uk/a_b ftp://1.2.3.4",
    "mail me@example.org, 192.168.0.1 8.8.8.8 8.8.8.8:53/x 10.1.2.3 256.1.1.1 172.16.0.1 172.32.0.1 "
    "127.0.0.1 223.1.1.254",
    "foo@bar@baz.com a@b.c x@y.zz/ @user #tag http://localhost http://例え.jp пример.рф a.museum:99 "
    "a.museum:9 a..b.com -a.com a-.com",
    f"{'l' * 64}.com {'l' * 65}.com a.{'t' * 63} a.{'t' * 64} a.{'t' * 63}/ x_y.com _x.com x_.com",
    ":) :-) (: ;-) :'( xD XD <3 </3 ^_^ o_O (╯°□°）╯︵┻━┻ ¯\\(ツ)/¯ ><(((*> :):) x:) :)x (:) 8) 8-D "
    "ಠ_ಠ :-))) :-)))) =( ):",
    "foo:) foo :) foo : ) (a.) a. b. x-a. -a. 'a.' I. V. No. no. Mr.X Mr. X Dr.-Ing. C++ C++. c. ''",
    "One. Two! Three? Four... Five?! (Six.) Seven.\" Eight.” 9. Ten。 Eleven！ twelve",
    "One.\nTwo.\n\nThree.  Four. \n Five.\t\n",
    "  leading\u00a0nbsp \u3000 wide\u2003em\u2028line\x1cfile\x85next  \r\n end  ",
    "",
    " ",
    "\n",
    ".",
    "...",
    "😀 👍🏽👍 a😀b 👩‍👩‍👧 🇩🇪🇫🇷 © ™ ☺ x☺ ①② ½ Ⅳ ½.",
    "été.Été naïve.Naïve ЁЖ.ёж ёж.Ёж À. ÀÉ. é. и́. и́,а и́.А и́-а",
    "'s 's's it's's 's. ’s THE'S dog's' dogs' 'tis 'Twas o'clock rock'n'roll",
    "5'10\" 10%. 10 %. +49 (0)30/123 #1 *bold* _it_ @ & && & c. §5 §§ %20 =x ==",
    "word\u200bword word\u00adword \ufeffword word\x00word \x7f \ufffd",
    "IS_ALPHA ORTH (IS_ALPHA)",
]  # fmt: skip


FULL = ("en", "de", "fr", "ru", "pl", "cs", "sk", "xx", "es", "it", "pt", "nl")


def cut(string: str, words: list[str]) -> str:
    out, at = "", 0
    for word in words:
        begin = string.index(word, at)
        out += string[at:begin] + MARK + word + MARK
        at = begin + len(word)
    return out + string[at:]


def strings(language: str, exceptions: list[str]) -> list[str]:
    draw = random.Random(f"cases {language}")
    full = language in FULL
    some = draw.sample(exceptions, min(len(exceptions), 250 if full else 100))
    out = [*HANDWRITTEN]
    out += [" ".join(some[i : i + 10]) for i in range(0, len(some), 10)]
    out += [f"({e}) {e}, {e}. x{e} {e}x -{e}- {draw.choice(AFFIXES)}{e}" for e in some[::3]]
    for word in draw.sample(WORDS, 3 if full else 1):
        for start in range(0, len(AFFIXES), 12):
            part = AFFIXES[start : start + 12]
            out.append(" ".join(f"{a}{word} {word}{a} {word}{a}{draw.choice(WORDS)} {a}{word}{a}" for a in part))
    base = " ".join(draw.choices([*WORDS, *some, *AFFIXES], k=60))
    out += [mutated(base, draw, exceptions)[:300] for _ in range(30 if full else 5)]
    out += [draw.choice(SPACES).join(draw.choices([*WORDS, *some, "one.", "two!"], k=12)) for _ in range(10)]
    return out


def main() -> None:
    cases = {}
    for language in text.spacy_languages():
        nlp = spacy.blank(language)
        nlp.add_pipe("sentencizer")
        cases[language] = []
        for string in strings(language, sorted(nlp.tokenizer.rules)):
            words, sentences = theirs(nlp, string)
            marked = cut(string, words)
            assert marked.replace(MARK, "") == string
            assert [part for each in marked.split(MARK) if (part := each.strip())] == words
            cases[language].append([marked, sentences])
    data = json.dumps(cases, ensure_ascii=False, separators=(",", ":")).encode()
    (Path(__file__).parent / "data" / "spacy_words.json.xz").write_bytes(lzma.compress(data, preset=9))


if __name__ == "__main__":
    main()
