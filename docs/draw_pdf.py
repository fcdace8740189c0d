"""Draws `docs/pictures/pdf.svg`: a made page, and the blocks that are found on it, numbered in reading order.

python docs/draw_pdf.py
"""

from __future__ import annotations

import sys
import tempfile
from html import escape
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "shared"))

from made_pdfs import draw, filled, make_pdf  # noqa: E402
from smolfast.pdf.pdfium import pdfium_path  # noqa: E402
from smolfast.pdf.reading import Block, read_pdf  # noqa: E402

PICTURE = ROOT / "docs" / "pictures" / "pdf.svg"
_WIDTH, _HEIGHT, _SCALE = 440, 330, 0.74
_STYLE = (
    "text{font:14px ui-sans-serif,system-ui,sans-serif;fill:#1f2933}.line{fill:#9aa5b1}.page{fill:#fff;stroke:#9aa5b1}"
    ".text,.caption,.footnote,.table{fill:none;stroke:#0f766e}.table{stroke:#b45309}.footnote{stroke:#6d28d9}"
    "@media (prefers-color-scheme:dark){text{fill:#e4e7eb}.page{fill:#1b2226}.line{fill:#52606d}"
    ".text,.caption{stroke:#5eead4}.table{stroke:#fbbf24}.footnote{stroke:#c4b5fd}}"
)


def page(pen: Any) -> None:
    """A title, two columns, a table and a footnote."""
    draw(pen, ["The mills along the river"], 40, 800, 20)
    draw(pen, filled(range(4), 235, pen, 10), 40, 760)
    draw(pen, filled(range(4, 8), 235, pen, 10), 310, 756)
    for row, cells in enumerate((("Town", "River", "Mills"), ("Ulm", "Danube", "12"), ("Bern", "Aare", "7"))):
        for x, cell in zip((60, 250, 440), cells, strict=True):
            pen.drawString(x, 580 - 14 * row, cell)
    draw(pen, ["1 Counted by the people of both banks."], 40, 480, 8)


def drawn(blocks: list[Block]) -> str:
    """The page as SVG."""
    parts = []
    for number, block in enumerate(blocks, 1):
        x0, y0, x1, y1 = (_SCALE * value for value in block.box)
        lines = max(1, round((y1 - y0) / (_SCALE * 1.2 * block.size)))
        for line in range(lines):
            y = y0 + (line + 0.3) * (y1 - y0) / lines
            height = 0.4 * (y1 - y0) / lines
            parts.append(f'<rect class="line" x="{x0:.0f}" y="{y:.1f}" width="{x1 - x0:.0f}" height="{height:.1f}"/>')
        box = f'x="{x0 - 3:.0f}" y="{y0 - 3:.0f}" width="{x1 - x0 + 6:.0f}" height="{y1 - y0 + 6:.0f}"'
        parts.append(f'<rect class="{block.kind}" {box} rx="4" stroke-width="2"/>')
        parts.append(f'<text x="{max(3, x0 - 22):.0f}" y="{y0 + 12:.0f}">{number}</text>')
    words = "; ".join(f"{number}: {block.kind}" for number, block in enumerate(blocks, 1))
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-labelledby="t d">',
        '<title id="t">A page, with the blocks found on it numbered in reading order</title>',
        f'<desc id="d">{escape(words)}</desc>',
        f"<style>{_STYLE}</style>",
        f'<rect class="page" x="1" y="1" width="{_WIDTH - 2}" height="{_HEIGHT - 2}"/>',
    ]
    return "\n".join([*head, *parts, "</svg>", ""])


def main() -> None:
    """Write the picture."""
    with tempfile.TemporaryDirectory() as folder:
        data = make_pdf(Path(folder, "page.pdf"), page).read_bytes()
    blocks = read_pdf(data, pdfium_path(), lost={}).pages[0]
    assert blocks
    PICTURE.write_text(drawn(blocks), encoding="utf-8")
    print(f"wrote {PICTURE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
