"""Keeps the figures of the long-context studies, and draws them.

    python benchmarks/studies/long_context/draw.py --needles FOLDER --positions RUN

FOLDER is that of study.py beside this; RUN that of positions.py. Their figures go into
`needles.json` and `positions.json` here, the pictures `long-context-NAME.svg` into docs/pictures.
Without a folder, a study is drawn again from the figures here. Prints the rows of the tables in docs/long-context.md.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from smolfast.files import read_json, write_json

HERE = Path(__file__).resolve().parent
PICTURES = HERE.parents[2] / "docs" / "pictures"
_MODELS = {"base": "before", "lengthen": "after"}
_STYLE = (
    "text{font:12.5px ui-sans-serif,system-ui,sans-serif;fill:#52606d}"
    ".title{font-size:15px;font-weight:600;fill:#1f2933}.grid{stroke:#cbd2d9}.cell{fill:#0f766e;stroke:#fff}"
    ".share{fill:#1f2933}.before{stroke:#b45309}.after{stroke:#0f766e}polyline{fill:none;stroke-width:2.5}"
    ".cut{stroke:#52606d;stroke-dasharray:4 3}"
    "@media (prefers-color-scheme:dark){text{fill:#9aa5b1}.title,.share{fill:#e4e7eb}.grid{stroke:#3e4c59}"
    ".cell{fill:#2dd4bf;stroke:#1f2933}.before{stroke:#fbbf24}.after{stroke:#2dd4bf}.cut{stroke:#9aa5b1}}"
)


def _svg(height: int, title: str, words: str, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="440" height="{height}" viewBox="0 0 440 {height}" role="img" '
        f'aria-labelledby="t d"><title id="t">{title}</title><desc id="d">{words}</desc><style>{_STYLE}</style>'
    )
    return "\n".join([head, f'<text class="title" x="10" y="20">{title}</text>', *parts, "</svg>"]) + "\n"


def needles_of(run: Path) -> dict[str, Any]:
    """What the study's two models found."""
    return {when: read_json(run / f"needles-{when}" / "needles.json") for when in _MODELS.values()}


def needles(found: dict[str, Any]) -> str:
    """Heat maps of one needle, before and after: lengths across, depths down."""
    parts: list[str] = []
    for number, (when, result) in enumerate(found.items()):
        left, wide, high = 60 + number * 195, 175 / len(result["lengths"]), 34
        shares = result["tasks"]["needle"]["right"]
        parts.append(f'<text x="{left + 87}" y="44" text-anchor="middle">{when}</text>')
        for column, length in enumerate(result["lengths"]):
            x = left + column * wide
            for row, share in enumerate(shares[column]):
                y = 52 + row * high
                parts += [
                    f'<rect class="cell" x="{x:.1f}" y="{y}" width="{wide:.1f}" height="{high}" '
                    f'fill-opacity="{0.05 + 0.6 * share:.2f}"/>',
                    f'<text class="share" x="{x + wide / 2:.1f}" y="{y + 21}" text-anchor="middle">{share:.0%}</text>',
                ]
            bottom = 52 + len(result["depths"]) * high
            parts.append(f'<text x="{x + wide / 2:.1f}" y="{bottom + 17}" text-anchor="middle">{length:,}</text>')
        if number == 0:
            parts += [
                f'<text x="{left - 6}" y="{73 + row * high}" text-anchor="end">{depth:.0%}</text>'
                for row, depth in enumerate(result["depths"])
            ]
    bottom = 52 + len(found["before"]["depths"]) * 34
    parts.append(f'<text x="10" y="{bottom + 40}">down: depth of the needle; across: tokens of the prompt</text>')
    context = found["before"]["context"]
    longest = [f"{_mean(result['tasks']['needle']['right'][-1]):.0%} {when}" for when, result in found.items()]
    words = f"A model of {context} tokens finds needles at {found['before']['lengths'][-1]}: {', '.join(longest)}."
    return _svg(bottom + 52, f"Needles of a model of {context} tokens, lengthened", words, parts)


def positions_of(run: Path) -> dict[str, Any]:
    """Bits per byte by position of both models of a run."""
    kept = ("context", "bits_per_byte", "tokens", "bytes", "documents", "positions")
    evaluated = {
        when: read_json(run / "positions" / f"evaluate@{model}" / "evaluation.json") for model, when in _MODELS.items()
    }
    return {when: {name: result[name] for name in kept} for when, result in evaluated.items()}


def positions(found: dict[str, Any], trained: int) -> str:
    """Bits per byte by position, a line for each model."""
    bins = found["before"]["positions"]
    values: list[float] = [one["bits_per_byte"] for result in found.values() for one in result["positions"]]
    low, high = min(values) - 0.1, max(values) + 0.1
    step = next(step for step in (0.1, 0.2, 0.5, 1.0, 2.0) if (high - low) / step <= 6)

    def across(number: float) -> float:
        return 44 + (number + 0.5) / len(bins) * 384

    def down(value: float) -> float:
        return 34 + (high - value) / (high - low) * 196

    levels = [step * number for number in range(math.ceil(low / step), math.floor(high / step) + 1)]
    parts = [
        f'<line class="grid" x1="44" x2="428" y1="{down(y):.1f}" y2="{down(y):.1f}"/>'
        f'<text x="38" y="{down(y) + 4:.1f}" text-anchor="end">{y:.4g}</text>'
        for y in levels
    ]
    parts += [
        f'<text x="{across(number):.1f}" y="248" text-anchor="middle">{one["from"]}–{one["to"]}</text>'
        for number, one in enumerate(bins)
    ]
    border = next((number for number, one in enumerate(bins) if one["from"] >= trained), None)
    if border is not None:
        parts.append(
            f'<line class="cut" x1="{across(border - 0.5):.1f}" x2="{across(border - 0.5):.1f}" y1="34" y2="230"/>'
        )
    for when, result in found.items():
        points = " ".join(
            f"{across(number):.1f},{down(one['bits_per_byte']):.1f}" for number, one in enumerate(result["positions"])
        )
        parts.append(f'<polyline class="{when}" points="{points}"/>')
    parts += [
        '<polyline class="before" points="44,276 68,276"/><text x="74" y="280">before</text>',
        '<polyline class="after" points="134,276 158,276"/><text x="164" y="280">after</text>',
        f'<text x="214" y="280">dashed: the {trained} tokens before</text>',
        '<text x="44" y="264">tokens of the document that were seen before</text>',
    ]
    ends = []
    for when, result in found.items():
        first, last = (result["positions"][place]["bits_per_byte"] for place in (0, -1))
        ends.append(f"{when} from {first:.2f} to {last:.2f}")
    words = f"Bits per byte from the first to the last positions: {'; '.join(ends)}."
    return _svg(292, "Bits per byte by position", words, parts)


def _mean(shares: Sequence[float]) -> float:
    return sum(shares) / len(shares)


def needle_rows(found: dict[str, Any]) -> list[str]:
    lengths = found["before"]["lengths"]
    return [
        f"| `{task}` | {when} | "
        + " | ".join(f"{_mean(shares):.0%}" for shares in result["tasks"][task]["right"][: len(lengths)])
        + " |"
        for task in found["before"]["tasks"]
        for when, result in found.items()
    ]


def position_rows(found: dict[str, Any]) -> list[str]:
    return [
        f"| {before['from']} to {before['to']} | {before['tokens']:,} | {before['bits_per_byte']:.3f} | "
        f"{after['bits_per_byte']:.3f} |"
        for before, after in zip(found["before"]["positions"], found["after"]["positions"], strict=True)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--needles", type=Path, metavar="FOLDER", help="folder of study.py")
    parser.add_argument("--positions", type=Path, metavar="RUN", help="folder of positions.py")
    parser.add_argument("--trained", type=int, default=64, help="tokens that the positions' base was trained at")
    arguments = parser.parse_args()
    if arguments.needles is not None:
        write_json(HERE / "needles.json", needles_of(arguments.needles))
    if arguments.positions is not None:
        write_json(HERE / "positions.json", {"trained": arguments.trained, "models": positions_of(arguments.positions)})
    if (HERE / "needles.json").exists():
        found = read_json(HERE / "needles.json")
        (PICTURES / "long-context-needles.svg").write_text(needles(found), encoding="utf-8")
        print("\n".join(needle_rows(found)))
    if (HERE / "positions.json").exists():
        kept = read_json(HERE / "positions.json")
        (PICTURES / "long-context-positions.svg").write_text(
            positions(kept["models"], kept["trained"]), encoding="utf-8"
        )
        print("\n".join(position_rows(kept["models"])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
