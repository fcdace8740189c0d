"""Kill the way from WARC to kept documents with SIGKILL at random moments; it always ends in the same bytes.

    python tests/kill_crawl.py CRAWL.warc.gz [--kills 100] [--seconds 600] [--seed 1]

Small stretches and parts, so that every stage is met: reading on after a part, rules, duplicates, the last writing, the
renames. Workers of a killed run end by themselves. Not collected by pytest: 100 kills take minutes.
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

RUN = """
import sys
from smolfast.crawl.files import pages
pages.STRETCH_BYTES, pages.PART_ROWS = 1 << 18, 300
from smolfast.crawl import crawl_files
crawl_files([sys.argv[1]], sys.argv[2], threads=2, dedup=True, overwrite=True)
"""


def run(source: Path, output: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", RUN, str(source), str(output)])


def content(output: Path) -> dict[str, bytes]:
    """Every file of the output."""
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in output.rglob("*") if path.is_file()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=600.0, help="stop after so long even with fewer kills")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    generator = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        assert run(options.source, Path(folder) / "whole").wait() == 0
        length = time.monotonic() - started
        expected = content(Path(folder) / "whole")
        kills = finished = 0
        output = Path(folder) / "out"
        start = time.monotonic()
        while kills < options.kills and time.monotonic() - start < options.seconds:
            process = run(options.source, output)
            try:
                assert process.wait(generator.uniform(0.1, 0.4 * length if kills % 3 else length)) == 0
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                kills += 1
                continue
            finished += 1
            assert content(output) == expected
            shutil.rmtree(output)
        assert run(options.source, output).wait() == 0
        assert content(output) == expected
    print(
        f"{kills} kills; a whole run takes {length:.1f} s; {finished + 1} runs came to their end, all to the same bytes"
    )


if __name__ == "__main__":
    main()
