"""The README's pictures, drawn from the committed results: the path from text to model, and three plots of ratios.

python benchmarks/pictures.py            # says what would change
python benchmarks/pictures.py --write    # draws docs/pictures/*.svg
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from ratios import CLAIMS, Claim, find, ratio

from smolfast.bench.results import Results, read_results

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PICTURES = ROOT / "docs" / "pictures"

_STYLE = """<style>
text{font:15px ui-sans-serif,system-ui,sans-serif;fill:#1f2933}
.small{font-size:12.5px;fill:#52606d}.title{font-weight:600}
.box{fill:#eef6f5;stroke:#0f766e;stroke-width:1.5}.line{stroke:#52606d;stroke-width:1.5;fill:none}
.tip{fill:#52606d}.ours{fill:#0f766e}.lost{fill:#9aa5b1}.same{stroke:#1f2933;stroke-dasharray:3 3}
@media (prefers-color-scheme:dark){text{fill:#e4e7eb}.small{fill:#9aa5b1}.box{fill:#12312e;stroke:#5eead4}
.line{stroke:#9aa5b1}.tip{fill:#9aa5b1}.ours{fill:#2dd4bf}.lost{fill:#616e7c}.same{stroke:#e4e7eb}}
</style>"""


@dataclass(frozen=True)
class Bar:
    """How many times as fast ours is as a peer in one job; below 1 the peer is faster."""

    label: str
    peer: str
    times: float


def svg(width: int, height: int, title: str, description: str, body: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-labelledby="t d">\n'
        f'<title id="t">{escape(title)}</title>\n<desc id="d">{escape(description)}</desc>\n'
    )
    return head + "\n".join([_STYLE, *body, "</svg>", ""])


def bars(title: str, rows: Sequence[Bar]) -> str:
    """Horizontal bars on a logarithmic axis, from the peer's speed (1) on; grey and to the left where the peer wins."""
    width, left, right, step, top = 880, 352, 90, 34, 62
    most = max(10.0, *(row.times for row in rows))
    least = min(1.0, *(row.times for row in rows))
    span = math.log10(most) - math.log10(least)

    def place(times: float) -> float:
        return left + (math.log10(times) - math.log10(least)) / span * (width - left - right)

    one = place(1.0)
    bottom = top + step * len(rows)
    body = [
        f'<text class="title" x="8" y="24">{escape(title)}</text>',
        '<text class="small" x="8" y="44">Times as fast as the peer, logarithmic. '
        "Left of the dashed line the peer is faster.</text>",
    ]
    for index, row in enumerate(rows):
        y = top + index * step
        x0, x1 = sorted((one, place(row.times)))
        body.append(f'<text x="8" y="{y + 15}">{escape(row.label)}</text>')
        body.append(f'<text class="small" x="8" y="{y + 29}">beside {escape(row.peer)}</text>')
        body.append(
            f'<rect class="{"ours" if row.times >= 1 else "lost"}" x="{x0:.1f}" y="{y + 4}" '
            f'width="{max(2.0, x1 - x0):.1f}" height="18" rx="3"/>'
        )
        body.append(f'<text x="{max(x1, one) + 8:.1f}" y="{y + 19}">{shown(row.times)} ×</text>')
    body.append(f'<line class="same" x1="{one:.1f}" x2="{one:.1f}" y1="{top - 6}" y2="{bottom}"/>')
    said = "; ".join(f"{row.label} beside {row.peer}: {shown(row.times)} times as fast" for row in rows)
    return svg(width, bottom + 12, title, said, body)


def shown(times: float) -> str:
    return f"{times:.0f}" if times >= 20 else f"{times:.1f}" if times >= 2 else f"{times:.2f}"


def path(steps: Sequence[tuple[str, str]], between: Sequence[str]) -> str:
    """Boxes in a row with an arrow between two of them: what there is, what it is for; the rate over the arrow."""
    box, gap, height, top = 128, 92, 70, 34
    width = len(steps) * box + (len(steps) - 1) * gap + 16
    body = []
    for index, (name, what) in enumerate(steps):
        x = 8 + index * (box + gap)
        body.append(f'<rect class="box" x="{x}" y="{top}" width="{box}" height="{height}" rx="10"/>')
        body.append(f'<text class="title" x="{x + box / 2}" y="{top + 31}" text-anchor="middle">{escape(name)}</text>')
        body.append(f'<text class="small" x="{x + box / 2}" y="{top + 51}" text-anchor="middle">{escape(what)}</text>')
    for index, rate in enumerate(between):
        x = 8 + box + index * (box + gap)
        y = top + height / 2
        verb, _, figure = rate.partition("\n")
        body.append(f'<path class="line" d="M{x + 4} {y}H{x + gap - 12}"/>')
        body.append(f'<path class="tip" d="M{x + gap - 4} {y}l-10 -5v10z"/>')
        body.append(f'<text x="{x + gap / 2}" y="{y - 12}" text-anchor="middle">{escape(verb)}</text>')
        body.append(f'<text class="small" x="{x + gap / 2}" y="{y + 20}" text-anchor="middle">{escape(figure)}</text>')
    words = ", ".join(f"{name} ({what})" for name, what in steps)
    rates = ", ".join(rate.replace("\n", " at ") for rate in between)
    return svg(width, top + height + 20, "From text to a small model", f"{words}; between them: {rates}", body)


def load() -> dict[str, Results]:
    return {file.stem: read_results(file) for file in sorted(RESULTS.glob("*.json")) if not file.stem.startswith("gpu")}


def rate_of(results: Results, part: str, case: str, threads: int) -> float:
    """Bytes a second of ours, median."""
    row = find(results, Claim("", results.benchmark, part, case, "", "", threads=threads), "smolfast")
    rate = row.rate()
    assert rate is not None
    return rate.median


def pictures() -> dict[str, str]:
    """Each picture's file name and its SVG."""
    found = load()
    clean = rate_of(found["text"], "clean", "ascii", 1) / 1e6
    unique = rate_of(found["dedup"], "job", "real-95", 2) / 1e6
    step = find(found["train"], Claim("", "train", "training step", "compact", "", "", threads=2), "smolfast")
    tokens = float(step.facts["tokens_a_second"])
    steps = [
        ("Your text", "files, folders, URLs"),
        ("Clean text", "Unicode, web noise"),
        ("Unique text", "near-copies gone"),
        ("Tokens", "packed windows"),
        ("A small model", "for transformers"),
    ]
    between = [
        f"clean\n{clean:,.0f} MB/s",
        f"dedup\n{unique:,.0f} MB/s",
        "tokenize\nby tokenizers",
        f"train\n{tokens:,.0f} tok/s",
    ]

    def of(*benchmarks: str) -> list[Bar]:
        chosen = [claim for claim in CLAIMS if claim.benchmark in benchmarks]
        rows = []
        for claim in chosen:
            label = claim.plot or claim.job.replace("`", "").replace(
                "Japanese, Chinese, Russian, Arabic", "CJK, Russian, Arabic"
            )
            rows.append(Bar(label, claim.peer, ratio(found[claim.benchmark], claim)))
        return sorted(rows, key=lambda row: -row.times)

    return {
        "path.svg": path(steps, between),
        "speed-text.svg": bars("Text and deduplication", of("text", "dedup")),
        "speed-operations.svg": bars("Attention, loss and Muon on a CPU", of("attention", "loss", "optim")),
        "speed-training.svg": bars("A training step on a CPU", of("train")),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    write = parser.parse_args().write
    PICTURES.mkdir(exist_ok=True)
    for name, drawn in pictures().items():
        file = PICTURES / name
        same = file.exists() and file.read_text("utf-8") == drawn
        if write and not same:
            file.write_text(drawn, "utf-8")
        print(f"{name}: {'unchanged' if same else 'written' if write else 'would change'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
