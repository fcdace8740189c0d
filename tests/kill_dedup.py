"""Kill deduplication with SIGKILL at random moments and check that it always ends in the same bytes.

    python tests/kill_dedup.py TEXT.parquet [--kills 200] [--seconds 170] [--seed 1]

The run spills from the first batch on (a memory budget of 1 MiB), so that every stage is met: columns and their
commits on disk, joining, both outputs, the renames. Not collected by pytest: 200 kills take minutes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
from shared.kills import kill_and_compare

RUN = """
import sys
from smolfast.dedup import deduplicate, job
job.MIN_MEMORY = 1
deduplicate([sys.argv[1]], sys.argv[2], memory=1 << 20, threads=2, threshold=0.7, verify="exact", bands=14, rows=8)
"""


def run(source: Path, output: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", RUN, str(source), str(output)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=170.0, help="stop after so long even with fewer kills")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        said = kill_and_compare(lambda output: run(arguments.text, output), Path(folder), arguments)
        whole = Path(folder) / "whole"
        assert {path.name for path in whole.iterdir()} == {"kept.parquet", "removed.parquet", "dedup.json"}
        rows = [pq.read_metadata(whole / f"{name}.parquet").num_rows for name in ("kept", "removed")]
        assert sum(rows) == pq.read_metadata(arguments.text).num_rows, rows
        print(said)


if __name__ == "__main__":
    main()
