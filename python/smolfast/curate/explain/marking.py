"""What each check counted in a text, as marks: the other side of its number."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from smolfast.curate.explain import marks
from smolfast.curate.explain.marks import Span

LineSignal = Callable[[Sequence[str], str], Sequence[float]]
"""The number of a name for each of some lines, each judged as a document of its own."""


def counted(signal: str, reason: str, text: str, words: Sequence[Span], of_lines: LineSignal) -> list[Span]:
    """Where a check's number comes from, merged and in order; nothing for mere totals (how many words).

    Args:
        words: of the text, as code points.
    """
    return marks.merged(_counted(signal, reason, text, words, of_lines))


def _counted(signal: str, reason: str, text: str, words: Sequence[Span], of_lines: LineSignal) -> list[Span]:
    if found := re.fullmatch(r"top_(\d+)_gram", signal):
        return marks.top_n_gram(text, words, int(found[1]))
    if found := re.fullmatch(r"duplicated_(\d+)_n_grams", signal):
        return marks.duplicated_n_grams(text, words, int(found[1]))
    if signal.startswith("dup_para"):
        return marks.repeated(marks.paragraphs(text), text)
    if signal.startswith("dup_line") or signal == "char_dup_ratio":
        return marks.repeated(marks.cut(text, r"\n+"), text)
    if signal in ("line_punct_ratio", "short_line_ratio"):
        lines = [span for span in marks.cut(text, r"\n+") if text[slice(*span)].strip()]
        wanted = 0.0 if signal == "line_punct_ratio" else 1.0
        values = of_lines([text[slice(*span)] for span in lines], signal)
        return [span for span, value in zip(lines, values, strict=True) if value == wanted]
    if signal == "bullet_lines_ratio":
        return marks.those(marks.lines(text), text, lambda line: line.lstrip().startswith(("•", "-")))
    if signal == "ellipsis_lines_ratio":
        return marks.those(marks.lines(text), text, lambda line: line.rstrip().endswith(("...", "…")))
    if signal == "alpha_words_ratio":
        return marks.those(words, text, lambda word: not any(letter.isalpha() for letter in word))
    if signal == "third_longest_line":
        return sorted(marks.cut(text, r"\n+"), key=lambda span: span[0] - span[1])[:3]
    patterns = {
        "hash_ratio": "#",
        "ellipsis_ratio": r"\.\.\.|…",
        "list_ratio": r"\n",
        "lorem_ipsum": "(?i)lorem ipsum",
        "curly_bracket": r"\{",
    }
    pattern = patterns.get(signal) or patterns.get(reason)
    return marks.matches(text, pattern) if pattern else []
