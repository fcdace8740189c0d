"""Draws `docs/pictures/floors.svg` from `tests/house/wings.toml`; run it after a change there.

python docs/draw_floors.py
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "tests" / "house" / "wings.toml"
PICTURE = ROOT / "docs" / "pictures" / "floors.svg"

_WIDTH, _LEFT, _HEAD, _LINE, _BOX, _LETTER = 440, 16, 34, 36, 28, 8.6
_STYLE = (
    "text{font:14px ui-sans-serif,system-ui,sans-serif;fill:#1f2933}.floor{font-weight:600}"
    ".what{font-size:12px;font-weight:400;fill:#52606d}.box{fill:#d9f2ee;stroke:#0f766e}.row{fill:#f6f8f8}"
    "@media (prefers-color-scheme:dark){text{fill:#e4e7eb}.what{fill:#9aa5b1}"
    ".box{fill:#134e48;stroke:#5eead4}.row{fill:#1b2226}}"
)


def read_floors() -> list[dict[str, Any]]:
    """The floors from the ground up: name, what, and wings with what each may import."""
    return list(tomllib.loads(TABLE.read_text(encoding="utf-8"))["floor"])


def draw(floors: list[dict[str, Any]]) -> str:
    """The floors as SVG, the ground at the bottom; a floor takes as many lines as its wings need."""
    names = "; ".join(f"{floor['name']}: {', '.join(floor['wings'])}" for floor in floors)
    drawn: list[str] = []
    top = 4
    for floor in reversed(floors):
        boxes, lines = _wings(floor["wings"], top + _HEAD)
        height = _HEAD + lines * _LINE
        drawn.append(f'<rect class="row" x="2" y="{top}" width="{_WIDTH - 4}" height="{height}" rx="8"/>')
        what = f'<tspan class="what">: {escape(floor["what"])}</tspan>'
        drawn += [f'<text class="floor" x="{_LEFT}" y="{top + 22}">{escape(floor["name"])}{what}</text>', *boxes]
        top += height + 8
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{top}" viewBox="0 0 {_WIDTH} {top}" '
        'role="img" aria-labelledby="t d">',
        '<title id="t">The wings of python/smolfast by floor; imports point down</title>',
        f'<desc id="d">{escape(names)}</desc>',
        f"<style>{_STYLE}</style>",
    ]
    return "\n".join([*head, *drawn, "</svg>", ""])


def _wings(names: Iterable[str], y: int) -> tuple[list[str], int]:
    """Boxes from `y` on, and the lines that they take."""
    boxes: list[str] = []
    x, lines = float(_LEFT), 1
    for name in names:
        width = 20 + _LETTER * len(name)
        if x + width > _WIDTH - _LEFT:
            x, y, lines = float(_LEFT), y + _LINE, lines + 1
        boxes.append(f'<rect class="box" x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_BOX}" rx="6"/>')
        boxes.append(f'<text x="{x + width / 2:.1f}" y="{y + 19}" text-anchor="middle">{escape(name)}</text>')
        x += width + 8
    return boxes, lines


if __name__ == "__main__":
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(draw(read_floors()), encoding="utf-8")
    print(f"wrote {PICTURE.relative_to(ROOT)}")
