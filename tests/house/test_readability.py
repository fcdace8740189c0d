"""Sentences stay short: none over 30 words in the README and the tutorials, and no more than LONG elsewhere.

Code, tables and addresses of links don't count; a name in code is one word. A sentence ends at `.`, `!`, `?`, `:` or `;`
before a capital, at the first three also before code or a figure, and where its paragraph or its item of a list does.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STRICT = [ROOT / "README.md", *sorted((ROOT / "docs" / "tutorials").glob("*.md"))]
OTHERS = sorted({ROOT / "SECURITY.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")} - set(STRICT))
WORDS = 30
END = r"(?<=[.!?])[*_)\"]*\s+(?=[\"(*_]*(?:[A-Z0-9]|code\b))|(?<=[:;])\s+(?=[A-Z])"
LONG = 101  # over-long sentences in OTHERS; lower it when one is cut


def paragraphs(markdown: str) -> list[str]:
    """The paragraphs, headings and list items of a page, each in one line, without code, tables and addresses."""
    text = re.sub(r"^( *)```.*?^\1```$", "", markdown, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    kept = ["" if re.match(r"\||:::|\{\{|#| {4,}", line) else line for line in text.splitlines()]
    text = re.sub(r"^ *(?:[-*]|\d+\.) ", "\n", "\n".join(kept), flags=re.MULTILINE)
    text = re.sub(r"`[^`]+`", "code", text)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n", text) if part.strip()]


def long_sentences(markdown: str) -> list[str]:
    """The sentences of more than WORDS words."""
    found = []
    for paragraph in paragraphs(markdown):
        for sentence in re.split(END, paragraph):
            if sum(any(letter.isalnum() for letter in word) for word in sentence.split()) > WORDS:
                found.append(sentence)
    return found


def listed(pages: list[Path]) -> list[str]:
    return [
        f"{page.relative_to(ROOT)}: {len(sentence.split())} words: {sentence}"
        for page in pages
        for sentence in long_sentences(page.read_text(encoding="utf-8"))
    ]


def test_what_a_sentence_is() -> None:
    long = "word " * WORDS
    assert long_sentences(f"{long}more.") and not long_sentences(f"{long}.")
    assert not long_sentences(f"{long}. A second one: {long.capitalize()}. `code` {long[5:]}")
    assert not long_sentences(f"| {long} more |\n\n```text\n{long} more\n```\n")
    assert not long_sentences(f"- {long}\n- more\n\n{long}\n\nand more")
    assert long_sentences(f"{long} [name](address)") and not long_sentences(f"{long[5:]}[name](an address)")


def test_readme_and_tutorials_have_short_sentences() -> None:
    assert not (found := listed(STRICT)), "\n".join(found)


def test_other_pages_have_no_more_long_sentences_than_they_had() -> None:
    found = listed(OTHERS)
    assert len(found) <= LONG, f"{len(found)} sentences of more than {WORDS} words, {LONG} allowed:\n" + "\n".join(
        found
    )
