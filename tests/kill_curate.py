"""Kill curation with SIGKILL at random moments and check that it always ends in the same bytes.

    python tests/kill_curate.py TEXT.parquet [--kills 100] [--seconds 170] [--seed 1] [--rows 400]

Parts of --rows documents, so that every stage is met: reading on after a finished part, both files of a part, the
journal, the renames. Every other output replaces an earlier one. Not collected by pytest: 100 kills take minutes.
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
from smolfast.curate import curate_files
from smolfast.curate.files import parts
parts.PART_ROWS = int(sys.argv[3])
curate_files([sys.argv[1]], sys.argv[2], threads=2, signals=sys.argv[4] == "signals", overwrite=True)
"""


def run(source: Path, output: Path, rows: int, how: str = "signals") -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", RUN, str(source), str(output), str(rows), how])


def content(output: Path) -> dict[str, bytes]:
    """Every file of the output."""
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in output.rglob("*") if path.is_file()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=170.0, help="stop after so long even with fewer kills")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rows", type=int, default=400, help="of a part")
    options = parser.parse_args()
    generator = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        assert run(options.text, Path(folder) / "whole", options.rows).wait() == 0
        length = time.monotonic() - started
        expected = content(Path(folder) / "whole")
        counts = [
            sum(pq.read_metadata(path).num_rows for path in (Path(folder) / "whole" / name).iterdir())
            for name in ("kept", "removed")
        ]
        assert sum(counts) == pq.read_metadata(options.text).num_rows, counts
        parts = len(list((Path(folder) / "whole" / "kept").iterdir()))
        earlier = Path(folder) / "earlier"
        assert run(options.text, earlier, options.rows // 2, "no signals").wait() == 0
        kills = finished = 0
        output = Path(folder) / "out"
        start = time.monotonic()
        while kills < options.kills and time.monotonic() - start < options.seconds:
            if not output.exists() and finished % 2:
                shutil.copytree(earlier, output)
            process = run(options.text, output, options.rows)
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
        assert run(options.text, output, options.rows).wait() == 0
        assert content(output) == expected
    print(
        f"{kills} kills, {parts} parts, a whole run takes {length:.1f} s; {finished + 1} runs came to their end, all "
        "to the same bytes"
    )


if __name__ == "__main__":
    main()
