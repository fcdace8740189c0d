"""Kill the way from PDFs to documents with SIGKILL at random moments; it always ends in the same bytes.

    python tests/kill_pdf.py [--kills 50] [--seconds 600] [--seed 1]

The input is made here: files good and bad, a crawl, and addresses of a server in this process, some of them of files
that the crawl cut. Small parts and stretches, so that every stage is met: fetching, reading on after a part, the
renames. Not collected by pytest: 50 kills take minutes.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "shared"))

from kills import kill_and_compare
from made_pdfs import essay, make_pdf
from mutated_pdfs import mutated, seeds
from odd_hosts import Host, serving
from warcs import http, page, record, write

RUN = """
import sys
from smolfast.crawl.files import ranges
from smolfast.pdf import Limits, extract_pdfs
from smolfast.pdf.files import job
ranges.STRETCH_BYTES, job.PART_DOCUMENTS = 4000, 8
limits = Limits(host_seconds=0.01, allow_private=True)
urls = [line for line in open(sys.argv[2]).read().split()]
extract_pdfs([sys.argv[1]], sys.argv[3], urls=urls, refetch=True, fetching=limits, threads=2, overwrite=True)
"""


def make_input(folder: Path, host: Host) -> Path:
    """A folder of PDFs with a crawl in it, and the list of addresses beside it."""
    generator = random.Random(1)
    (folder / "in").mkdir(parents=True)
    sources = seeds(folder / "seeds")
    for number in range(60):
        make_pdf(folder / "in" / f"{number:02}.pdf", essay(3 * number, 3 * number + 3))
        (folder / "in" / f"{number:02}-bad.pdf").write_bytes(mutated(sources, generator))
    whole = [make_pdf(folder / "made.pdf", essay(500 + n, 503 + n)).read_bytes() for n in range(20)]
    records = []
    for number, data in enumerate(whole):
        path = f"/{number}.pdf"
        host.answers[path] = lambda asked, data=data: asked.give(200, data, ETag="x")  # type: ignore[misc]
        cut = number % 2
        head = "WARC-Truncated: length\r\n" if cut else ""
        body = http(data[:600] if cut else data, content_type="application/pdf")
        records += [page(number), record(body, host.url(path), headers=head)]
    write(folder / "in" / "a.warc.gz", records)
    (folder / "list.txt").write_text("\n".join(host.url(f"/{n}.pdf") for n in (*range(4), 99)))
    return folder / "in"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=600.0, help="stop after so long even with fewer kills")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, serving() as host:
        folder = Path(name)
        source = make_input(folder, host)

        def run(output: Path) -> subprocess.Popen[bytes]:
            return subprocess.Popen([sys.executable, "-c", RUN, str(source), str(folder / "list.txt"), str(output)])

        print(kill_and_compare(run, folder, options))


if __name__ == "__main__":
    main()
