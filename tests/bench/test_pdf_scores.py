"""What bench_pdf.py judges by, beside plain definitions."""

from __future__ import annotations

import itertools
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("reportlab")
pytest.importorskip("pypdfium2")
FONT = Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf")


@pytest.fixture(scope="module")
def scores() -> Iterator[Any]:
    sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
    try:
        import pdf_scores

        yield pdf_scores
    finally:
        sys.path.pop(0)


def plain_distance(a: Sequence[Any], b: Sequence[Any]) -> int:
    row = list(range(len(b) + 1))
    for at, one in enumerate(a, 1):
        before, row[0] = row[0], at
        for other in range(1, len(b) + 1):
            kept = row[other]
            row[other] = min(row[other] + 1, row[other - 1] + 1, before + (one != b[other - 1]))
            before = kept
    return row[-1]


def test_distances_are_levenshteins(scores: Any) -> None:
    chosen = random.Random(1)
    for _ in range(300):
        a, b = ("".join(chosen.choices("abcü\n", k=chosen.randint(0, 40))) for _ in range(2))
        assert scores.distance(a, b) == plain_distance(a, b), (a, b)
    assert scores.similarity("", "") == 1 and scores.similarity("abc", "") == 0
    assert scores.similarity(["old", "mill"], ["old", "mills"]) == 0.5


def test_tau_is_kendalls(scores: Any) -> None:
    chosen = random.Random(2)
    for _ in range(200):
        places = [chosen.choice([-1, chosen.randrange(99)]) for _ in range(chosen.randint(2, 12))]
        pairs = list(itertools.combinations(places, 2))
        good = sum(0 <= first <= second for first, second in pairs)
        assert scores.tau(places) == pytest.approx(2 * good / len(pairs) - 1)
    assert scores.tau([]) == scores.tau([5]) == 1 and scores.tau([1, 2, 3]) == 1 and scores.tau([3, 2, 1]) == -1


def test_marks_of_markdown_are_no_text(scores: Any) -> None:
    text = "# A **title**\n\n| a | b \\| c |\n|---|---|\n| 1 | 2 |\n\n- item\n<!-- image -->\nﬁne"
    assert scores.plain(text) == "A title a b c 1 2 item fine"
    assert scores.plain("a | b\n| c", lines=True) == "a b\nc"
    assert scores.words("GNUの本 42") == ["GNU", "の", "本", "42"]


@pytest.mark.skipif(not FONT.exists(), reason="no font with Hebrew letters")
def test_the_truth_passes_and_spoilt_truth_does_not(scores: Any) -> None:
    import pdf_documents

    for kind in ("footnotes", "right to left", "scans mixed in", "sideways tables"):
        made = pdf_documents.KINDS[kind](7, 1)
        assert made.kind == kind and made.pages >= 2 and made.data.startswith(b"%PDF")
        text = made.text()
        right = scores.score(made, text)
        assert right.similarity == right.tau == right.whole == 1, (kind, right)
        assert right.running in (None, 1) and right.rows in (None, 1), (kind, right)
        asked = list(scores.assertions(made, 1))
        lines = scores.plain(text, lines=True).split("\n")
        assert len(asked) >= 12 and all(one.holds(scores.plain(text), lines) for one in asked), kind
        turned = "\n".join(reversed(text.split()))
        if made.running:
            turned += "\n" + "\n".join(made.running)
        wrong = scores.score(made, turned)
        assert wrong.similarity < 0.5 and wrong.tau < -0.9 and wrong.whole < 0.05, (kind, wrong)
        assert wrong.running in (None, 0)
        lines = scores.plain(turned, lines=True).split("\n")
        held = [one.kind for one in asked if one.holds(scores.plain(turned), lines)]
        assert not {"before", "present", "same row"} & set(held), (kind, held)
        assert "absent" not in held or made.scans, kind
