"""The README and every guide begin with a picture, and a picture says in words what it shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PICTURES = sorted((ROOT / "docs" / "pictures").glob("*.svg"))
IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)]+)\)")


def guides() -> list[Path]:
    """What mkdocs.yml lists as tutorials and guides, and the first pages."""
    listed = re.findall(
        r"^ +- (?:Guides|Tutorials):\n((?: {6}- .*\n)+)", (ROOT / "mkdocs.yml").read_text("utf-8"), re.M
    )
    assert len(listed) == 2
    names = re.findall(r": (\S+\.md)", "".join(listed))
    return [ROOT / "README.md", ROOT / "docs" / "index.md", *(ROOT / "docs" / name for name in names)]


@pytest.mark.parametrize("page", guides(), ids=lambda page: page.name)
def test_a_picture_stands_at_the_top(page: Path) -> None:
    top = page.read_text(encoding="utf-8").split("\n## ")[0].split("\n```")[0]
    assert IMAGE.search(top), f"{page.name} begins without a picture"


def test_each_picture_is_shown_and_says_what_it_shows() -> None:
    shown = set()
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        for alternative, target in IMAGE.findall(page.read_text(encoding="utf-8")):
            assert len(alternative.split()) >= 5, f"{page.name}: {target} has no text alternative"
            shown.add((page.parent / target).resolve())
    assert all(picture.exists() for picture in shown)
    assert {picture for picture in shown if picture.suffix == ".svg"} == set(PICTURES)
    for picture in PICTURES:
        drawn = picture.read_text(encoding="utf-8")
        assert "<title" in drawn and "<desc" in drawn and "prefers-color-scheme:dark" in drawn, picture.name


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)
def test_a_phone_shows_it_large_enough_to_read(picture: Path) -> None:
    """Its page is 360 pixels wide there: type of 12.5 stays above 10."""
    width = int(re.search(r'<svg [^>]*width="(\d+)"', picture.read_text(encoding="utf-8"))[1])  # type: ignore[index]
    assert width <= (640 if picture.name == "report.svg" else 440)


def test_labels_beside_each_other_have_room() -> None:
    """Left-hand and right-hand words of a box of the path, at the widest letters that a browser may have."""
    both = re.compile(r'class="title" x="20"[^>]*>([^<]+)</text>\n<text class="small" x="420"[^>]*>([^<]+)<')
    found = [pair for picture in PICTURES for pair in both.findall(picture.read_text(encoding="utf-8"))]
    assert len(found) > 20
    for name, what in found:
        assert 9.0 * len(name) + 6.9 * len(what) <= 408, f"{name} | {what}"
