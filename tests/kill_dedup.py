"""Kill deduplication with SIGKILL at random moments and check that it always ends in the same bytes.

    python tests/kill_dedup.py TEXT.parquet [--kills 200] [--seconds 170] [--seed 1]

The run spills from the first batch on (a memory budget of 1 MiB), so that every stage is met: columns and their
commits on disk, joining, both outputs, the renames. Not collected by pytest: 200 kills take minutes.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq

RUN = """
import sys
from smolfast.dedup import deduplicate, job
job.MIN_MEMORY = 1
deduplicate([sys.argv[1]], sys.argv[2], memory=1 << 20, threads=2, threshold=0.7, verify="exact", bands=14, rows=8)
"""


def run(source: Path, output: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", RUN, str(source), str(output)])


def content(output: Path) -> tuple[bytes, ...]:
    return tuple((output / name).read_bytes() for name in ("kept.parquet", "removed.parquet", "dedup.json"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=170.0, help="stop after so long even with fewer kills")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    generator = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        assert run(arguments.text, Path(folder) / "whole").wait() == 0
        length = time.monotonic() - started
        expected = content(Path(folder) / "whole")
        rows = pq.read_metadata(arguments.text).num_rows
        counts = [pq.read_metadata(Path(folder) / "whole" / f"{name}.parquet").num_rows for name in ("kept", "removed")]
        assert sum(counts) == rows, (counts, rows)
        kills = finished = 0
        output = Path(folder) / "out"
        start = time.monotonic()
        while kills < arguments.kills and time.monotonic() - start < arguments.seconds:
            process = run(arguments.text, output)
            try:
                # Half of the moments in a first run's time, half anywhere before a whole one could end.
                assert process.wait(generator.uniform(0.1, 0.5 * length if kills % 2 else length)) == 0
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                kills += 1
                continue
            finished += 1
            assert content(output) == expected
            shutil.rmtree(output)
        assert run(arguments.text, output).wait() == 0
        assert content(output) == expected
        left = [
            path.name for path in output.iterdir() if path.name not in ("kept.parquet", "removed.parquet", "dedup.json")
        ]
        assert not left, left
    print(
        f"{kills} kills, a whole run takes {length:.1f} s; {finished + 1} runs came to their end, all to the same bytes"
    )


if __name__ == "__main__":
    main()
