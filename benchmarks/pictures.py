"""The pictures of README and guides: plots from the committed results, a training curve, and what each part does.

python benchmarks/pictures.py            # says what would change
python benchmarks/pictures.py --write    # draws docs/pictures/*.svg
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from ratios import CLAIMS, Claim, find, ratio

from smolfast import text
from smolfast.bench.names import contender
from smolfast.bench.results import Results, read_results
from smolfast.curate import load_rules
from smolfast.report.smoothing import smoothed

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PICTURES = ROOT / "docs" / "pictures"

_STYLE = """<style>
text{font:15px ui-sans-serif,system-ui,sans-serif;fill:#1f2933}
.small{font-size:12.5px;fill:#52606d}.title{font-weight:600}
.box{fill:#eef6f5;stroke:#0f766e;stroke-width:1.5}.line{stroke:#52606d;stroke-width:1.5;fill:none}
.tip{fill:#52606d}.ours{fill:#0f766e}.lost{fill:#7b8794}.same{stroke:#1f2933;stroke-dasharray:3 2}.grid{stroke:#cbd2d9}
@media (prefers-color-scheme:dark){text{fill:#e4e7eb}.small{fill:#9aa5b1}.box{fill:#12312e;stroke:#5eead4}
.line{stroke:#9aa5b1}.tip{fill:#9aa5b1}.ours{fill:#2dd4bf}.lost{fill:#616e7c}.same{stroke:#e4e7eb}.grid{stroke:#3e4c59}}
</style>"""

_CURVE_STYLE = """<style>
.raw{stroke:#0f766e;stroke-width:1;opacity:.35;fill:none}.smooth{stroke:#0f766e;stroke-width:2.5;fill:none}
.held{fill:#b45309;stroke:#fff}
@media (prefers-color-scheme:dark){.raw,.smooth{stroke:#2dd4bf}.held{fill:#fbbf24;stroke:#12181c}}
</style>"""


_WIDTH = 440
"""Of each drawing in pixels. A phone shows it at four fifths, and the smallest type is still read."""


@dataclass(frozen=True)
class Bar:
    """How many times as fast ours is as a peer in one job; below 1 the peer is faster."""

    label: str
    peer: str
    times: float


def svg(height: int, title: str, description: str, body: Sequence[str]) -> str:
    """The drawing in its own size; a page may make it smaller."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}" '
        f'role="img" aria-labelledby="t d">\n<title id="t">{escape(title)}</title>\n'
        f'<desc id="d">{escape(description)}</desc>\n'
    )
    return head + "\n".join([_STYLE, *body, "</svg>", ""])


def bars(title: str, rows: Sequence[Bar]) -> str:
    """Horizontal bars on a logarithmic axis, from the peer's speed (1) on; grey and to the left where the peer wins."""
    left, right, step = 8, 64, 46
    most = max(2.0, *(row.times for row in rows))
    least = min(1.0, *(row.times for row in rows))
    span = math.log10(most) - math.log10(least)

    def place(times: float) -> float:
        return left + (math.log10(times) - math.log10(least)) / span * (_WIDTH - left - right)

    one = place(1.0)
    body = [
        f'<text class="title" x="8" y="22">{escape(title)}</text>',
        '<text class="small" x="8" y="41">Times as fast as the peer, on a logarithmic axis.</text>',
    ]
    if least < 1:
        body.append('<text class="small" x="8" y="57">Grey: the peer is faster.</text>')
    top = 66 if least < 1 else 50
    ticks = [
        tick for tick in ((1, 10, 100, 1000) if most > 20 else (1, 2, 5, 10) if most > 2 else (1, 2)) if tick <= most
    ]
    for index, row in enumerate(rows):
        y = top + index * step
        x0, x1 = sorted((one, place(row.times)))
        said = f"{shown(row.times)} ×"
        beside = f'<tspan class="small"> beside {escape(row.peer)}</tspan>'
        body.append(f'<text x="8" y="{y + 18}">{escape(row.label)}{beside}</text>')
        after = max(x1, one) + 8
        for at in map(place, ticks[1:]):
            if not after - 4 < at < after + 10 * len(said):  # not through the figure
                body.append(f'<path class="grid" d="M{at:.1f} {y + 22}v19"/>')
        body.append(
            f'<rect class="{"ours" if row.times >= 1 else "lost"}" x="{x0:.1f}" y="{y + 24}" '
            f'width="{max(2.0, x1 - x0):.1f}" height="15" rx="3"/>'
        )
        body.append(f'<text x="{after:.1f}" y="{y + 37}">{said}</text>')
        body.append(f'<path class="same" d="M{one:.1f} {y + 22}v19"/>')
    bottom = top + step * len(rows)
    for tick in ticks:
        body.append(
            f'<text class="small" x="{max(place(tick), 18):.1f}" y="{bottom + 14}" text-anchor="middle">'
            f"{tick:,} ×</text>"
        )
    described = "; ".join(f"{row.label} beside {row.peer}: {shown(row.times)} times as fast" for row in rows)
    return svg(bottom + 22, title, described, body)


def shown(times: float) -> str:
    return f"{times:.0f}" if times >= 20 else f"{times:.1f}" if times >= 2 else f"{times:.2f}"


def path(title: str, steps: Sequence[tuple[str, str]], between: Sequence[tuple[str, str]]) -> str:
    """Boxes one below the other, with an arrow between two of them: what there is, what it is for; verb and rate."""
    box, gap = 40, 36
    body = []
    for index, (name, what) in enumerate(steps):
        y = 4 + index * (box + gap)
        body.append(f'<rect class="box" x="4" y="{y}" width="{_WIDTH - 8}" height="{box}" rx="10"/>')
        body.append(f'<text class="title" x="20" y="{y + 25}">{escape(name)}</text>')
        body.append(f'<text class="small" x="{_WIDTH - 20}" y="{y + 25}" text-anchor="end">{escape(what)}</text>')
    for index, (verb, rate) in enumerate(between):
        y = 4 + box + index * (box + gap)
        body.append(f'<path class="line" d="M64 {y + 4}v{gap - 14}"/>')
        body.append(f'<path class="tip" d="M64 {y + gap - 3}l-5 -10h10z"/>')
        body.append(
            f'<text x="84" y="{y + gap / 2 + 5}">{escape(verb)}<tspan class="small">  {escape(rate)}</tspan></text>'
        )
    words = ", ".join(f"{name} ({what})" for name, what in steps)
    rates = "; ".join(f"{verb}, {rate}" for verb, rate in between)
    height = len(steps) * (box + gap) - gap + 8
    return svg(height, title, f"{words}; between them: {rates}", body)


def cleaning() -> str:
    """A string on its way through the functions of `smolfast.text`, each box what really came out."""
    messy = ["cafÃ©\u00a0noir\u200b\r\nada@x.org"]
    mended = text.fix_mojibake(messy)
    clean = text.clean(mended).strings
    redacted = text.redact(clean)
    boxes = [
        (ascii_spaces(column[0]), what)
        for column, what in (
            (messy, "as it came"),
            (mended.to_pylist(), "é was misread"),
            (clean.to_pylist(), "plain spaces, plain line ends"),
            (redacted.to_pylist(), "no address"),
        )
    ]
    calls = [("text.fix_mojibake", ""), ("text.clean", ""), ("text.redact", "")]
    return path("A string, cleaned", boxes, calls)


def ascii_spaces(string: str) -> str:
    """The string as Python writes it, its letters as they are."""
    return "".join(c if c.isprintable() and c != "\u00a0" else repr(c)[1:-1] for c in string)


def deduplication() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Boxes and arrows of a deduplication."""
    return [
        ("Documents", "parquet, JSON lines, text"),
        ("Signatures", "112 numbers for each document"),
        ("Clusters", "documents that are alike"),
        ("What stays, what goes", "kept.parquet, removed.parquet"),
    ], [
        ("sign", "words into runs of five, runs into MinHash"),
        ("group", "those that share a band, if alike enough"),
        ("choose", "the first, the longest or the best stays"),
    ]


def curation() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Boxes and arrows of FineWeb's filters, in their order."""
    filters = [kind.name.replace("_", " ") for kind in load_rules("fineweb@0.10").filters]
    what = {
        "gopher repetition": "lines and n-grams that come again",
        "gopher quality": "length, symbols, stop words",
        "c4 quality": "menus, braces, too few sentences",
        "fineweb quality": "line ends, short lines, lists",
    }
    boxes = [("Documents", "parquet, JSON lines"), *((proper(name), what[name]) for name in filters)]
    boxes.append(("kept/", "and removed/, with the number that decided"))
    return boxes, [("measure", "each number once"), *[("pass on", "what failed no check")] * len(filters)]


def proper(name: str) -> str:
    """A filter's name with the capitals that FineWeb, C4 and Gopher have."""
    return "FineWeb" + name.removeprefix("fineweb") if name.startswith("fineweb") else name.capitalize()


def classification() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Boxes and arrows of a fastText model."""
    return [
        ("A document", "a string"),
        ("Its words and n-grams", "and pieces of words"),
        ("One vector", "the mean of their rows in the model"),
        ("Labels and scores", "a language, a quality"),
    ], [
        ("cut", "at white space"),
        ("look up", "each by its hash"),
        ("compare", "with the row of each label"),
    ]


def terabyte() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Boxes and arrows of docs/scale.md's first column."""
    return [
        ("1 TB of text", "0.33 billion documents of 3 kB"),
        ("0.2 TB of numbers on disk", "588 bytes a document"),
        ("Clusters", "17 GB of memory, all at once"),
        ("The documents that stay", "2 core-hours in all"),
    ], [
        ("sign", "can run where the text lies"),
        ("group", "band by band, 14 times"),
        ("choose and filter", "text is read once more"),
    ]


def cluster() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Boxes and arrows of a deduplication on many machines."""
    return [
        ("Text", "stays where it lies"),
        ("Band records", "12 bytes a document and band"),
        ("Components", "numbers of 64 bits"),
        ("The documents that stay", "the bytes of one machine"),
    ], [
        ("sign", "on every machine"),
        ("send, then join labels", "few rounds"),
        ("choose and filter", "where the text lies"),
    ]


def stores() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Boxes and arrows of a command between two stores."""
    return [
        ("s3://bucket/in", "blocks of 4 MiB, read ahead"),
        ("The command", "as on one disk"),
        ("A local folder", "what a killed run left stays"),
        ("s3://bucket/out", "whole, or not at all"),
    ], [
        ("read", "again after a fault"),
        ("write", "the same bytes"),
        ("upload", "four files at a time, record last"),
    ]


def edge() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Boxes and arrows of docs/edge.md: which file for which engine."""
    return [
        ("A trained model", "of smolfast or transformers"),
        ("model.gguf", "2 to 32 bits a weight"),
        ("llama.cpp", "on a phone or a laptop"),
    ], [
        ("smolfast export --format gguf", "each type said"),
        ("load", "the same tokens"),
    ]


def tuning() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Boxes and arrows of docs/tuning.md: a conversation on its way to the loss."""
    return [
        ("A conversation", "tools, thoughts, nulls"),
        ("Turns", "the chat template"),
        ("Tokens, and which are learned", "the answers"),
        ("Windows", "no answer cut off"),
    ], [
        ("write", "as transformers does"),
        ("encode", "TRL's mask"),
        ("pack by length", "nothing crosses"),
    ]


def alignment() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Boxes and what is between them: how a model learns from pairs of answers."""
    boxes = [
        ("Pairs of answers", "texts or conversations"),
        ("Token files", "what is learned is marked"),
        ("Log-probabilities", "parquet, by token"),
        ("An aligned model", "a folder for transformers"),
    ]
    between = [
        ("encode", "odd pairs are named or counted"),
        ("ask the reference", "once, for all runs"),
        ("train", "DPO or APO, without logits in memory"),
    ]
    return boxes, between


def lengthening() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Boxes and arrows of docs/long-context.md, with the lengths and bases of the recipe that ships."""
    recipe = tomllib.loads((ROOT / "python" / "smolfast" / "recipes" / "lengthen.toml").read_text("utf-8"))["stages"]
    base, parts = recipe["base"], recipe["lengthen"]["stages"]
    models = [("A trained model", f"{base['sequence_length']} tokens")]
    models += [("The same, longer", f"{part['sequence_length']} tokens") for part in parts]
    trained = [
        ("train", f"θ = {part['rope_theta']:,.0f}, {part['long_documents']:.0%} long documents") for part in parts
    ]
    return [*models, ("A page", "needles, bits per byte")], [*trained, ("evaluate", "each length and depth")]


def dispatch() -> str:
    """One call, and what computes it on each device."""
    height, box, gap = 212, 138, 9
    body = [
        f'<rect class="box" x="4" y="4" width="{_WIDTH - 8}" height="58" rx="10"/>',
        '<text class="title" x="20" y="28">Your trainer calls smolfast.ops</text>',
        '<text class="small" x="20" y="49">gqa_attention, mtp_loss, newton_schulz; autograd, FSDP</text>',
    ]
    ways = [
        ("GPU", "Triton kernels", "not timed yet"),
        ("CPU", "C++", "where it is faster"),
        ("Anything else", "plain torch", "the reference"),
    ]
    for index, (device, what, note) in enumerate(ways):
        x = 4 + index * (box + gap)
        middle = x + box // 2
        body += [
            f'<path class="line" d="M{middle} 66v28"/><path class="tip" d="M{middle} 106l-5 -10h10z"/>',
            f'<rect class="box" x="{x}" y="110" width="{box}" height="92" rx="10"/>',
            f'<text class="small" x="{x + 10}" y="134">{device}</text>',
            f'<text class="title" x="{x + 10}" y="158">{what}</text>',
            f'<text class="small" x="{x + 10}" y="182">{note}</text>',
        ]
    said = "; ".join(f"{device}: {what}, {note}" for device, what, note in ways)
    return svg(height, "One call, by the device of its tensors", said, body)


def durations(title: str, note: str, rows: Sequence[tuple[str, float]]) -> str:
    """Horizontal bars of seconds from 0 on; the last is ours."""
    left, right, step, top = 8, 64, 46, 50
    most = max(seconds for _, seconds in rows)
    body = [
        f'<text class="title" x="8" y="22">{escape(title)}</text>',
        f'<text class="small" x="8" y="41">{escape(note)}</text>',
    ]
    for index, (label, seconds) in enumerate(rows):
        y = top + index * step
        wide = seconds / most * (_WIDTH - left - right)
        style = "ours" if index == len(rows) - 1 else "lost"
        body.append(f'<text x="8" y="{y + 18}">{escape(label)}</text>')
        body.append(f'<rect class="{style}" x="{left}" y="{y + 24}" width="{wide:.1f}" height="15" rx="3"/>')
        body.append(f'<text x="{left + wide + 8:.1f}" y="{y + 37}">{seconds:.0f} s</text>')
    said = "; ".join(f"{label}: {seconds:.0f} seconds" for label, seconds in rows)
    return svg(top + step * len(rows) + 8, title, said, body)


def curve(record: Mapping[str, Any]) -> str:
    """The losses of a recorded run: training at every step and smoothed without lag, held-out where it was taken."""
    height, left, right, top, bottom = 310, 34, 16, 82, 32
    steps, losses, held = record["steps"], record["training_loss"], record["held_out_loss"]
    least, most = math.floor(min(losses)), math.ceil(max(losses))

    def place(step: float, loss: float) -> tuple[float, float]:
        across = (step - steps[0]) / (steps[-1] - steps[0])
        return left + across * (_WIDTH - left - right), top + (most - loss) / (most - least) * (height - top - bottom)

    def line(style: str, values: Sequence[float]) -> str:
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in zip(steps, values, strict=True)))
        return f'<polyline class="{style}" points="{points}"/>'

    body = [
        _CURVE_STYLE,
        '<text class="title" x="8" y="22">The losses of a default quickstart</text>',
        '<text class="small" x="8" y="41">nats per token, by training step</text>',
        '<path class="smooth" d="M8 57h22"/><text class="small" x="36" y="61">training</text>',
        '<circle class="held" cx="116" cy="57" r="4.5"/>'
        '<text class="small" x="126" y="61">held-out text, never trained on</text>',
    ]
    for loss in range(least, most + 1):
        _, y = place(steps[0], loss)
        body.append(f'<path class="grid" d="M{left} {y:.1f}H{_WIDTH - right}"/>')
        body.append(f'<text class="small" x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{loss}</text>')
    for step in range(100, steps[-1] + 1, 100):
        x, _ = place(step, least)
        named = f"step {step}" if step == 100 else str(step)
        body.append(f'<text class="small" x="{x:.1f}" y="{height - 12}" text-anchor="middle">{named}</text>')
    body += [line("raw", losses), line("smooth", smoothed(losses, 17))]
    body += [f'<circle class="held" cx="{x:.1f}" cy="{y:.1f}" r="4.5"/>' for x, y in (place(*point) for point in held)]
    first, last = held[0], held[-1]
    said = (
        f"Training loss, next token, from {losses[0]:.2f} to {smoothed(losses, 17)[-1]:.2f} nats per token over "
        f"{len(steps)} steps; held-out loss from {first[1]:.2f} at step {first[0]} to {last[1]:.2f} at step {last[0]}."
    )
    return svg(height, "The losses of a default quickstart", said, body)


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
    judged = rate_of(found["curate"], "fineweb", "as they come", 1) / 1e6
    unique = rate_of(found["dedup"], "job", "real-95", 2) / 1e6
    step = find(found["train"], Claim("", "train", "training step", "compact", "", "", threads=2), "smolfast")
    tokens = float(step.facts["tokens_a_second"])
    steps = [
        ("Your text", "files, folders, URLs"),
        ("Clean text", "one form of Unicode, no invisible characters"),
        ("Good text", "by FineWeb's filters or a classifier"),
        ("Unique text", "no near-copies"),
        ("Tokens", "numbers, packed into windows"),
        ("A small model", "a folder that transformers loads"),
    ]
    between = [
        ("clean", f"{clean:,.0f} MB/s of ASCII on one thread"),
        ("judge", f"{judged:,.0f} MB/s on one thread; optional"),
        ("deduplicate", f"{unique:,.0f} MB/s of parquet on two threads"),
        ("tokenize", "with Hugging Face's tokenizers"),
        ("train", f"{round(tokens, -2):,.0f} tokens/s on two threads of a CPU"),
    ]

    runs = [row for row in found["train"].rows if row.part == "time to loss" and row.wall is not None]
    theirs, ours = (
        min(row.wall.median for row in runs if row.wall is not None and row.role == role) for role in ("peer", "ours")
    )
    to_loss = [("transformers' Trainer, AdamW, best of four rates", theirs), ("smolfast, Muon with AdamW", ours)]

    def of(*benchmarks: str) -> list[Bar]:
        chosen = [claim for claim in CLAIMS if claim.benchmark in benchmarks]
        rows = []
        for claim in chosen:
            label = claim.plot or claim.job.replace("`", "")
            peer = contender(claim.peer)
            rows.append(Bar(label, peer, ratio(found[claim.benchmark], claim)))
        return sorted(rows, key=lambda row: -row.times)

    return {
        "path.svg": path("From text to a small model", steps, between),
        "training-curve.svg": curve(json.loads((RESULTS / "runs" / "quickstart.json").read_text("utf-8"))),
        "cleaning.svg": cleaning(),
        "dedup.svg": path("How near-copies are found and removed", *deduplication()),
        "curate.svg": path("How documents are judged", *curation()),
        "classify.svg": path("How a document gets its label", *classification()),
        "scale.svg": path("What a terabyte of text takes on its way", *terabyte()),
        "cluster.svg": path("How near-copies are found on many machines", *cluster()),
        "stores.svg": path("A command between two object stores", *stores()),
        "edge.svg": path("From a model to a file for a small device", *edge()),
        "tuning.svg": path("From a conversation to what is learned of it", *tuning()),
        "preferences.svg": path("How a model learns from pairs of answers", *alignment()),
        "lengthening.svg": path("How a model's context is made longer", *lengthening()),
        "kernels.svg": dispatch(),
        "speed-text.svg": bars("Text, filters and deduplication", of("text", "curate", "dedup")),
        "speed-operations.svg": bars("Attention, loss and Muon on a CPU", of("attention", "loss", "optim")),
        "speed-training.svg": bars("A training step on a CPU", of("train")),
        "time-to-loss.svg": durations(
            "Seconds to the same held-out loss", "A compact model on two threads of a CPU, 26 MB of text.", to_loss
        ),
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
