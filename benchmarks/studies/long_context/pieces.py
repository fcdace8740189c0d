"""Held-out documents cut into pieces of more than 256 tokens, so that all positions hold the same kind of text.

    python benchmarks/studies/long_context/pieces.py RUN      # of the recipe lengthen; writes RUN/pieces.parquet

Uncut, the first positions are only the documents' first lines, and most of the text lies behind 128 tokens.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

_LETTERS = 1400


def pieces(text: str) -> list[str]:
    """Whole lines of that many letters and more; what is left over at the end is left out."""
    found, piece = [], ""
    for line in text.splitlines(keepends=True):
        piece += line
        if len(piece) >= _LETTERS:
            found.append(piece)
            piece = ""
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run
    texts = pq.read_table(run / "split" / "held_out.parquet", columns=["text"]).column("text").to_pylist()
    cut = [piece for text in texts for piece in pieces(text)]
    # Every n-th, so that all documents have a part in what is coded.
    cut = cut[:: max(1, len(cut) // 150)]
    pq.write_table(pa.table({"id": [str(number) for number in range(len(cut))], "text": cut}), run / "pieces.parquet")
    print(f"{len(cut):,} pieces")
    return 0


if __name__ == "__main__":
    sys.exit(main())
