"""Whose words a language's texts are cut into: ours in C++, or those of a library or function that gives strings."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import pyarrow as pa

from smolfast import _native
from smolfast.curate.languages import tokenizer_of
from smolfast.curate.rules import Rules
from smolfast.errors import SmolfastError
from smolfast.strings import Strings

WordsName: TypeAlias = Literal["spacy", "unicode", "whitespace"]
Words: TypeAlias = WordsName | Callable[[str], list[str]]

_USE_WORDS = ("gopher_repetition", "gopher_quality", "fineweb_quality")


class Source(NamedTuple):
    """How the native module is told of words: its own kind, or the words of each row."""

    kind: str
    language: str = "xx"
    tokens: pa.Array | None = None  # of all rows, one after another
    ends: np.ndarray[tuple[int], np.dtype[np.int64]] | None = None  # of each row's


def source_of(words: Words, language: str, rules: Rules, strings: Strings) -> Source:
    """The words for these texts.

    Raises:
        SmolfastError: an unknown kind or language, a library that isn't here, or rules that need sentences or words of
            a text that a filter rewrote, where words come from outside.
    """
    if callable(words):
        return _given(words, rules, strings)
    if words not in get_args(WordsName):
        raise SmolfastError(f"words {words!r} is unknown; use one of: {', '.join(get_args(WordsName))}, or a function")
    if words != "spacy":
        return Source(words)
    tokenizer = tokenizer_of(language)
    if tokenizer.kind == "whitespace":
        # Words as for any language, and sentences of another kind.
        _without_sentences(rules, f"language {language!r}")
        return Source("spacy", "xx")
    if tokenizer.kind == "spacy" and tokenizer.code in _native.spacy_languages():
        return Source("spacy", tokenizer.code)
    return _given(_by_datatrove(language, tokenizer.kind), rules, strings)


def _by_datatrove(language: str, kind: str) -> Callable[[str], list[str]]:
    """datatrove's own tokenizer, over a library that we don't replace: Stanza, jieba, pyvi, pythainlp, …"""
    remedy = f'install datatrove and what it uses for {language!r} ({kind}), or use words="unicode"'
    try:
        tokenizer = import_module("datatrove.utils.word_tokenizers").load_word_tokenizer(language)
        tokenizer.word_tokenize("")
    except Exception as error:  # whatever a library says that isn't there or lacks its model
        raise SmolfastError(
            f"language {language!r} has words of a library ({' '.join(str(error).split())}); {remedy}"
        ) from error
    return tokenizer.word_tokenize  # type: ignore[no-any-return]


def _given(cut: Callable[[str], list[str]], rules: Rules, strings: Strings) -> Source:
    _without_sentences(rules, "words that a function gives")
    rewriter = None
    for kind in rules.filters:
        if rewriter is not None and kind.name in _USE_WORDS:
            raise SmolfastError(
                f"rules: {kind.name} would need the words of what {rewriter} rewrote, and words are given for the "
                f'texts as they are; put {rewriter} last, or use words="unicode"'
            )
        rewriter = kind.name if kind.rewrites else rewriter
    rows = strings if isinstance(strings, (list, tuple)) else strings.to_pylist()
    tokens: list[str] = []
    ends = [0]
    for row in rows:
        text = row.decode("utf-8", "replace") if isinstance(row, bytes) else row
        if text:
            stripped = [token.strip() for token in cut(text)]
            tokens += [token for token in stripped if token]
        ends.append(len(tokens))
    return Source("given", tokens=pa.array(tokens, pa.large_string()), ends=np.array(ends[1:], np.int64))


def _without_sentences(rules: Rules, whose: str) -> None:
    for kind in rules.filters:
        if kind.name == "c4_quality" and kind.parameters()["min_num_sentences"] != -1:
            raise SmolfastError(
                f"rules: c4_quality counts sentences, which {whose} come without; set min_num_sentences to -1, or use "
                'words="unicode"'
            )
