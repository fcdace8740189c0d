"""The benchmarks page's table of ratios, made from the committed results.

python benchmarks/ratios.py            # prints it
python benchmarks/ratios.py --write    # puts it into docs/benchmarks.md, between the lines that mark its place
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from smolfast.bench.names import contender
from smolfast.bench.results import Results, Row, read_results

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- made by benchmarks/ratios.py -->\n", "<!-- end -->\n"


@dataclass(frozen=True)
class Claim:
    """A row of the table: one benchmark's figures of ours and of a peer in one case."""

    job: str
    benchmark: str
    part: str
    case: str
    peer: str
    command: str
    ours: str = "smolfast"
    threads: int = 1
    plot: str = ""
    """Its name in the plot, if the table's says "the same" or is long."""


TEXT = "python benchmarks/bench_text.py --cache DIR"
DEDUP = "python benchmarks/bench_dedup.py"
OPTIM = "python benchmarks/bench_optim.py --threads 1 --match Schulz"
ATTENTION = "python benchmarks/bench_attention.py"
LOSS = "python benchmarks/bench_loss.py --depths 4"
LOSS_PART, LOSS_CASE = "loss, forward and backward", "V = 49,152, k = 4"
CURATE = "python benchmarks/bench_curate.py speed"
TRAIN = "python benchmarks/bench_train.py speed"
EAST = "japanese+chinese+russian+arabic"
SHORT = "CJK, Russian, Arabic"
LOOP, DION = "plain fp32 loop", "dion"
CLAIMS = (
    Claim("NFC, French and German", "text", "NFC", "french+german", "stringzilla", TEXT),
    Claim("NFC, Japanese, Chinese, Russian, Arabic", "text", "NFC", EAST, "stringzilla", TEXT, plot=f"NFC, {SHORT}"),
    Claim("NFKC, the same", "text", "NFKC", EAST, "stringzilla", TEXT, plot=f"NFKC, {SHORT}"),
    Claim("NFD to NFC, Vietnamese", "text", "NFD to NFC", "vietnamese", "PyICU", TEXT),
    Claim("case folding, French and German", "text", "casefold", "french+german", "stringzilla", TEXT),
    Claim("case folding, ASCII", "text", "casefold", "ascii", "stringzilla", TEXT),
    Claim(
        "FineWeb's `simplify_text`, ASCII", "text", "simplify", "ascii", "datatrove", TEXT, plot="simplify_text, ASCII"
    ),
    Claim(
        "FineWeb's `simplify_text`, Japanese, Chinese, Russian, Arabic",
        "text",
        "simplify",
        EAST,
        "datatrove",
        TEXT,
        plot=f"simplify_text, {SHORT}",
    ),
    Claim("mojibake, French and German", "text", "fix_mojibake", "french+german", "ftfy", TEXT),
    Claim(
        "FineWeb's filters, documents as they come",
        "curate",
        "fineweb",
        "as they come",
        "datatrove",
        CURATE,
        plot="FineWeb's filters, pages as they come",
    ),
    Claim(
        "FineWeb's filters, documents that all four see",
        "curate",
        "fineweb",
        "seen by all four filters",
        "datatrove",
        CURATE,
        plot="FineWeb's filters, pages that all four see",
    ),
    Claim("FineWeb-2's filters, German", "curate", "fineweb-2", "German, as they come", "datatrove", CURATE),
    Claim("text to 128 MinHash values", "dedup", "signatures", "real-95", "daft", DEDUP, "smolfast fast"),
    Claim(
        "the same, tokens between white space",
        "dedup",
        "signatures",
        "real-95",
        "rensa",
        DEDUP,
        "smolfast fast, whitespace tokens",
        plot="128 MinHash values, white-space tokens",
    ),
    Claim("documents of 30 words", "dedup", "signatures", "real-95-30-words", "daft", DEDUP, "smolfast fast"),
    Claim("parquet to deduplicated parquet", "dedup", "job", "real-95", "daft + scipy", DEDUP, threads=2),
    Claim("Newton–Schulz, 256 × 2,048, fp32", "optim", "Newton–Schulz", "1 of 256 × 2048", LOOP, OPTIM, "ours"),
    Claim(
        "the same, 512 × 512",
        "optim",
        "Newton–Schulz",
        "1 of 512 × 512",
        LOOP,
        OPTIM,
        "ours",
        plot="Newton–Schulz, 512 × 512, fp32",
    ),
    Claim(
        "the same (its own in bf16)",
        "optim",
        "Newton–Schulz",
        "1 of 512 × 512",
        DION,
        OPTIM,
        "ours",
        plot="Newton–Schulz, 512 × 512, dion in bf16",
    ),
    Claim(
        "attention, five documents in 2,048 tokens, fp32",
        "attention",
        "forward + backward",
        "packed 2k fp32",
        "sdpa",
        ATTENTION,
        threads=2,
        plot="attention, five documents, fp32",
    ),
    Claim(
        "the same",
        "attention",
        "forward + backward",
        "packed 2k fp32",
        "sdpa by document",
        ATTENTION,
        threads=2,
        plot="attention, five documents, fp32",
    ),
    Claim(
        "attention, causal, 1,024 tokens, fp32",
        "attention",
        "forward + backward",
        "causal 1k fp32",
        "sdpa",
        ATTENTION,
        threads=2,
    ),
    Claim(
        "four-token loss, V = 49,152, fp32",
        "loss",
        LOSS_PART,
        f"{LOSS_CASE}, float32",
        "naive",
        LOSS,
        "ours",
        2,
        "four-token loss, fp32",
    ),
    Claim(
        "the same",
        "loss",
        LOSS_PART,
        f"{LOSS_CASE}, float32",
        "cut-cross-entropy",
        LOSS,
        "ours",
        2,
        "four-token loss, fp32",
    ),
    Claim(
        "the same in bf16",
        "loss",
        LOSS_PART,
        f"{LOSS_CASE}, bfloat16",
        "naive",
        LOSS,
        "ours",
        2,
        "four-token loss, bf16",
    ),
    Claim("a training step, compact model", "train", "training step", "compact", "trainer", TRAIN, threads=2),
    Claim(
        "the same",
        "train",
        "training step",
        "compact",
        "torch",
        TRAIN,
        threads=2,
        plot="a training step, compact model",
    ),
    Claim("a training step, 6 layers of 256", "train", "training step", "small", "trainer", TRAIN, threads=2),
)


def find(results: Results, claim: Claim, name: str) -> Row:
    for row in results.rows:
        where = (row.part, row.case, row.name)
        if where == (claim.part, claim.case, name) and row.threads in (None, claim.threads):
            return row
    raise LookupError(f"{claim.benchmark}.json has no {name} in {claim.part}, {claim.case}")


def ratio(results: Results, claim: Claim) -> float:
    """How many times as fast ours is. Slow peers may have had a part of the input, so that rates are compared."""
    ours, peer = (find(results, claim, name).rate() for name in (claim.ours, claim.peer))
    if ours is None or peer is None:
        raise LookupError(f"{claim.benchmark}.json counts no work in {claim.part}, {claim.case}")
    return ours.median / peer.median


def table() -> str:
    folder = ROOT / "benchmarks" / "results"
    found = {claim.benchmark: read_results(folder / f"{claim.benchmark}.json") for claim in CLAIMS}
    lines = ["| job | beside | times as fast | command |", "|---|---|--:|---|"]
    for claim in CLAIMS:
        value = ratio(found[claim.benchmark], claim)
        figure = f"{value:.0f}" if value >= 20 else f"{value:.1f}" if value >= 2 else f"{value:.2f}"
        lines.append(f"| {claim.job} | {contender(claim.peer)} | {figure} | `{claim.command}` |")
    return "\n".join(lines) + "\n"


def with_table(page: str) -> str:
    """The page with the table between its marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    if parser.parse_args().write:
        page = PAGE
        page.write_text(with_table(page.read_text("utf-8")), "utf-8")
    else:
        print(table(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
