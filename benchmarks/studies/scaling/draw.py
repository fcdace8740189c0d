"""Draws the studies of scaling from their results: what small runs predicted, and where the best rates lie.

    python benchmarks/studies/scaling/draw.py

Reads `rehearsal.json`, `prediction.json` and `transfer.json` beside it, those that there are; writes `scaling-NAME.svg`
for each into docs/pictures.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from smolfast.files import read_json

HERE = Path(__file__).resolve().parent
PICTURES = HERE.parents[2] / "docs" / "pictures"
_STYLE = (
    "text{font:12.5px ui-sans-serif,system-ui,sans-serif;fill:#52606d}"
    ".title{font-size:15px;font-weight:600;fill:#1f2933}.grid{stroke:#cbd2d9}.came{fill:#1f2933}"
    ".band{stroke:#0f766e;stroke-width:6;opacity:.35}.run{fill:#b45309}"
    "polyline{fill:none;stroke-width:2}.a,.best{stroke:#0f766e}.b{stroke:#b45309}.c{stroke:#6d28d9}.d{stroke:#1f2933}"
    ".deep{stroke-dasharray:5 3}.best{fill:#0f766e}"
    "@media (prefers-color-scheme:dark){text{fill:#9aa5b1}.title{fill:#e4e7eb}.grid{stroke:#3e4c59}"
    ".came{fill:#e4e7eb}.d{stroke:#e4e7eb}.run{fill:#fbbf24}.a,.best{stroke:#2dd4bf}.b{stroke:#fbbf24}.c{stroke:#a78bfa}"
    ".best{fill:#2dd4bf}}"
)
_COLOURS = "abcd"


def _svg(width: int, height: int, title: str, words: str, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" aria-labelledby="t d"><title id="t">{title}</title><desc id="d">{words}</desc>'
        f"<style>{_STYLE}</style>"
    )
    return "\n".join([head, f'<text class="title" x="10" y="20">{title}</text>', *parts, "</svg>"]) + "\n"


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _levels(low: float, high: float, down: Callable[[float], float], left: int, right: int) -> list[str]:
    """Level lines with their values, at about five round ones."""
    step = next(step for step in (0.05, 0.1, 0.2, 0.5, 1.0, 2.0) if (high - low) / step <= 6)
    return [
        f'<line class="grid" x1="{left}" x2="{right}" y1="{down(y):.1f}" y2="{down(y):.1f}"/>'
        f'<text x="{left - 6}" y="{down(y) + 4:.1f}" text-anchor="end">{y:.4g}</text>'
        for y in np.arange(np.ceil(low / step), high / step) * step
    ]


def prediction(result: dict[str, Any]) -> str:
    """Losses by operations: small runs, and the held-out one in its interval."""
    said, came = result["prediction"], result["held_out"]
    runs, band = said["runs"], said["loss"]
    losses = [run["loss"] for run in runs] + [came["loss"], band["low"], band["high"]]
    low, high = min(losses) - 0.1, max(losses) + 0.1
    x = [float(np.log10(run["flops"])) for run in [*runs, came]]
    across, down = _scale(min(x) - 0.1, max(x) + 0.2, 44, 428), _scale(low, high, 250, 34)
    words = (
        f"{len(runs)} small runs predict a loss of {band['low']:.3f} to {band['high']:.3f} for a run of "
        f"{came['params']:,} parameters and {came['tokens']:,} tokens; it came to {came['loss']:.3f}."
    )
    parts = _levels(low, high, down, 44, 428)
    parts += [
        f'<text x="{across(at):.1f}" y="268" text-anchor="middle">1e{at}</text>'
        for at in range(int(np.ceil(min(x))), int(max(x) + 0.2) + 1)
    ]
    parts += [
        f'<circle class="run" cx="{across(at):.1f}" cy="{down(run["loss"]):.1f}" r="4"/>'
        for at, run in zip(x, runs, strict=False)
    ]
    end = f"{across(x[-1]):.1f}"
    parts += [
        f'<line class="band" x1="{end}" x2="{end}" y1="{down(band["low"]):.1f}" y2="{down(band["high"]):.1f}"/>',
        f'<circle class="came" cx="{end}" cy="{down(came["loss"]):.1f}" r="4"/>',
        '<text x="44" y="292">operations; dots: small runs; bar: predicted, 90 %; black: what came</text>',
    ]
    return _svg(440, 300, "A larger run, as small ones predicted it", words, parts)


def transfer(result: dict[str, Any]) -> str:
    """Losses by rate, a panel for each parametrisation; a dot where a curve is lowest."""
    every = [row for found in result["kinds"].values() for row in found["rows"]]
    low = min(min(row["losses"].values()) for row in every) - 0.05
    high = min(low + 1.5, max(max(row["losses"].values()) for row in every) + 0.05)
    down = _scale(low, high, 240, 44)
    widths = sorted({row["width"] for row in every})
    parts: list[str] = []
    moves = []
    for number, (kind, found) in enumerate(result["kinds"].items()):
        left, right = 44 + number * 240, 264 + number * 240
        powers = sorted({int(power) for row in found["rows"] for power in row["losses"]})
        across = _scale(powers[0], powers[-1], left + 8, right - 8)
        if number == 0:
            parts += _levels(low, high, down, left, 44 + 2 * 240 + 220)
        parts += [f'<text x="{(left + right) / 2}" y="40" text-anchor="middle">{kind}</text>']
        parts += [
            f'<text x="{across(power):.1f}" y="258" text-anchor="middle">{2 ** (power / 2):.3g}</text>'
            for power in powers[:: max(1, len(powers) // 4)]
        ]
        for row in found["rows"]:
            points = sorted((int(power), loss) for power, loss in row["losses"].items() if loss < high)
            deep = " deep" if row["depth"] != result["base"][1] else ""
            colour = _COLOURS[widths.index(row["width"]) % len(_COLOURS)]
            line = " ".join(f"{across(power):.1f},{down(loss):.1f}" for power, loss in points)
            parts.append(f'<polyline class="{colour}{deep}" points="{line}"/>')
            if points:
                power, loss = min(points, key=lambda point: point[1])
                parts.append(f'<circle class="best" cx="{across(power):.1f}" cy="{down(loss):.1f}" r="3.5"/>')
        shifts = [
            f"{found['moves'][way]:.2g} over {way}s" for way in ("width", "depth") if found["moves"][way] is not None
        ]
        moves.append(f"{kind}: {', '.join(shifts) or 'unknown'}")
    names = ", ".join(f"width {width}" for width in widths)
    parts.append(
        f'<text x="44" y="282">rate over the base\'s; {names}: teal, brown, violet, black; dashed: depths</text>'
    )
    words = "Steps of a root of two by which the best rate moves. " + "; ".join(moves) + "."
    return _svg(764, 292, "Where the best rate lies", words, parts)


def main() -> int:
    drawn = 0
    for name, draw in (("rehearsal", prediction), ("prediction", prediction), ("transfer", transfer)):
        if (path := HERE / f"{name}.json").exists():
            (PICTURES / f"scaling-{name}.svg").write_text(draw(dict(read_json(path))), encoding="utf-8")
            drawn += 1
    if not drawn:
        print("there are no results beside this program; see prediction.py and transfer.py")
    return 0 if drawn else 1


if __name__ == "__main__":
    sys.exit(main())
