"""Judging: odd input, the same answers however they are asked for, and work that grows with the text alone."""

from __future__ import annotations

import time

import numpy as np
import pyarrow as pa
import pytest

from smolfast import SmolfastError, _native
from smolfast.curate import (
    C4BadWords,
    C4Paragraphs,
    C4Quality,
    FineWebQuality,
    GopherQuality,
    GopherRepetition,
    Rules,
    decide,
    judge,
    load_rules,
)

WORDS = ["river", "stone", "the", "house", "of", "light", "and", "water", "to", "bring", "a", "story", "with", "that"]


def page(seed: int, words: int) -> str:
    """Text that the filters keep, mostly: lines of some twenty words."""
    rng = np.random.default_rng(seed)
    vocabulary = WORDS + [f"word{i}" for i in range(2000)]
    picked = [vocabulary[i] for i in np.minimum(rng.zipf(1.3, words) - 1, len(vocabulary) - 1)]
    lines = [" ".join(picked[i : i + 20]) + "." for i in range(0, words, 20)]
    return "\n".join(lines)


PAGES = [page(seed, 40 * (seed % 9 + 1)) for seed in range(60)]
EVERYTHING = Rules(
    "own", "1", (*load_rules("fineweb@0.10").filters, C4Paragraphs(min_paragraph_len=10), C4BadWords(("word777",)))
)


def test_null_stays_null_and_empty_is_out() -> None:
    table = judge([None, "", "\0\0", " \n "], signals=True)
    assert table["keep"].to_pylist() == [None, False, False, False]
    assert table["reason"].to_pylist() == [None, "empty", "gopher_short_doc", "dup_line_frac"]
    assert table["text"].to_pylist() == [None, "", "\0\0", " \n "]
    assert all(table[name][0].as_py() is None for name in table.column_names)
    assert decide(table, "fineweb@0.10")["keep"].to_pylist() == [None, False, False, False]
    assert judge(pa.array([], pa.string())).num_rows == 0


@pytest.mark.parametrize("text", ["", " ", "\n" * 5])
@pytest.mark.parametrize("words", ["spacy", "unicode", "whitespace"])
def test_numbers_over_nothing_are_empty(text: str, words: str) -> None:
    rules = Rules("own", "1", (GopherQuality(min_doc_words=0, min_avg_word_length=0, max_avg_word_length=0),))
    table = judge([text], rules, words=words, signals=True)
    assert table["reason"].to_pylist() == ["empty"]
    assert np.isnan(table["gopher_quality_hash_ratio"][0].as_py())
    assert decide(table, rules)["reason"].to_pylist() == ["empty"]


def test_words_of_symbols_alone() -> None:
    # Unicode has no word here, and spaCy several.
    text = "?!\n?!?"
    rules = Rules("own", "1", (FineWebQuality(short_line_thr=1, char_duplicates_ratio=1, new_line_ratio=1),))
    assert judge([text], rules, words="unicode")["reason"].to_pylist() == ["empty"]
    assert judge([text], rules)["keep"].to_pylist() == [True]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("\n" * 1_000_000, "dup_line_frac"),
        ("\U0001f600" * 300_000, "top_2_gram"),
        ("x" * 3_000_000, "gopher_short_doc"),
        ("a " * 700_000, "top_2_gram"),
        ("same line here\n" * 100_000, "dup_line_frac"),
    ],
)
def test_hostile_documents(text: str, reason: str) -> None:
    assert judge([text])["reason"].to_pylist() == [reason]


def test_not_utf8() -> None:
    column = pa.array([b"fine", b"a\xffb"], pa.binary())
    with pytest.raises(SmolfastError, match=r"row 1 is not UTF-8 at byte 1; pass errors=\"replace\""):
        judge(column)
    assert judge(column, errors="replace")["text"].to_pylist() == ["fine", "a\ufffdb"]
    assert judge(["a\ud800b"], errors="replace")["text"].to_pylist() == ["a\ufffdb"]
    with pytest.raises(SmolfastError, match="lone surrogate"):
        judge(["a\ud800b"])


def test_bad_arguments() -> None:
    with pytest.raises(SmolfastError, match="language 'enn' is unknown: did you mean"):
        judge(["a"], language="enn")
    with pytest.raises(SmolfastError, match="words 'spcy' is unknown"):
        judge(["a"], words="spcy")
    with pytest.raises(SmolfastError, match="errors 'ignore' is unknown"):
        judge(["a"], errors="ignore")
    with pytest.raises(SmolfastError, match="expected an Arrow string column"):
        judge(3)


def test_any_threads_chunks_and_containers() -> None:
    rows = [*PAGES, None, *reversed(PAGES)]
    expected = judge(rows, EVERYTHING, threads=1, signals=True).combine_chunks()
    assert 10 < sum(expected["keep"].drop_null().to_pylist()) < len(rows) - 10
    plain = pa.array(rows)
    for column in (
        plain.cast(pa.large_string()),
        plain.cast(pa.string_view()),
        plain.dictionary_encode(),
        plain.cast(pa.binary()),
        pa.chunked_array([plain[:7], plain[7:7], plain[7:]]),
        pa.array([None, "x", *rows])[2:],
    ):
        for threads in (1, 3):
            assert judge(column, EVERYTHING, threads=threads, signals=True).combine_chunks().equals(expected)


def test_every_implementation_gives_the_same() -> None:
    try:
        tables = []
        for name in _native.implementations():
            _native.force_implementation(name)
            tables.append(judge(PAGES, EVERYTHING, signals=True))
    finally:
        _native.force_implementation("auto")
    assert all(table.equals(tables[0]) for table in tables)


@pytest.mark.parametrize("words", ["spacy", "unicode", "whitespace"])
def test_early_leaving_changes_nothing(words: str) -> None:
    whole = judge(PAGES, EVERYTHING, words=words, signals=True)
    brief = judge(PAGES, EVERYTHING, words=words)
    assert whole.select(brief.column_names).equals(brief)


# Documents made to be slow: by equal lines, equal words, windows of words that are equal though the words differ, words
# cut elsewhere, and sizes that no other has.
SLOW = {
    "ordinary": lambda n: page(1, n // 5),
    "equal lines": lambda n: "the same line of words again\n" * (n // 29),
    "equal words": lambda n: "a " * (n // 2),
    "empty lines": lambda n: "\n" * n,
    "one word": lambda n: "x" * n,
    "one emoji": lambda n: "\U0001f600" * (n // 4),
    "equal windows": lambda n: " ".join(f"{'prefix' * 4}{i}" for i in range(n // 30)),
    "short words": lambda n: " ".join(str(i * 7919 % 10) for i in range(n // 2)),
    "words cut elsewhere": lambda n: "ab c a bc " * (n // 10),
    "brackets": lambda n: "[1" * (n // 2),
    "dots": lambda n: ". " * (n // 2),
}


@pytest.mark.parametrize("kind", SLOW)
def test_time_grows_with_the_text(kind: str) -> None:
    rules = Rules("own", "1", EVERYTHING.filters)

    def seconds(size: int) -> float:
        best = float("inf")
        for _ in range(3):
            start = time.process_time()
            judge([SLOW[kind](size)], rules, threads=1, signals=True)
            best = min(best, time.process_time() - start)
        return best

    # Sixteen times the text: quadratic work would take 256 times as long.
    assert seconds(1_600_000) < 60 * max(seconds(100_000), 0.002)


def test_words_of_a_function() -> None:
    rules = load_rules("gopher@0.10")
    given = judge(pa.chunked_array([PAGES[:20], [None, ""], PAGES[20:]]), rules, words=str.split, signals=True)
    expected = judge([*PAGES[:20], None, "", *PAGES[20:]], rules, words="whitespace", signals=True)
    kept = pa.array([bool(text) for text in [*PAGES[:20], None, "", *PAGES[20:]]])
    assert given.filter(kept).combine_chunks().columns == expected.filter(kept).combine_chunks().columns
    assert given["reason"].to_pylist() == expected["reason"].to_pylist()


def test_words_that_hold_spaces() -> None:
    """Joined by spaces, "a b" and "c" are "a" and "b c"; joined by nothing they aren't."""
    words = {"one": ["a b", "c", "x", "a", "b c", "y", "z", "w"]}
    rules = Rules("own", "1", (GopherRepetition(0, 0, 0, 0, ((2, 0.5),), ((2, 9.0),)),))
    table = judge(["one"], rules, words=lambda text: words[text], signals=True)
    assert table["gopher_repetition_top_2_gram"].to_pylist() == [10 / 3]
    assert table["gopher_repetition_duplicated_2_n_grams"].to_pylist() == [0]


def test_what_given_words_can_do_without() -> None:
    with pytest.raises(SmolfastError, match=r"c4_quality counts sentences.*set min_num_sentences to -1"):
        judge(["a"], words=str.split)
    c4 = C4Quality(min_num_sentences=-1)
    with pytest.raises(SmolfastError, match="fineweb_quality would need the words of what c4_quality rewrote"):
        judge(["a"], Rules("own", "1", (c4, FineWebQuality())), words=str.split)
    assert judge(["a b c."], Rules("own", "1", (c4,)), words=str.split)["keep"].to_pylist() == [True]
    with pytest.raises(SmolfastError, match=r"language 'tha' has words of a library .*words=\"unicode\""):
        judge(["a"], "gopher@0.10", "tha")
    # Sentences of another kind, and words as for any language.
    assert judge(["a b"], "gopher@0.10", "bod_Tibt", words="unicode").num_rows == 1
