"""Writes csrc/text/spacy_tables.cpp: spaCy's tokenizer rules as automata, and its exceptions.

    python csrc/text/generate_spacy_tables.py

Needs spaCy, of the version that is wanted, and CPython 3.11, whose Unicode data decides what `\\w` and `\\d` match and
what is punctuation. A build needs neither: what is written here is committed.
"""

from __future__ import annotations

import platform
import sys
import unicodedata
from pathlib import Path

import spacy
from regex_automata import EVERY, Dfa, Nfa, Ranges, backward, cuts_of, forward, has_empty, matched_by, runs, segments_of
from spacy.lang.char_classes import ALPHA_LOWER
from spacy.lang.tokenizer_exceptions import BASE_EXCEPTIONS, URL_MATCH
from spacy.pipeline import Sentencizer
from spacy.tokenizer import Tokenizer

LANGUAGES = [
    "af", "am", "ar", "az", "bg", "bn", "bo", "ca", "cs", "da", "de", "dsb", "en", "es", "et", "eu", "fa", "fi",
    "fo", "fr", "ga", "grc", "gu", "he", "hi", "hr", "hsb", "hu", "hy", "is", "it", "kmr", "kn", "ky", "la", "lb",
    "lg", "lij", "lt", "lv", "mk", "ml", "mr", "nb", "ne", "nl", "nn", "pl", "pt", "ro", "ru", "sa", "si", "sk",
    "sq", "sr", "sv", "ta", "te", "ti", "tl", "tn", "tr", "tt", "uk", "ur", "xx", "yo",
]  # fmt: skip
PIECE, RULE = "\x1f", "\x1e"
NOTICE = """\
// Written by generate_spacy_tables.py from spaCy {version} (https://github.com/explosion/spaCy), Unicode {unicode}.
// It is longer than 600 lines because it is data.
//
// The rules and exceptions are spaCy's:
//
// The MIT License (MIT)
//
// Copyright (C) 2016-2024 ExplosionAI GmbH, 2016 spaCy GmbH, 2015 Matthew Honnibal
//
// Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
// documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
// rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to
// permit persons to whom the Software is furnished to do so, subject to the following conditions:
//
// The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
// Software.
//
// THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
// WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
// COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
// OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
//
// clang-format off
#include "text/spacy_tables.h"

namespace smolfast::text {{
"""


def flag_sets() -> dict[str, Ranges]:
    """The sets that SpacyFlags names, in its order."""
    return {
        "word": matched_by(r"\w", 0),
        "digit": matched_by(r"\d", 0),
        "lower": matched_by(f"[{ALPHA_LOWER}]", 0),
        "host": matched_by("[A-Za-z0-9\u00a1-\uffff]", 0),
        "punctuation": runs([ord(c) for c in EVERY if unicodedata.category(c)[0] == "P"]),
        "final": runs(sorted(map(ord, Sentencizer.default_punct_chars))),
    }


class Writer:
    """C++ arrays, each content once."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.names: dict[str, str] = {}

    def array(self, kind: str, items: list[str]) -> str:
        lines, line = [], ""
        for item in items:
            if len(line) + len(item) > 117:
                lines.append(line)
                line = ""
            line += item + ","
        lines.append(line)
        body = "\n".join(lines)
        key = kind + body
        if key not in self.names:
            self.names[key] = f"k{kind.rsplit('::', 1)[-1].title().replace('_', '')}{len(self.names)}"
            self.parts.append(f"const {kind} {self.names[key]}[] = {{\n{body}\n}};\n")
        return self.names[key]


def run_lengths(values: list[int]) -> list[str]:
    """Each value and how often it stands in a row; the end is a 0, 0."""
    out: list[list[int]] = []
    for value in values:
        if out and out[-1][0] == value and out[-1][1] < 65535:
            out[-1][1] += 1
        else:
            out.append([value, 1])
    return [f"{value},{count}" for value, count in [*out, [0, 0]]]


def quoted(text: str) -> str:
    out = ""
    for char in text:
        code = ord(char)
        if char in '"\\':
            out += "\\" + char
        elif code < 32 or not char.isprintable():
            out += "".join(f"\\{byte:03o}" for byte in char.encode())
        else:
            out += char
    return f'"{out}"'


def exceptions(rules: list[str]) -> list[str]:
    """String literals that hold some rules each."""
    out, line = [], ""
    for rule in rules:
        if line and len(quoted(line + rule)) > 115:
            out.append(quoted(line))
            line = ""
        line += rule
    return [*out, quoted(line)] if line else out


def rule_text(chunk: str, pieces: list[dict]) -> str:
    orths = [piece[65] if 65 in piece else piece["ORTH"] for piece in pieces]
    assert "".join(orths) == chunk
    for orth in orths:
        assert PIECE not in orth and RULE not in orth
        # Else it would have to be stripped. (A chunk that ends in a space is never found whole.)
        assert orth.strip() == orth or chunk[-1] == " " or not orth.strip(), (
            f"{orth!r} of {chunk!r} has space around it"
        )
    return PIECE.join(orths) + RULE


def check(language: str, tokenizer: Tokenizer) -> None:
    """What the C++ relies on."""
    assert type(tokenizer) is Tokenizer and tokenizer.url_match is URL_MATCH and tokenizer.faster_heuristics
    matched = [
        rule
        for rule in sorted(tokenizer.rules)
        if tokenizer.find_prefix(rule) or tokenizer.find_infix(rule) or tokenizer.find_suffix(rule) or " " in rule
    ]
    # spaCy keeps in its cache how it cut the last of these without exceptions.
    assert not matched or " " not in matched[-1], f"{language}: {matched[-1]!r} would stay in spaCy's cache"
    for rule in matched:
        spaces = "".join(c if c.isspace() else "x" for c in rule)
        assert not spaces.strip("x ") and "  " not in spaces and (rule == " " or spaces.lstrip() == spaces), rule


def main() -> None:
    automata: dict[tuple[str, str], tuple[Nfa, int, int]] = {}
    tokenizers = {}
    for language in LANGUAGES:
        tokenizer = tokenizers[language] = spacy.blank(language).tokenizer
        check(language, tokenizer)
        for kind in ("prefix_search", "suffix_search", "infix_finditer", "token_match"):
            if (function := getattr(tokenizer, kind)) is None:
                continue
            compiled = function.__self__
            key = (kind, compiled.pattern)
            if key in automata:
                continue
            if kind == "suffix_search":
                automata[key] = (*backward(compiled.pattern, 0), 0)
            elif kind != "infix_finditer":
                automata[key] = forward(compiled.pattern, 0)
            else:
                automata[key] = forward(compiled.pattern, 0, context=True)
                if has_empty(compiled.pattern):
                    automata["infix_again", compiled.pattern] = forward(compiled.pattern, 0, context=True, empty=False)
    flags = flag_sets()
    sets = [s[1] for nfa, _, _ in automata.values() for s in nfa.states if s[0] == "char"]
    cuts = cuts_of([*sets, *flags.values()])
    numbers: dict[str, int] = {}
    out = Writer()
    built: dict[tuple[str, str], Dfa] = {
        key: Dfa(nfa, start, cuts, ordered=key[0] in ("prefix_search", "infix_finditer", "infix_again"))
        for key, (nfa, start, _) in automata.items()
    }
    flag_bits = segments_of(list(flags.values()), cuts)
    # Stretches that no automaton tells apart are one class.
    columns = list(zip(*(dfa.column_of_segment for dfa in built.values()), flag_bits, strict=True))
    classes = {c: i for i, c in enumerate(dict.fromkeys(columns))}
    stretches = []
    last = None
    for cut, column in zip(cuts, columns, strict=False):
        if classes[column] != last:
            last = classes[column]
            stretches.append(f"{{{cut},{last}}}")
    rows = []
    for place, (key, dfa) in enumerate(built.items()):
        accept = out.array("int8_t", [str(a) for a in dfa.accept])
        following = out.array("uint16_t", run_lengths([t for row in dfa.next for t in row]))
        column_of = out.array("uint16_t", run_lengths([c[place] for c in classes]))
        numbers[key] = place
        assert max(dfa.accept) <= (2 if key[0] == "suffix_search" else 1), "the matchers look back no further"
        assert dfa.accept[1] == -1, f"an empty match of {key}"
        context = automata[key][2]
        rows.append(f"{{{len(dfa.next)},{dfa.columns},{dfa.bos},{dfa.eos},{context},{accept},{following},{column_of}}}")
    shared = sorted(rule_text(*item) for item in BASE_EXCEPTIONS.items())
    base = out.array("std::string_view", exceptions(shared))
    languages = []
    for language in LANGUAGES:
        tokenizer = tokenizers[language]
        rules = sorted(rule_text(*item) for item in tokenizer.rules.items())
        whole = set(shared) <= set(rules)
        own = exceptions([r for r in rules if not whole or r not in set(shared)])
        name = out.array("std::string_view", own) if own else "nullptr"
        which = []
        for kind in ("prefix_search", "suffix_search", "infix_finditer", "token_match"):
            function = getattr(tokenizer, kind)
            which.append("-1" if function is None else str(numbers[kind, function.__self__.pattern]))
        again = ("infix_again", tokenizer.infix_finditer.__self__.pattern)
        which.insert(3, str(numbers[again]) if again in numbers else which[2])
        languages.append(f'{{"{language}",{",".join(which)},{str(whole).lower()},{name},{len(own)}}}')
    version = spacy.__version__
    text = [NOTICE.format(version=version, unicode=unicodedata.unidata_version), *out.parts]
    text.append(f'const char kSpacyVersion[] = "{version}";\n')
    text.append(f"const uint32_t kSpacyClasses = {len(classes)};\n")
    wrapped = Writer()
    wrapped.array("uint8_t", [str(c[-1]) for c in classes])
    wrapped.array("SpacyStretch", stretches)
    text.append(wrapped.parts[0].replace("kUint8T0", "kSpacyFlags"))
    text.append(wrapped.parts[1].replace("kSpacystretch1", "kSpacyStretches"))
    text.append(f"const uint32_t kSpacyStretchCount = {len(stretches)};\n")
    text.append("const SpacyAutomaton kSpacyAutomata[] = {\n" + ",\n".join(rows) + "};\n")
    text.append(f"const std::string_view* const kSpacyShared = {base};\n")
    text.append(f"const uint32_t kSpacySharedCount = {len(exceptions(shared))};\n")
    text.append("const SpacyLanguage kSpacyLanguages[] = {\n" + ",\n".join(languages) + "};\n")
    text.append(f"const uint32_t kSpacyLanguageCount = {len(LANGUAGES)};\n")
    text.append("}  // namespace smolfast::text\n")
    Path(__file__).with_name("spacy_tables.cpp").write_text("\n".join(text), "utf-8")


if __name__ == "__main__":
    if sys.version_info[:2] != (3, 11) or platform.python_implementation() != "CPython":
        sys.exit("the tables are of CPython 3.11's Unicode data; run this with it")
    main()
