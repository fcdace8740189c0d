"""Kill the way from WARC to kept documents with SIGKILL at random moments; it always ends in the same bytes.

    python tests/kill_crawl.py CRAWL.warc.gz [--kills 100] [--seconds 600] [--seed 1]

Small stretches and parts, so that every stage is met: reading on after a part, rules, duplicates, the last writing, the
renames. Workers of a killed run end by themselves. Not collected by pytest: 100 kills take minutes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from shared.kills import kill_and_compare

RUN = """
import sys
from smolfast.crawl.files import pages, ranges
ranges.STRETCH_BYTES, pages.PART_ROWS = 1 << 18, 300
from smolfast.crawl import crawl_files
crawl_files([sys.argv[1]], sys.argv[2], threads=2, dedup=True, overwrite=True)
"""


def run(source: Path, output: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", RUN, str(source), str(output)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=600.0, help="stop after so long even with fewer kills")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(kill_and_compare(lambda output: run(options.source, output), Path(folder), options, share=0.4))


if __name__ == "__main__":
    main()
