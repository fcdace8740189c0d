"""PDFs whose text is known, made by reportlab."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

WORDS = re.findall(
    r"\w+",
    """
    the river carries its water past old mills while people walk along both banks and talk about weather
    harvest roads letters trade music ships winter bread glass stone paper light
    """,
)


def sentence(number: int) -> str:
    """Words that no other number gives in that order, and the number in letters."""
    state = number * 7919 + 13
    words = []
    for _ in range(11):
        state = (state * 1103515245 + 12345) % 2**31
        words.append(WORDS[(state >> 8) % len(WORDS)])
    name = "".join("abcdefghij"[int(digit)] for digit in str(number))
    return f"Now {name}x {' '.join(words)}."


def filled(numbers: range, width: float, pen: Any, size: float) -> list[str]:
    """Sentences set in lines of a width."""
    lines, line = [], ""
    for word in " ".join(map(sentence, numbers)).split():
        longer = f"{line} {word}".strip()
        if pen.stringWidth(longer, "Helvetica", size) > width:
            lines.append(line)
            longer = word
        line = longer
    return [*lines, line]


def draw(pen: Any, lines: list[str], x: float, y: float, size: float = 10) -> float:
    """Lines below each other; where the next would be."""
    pen.setFont("Helvetica", size)
    for line in lines:
        pen.drawString(x, y, line)
        y -= 1.2 * size
    return y


def make_pdf(path: Path, *pages: Callable[[Any], Any], **options: Any) -> Path:
    """A file with a function that draws each page."""
    from reportlab.pdfgen.canvas import Canvas

    path.parent.mkdir(parents=True, exist_ok=True)
    pen = Canvas(str(path), pagesize=(595, 842), invariant=1, **options)
    for page in pages:
        page(pen)
        pen.showPage()
    pen.save()
    return path


def essay(*numbers: int) -> Callable[[Any], None]:
    """A page of sentences."""

    def page(pen: Any) -> None:
        draw(pen, filled(range(*numbers), 450, pen, 10), 60, 760)

    return page
