"""Each filter against its plain form below: the same reason and text, whatever the document."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from smolfast.curate import (
    C4BadWords,
    C4Paragraphs,
    C4Quality,
    Filter,
    FineWebQuality,
    GopherQuality,
    GopherRepetition,
    Rules,
    SymbolLines,
    decide,
    judge,
)

# The filters in plain Python, slow and simple. Words are those of str.split.


def code_points(*ranges: str) -> frozenset[str]:
    """Characters from ranges in hexadecimal, such as "21" or "61D-61F"."""
    found = set()
    for part in " ".join(ranges).split():
        first, _, last = part.partition("-")
        found |= {chr(code) for code in range(int(first, 16), int(last or first, 16) + 1)}
    return frozenset(found)


TERMINAL = code_points(
    "21 2E 3F 589 61D-61F 6D4 700-702 7F9 837 839 83D-83E 964-965 104A-104B 1362 1367-1368 166E 1735-1736",
    "17D4-17D6 17D9-17DA 1803 1809 1944-1945 1AA8-1AAB 1B5A-1B5B 1B5E-1B5F 1B7D-1B7E 1C3B-1C3C 1C7E-1C7F",
    "203C-203D 2047-2049 2E2E 2E3C 2E53-2E54 3002 A4FF A60E-A60F A6F3 A6F7 A876-A877 A8CE-A8CF A92F A9C8-A9C9",
    "AA5D-AA5F AAF0-AAF1 ABEB FE52 FE56-FE57 FF01 FF0E FF1F FF61 10A56-10A57 10F55-10F59 10F86-10F89",
    "11047-11048 110BE-110C1 11141-11143 111C5-111C6 111CD 111DE-111DF 11238-11239 1123B-1123C 112A9",
    "1144B-1144C 115C2-115C3 115C9-115D7 11641-11642 1173C-1173E 11944 11946 11A42-11A43 11A9B-11A9C",
    "11C41-11C42 11EF7-11EF8 11F43-11F44 16A6E-16A6F 16AF5 16B37-16B38 16B44 16E98 1BC9F 1DA88",
)
SYMBOLS = TERMINAL | code_points(
    "0-8 B-1F 21-2F 3A-40 5B-60 7B-9F AB B4 BB 2013-2014 2019 201C-201E 2026 2236 2501 25BA 3001-3002",
    "3008-300D 3010-3011 FF01 FF05 FF08-FF09 FF0C FF0E FF11 FF1A-FF1B FF1F FF5E",
)


def decision(rules: Filter, text: str) -> tuple[str | None, str]:
    """The reason, None for kept, and the text after."""
    return _FILTERS[type(rules)](rules, text)


def repeated(items: list[str]) -> tuple[int, int]:
    seen: set[str] = set()
    count = characters = 0
    for item in items:
        if item in seen:
            count += 1
            characters += len(item)
        seen.add(item)
    return count, characters


def gopher_repetition(rules: GopherRepetition, text: str) -> tuple[str | None, str]:
    if text == "":
        return "empty", text
    pieces = {"para": re.split("\n\n+", text.strip()), "line": re.split("\n+", text)}
    for kind, items in pieces.items():
        count, characters = repeated(items)
        for name, share in (
            (f"dup_{kind}_frac", count / len(items)),
            (f"dup_{kind}_char_frac", characters / len(text)),
        ):
            limit = getattr(rules, name)
            if limit != 0 and share > limit:
                return name, text
    words = text.split()
    for n, limit in rules.top_n_grams:
        counts = Counter(" ".join(words[i : i + n]) for i in range(len(words) - n + 1))
        if counts:
            most = max(counts.values())
            gram = next(gram for gram, count in counts.items() if count == most)
            if len(gram) * most / len(text) > limit:
                return f"top_{n}_gram", text
    for n, limit in rules.dup_n_grams:
        seen: set[str] = set()
        at = characters = 0
        while at + n <= len(words):
            gram = "".join(words[at : at + n])
            if gram in seen:
                characters += len(gram)
                at += n
            else:
                seen.add(gram)
                at += 1
        if characters / len(text) > limit:
            return f"duplicated_{n}_n_grams", text
    return None, text


def gopher_quality(rules: GopherQuality, text: str) -> tuple[str | None, str]:
    try:
        return _gopher_quality(rules, text), text
    except ZeroDivisionError:
        return "empty", text


def _gopher_quality(rules: GopherQuality, text: str) -> str | None:
    words = text.split()
    lines = text.splitlines()
    solid = [len(word) for word in words if not SYMBOLS.issuperset(word)]
    if rules.min_doc_words and len(solid) < rules.min_doc_words:
        return "gopher_short_doc"
    if rules.max_doc_words and len(solid) > rules.max_doc_words:
        return "gopher_long_doc"
    if solid and rules.min_avg_word_length and sum(solid) / len(solid) < rules.min_avg_word_length:
        return "gopher_below_avg_threshold"
    if solid and rules.max_avg_word_length and sum(solid) / len(solid) > rules.max_avg_word_length:
        return "gopher_above_avg_threshold"
    if rules.max_symbol_word_ratio:
        if text.count("#") / len(words) > rules.max_symbol_word_ratio:
            return "gopher_too_many_hashes"
        if (text.count("...") + text.count("\u2026")) / len(words) > rules.max_symbol_word_ratio:
            return "gopher_too_many_ellipsis"
    if rules.max_bullet_lines_ratio:
        bullets = [line for line in lines if line.lstrip()[:1] in ("\u2022", "-") and line.strip()]
        if len(bullets) / len(lines) > rules.max_bullet_lines_ratio:
            return "gopher_too_many_bullets"
    if rules.max_ellipsis_lines_ratio:
        trailing = [line for line in lines if line.rstrip().endswith(("...", "\u2026"))]
        if len(trailing) / len(lines) > rules.max_ellipsis_lines_ratio:
            return "gopher_too_many_end_ellipsis"
    lettered = [word for word in words if any(character.isalpha() for character in word)]
    if rules.max_non_alpha_words_ratio and len(lettered) / len(words) < rules.max_non_alpha_words_ratio:
        return "gopher_below_alpha_threshold"
    if rules.min_stop_words and len(set(words) & set(rules.stop_words)) < rules.min_stop_words:
        return "gopher_enough_stop_words"
    return None


def c4_quality(rules: C4Quality, text: str) -> tuple[str | None, str]:
    kept = []
    count = 0
    policies = "terms of use|privacy policy|cookie policy|uses cookies|use of cookies|use cookies"
    for line in map(str.strip, text.splitlines()):
        words = line.split()
        if rules.max_word_length != -1 and any(len(word) > rules.max_word_length for word in words):
            continue
        if rules.remove_citations:
            line = re.sub(r"\[(\d*|edit|citation needed)\]", "", line)
        if rules.filter_no_terminal_punct and (line.endswith("...") or line[-1:] not in tuple(".?!\"'")):
            continue
        if len(words) < rules.min_words_per_line:
            continue
        lower = line.lower()
        if rules.filter_lorem_ipsum and "lorem ipsum" in lower:
            return "lorem_ipsum", text
        if rules.filter_javascript and "javascript" in lower:
            continue
        if rules.filter_curly_bracket and "{" in line:
            return "curly_bracket", text
        if rules.filter_policy and re.search(policies, lower):
            continue
        count += 1  # at least; a line of several is another test
        kept.append(line)
    if rules.min_num_sentences != -1 and count < rules.min_num_sentences:
        return "too_few_sentences", text
    return None, "\n".join(kept).strip()


def c4_paragraphs(rules: C4Paragraphs, text: str) -> tuple[str | None, str]:
    lengths = sorted((len(line) for line in text.split("\n")), reverse=True)
    enough = len(lengths) > 2 and lengths[2] >= rules.min_paragraph_len
    return (None if enough else "< 3 paragraphs"), text


def c4_bad_words(rules: C4BadWords, text: str) -> tuple[str | None, str]:
    words = "|".join(map(re.escape, rules.words))
    found = re.search(rf"(?:\W|^)(?:{words})(?:\W|$)" if rules.flanked else words, text.lower())
    return ("document_removed_with_badwords" if found else None), text


def fineweb_quality(rules: FineWebQuality, text: str) -> tuple[str | None, str]:
    lines = [line for line in text.split("\n") if line.strip()]
    if not lines:
        return "empty", text
    stops = TERMINAL if rules.stop_chars is None else rules.stop_chars
    stopped = sum(line[-1] in stops for line in lines)
    if stopped / len(lines) < rules.line_punct_thr and not (stopped == 0 and rules.line_punct_exclude_zero):
        return "line_punct_ratio", text
    if sum(len(line) <= rules.short_line_length for line in lines) / len(lines) > rules.short_line_thr:
        return "short_line_ratio", text
    if repeated(lines)[1] / len(text.replace("\n", "")) > rules.char_duplicates_ratio:
        return "char_dup_ratio", text
    if text.count("\n") / len(text.split()) > rules.new_line_ratio:
        return "list_ratio", text
    return None, text


def symbol_lines(rules: SymbolLines, text: str) -> tuple[str | None, str]:
    symbols = SYMBOLS if rules.symbols_to_remove is None else rules.symbols_to_remove
    out: list[str] = []
    inside = False
    for line in text.splitlines():
        removed = bool(line.strip()) and all(c == " " or c in symbols for c in line)
        if not removed:
            out.append(line)
        elif not inside and rules.replace_char:
            out.append(rules.replace_char)
        inside = removed
    return None, "\n".join(out)


_FILTERS: dict[type[Filter], Any] = {
    GopherRepetition: gopher_repetition,
    GopherQuality: gopher_quality,
    C4Quality: c4_quality,
    C4Paragraphs: c4_paragraphs,
    C4BadWords: c4_bad_words,
    FineWebQuality: fineweb_quality,
    SymbolLines: symbol_lines,
}

# Documents made of few words and odd separators, so that every check is met from both sides.
_TEXT = """
the be to of and that have with a I Frank ab c abc bc d über naïve lorem ipsum javascript JavaScript { [1] [12] [edit]
[
[٣] terms of use privacy policy cookies use Use coo\u212aies uses … ... - • # ## . , ! ? ۔ 。 日本 語 😀 12 3.5 x xx yy
|
|-| « \u0301 \x00 K\u0130 Σας
"""
_WORDS = [*_TEXT.split(), "[citation needed]"]
_ENDS = (
    [" "] * 8 + ["\n"] * 3 + ["\n\n", ". ", ".\n", "\r\n", "\x85", "\u2028", "\x0b", "\x1c", "\xa0", "\u3000", "\n\n\n"]
)
_ENDS += ["...\n", "…\n", "\n- ", "\n• ", "\t", ""]

_piece = st.builds(str.__add__, st.sampled_from(_WORDS), st.sampled_from(_ENDS))
_line = st.lists(_piece, min_size=1, max_size=8).map("".join)


@st.composite
def _repetitive(draw: st.DrawFn) -> str:
    lines = draw(st.lists(_line, min_size=1, max_size=4))
    order = draw(st.lists(st.integers(0, len(lines) - 1), max_size=25))
    return "".join(lines[i] + ("\n" if i % 2 else "\n\n") for i in order)


document = st.one_of(st.lists(_piece, max_size=40).map("".join), _repetitive(), st.text(max_size=40))
documents = st.lists(document, max_size=4)

_LIMIT = st.sampled_from([0, 0.01, 0.1, 0.2, 1 / 3, 0.5, 2 / 3, 0.9])
_GRAMS = st.lists(
    st.tuples(st.integers(1, 6), st.sampled_from([0, 0.1, 0.3, 0.6])), max_size=4, unique_by=lambda g: g[0]
)
FILTERS: dict[str, st.SearchStrategy[Filter]] = {
    "gopher_repetition": st.builds(
        GopherRepetition, _LIMIT, _LIMIT, _LIMIT, _LIMIT, _GRAMS.map(tuple), _GRAMS.map(tuple)
    ),
    "gopher_quality": st.builds(
        GopherQuality,
        st.sampled_from([0, 1, 5, 50]),
        st.sampled_from([0, 20, 100000]),
        st.sampled_from([0, 2, 3.5]),
        st.sampled_from([0, 4, 10]),
        _LIMIT,
        _LIMIT,
        _LIMIT,
        _LIMIT,
        st.sampled_from([0, 1, 2]),
        st.sampled_from([("the", "be", "to"), ("über", "日本"), ()]),
    ),
    "c4_quality": st.builds(
        C4Quality,
        st.booleans(),
        st.booleans(),
        st.sampled_from([-1, 0, 1]),
        st.sampled_from([-1, 1, 3]),
        st.sampled_from([-1, 0, 4, 1000]),
        st.booleans(),
        st.booleans(),
        st.booleans(),
        st.booleans(),
    ),
    "c4_paragraphs": st.builds(C4Paragraphs, st.sampled_from([1, 5, 200])),
    "c4_bad_words": st.builds(
        C4BadWords, st.sampled_from([("frank",), ("b", "abc", "日本"), ("σας", "3.5", "x")]), st.booleans()
    ),
    "fineweb_quality": st.builds(
        FineWebQuality,
        _LIMIT,
        st.booleans(),
        st.sampled_from([None, (".", "。"), ()]),
        _LIMIT,
        st.sampled_from([0, 5, 30]),
        _LIMIT,
        _LIMIT,
    ),
    "symbol_lines": st.builds(
        SymbolLines, st.sampled_from([None, ("|",), (), ("-", "|", "…")]), st.sampled_from(["", "\n", "gone"])
    ),
}


@pytest.mark.parametrize("name", FILTERS)
def test_decisions_and_texts(name: str) -> None:
    @given(FILTERS[name], documents)
    def holds(kind: Filter, texts: list[str]) -> None:
        table = judge(texts, Rules("own", "1", (kind,)), words="whitespace", threads=1)
        expected = [decision(kind, text) for text in texts]
        assert table["reason"].to_pylist() == [reason for reason, _ in expected]
        assert table["keep"].to_pylist() == [reason is None for reason, _ in expected]
        if kind.rewrites:
            assert table["text"].to_pylist() == [text for _, text in expected]
        else:
            assert "text" not in table.column_names

    holds()


AT_BLOCK_ENDS = (
    "\n",
    "\n\n",
    "\r\n",
    "\f",
    "\x1d",
    "\x85",
    "\u2028",
    "\u2029",
    "...",
    "…",
    " - x\n- y",
    "#",
    "[1]",
    "é\n日本\n",
)


@pytest.mark.parametrize(
    "kind",
    [
        GopherQuality(1, 0, 0, 0, 0.2, 0.3, 0.3, 0.1, 0),
        C4Quality(min_num_sentences=-1),
        FineWebQuality(0.4, short_line_thr=0.7, new_line_ratio=0.25),
        GopherRepetition(),
        SymbolLines(("-",), ""),
    ],
    ids=lambda kind: type(kind).__name__,
)
def test_what_stands_at_a_block_s_end(kind: Filter) -> None:
    """Texts are looked through 64 bytes at a time; what is looked for may lie across."""
    texts = [
        ("ab c. " * 30)[: at - len(space)] + space + found + rest
        for at in range(58, 70)
        for found in AT_BLOCK_ENDS
        for space in ("", " ")
        for rest in ("", "a word. " * 12, "\nab c.\n" * 4)
    ]
    table = judge(texts, Rules("own", "1", (kind,)), words="whitespace", threads=1)
    expected = [decision(kind, text) for text in texts]
    assert table["reason"].to_pylist() == [reason for reason, _ in expected]
    assert len(set(table["reason"].to_pylist())) > 1 or kind.rewrites
    if kind.rewrites:
        assert table["text"].to_pylist() == [text for _, text in expected]


@given(st.permutations(list(FILTERS)).flatmap(lambda names: st.tuples(*(FILTERS[n] for n in names[:4]))), document)
def test_sequences(kinds: tuple[Filter, ...], text: str) -> None:
    rules = Rules("own", "1", kinds)
    reason = None
    left = text
    for kind in kinds:
        reason, left = decision(kind, left)
        if reason is not None:
            break
    table = judge([text], rules, words="whitespace", threads=1)
    assert table["reason"].to_pylist() == [reason]
    if rules.rewrites:
        assert table["text"].to_pylist() == [left]
    measured = judge([text], rules, words="whitespace", threads=1, signals=True)
    assert measured.select(table.column_names).equals(table)
    if any(kind.checks() for kind in kinds):
        assert decide(measured, rules).equals(table.select(["keep", "reason"]).replace_schema_metadata())


@pytest.mark.parametrize("name", [name for name in FILTERS if name not in ("c4_bad_words", "symbol_lines")])
def test_other_thresholds_from_the_same_signals(name: str) -> None:
    """The numbers say for any thresholds what judging anew says."""

    @given(FILTERS[name], FILTERS[name], documents)
    def holds(kind: Filter, other: Filter, texts: list[str]) -> None:
        # The other's thresholds, with what is measured as it was.
        values = {**other.parameters(), **{key: kind.parameters()[key] for key in kind.measuring}}
        if isinstance(kind, GopherRepetition):
            for key in ("top_n_grams", "dup_n_grams"):
                values[key] = tuple((n, limit / 2) for n, limit in getattr(kind, key))
        changed = type(kind)(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
        signals = judge(texts, Rules("own", "1", (kind,)), words="whitespace", threads=1, signals=True)
        expected = judge(texts, Rules("own", "1", (changed,)), words="whitespace", threads=1)
        assert decide(signals, Rules("own", "1", (changed,)))["reason"].to_pylist() == expected["reason"].to_pylist()

    holds()
