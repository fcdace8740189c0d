"""Kill curation with SIGKILL at random moments and check that it always ends in the same bytes.

    python tests/kill_curate.py TEXT.parquet [--kills 100] [--seconds 170] [--seed 1] [--rows 400]

Parts of --rows documents, so that every stage is met: reading on after a finished part, both files of a part, the
journal, the renames. Every other output replaces an earlier one. Not collected by pytest: 100 kills take minutes.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
from shared.kills import kill_and_compare

RUN = """
import sys
from smolfast.curate import curate_files
from smolfast.curate.files import parts
parts.PART_ROWS = int(sys.argv[3])
curate_files([sys.argv[1]], sys.argv[2], threads=2, signals=sys.argv[4] == "signals", overwrite=True)
"""


def run(source: Path, output: Path, rows: int, how: str = "signals") -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", RUN, str(source), str(output), str(rows), how])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=170.0, help="stop after so long even with fewer kills")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rows", type=int, default=400, help="of a part")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        earlier, whole = Path(folder) / "earlier", Path(folder) / "whole"
        assert run(options.text, earlier, options.rows // 2, "no signals").wait() == 0

        def replace_an_earlier_one(output: Path, finished: int) -> None:
            if not output.exists() and finished % 2:
                shutil.copytree(earlier, output)

        said = kill_and_compare(
            lambda output: run(options.text, output, options.rows),
            Path(folder),
            options,
            prepare=replace_an_earlier_one,
        )
        rows = [
            sum(pq.read_metadata(path).num_rows for path in (whole / name).iterdir()) for name in ("kept", "removed")
        ]
        assert sum(rows) == pq.read_metadata(options.text).num_rows, rows
        print(f"{said}; {len(list((whole / 'kept').iterdir()))} parts")


if __name__ == "__main__":
    main()
