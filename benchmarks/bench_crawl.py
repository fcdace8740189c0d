"""From a WARC of real pages to kept parquet: ours beside datatrove, by CPU time, with a table by stage.

    python benchmarks/bench_crawl.py speed CRAWL.warc.gz --peer PEER/python [--rounds 3] [--json OUT]
    python benchmarks/bench_crawl.py records CRAWL.warc.gz FOLDER_OF_WARCS

`speed` runs each contender on one worker, in turn, and sums the CPU time of all its processes. PEER has datatrove,
Trafilatura and Resiliparse. `records` compares the records that we read with warcio's and FastWARC's. Make CRAWL with
crawl_pages.py; FOLDER is the test data of warcio.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

OURS = """
import json, resource, sys, time
from pathlib import Path
from smolfast.crawl.files import pages
from smolfast.crawl.files.job import crawl_files
spent = {}
read_pages = pages.read_pages
def timed(*arguments, **options):
    parts, seconds = read_pages(*arguments, **options)
    spent.update(seconds)
    return parts, seconds
from smolfast.crawl.files import job
job.read_pages = timed
for name in ("curate_files", "deduplicate"):
    def wrap(do, name):
        def call(*arguments, **options):
            began = time.process_time()
            try:
                return do(*arguments, **options)
            finally:
                spent[name] = time.process_time() - began
        return call
    setattr(job, name, wrap(getattr(job, name), name))
began = time.perf_counter()
summary = crawl_files([sys.argv[1]], sys.argv[2], extract=sys.argv[3], threads=1)
wall = time.perf_counter() - began
used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print(json.dumps({"wall": wall, "cpu": sum(one.ru_utime + one.ru_stime for one in used),
    "kept": summary.documents_out, "pages": summary.documents_in, "bytes": summary.bytes_in, "stages": spent}))
"""


def ours(source: Path, output: Path, extract: str) -> dict[str, Any]:
    return _run([sys.executable, "-c", OURS, str(source), str(output), extract])


def peer(python: str, source: Path, output: Path, extract: str) -> dict[str, Any]:
    script = Path(__file__).with_name("crawl_peers.py")
    return _run([python, str(script), str(source), str(output), "--extract", extract])


def _run(command: list[str]) -> dict[str, Any]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def speed(options: argparse.Namespace) -> None:
    runs: dict[str, list[dict[str, Any]]] = {}
    names = [f"{who} {extract}" for extract in options.extract for who in ("ours", "datatrove")]
    for _ in range(options.rounds):
        for name in names:
            who, extract = name.split()
            with tempfile.TemporaryDirectory() as folder:
                output = Path(folder) / "out"
                found = (
                    ours(options.source, output, extract)
                    if who == "ours"
                    else peer(options.peer, options.source, output, extract)
                )
                shutil.rmtree(output, ignore_errors=True)
            runs.setdefault(name, []).append(found)
            print(f"{name}: {found['cpu']:.1f} s of CPU, {found['wall']:.1f} s, {found['kept']} kept", flush=True)
    table(runs)
    if options.json:
        options.json.write_text(json.dumps({"runs": runs, "when": time.strftime("%Y-%m-%d")}, indent=1))


def table(runs: dict[str, list[dict[str, Any]]]) -> None:
    pages = next((run[0]["pages"] for run in runs.values() if "pages" in run[0]), 0)
    print("\n| contender | CPU seconds | pages a CPU second | by stage |\n|---|--:|--:|---|")
    for name, found in runs.items():
        cpu = statistics.median(run["cpu"] for run in found)
        stages = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in found[-1]["stages"].items())
        print(f"| {name} | {cpu:.1f} | {pages / cpu:.0f} | {stages} |")


def our_records(path: Path) -> Iterator[tuple[str, str]]:
    """Each record's id and the hash of its block, as our reader has them."""
    import pyarrow as pa

    from smolfast.crawl.reading.faults import Place
    from smolfast.crawl.reading.members import Members
    from smolfast.crawl.reading.records import Raw

    with pa.OSFile(str(path)) as file:
        members, place = Members(file), Place(0)
        for item in stretches(members, place):
            if isinstance(item, Raw):
                head, block = item.data.split(b"\r\n\r\n", 1)
                found = [line for line in head.split(b"\r\n") if line.lower().startswith(b"warc-record-id:")]
                yield found[0].split(b":", 1)[1].strip().decode() if found else "", hashlib.sha256(block).hexdigest()


def stretches(members: Any, place: Any) -> Iterator[Any]:
    """All of a file: one stretch ends after so much that is unpacked."""
    from smolfast.crawl.reading.records import Reached, read_records

    while place.inner or place.member < members.size:
        for item in read_records(members, place, 1 << 60):
            if isinstance(item, Reached):
                if members.kind == "plain":
                    return
                place = item.place
            else:
                yield item


def warcio_records(path: Path) -> Iterator[tuple[str, str]]:
    from warcio.archiveiterator import ArchiveIterator

    with path.open("rb") as file:
        for record in ArchiveIterator(file, no_record_parse=True):
            name = record.rec_headers.get_header("WARC-Record-ID") or ""
            yield name, hashlib.sha256(record.raw_stream.read()).hexdigest()


def fastwarc_records(path: Path) -> Iterator[tuple[str, str]]:
    from fastwarc.warc import ArchiveIterator

    for record in ArchiveIterator(str(path), parse_http=False):
        yield record.headers.get("WARC-Record-ID") or "", hashlib.sha256(record.reader.read()).hexdigest()


def records(options: argparse.Namespace) -> None:
    files = [options.source, *sorted(path for path in options.folder.rglob("*") if ".warc" in path.name)]
    for path in files:
        found = {}
        for name, read in (("ours", our_records), ("warcio", warcio_records), ("fastwarc", fastwarc_records)):
            items: list[tuple[str, str]] = []
            problem = ""
            try:
                for item in read(path):
                    items.append(item)
            except Exception as error:
                problem = f" then {type(error).__name__}"
            found[name] = (items, problem)
        mine = found["ours"][0]
        said = []
        for name in ("warcio", "fastwarc"):
            items, problem = found[name]
            missing = [item for item in items if item not in set(mine)]
            equal = "equal" if items == mine else f"{len(missing)} of theirs not in ours, {len(mine)} ours"
            said.append(f"{name} {len(items)}{problem}: {equal}")
        print(f"{path.name}: {len(mine)} records; {'; '.join(said)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    of_speed = commands.add_parser("speed")
    of_speed.add_argument("source", type=Path)
    of_speed.add_argument("--peer", default=sys.executable)
    of_speed.add_argument("--rounds", type=int, default=3)
    of_speed.add_argument("--extract", nargs="+", default=["resiliparse", "trafilatura"])
    of_speed.add_argument("--json", type=Path)
    of_speed.set_defaults(do=speed)
    of_records = commands.add_parser("records")
    of_records.add_argument("source", type=Path)
    of_records.add_argument("folder", type=Path)
    of_records.set_defaults(do=records)
    options = parser.parse_args()
    with contextlib.suppress(ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    options.do(options)


if __name__ == "__main__":
    main()
