"""Words and sentences by spaCy's rules, against what spaCy 3.8 made of strings of ours.

`tests/check_spacy.py` compares with spaCy itself on more text than fits a test.
"""

from __future__ import annotations

import json
import lzma
import random
import time
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smolfast import SmolfastError, _native, text
from smolfast.dedup import MinHasher

MARK = "\x1f"
CASES = json.loads(lzma.decompress((Path(__file__).parents[1] / "data" / "spacy_words.json.xz").read_bytes()))


def found(string: str, language: str = "en") -> list[str]:
    data = string.encode()
    rows = text.words([string], rules="spacy", language=language)
    return [data[begin:end].decode() for begin, end in rows[0].as_py()]


@pytest.mark.parametrize("language", text.spacy_languages())
def test_cuts_as_spacy_does(language: str, implementation: str) -> None:
    marked = [case[0] for case in CASES[language]]
    strings = [case.replace(MARK, "") for case in marked]
    rows = text.words(strings, rules="spacy", language=language, threads=1).to_pylist()
    for case, string, row in zip(marked, strings, rows, strict=True):
        data = string.encode()
        words = [data[begin:end].decode() for begin, end in row]
        assert words == [part for each in case.split(MARK) if (part := each.strip())], ascii(string)
    assert text.count_sentences(strings, language=language, threads=1).to_pylist() == [
        case[1] for case in CASES[language]
    ]


def test_has_cases_for_each_language() -> None:
    assert set(CASES) == set(text.spacy_languages())
    assert sum(case[0].count(MARK) // 2 for cases in CASES.values() for case in cases) > 100_000


@pytest.mark.parametrize(
    ("language", "string", "words"),
    [
        ("en", "Don't they're, e.g. at 5km/h", ["Do", "n't", "they", "'re", ",", "e.g.", "at", "5", "km/h"]),
        ("en", "(well-known) A.B. a.b a.B :-) ", ["(", "well", "-", "known", ")", "A.B.", "a.b", "a.", "B", ":-)"]),
        ("en", "see http://a.com/x. or me@b.org,", ["see", "http://a.com/x", ".", "or", "me@b.org", ","]),
        ("fr", "l'homme qu'il aujourd'hui après-midi", ["l'", "homme", "qu'", "il", "aujourd'hui", "après-midi"]),
        ("de", "z.B. 3-jährige »so«", ["z.B.", "3-jährige", "»", "so", "«"]),
        ("ru", "и т. д. 5кг", ["и", "т", ".", "д.", "5", "кг"]),
        ("xx", " \n\t\u00a0 ", []),
        ("xx", "", []),
    ],
)  # fmt: skip
def test_examples(language: str, string: str, words: list[str], implementation: str) -> None:
    assert found(string, language) == words
    for shift in (1, 31, 61, 62, 63, 64, 65):
        assert found("x" * shift + " " + string + " " + "y" * 70, language) == ["x" * shift, *words, "y" * 70]


PIECES = st.sampled_from(
    [
        "a", "word", "Word", "é", "я", "東", "1", "10", "km", "$", "€",
        ".", ",", "-", "'", "’s", "n't", "(", ")", ":", '"', "/",
        "@", "...", " ", "  ", "\n", "\u00a0", "\u2009", "\u3000", "😀",
        "http://", "a.com", "Mr.", "т. д.", "e.g.", "_", "l'",
    ]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(pieces=st.lists(PIECES, max_size=100), language=st.sampled_from(["en", "de", "fr", "ru", "pl", "it", "xx"]))
def test_implementations_agree_and_nothing_is_lost(pieces: list[str], language: str) -> None:
    string = "".join(pieces)
    results = []
    for name in _native.implementations():
        _native.force_implementation(name)
        results.append(found(string, language))
    _native.force_implementation("auto")
    assert all(result == results[0] for result in results)
    assert "".join("".join(results[0]).split()) == "".join(string.split())


def test_equals_spacy_itself() -> None:
    spacy = pytest.importorskip("spacy")
    if not spacy.__version__.startswith("3.8."):
        pytest.skip("the rules are those of spaCy 3.8")
    draw = random.Random(1)
    for language in ("en", "de", "fr", "xx"):
        nlp = spacy.blank(language)
        pieces = [
            *sorted(nlp.tokenizer.rules),
            *["Some", "words,", "(put)", "together", "-", "by", "chance:", "10km"],
            "(",
            ")",
            ".",
            "-",
        ]
        for _ in range(50):
            string = "".join(draw.choice(pieces) + draw.choice(["", " ", " ", "\n"]) for _ in range(40))
            assert found(string, language) == [t for token in nlp(string) if (t := token.text.strip())], ascii(string)


def test_columns_nulls_and_threads() -> None:
    rows = ["It's one. Two!", None, "", "don't"] * 5_000
    one = text.words(pa.array(rows), rules="spacy", threads=1)
    assert one[:4].to_pylist() == [[[0, 2], [2, 4], [5, 8], [8, 9], [10, 13], [13, 14]], None, [], [[0, 2], [2, 5]]]
    assert one.equals(text.words(rows, rules="spacy", threads=3))
    counts = text.count_sentences(rows, threads=3)
    assert counts[:4].to_pylist() == [2, None, 0, 1]
    assert text.count_sentences(pa.chunked_array([rows[:3], rows[3:]])).equals(counts)
    assert text.count_sentences([]).to_pylist() == []


def test_errors_say_what_there_is() -> None:
    with pytest.raises(
        SmolfastError, match=r"language 'english' has no rules of spaCy here; use xx, .* one of: .*, en, "
    ):
        text.words(["a"], rules="spacy", language="english")
    with pytest.raises(SmolfastError, match="language 'ja'"):
        text.count_sentences(["a"], language="ja")
    with pytest.raises(SmolfastError, match="rules = 'spaCy': choose one of unicode, spacy"):
        text.words(["a"], rules="spaCy")  # type: ignore[arg-type]
    column = pa.Array.from_buffers(pa.string(), 2, pa.array([b"ok", b"no\xff"], pa.binary()).buffers())
    for function in (lambda: text.words(column, rules="spacy"), lambda: text.count_sentences(column)):
        with pytest.raises(SmolfastError, match="row 1 is not UTF-8 at byte 2;"):
            function()


UNITS = [
    "a", "A", "1", ".", ",", "-", "(", ")", "'", "’s", "'s", "n't",
    "a.", "A.", "a-", "a'", "1.", "1,", "$1", "(:", ":)", ":(",
    "a@", "@", "a.b@", "://", "ab://", "%", "1%", "km", "°C.", "。",
    "…", "..", "--", "—", "東", "⺀", "я", "é", "😀", "\u0301",
    "a\u0301", "a/", "a=", "a:b", "l'", "-t-", "IS_ALPHA", "\x00",
    "((a", "a))", "1)1", "a. ", "( ", ": ", "т. д. ", "a.-", "_",
]  # fmt: skip


@pytest.mark.parametrize("language", ["en", "fr", "de", "ru", "pt", "it", "hu", "tr", "ca"])
def test_time_grows_with_the_text(language: str) -> None:
    # Thirty thousand of one thing take milliseconds; with their square it would be seconds.
    for unit in UNITS:
        began = time.process_time()
        many = unit * 30_000
        strings = [many, many + "-" + many, "(" * 30_000 + many + ")" * 30_000, "。" * 30_000 + many + "。" * 30_000]
        text.words(strings, rules="spacy", language=language, threads=1)
        assert time.process_time() - began < 0.6, (language, unit)


def test_signatures_are_datatroves_by_default() -> None:
    # MinhashDedupSignature of datatrove 0.10.1 for English, with two buckets of two hashes of 64 bits.
    document = "Hello, world! Don't worry: it's e.g. the U.S. at 5 p.m. :-) see http://a.com (yes)."
    hasher = MinHasher(4, 5, "spacy", "datatrove", simplify=True)
    expected = [0x423206346775FB7, 0x179AE1C2674BFB0, 0x3E5BA738C1797CC, 0x4590987A0294053]
    assert hasher.signatures([document])[0].tolist() == expected
    assert hasher.parameters()["language"] == "en"


def test_hashers_take_a_language() -> None:
    rows = ["C'est l'homme d'aujourd'hui, n'est-ce pas ?"]
    french = MinHasher(4, 1, "spacy", language="fr").signatures(rows)
    assert french.tolist() != MinHasher(4, 1, "spacy").signatures(rows).tolist()
    cut = " ".join(found(rows[0], "fr"))
    assert french.tolist() == MinHasher(4, 1, "whitespace").signatures([cut]).tolist()
    with pytest.raises(SmolfastError, match="tokens = 'unicode' know no language; leave out language, or use"):
        MinHasher(language="fr")
    with pytest.raises(SmolfastError, match="language 'fra' has no rules"):
        MinHasher(tokens="spacy", language="fra")
