"""The native trainer against the one of `tokenizers`: the same words, the same merges, pair by pair."""

from __future__ import annotations

import inspect
import json
import json.decoder
import textwrap
import typing
import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("tokenizers")

from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from smolfast import SmolfastError, _native
from smolfast.tokens.tokenizer import LONGEST_WORD
from smolfast.tokens.tokenizer_folder import SPLIT_PATTERN

ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())
CUT = pre_tokenizers.Split(Regex(SPLIT_PATTERN), behavior="isolated")
PARTS = pre_tokenizers.Split(Regex(rf"[\s\S]{{1,{LONGEST_WORD}}}"), behavior="isolated")
AS_BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)

Merges = list[tuple[str, str]]


def their_merges(texts: Sequence[str], tokens: int, longest: int | None = None) -> Merges:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([CUT, PARTS, AS_BYTES])
    bound = {} if longest is None else {"max_token_length": longest + 1}  # theirs is the first length that is too long
    trainer = trainers.BpeTrainer(
        vocab_size=tokens, min_frequency=2, initial_alphabet=ALPHABET, show_progress=False, **bound
    )
    tokenizer.train_from_iterator(texts, trainer)
    return [(first, second) for first, second in json.loads(tokenizer.to_str())["model"]["merges"]]


def our_merges(texts: object, tokens: int, longest: int | None = None, threads: int = 1) -> Merges:
    counter = _native.WordCounter(LONGEST_WORD)
    counter.add(texts, threads=threads)
    names, merges = list(ALPHABET), {}
    found = counter.take_merges(tokens=tokens, least_times=2, longest_token=longest or 1 << 40)
    for first, second in found:
        pair = (names[first], names[second])
        if "".join(pair) not in names:
            names.append("".join(pair))
        merges.pop(pair, None)  # of a pair that comes again the last place counts
        merges[pair] = None
    return list(merges)


def words(text: str) -> Counter[str]:
    counter = _native.WordCounter(1 << 30)
    counter.add([text], threads=1)
    return Counter(counter.take_words())


def their_words(text: str) -> Counter[str]:
    return Counter(word for word, _ in CUT.pre_tokenize_str(text))


# Python's tables are older than both sides': what it knows of they agree on.
KNOWN = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) not in ("Cn", "Co", "Cs")]


@pytest.mark.parametrize("part", range(4))
def test_every_character_is_cut_as_the_pattern_says(part: int) -> None:
    for start in range(part * 64, len(KNOWN), 4 * 64):
        text = "".join(f"a{c}b {c} '{c}s1{c}2 \t{c}\n{c}" for c in KNOWN[start : start + 64])
        assert words(text) == their_words(text), hex(ord(KNOWN[start]))


PIECES = ["'", "s", "S", "ſ", "t", "re", "RE", "rE", "ve", "m", "ll", "lL", "d", " ", "  ", "\n", "\r", "\r\n", "\t"]
PIECES += ["\u00a0", "\u3000", "\u2028", "\x85", "\x0b", "\x1c", "1", "12", "²", "Ⅷ", "a", "é", "e\u0301", "日", "ก"]
PIECES += ["ำ", "😀", "-", "_", ".", "...", "\ufeff", "\u200d", "ẞ", "ß", "ﬆ", "İ", "K", "x" * 300, "語" * 300]


@settings(max_examples=1000, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
def test_words_are_cut_as_the_pattern_says(text: str) -> None:
    assert words(text) == their_words(text)


@settings(max_examples=300, deadline=None)
@given(
    texts=st.lists(st.text("ab c漢", max_size=60), max_size=12),
    tokens=st.sampled_from([256, 257, 260, 400]),
    longest=st.sampled_from([None, 4, 5, 9]),
)
def test_merges_of_few_letters(texts: list[str], tokens: int, longest: int | None) -> None:
    """Ties everywhere, runs, and the same bytes by different pairs."""
    assert our_merges(texts, tokens, longest) == their_merges(texts, tokens, longest)


@pytest.mark.parametrize("longest", [None, 16])
def test_merges_of_real_text(longest: int | None) -> None:
    texts = [inspect.getsource(module) for module in (textwrap, typing, json.decoder)]
    texts += ["漢字かな交じり文。" * 30, "=" * 3000, "x" * 1000 + "é" * 700, "привет, мир! " * 40]
    found = our_merges(texts, 2500, longest)
    assert found == their_merges(texts, 2500, longest)
    assert len(found) > 2000


def test_threads_and_chunks_change_nothing() -> None:
    source = inspect.getsource(typing)
    lines = source.splitlines(keepends=True) * 40  # more than a task's bytes
    merges = our_merges(lines, 700)
    for threads in (2, 7, 0):
        assert our_merges(lines, 700, threads=threads) == merges
    whole = pa.array(lines)
    for column in (
        whole.cast(pa.large_string()),
        whole.cast(pa.string_view()),
        whole.dictionary_encode(),
        pa.chunked_array([whole[:5], whole[5:5], whole[5:]]),
    ):
        assert our_merges(column, 700, threads=2) == merges


def test_odd_columns() -> None:
    assert our_merges([], 300) == our_merges([None, ""], 300) == our_merges(["a"], 300) == []
    million = pa.array(["ab"]).take(pa.array(np.zeros(1_000_000, np.int32)))
    assert our_merges(million, 300) == [("a", "b")]
    assert our_merges(pa.array(["ab", None, "ab"]), 300) == [("a", "b")]
    broken = pa.array([b"fine", b"ab \xff"], pa.binary()).view(pa.string())
    with pytest.raises(SmolfastError, match="row 1 is not UTF-8 at byte 3; repair the column"):
        our_merges(broken, 300)
    with pytest.raises(SmolfastError, match="expected a string column"):
        our_merges(pa.array([1, 2]), 300)


def test_what_takes_the_words_leaves_none() -> None:
    counter = _native.WordCounter(4)
    counter.add(["abcdefghij k"], threads=1)
    assert counter.take_words() == {"abcd": 1, "efgh": 1, "ij": 1, " k": 1}
    assert counter.take_words() == {}
