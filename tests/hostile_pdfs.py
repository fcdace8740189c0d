"""Read thousands of spoilt PDFs among good ones: each has its answer, and no good one is lost or changed.

    python tests/hostile_pdfs.py [--files 5000] [--seed 1] [--threads 2]

The PDFs are made here and spoilt at random: bytes, ends, numbers, keywords, names, what streams hold, two files in one.
A line says what came of them. Not collected by pytest: 5,000 take a minute; tests/pdf has a short form.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "shared"))

from mutated_pdfs import attack


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", type=int, default=512, help="MiB of a worker")
    parser.add_argument("--page-seconds", type=float, default=5.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        limits = {"memory": options.memory << 20, "page_seconds": options.page_seconds, "threads": options.threads}
        print(attack(Path(folder), options.files, options.seed, **limits))


if __name__ == "__main__":
    main()
