"""Draws `docs/pictures/sweep.svg`: trials of a sweep, which pause twice, and the best go on.

python docs/draw_sweep.py
"""

from __future__ import annotations

import math
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "pictures" / "sweep.svg"
_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 440, 230, 16, 20, 196
_STYLE = (
    "text{font:13px ui-sans-serif,system-ui,sans-serif;fill:#54595e}"
    ".axis,.rung{stroke:#7c848b}.rung{stroke-dasharray:2 4}"
    "path{fill:none;stroke:#7c848b;stroke-width:1.5}.best{stroke:#0c7a5c;stroke-width:3}.word{fill:#0c7a5c}"
    "circle{fill:#a64b06}.end{fill:#a64b06}"
    "@media (prefers-color-scheme:dark){text{fill:#a9aeb4}.best{stroke:#4cc9a0}.word{fill:#4cc9a0}"
    "circle,.end{fill:#f0a04b}}"
)
# Rate, floor and share of the steps of each trial; the last one is the best.
_TRIALS = (
    *((2.0, 0.78, 0.25), (2.4, 0.70, 0.25), (2.2, 0.62, 0.25), (2.6, 0.55, 0.25)),
    *((3.0, 0.48, 0.5), (3.6, 0.40, 0.5), (4.4, 0.25, 1.0), (5.2, 0.12, 1.0)),
)
_RUNGS = ((0.25, "1/4"), (0.5, "1/2"))


def drawn() -> str:
    """The picture as SVG."""
    parts = [f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - 8}" y1="{_BOTTOM}" y2="{_BOTTOM}"/>']
    for share, name in _RUNGS:
        x = _LEFT + (_WIDTH - _LEFT - 90) * share
        parts.append(f'<line class="rung" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_BOTTOM}"/>')
        parts.append(f'<text x="{x:.1f}" y="{_BOTTOM + 15}" text-anchor="middle">{name}</text>')
    for index, (rate, floor, share) in enumerate(_TRIALS):
        points = []
        for step in range(round(40 * share) + 1):
            loss = floor + (1 - floor) * math.exp(-rate * step / 40)
            points.append((_LEFT + (_WIDTH - _LEFT - 90) * step / 40, _TOP + (_BOTTOM - _TOP) * (1 - loss)))
        turned = [(x, _TOP + _BOTTOM - y) for x, y in points]  # a loss falls
        best = index == len(_TRIALS) - 1
        path = "M" + "L".join(f"{x:.1f} {_TOP + _BOTTOM - y:.1f}" for x, y in turned)
        parts.append(f'<path class="{"best" if best else "other"}" d="{path}"/>')
        x, y = turned[-1][0], _TOP + _BOTTOM - turned[-1][1]
        if share < 1:
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"/>')
        elif best:
            parts.append(f'<text class="word" x="{x + 8:.0f}" y="{y + 4:.0f}">the best</text>')
    parts.append(f'<text class="end" x="{_LEFT + 190}" y="{_TOP + 22}">all pause: the best go on</text>')
    parts.append(f'<text x="{_LEFT}" y="{_HEIGHT - 2}">steps of training, held-out loss upwards</text>')
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-labelledby="t d">',
        '<title id="t">Held-out losses of the trials of a sweep</title>',
        '<desc id="d">Eight falling curves; four end at a quarter of the steps, two at a half, two go on</desc>',
        f"<style>{_STYLE}</style>",
    ]
    return "\n".join([*head, *parts, "</svg>", ""])


def main() -> None:
    """Write the picture."""
    PICTURE.write_text(drawn(), encoding="utf-8")
    print(f"wrote {PICTURE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
