"""What datatrove's own tests hold its filters to (tests/pipeline/filters at a649de7): the same values."""

from __future__ import annotations

import pytest

from smolfast.curate import (
    C4Paragraphs,
    C4Quality,
    Filter,
    FineWebQuality,
    GopherQuality,
    GopherRepetition,
    Rules,
    SymbolLines,
    judge,
)

# Words of two sentences, as long as theirs and as varied.
TALE = (
    "Nobody had asked for it to come so soon,' said the miller. 'Nor had I,' said his wife, 'and nor have those who "
    "wait for the rain. But what they want isn't theirs to choose. Ours is to say what we grow in the year that comes.'"
)
QUALITY = GopherQuality(min_doc_words=10, max_doc_words=1000)
GOOD = "\n".join(
    [
        "A paragraph like this one holds more than a few words in a row.",
        "It goes on with another line that says something else again.",
        "A third line of the text makes one more point about the matter.",
        "We may well see by now that the document isn't rubbish at all.",
        "At last there comes an end which puts all of it together.",
        "One sentence more takes it well over what the limit asks for.",
    ]
)
CASES: list[tuple[Filter, str, str | None]] = [
    (GopherRepetition(), "I am your father.\n" * 4, "dup_line_frac"),
    (GopherRepetition(), "I am your father.\n\n" * 4, "dup_para_frac"),
    (
        GopherRepetition(),
        "I am groot.\n\nYou are a wizard.\n\nI am your father.\n\n" + f"{'x' * 30}.\n\n" * 2,
        "dup_para_char_frac",
    ),
    (
        GopherRepetition(),
        "I am groot.\nYou are a wizard.\nI am your father.\n" + f"{'x' * 40}.\n" * 2,
        "dup_line_char_frac",
    ),
    (GopherRepetition(), "I am Frank, I am Frank, I am Frank", "top_2_gram"),
    (GopherRepetition(), "I am Frank, you are Jhon. I am Frank. I am Frank you are Jhon", "top_3_gram"),
    (GopherRepetition(), "I am a solo traveller " * 4 + TALE, "duplicated_5_n_grams"),
    (QUALITY, "I am too small...", "gopher_short_doc"),
    (QUALITY, "I am " * 20, "gopher_below_avg_threshold"),
    (QUALITY, "interconnection " * 20, "gopher_above_avg_threshold"),
    (QUALITY, "# comment " * 20, "gopher_too_many_hashes"),
    (QUALITY, "... comment " * 20, "gopher_too_many_ellipsis"),
    (
        QUALITY,
        "the ./!*?<><> apple <?////> orange  ++ interconnection !<>??? have" * 20,
        "gopher_below_alpha_threshold",
    ),
    (QUALITY, TALE, None),
    (C4Quality(), GOOD, None),
    (C4Quality(), "Here is lorem ipsum dolor sit amet.\n" + GOOD, "lorem_ipsum"),
    (C4Quality(), "Here is code with a { bracket.\n" + GOOD, "curly_bracket"),
    (C4Quality(), "Just one sentence.", "too_few_sentences"),
    (C4Paragraphs(), "\n".join(["x" * 250] * 3), None),
    (C4Paragraphs(), "short\nshort\nshort", "< 3 paragraphs"),
    (FineWebQuality(), "", "empty"),
    (FineWebQuality(line_punct_thr=0.5), "No stop here\nAnother line without\nStill nothing", "line_punct_ratio"),
    (FineWebQuality(short_line_thr=0.5, line_punct_thr=0), "hi.\nbye.\nok.\nno.\nyes.", "short_line_ratio"),
    (FineWebQuality(), GOOD, None),
    (FineWebQuality(new_line_ratio=0.1), "\n".join(["a"] * 50), "line_punct_ratio"),
]


@pytest.mark.parametrize(("kind", "text", "reason"), CASES)
def test_reason(kind: Filter, text: str, reason: str | None) -> None:
    assert judge([text], Rules("own", "1", (kind,)), "en")["reason"].to_pylist() == [reason]


def test_policy_lines_go() -> None:
    rules = Rules("own", "1", (C4Quality(min_num_sentences=-1, min_words_per_line=-1),))
    table = judge(["This site uses cookies for tracking.\nAnother valid line here today."], rules)
    assert table["text"].to_pylist() == ["Another valid line here today."]


@pytest.mark.parametrize(
    ("kind", "text", "left"),
    [
        (SymbolLines(), "Line 1\n--- !!\nLine 2", "Line 1\nLine 2"),
        (SymbolLines(), "***\n\n###", ""),
        (SymbolLines(), "a\n \n\t\nb", "a\n \n\t\nb"),
        (SymbolLines(), "a - b\n--\n==\nc!", "a - b\nc!"),
        (SymbolLines(("|",), "\n"), "a\n| |\n|\nb\n||\n", "a\n\n\nb\n\n"),
        (SymbolLines(("|",)), "|-|\n| |", "|-|"),
    ],
)
def test_symbol_lines(kind: SymbolLines, text: str, left: str) -> None:
    table = judge([text], Rules("own", "1", (kind,)))
    assert (table["keep"].to_pylist(), table["text"].to_pylist()) == ([True], [left])


def test_sentences_are_counted_line_by_line_as_spacy_does() -> None:
    texts = [
        "One of them. Two of them! Three? And a fourth",
        "Mr. Smith paid 3.5 dollars.",
        "He said so.) She went on.",
        "First of all. [1] [2]",
        "[1] [2] [3]",
        "A line here\nand one more there",
    ]
    rules = Rules("own", "1", (C4Quality(filter_no_terminal_punct=False, min_num_sentences=0),))
    counts = judge(texts, rules, "en", signals=True)["c4_quality_sentences"].to_pylist()
    assert counts == [4, 1, 2, 2, 1, 2]
