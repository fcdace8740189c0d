"""The filters' parameters, by datatrove 0.10's names and with its defaults, and the checks that they mean.

A parameter is a threshold, which a number already measured is compared with, or it says what is measured. Only the
first can be changed for `decide`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal, NamedTuple

_MOST_N = 64


class Check(NamedTuple):
    """One comparison: documents whose number is above (or below) the limit are removed for the reason."""

    signal: str
    sides: Literal["above", "below"]
    limit: float
    reason: str
    off: bool = False  # the check isn't applied
    undefined: str | None = None  # the reason where the number is one over nothing; None: the check is passed
    spared: float | None = None  # a value that passes whatever the limit


@dataclass(frozen=True)
class Filter:
    """What all filters share."""

    name: ClassVar[str]
    # The signals' types by name, without the filter's name; int64 where a count is meant.
    counts: ClassVar[frozenset[str]] = frozenset()
    # The parameters that change what is measured.
    measuring: ClassVar[frozenset[str]] = frozenset()
    rewrites: ClassVar[bool] = False

    def checks(self) -> list[Check]:
        """The checks in the order in which they are made; signals without the filter's name."""
        raise NotImplementedError

    def column(self, signal: str) -> str:
        """The name of a signal's column."""
        return f"{self.name}_{signal}"

    def parameters(self) -> dict[str, Any]:
        """The parameters by name, tuples as lists."""
        return {key: _listed(value) for key, value in asdict(self).items()}

    def measures(self) -> dict[str, Any]:
        """What of the parameters says what is measured."""
        return {key: value for key, value in self.parameters().items() if key in self.measuring}

    def problems(self) -> list[str]:
        """What is wrong with the values, beyond their types."""
        return []


def _listed(value: Any) -> Any:
    return [_listed(item) for item in value] if isinstance(value, (list, tuple)) else value


NGrams = tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class GopherRepetition(Filter):
    """Gopher's repetition filter: duplicate paragraphs and lines, frequent and duplicate n-grams of words.

    A limit of 0 turns a check of paragraphs or lines off; an empty list turns n-grams off.
    """

    name: ClassVar[str] = "gopher_repetition"
    counts: ClassVar[frozenset[str]] = frozenset({"characters"})
    measuring: ClassVar[frozenset[str]] = frozenset({"top_n_grams", "dup_n_grams"})

    dup_para_frac: float = 0.3
    dup_para_char_frac: float = 0.2
    dup_line_frac: float = 0.3
    dup_line_char_frac: float = 0.2
    top_n_grams: NGrams = ((2, 0.2), (3, 0.18), (4, 0.16))
    dup_n_grams: NGrams = ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.10))

    def checks(self) -> list[Check]:
        checks = [Check("characters", "below", 1, "empty")]
        for key in ("dup_para_frac", "dup_para_char_frac", "dup_line_frac", "dup_line_char_frac"):
            limit = getattr(self, key)
            checks.append(Check(key, "above", limit, key, off=limit == 0))
        for kind, grams in (("top_{}_gram", self.top_n_grams), ("duplicated_{}_n_grams", self.dup_n_grams)):
            checks += [Check(kind.format(n), "above", limit, kind.format(n)) for n, limit in grams]
        return checks

    def measures(self) -> dict[str, Any]:
        # Which sizes, not their limits.
        return {key: [n for n, _ in getattr(self, key)] for key in ("top_n_grams", "dup_n_grams")}

    def problems(self) -> list[str]:
        found = []
        for key in ("top_n_grams", "dup_n_grams"):
            sizes = [n for n, _ in getattr(self, key)]
            if any(not 1 <= n <= _MOST_N for n in sizes):
                found.append(
                    f"{key} has n-grams of {next(n for n in sizes if not 1 <= n <= _MOST_N)} words; use 1 to {_MOST_N}"
                )
            elif len(set(sizes)) < len(sizes):
                found.append(f"{key} names a size twice; give each size one limit")
        return found


@dataclass(frozen=True)
class GopherQuality(Filter):
    """Gopher's quality filter: how many words, how long, how many symbols, bullets, ellipses, stop words.

    A limit of 0 turns a check off. `max_non_alpha_words_ratio` is the least share of words with a letter.
    """

    name: ClassVar[str] = "gopher_quality"
    counts: ClassVar[frozenset[str]] = frozenset({"non_symbol_words", "stop_words"})
    measuring: ClassVar[frozenset[str]] = frozenset({"stop_words"})

    min_doc_words: float = 50
    max_doc_words: float = 100000
    min_avg_word_length: float = 3
    max_avg_word_length: float = 10
    max_symbol_word_ratio: float = 0.1
    max_bullet_lines_ratio: float = 0.9
    max_ellipsis_lines_ratio: float = 0.3
    max_non_alpha_words_ratio: float = 0.8
    min_stop_words: float = 2
    stop_words: tuple[str, ...] = ("the", "be", "to", "of", "and", "that", "have", "with")

    def checks(self) -> list[Check]:
        def check(
            signal: str, sides: Literal["above", "below"], limit: float, reason: str, undefined: str | None = "empty"
        ) -> Check:
            return Check(signal, sides, limit, f"gopher_{reason}", off=limit == 0, undefined=undefined)

        symbols = self.max_symbol_word_ratio
        return [
            check("non_symbol_words", "below", self.min_doc_words, "short_doc"),
            check("non_symbol_words", "above", self.max_doc_words, "long_doc"),
            check("mean_word_length", "below", self.min_avg_word_length, "below_avg_threshold", None),
            check("mean_word_length", "above", self.max_avg_word_length, "above_avg_threshold", None),
            check("hash_ratio", "above", symbols, "too_many_hashes"),
            check("ellipsis_ratio", "above", symbols, "too_many_ellipsis"),
            check("bullet_lines_ratio", "above", self.max_bullet_lines_ratio, "too_many_bullets"),
            check("ellipsis_lines_ratio", "above", self.max_ellipsis_lines_ratio, "too_many_end_ellipsis"),
            check("alpha_words_ratio", "below", self.max_non_alpha_words_ratio, "below_alpha_threshold"),
            check("stop_words", "below", self.min_stop_words, "enough_stop_words"),
        ]


@dataclass(frozen=True)
class C4Quality(Filter):
    """C4's rules for lines; what is left of the text goes on to the next filter.

    A limit of -1 turns a check off. `filter_no_terminal_punct=False` is FineWeb's variant.
    """

    name: ClassVar[str] = "c4_quality"
    counts: ClassVar[frozenset[str]] = frozenset({"lorem_ipsum", "curly_bracket", "sentences"})
    measuring: ClassVar[frozenset[str]] = frozenset(
        {
            "remove_citations",
            "filter_no_terminal_punct",
            "min_words_per_line",
            "max_word_length",
            "filter_lorem_ipsum",
            "filter_javascript",
            "filter_curly_bracket",
            "filter_policy",
        }
    )
    rewrites: ClassVar[bool] = True

    remove_citations: bool = True
    filter_no_terminal_punct: bool = True
    min_num_sentences: float = 5
    min_words_per_line: float = 3
    max_word_length: float = 1000
    filter_lorem_ipsum: bool = True
    filter_javascript: bool = True
    filter_curly_bracket: bool = True
    filter_policy: bool = True

    def checks(self) -> list[Check]:
        least = self.min_num_sentences
        return [
            Check("lorem_ipsum", "above", 0, "lorem_ipsum"),
            Check("curly_bracket", "above", 0, "curly_bracket"),
            Check("sentences", "below", least, "too_few_sentences", off=least == -1),
        ]


@dataclass(frozen=True)
class C4Paragraphs(Filter):
    """mC4's rule: three lines of `min_paragraph_len` characters or more."""

    name: ClassVar[str] = "c4_paragraphs"
    counts: ClassVar[frozenset[str]] = frozenset({"third_longest_line"})

    min_paragraph_len: float = 200

    def checks(self) -> list[Check]:
        return [Check("third_longest_line", "below", self.min_paragraph_len, "< 3 paragraphs")]

    def problems(self) -> list[str]:
        return ["min_paragraph_len must be 1 or more"] if self.min_paragraph_len < 1 else []


@dataclass(frozen=True)
class C4BadWords(Filter):
    """C4's rule that a page holding a word of a list goes; the list is yours (datatrove downloads its own).

    The text is compared in lower case, and the words as they are given. With `flanked` a word counts only between
    characters that no word holds; datatrove leaves that out for Japanese, Thai and Chinese.
    """

    name: ClassVar[str] = "c4_bad_words"
    counts: ClassVar[frozenset[str]] = frozenset({"found"})
    measuring: ClassVar[frozenset[str]] = frozenset({"words", "flanked"})

    words: tuple[str, ...] = ()
    flanked: bool = True

    def checks(self) -> list[Check]:
        return [Check("found", "above", 0, "document_removed_with_badwords")]

    def problems(self) -> list[str]:
        if not self.words:
            return ["words is empty; list the words that a document may not hold"]
        if any(not word.strip() for word in self.words):
            return ["words has an empty word, which any document holds; remove it"]
        return []


@dataclass(frozen=True)
class FineWebQuality(Filter):
    """FineWeb's own filter: punctuation at line ends, short lines, duplicate lines, lists."""

    name: ClassVar[str] = "fineweb_quality"
    counts: ClassVar[frozenset[str]] = frozenset({"lines"})
    measuring: ClassVar[frozenset[str]] = frozenset({"stop_chars", "short_line_length"})

    line_punct_thr: float = 0.12
    line_punct_exclude_zero: bool = False
    stop_chars: tuple[str, ...] | None = None
    short_line_thr: float = 0.67
    short_line_length: float = 30
    char_duplicates_ratio: float = 0.01
    new_line_ratio: float = 0.3

    def checks(self) -> list[Check]:
        spared = 0.0 if self.line_punct_exclude_zero else None
        return [
            Check("lines", "below", 1, "empty"),
            Check("line_punct_ratio", "below", self.line_punct_thr, "line_punct_ratio", spared=spared),
            Check("short_line_ratio", "above", self.short_line_thr, "short_line_ratio"),
            Check("char_dup_ratio", "above", self.char_duplicates_ratio, "char_dup_ratio"),
            Check("list_ratio", "above", self.new_line_ratio, "list_ratio", undefined="empty"),
        ]

    def problems(self) -> list[str]:
        return _not_single("stop_chars", self.stop_chars)


@dataclass(frozen=True)
class SymbolLines(Filter):
    """Lines of symbols and spaces alone go; a run of them becomes one line of `replace_char` where that is given."""

    name: ClassVar[str] = "symbol_lines"
    measuring: ClassVar[frozenset[str]] = frozenset({"symbols_to_remove", "replace_char"})
    rewrites: ClassVar[bool] = True

    symbols_to_remove: tuple[str, ...] | None = None
    replace_char: str = ""

    def checks(self) -> list[Check]:
        return []

    def problems(self) -> list[str]:
        return _not_single("symbols_to_remove", self.symbols_to_remove)


def _not_single(key: str, characters: tuple[str, ...] | None) -> list[str]:
    for item in characters or ():
        if len(item) != 1:
            return [f"{key} has {item!r}; each item must be one character"]
    return []


FILTERS: dict[str, type[Filter]] = {
    kind.name: kind
    for kind in (
        GopherRepetition,
        GopherQuality,
        C4Quality,
        C4Paragraphs,
        C4BadWords,
        FineWebQuality,
        SymbolLines,
    )
}


def parameter_names(kind: type[Filter]) -> list[str]:
    """The names of a filter's parameters."""
    return [field.name for field in fields(kind)]
