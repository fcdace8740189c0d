"""Sentences stay short: none of more than 30 words in the README, SECURITY, CONTRIBUTING and the pages of `docs/`.

Code, tables and addresses of links don't count; a name in code is one word. A sentence ends at `.`, `!`, `?`, `:` or
`;` before a capital, at the first three also before code or a figure, and where its paragraph or item of a list does.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
WORDS = 30
END = r"(?<=[.!?])[*_)\"]*\s+(?=[\"(*_]*(?:[A-Z0-9]|code\b))|(?<=[:;])\s+(?=[A-Z])"


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


def test_what_a_sentence_is() -> None:
    long = "word " * WORDS
    assert long_sentences(f"{long}more.") and not long_sentences(f"{long}.")
    assert not long_sentences(f"{long}. A second one: {long.capitalize()}. `code` {long[5:]}")
    assert not long_sentences(f"| {long} more |\n\n```text\n{long} more\n```\n")
    assert not long_sentences(f"- {long}\n- more\n\n{long}\n\nand more")
    assert long_sentences(f"{long} [name](address)") and not long_sentences(f"{long[5:]}[name](an address)")


def test_sentences_are_short() -> None:
    found = [
        f"{page.relative_to(ROOT)}: {sentence}"
        for page in PAGES
        for sentence in long_sentences(page.read_text(encoding="utf-8"))
    ]
    assert not found, f"{len(found)} sentences of more than {WORDS} words:\n" + "\n".join(found)
