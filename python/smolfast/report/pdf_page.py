"""The page that `smolfast pdf show` writes: a page as it is seen, its blocks numbered in reading order, their text."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from smolfast.report.document import document
from smolfast.report.markup import Markup, markup, pairs, tag
from smolfast.report.section import Section, counted

KINDS = {
    "text": "text",
    "heading": "heading",
    "table": "table",
    "caption": "caption",
    "footnote": "footnote",
    "figure": "picture",
    "running": "running line, taken out",
}
"""Of blocks, as the page calls them."""


@dataclass(frozen=True)
class ShownBlock:
    """One block."""

    kind: str
    """One of KINDS."""
    box: tuple[float, float, float, float]
    """Left, top, right and bottom in points."""
    size: float
    """Of the font, in points."""
    text: str


def pdf_page(
    title: str,
    subtitle: str,
    png: bytes,
    width: float,
    height: float,
    blocks: Sequence[ShownBlock],
    facts: Sequence[tuple[str, object]],
) -> str:
    """The whole page as HTML.

    Args:
        title, subtitle: what is shown.
        png: the page as it is seen.
        width, height: of the page, in points.
        blocks: in reading order.
        facts: names and values, for the table below.
    """
    picture = tag(
        "svg",
        tag("image", href=f"data:image/png;base64,{base64.b64encode(png).decode()}", width=width, height=height),
        (_mark(number, block) for number, block in enumerate(blocks, 1)),
        viewBox=f"0 0 {width:g} {height:g}",
        role="group",
        aria_label=f"The page, with {counted(len(blocks), 'block')} marked on it",
        class_="sheet",
    )
    found = [kind for kind in KINDS if any(block.kind == kind for block in blocks)]
    key = tag("ul", (tag("li", tag("span", class_=f"box {kind}"), KINDS[kind]) for kind in found), class_="kinds")
    beside = tag("div", tag("figure", picture, class_="page"), _texts(blocks), class_="beside")
    return document(
        title,
        [Section("page", "Page", markup((key, beside))), Section("facts", "Facts", pairs("Of this page", facts))],
        "a PDF file",
        subtitle,
        pictures=True,
    )


def _mark(number: int, block: ShownBlock) -> Markup:
    x0, y0, x1, y1 = block.box
    across = 7 + 6 * len(str(number))
    left = max(x0 - across - 4, 1.0)  # beside the text, where there is room
    box = tag(
        "rect",
        x=f"{x0 - 2:.1f}",
        y=f"{y0 - 2:.1f}",
        width=f"{max(1.0, x1 - x0 + 4):.1f}",
        height=f"{max(1.0, y1 - y0 + 4):.1f}",
        rx=3,
        class_=block.kind,
    )
    ground = tag("rect", x=f"{left:.1f}", y=f"{y0 - 2:.1f}", width=across, height=13, rx=3, class_=f"tab {block.kind}")
    label = tag("text", number, x=f"{left + across / 2:.1f}", y=f"{y0 + 8:.1f}", text_anchor="middle")
    return tag("a", box, ground, label, href=f"#block-{number}", aria_label=f"Block {number}: {KINDS[block.kind]}")


def _texts(blocks: Sequence[ShownBlock]) -> Markup:
    if not blocks:
        return tag("p", "No text was found on this page.", class_="missing")
    return tag(
        "ol",
        (
            tag(
                "li",
                tag(
                    "p",
                    tag("b", number, class_=f"tab {block.kind}"),
                    KINDS[block.kind],
                    f", {block.size:.1f} points" if block.size else "",
                    class_="muted",
                ),
                tag("div", block.text, class_="words") if block.text else None,
                id=f"block-{number}",
                value=number,
            )
            for number, block in enumerate(blocks, 1)
        ),
        class_="blocks",
    )
