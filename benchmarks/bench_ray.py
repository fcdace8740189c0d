"""One process against Ray on one machine: bytes, time, what kills do to a run; grouping; a store against the disk.

    python benchmarks/bench_ray.py documents FOLDER --count 1e6     # first: parquet of 3 kB a document
    python benchmarks/bench_ray.py same FOLDER --workers 1 2 4      # curate, then dedup; bytes compared, times apart
    python benchmarks/bench_ray.py kills FOLDER --workers 20 --raylets 5 --drivers 5
    python benchmarks/bench_ray.py grouping --documents 1e7 1e8 --memory 1e9 --folder DISK
    python benchmarks/bench_ray.py store FOLDER                     # moto's S3 server on loopback
    python benchmarks/bench_ray.py peers FOLDER --python /VENV/OF/DATATROVE/bin/python

Each prints a table, and `--json FILE` keeps the rows. Runs that are compared take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

WORDS = 200_000
PER_FILE = 20_000


def documents(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Write texts of words drawn as in a language; a quarter of them are another with some words changed."""
    count = int(options.count)
    options.folder.mkdir(parents=True, exist_ok=True)
    drawn = np.random.default_rng(0)
    letters = np.array(list("etaoinshrdlucmfwygpbvk"))
    words = np.array(["".join(drawn.choice(letters, drawn.integers(2, 10))) for _ in range(WORDS)])
    for start in range(0, count, PER_FILE):
        texts: list[str] = []
        for number in range(min(PER_FILE, count - start)):
            if texts and drawn.random() < 0.25:
                of = texts[drawn.integers(len(texts))].split(" ")
                for at in drawn.integers(0, len(of), int(drawn.integers(0, 12))):
                    of[at] = str(words[drawn.integers(WORDS)])
                texts.append(" ".join(of))
            else:
                ranks = (WORDS ** drawn.random(450)).astype(np.int64) - 1
                lines = [" ".join(words[ranks[at : at + 15]]) + "." for at in range(0, 450, 15)]
                texts.append("\n".join(lines) if number % 2 else " ".join(lines))
        ids = [f"d{start + number}" for number in range(len(texts))]
        table = pa.table({"id": ids, "text": texts})
        pq.write_table(
            table, options.folder / f"part-{start // PER_FILE:05}.parquet", compression="zstd", row_group_size=4000
        )
    rows = [{"documents": count, "bytes": sum(path.stat().st_size for path in options.folder.iterdir())}]
    print(rows[0])
    return rows


def run_both(folder: Path, out: Path, engine: str) -> None:
    """Judge the documents, and deduplicate what stays."""
    from smolfast.curate import curate_files
    from smolfast.dedup import deduplicate

    curate_files([folder], out / "curated", rules="gopher@0.10", engine=engine, overwrite=True)
    deduplicate([folder], out / "unique", engine=engine, overwrite=True)


def prints(folder: Path) -> str:
    """One print of all files."""
    from smolfast.files import fingerprint

    return fingerprint(folder)


@contextmanager
def cluster(workers: int) -> Iterator[float]:
    """A cluster of this machine; gives the seconds that it took to start, with its workers."""
    import ray

    began = time.monotonic()
    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, runtime_env=environment())
    ray.get([ray.remote(_import).remote() for _ in range(workers)])
    try:
        yield time.monotonic() - began
    finally:
        ray.shutdown()


def environment() -> dict[str, Any]:
    return {"env_vars": {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}}


def _import() -> None:
    import smolfast.curate.files.job
    import smolfast.dedup.job  # noqa: F401


def same(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The same bytes for every number of workers, and the times."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        for round_ in range(options.rounds):
            for workers in (0, *options.workers):
                out = Path(scratch, f"out-{workers}")
                shutil.rmtree(out, ignore_errors=True)
                start = 0.0
                began = time.monotonic()
                if workers:
                    with cluster(workers) as start:
                        began = time.monotonic()
                        run_both(options.folder, out, "ray")
                else:
                    run_both(options.folder, out, "local")
                seconds = time.monotonic() - began
                named = f"ray, {workers} workers" if workers else "one process"
                rows.append({"run": named, "round": round_, "start s": start, "s": seconds, "bytes": prints(out)})
                print(rows[-1], flush=True)
    assert len({row["bytes"] for row in rows}) == 1, "bytes differ"
    return rows


def kills(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Kill workers, raylets and drivers at drawn moments until there were as many as asked for."""
    drawn = random.Random(options.seed)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        began = time.monotonic()
        run_both(options.folder, Path(scratch, "truth"), "local")
        alone = time.monotonic() - began
        truth = prints(Path(scratch, "truth"))
        for what, wanted in (("worker", options.workers[0]), ("raylet", options.raylets), ("driver", options.drivers)):
            killed = runs = 0
            while killed < wanted and runs < 4 * wanted:
                out = Path(scratch, "out")
                shutil.rmtree(out, ignore_errors=True)
                killed += _KILLS[what](options.folder, out, drawn, alone)
                runs += 1
                assert prints(out) == truth, f"other bytes after a killed {what}"
            rows.append({"killed": what, "kills": killed, "runs": runs, "same bytes": True})
            print(rows[-1], flush=True)
    return rows


def _kill_workers(folder: Path, out: Path, drawn: random.Random, alone: float) -> int:
    killed = 0
    stop = threading.Event()

    def go_on() -> None:
        nonlocal killed
        while not stop.wait(drawn.uniform(0.5, 1.5) * alone):  # a piece that is killed each time is given up
            found = [pid for pid, name in processes() if name.startswith("ray::") and not _is_idle(name)]
            if found:
                try:
                    os.kill(drawn.choice(found), signal.SIGKILL)
                    killed += 1
                except ProcessLookupError:
                    continue

    with cluster(2):
        thread = threading.Thread(target=go_on, daemon=True)
        thread.start()
        run_both(folder, out, "ray")
        stop.set()
        thread.join()
    return killed


def _is_idle(name: str) -> bool:
    return "IDLE" in name or "Agent" in name


def _kill_raylet(folder: Path, out: Path, drawn: random.Random, alone: float) -> int:
    import ray
    from ray.cluster_utils import Cluster

    machines = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        other = machines.add_node(num_cpus=1)
        ray.init(address=machines.address, log_to_driver=False, runtime_env=environment())
        wait = drawn.uniform(0.2, 0.9) * alone
        timer = threading.Timer(wait, lambda: machines.remove_node(other, allow_graceful=False))
        timer.start()
        run_both(folder, out, "ray")
        in_time = not timer.is_alive()
        timer.cancel()
        return int(in_time)
    finally:
        ray.shutdown()
        machines.shutdown()


def _kill_driver(folder: Path, out: Path, drawn: random.Random, alone: float) -> int:
    code = "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; import bench_ray as b\n"
    code += "if __name__ == '__main__':\n    b.run_both(Path(sys.argv[2]), Path(sys.argv[3]), 'ray')"
    with tempfile.TemporaryDirectory() as scripts:
        script = Path(scripts, "drive.py")
        script.write_text(code)
        command = [sys.executable, str(script), str(Path(__file__).parent), str(folder), str(out)]
        killed = 0
        while True:
            driver = subprocess.Popen(command, env={**os.environ, **environment()["env_vars"]})
            try:
                driver.wait(None if killed else drawn.uniform(0.3, 1.0) * alone + 8)
                assert driver.returncode == 0
                return killed
            except subprocess.TimeoutExpired:
                driver.kill()
                driver.wait()
                killed += 1


_KILLS: dict[str, Callable[[Path, Path, random.Random, float], int]] = {
    "worker": _kill_workers,
    "raylet": _kill_raylet,
    "driver": _kill_driver,
}


def processes() -> Iterator[tuple[int, str]]:
    """Numbers and command lines of all processes."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                yield int(process.name), (process / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue


def grouping(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Grouping alone, in a process of its own for each size: signatures are drawn, 28 values, 7 bands of 4."""
    rows = []
    for count in options.documents:
        code = "import sys, json; sys.path.insert(0, sys.argv[1]); import bench_ray as b\n"
        code += "print(json.dumps(b.group(*map(int, sys.argv[2:4]), sys.argv[4])))"
        command = [sys.executable, "-c", code, str(Path(__file__).parent), str(int(count)), str(int(options.memory))]
        done = subprocess.run([*command, str(options.scratch or ".")], stdout=subprocess.PIPE, check=True)
        rows.append(json.loads(done.stdout))
        print(rows[-1], flush=True)
    return rows


def group(count: int, memory: int, scratch: str) -> dict[str, Any]:
    """Draw documents into a store on disk, then find their clusters."""
    from smolfast import _native
    from smolfast.dedup import MinHasher
    from smolfast.dedup.clustering import find_clusters
    from smolfast.dedup.rules import Rules
    from smolfast.dedup.store import DocumentStore, Position

    others = {"verify": "signature", "chains": False, "keep": "first", "exact": "text", "lines": None}
    others |= {"text_column": "text", "id_column": "id", "types": {}, "errors": "fail", "prefix": ""}
    rules = Rules.checked(MinHasher(28), 7, 4, 0.6, **others)
    drawn = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        store = DocumentStore(rules.layout(), Path(folder), memory // 4)
        step = 200_000
        for start in range(0, count, step):
            rows = min(step, count - start)
            signatures = drawn.integers(0, 1 << 32, (rows, 28), dtype=np.uint32)
            # One of five is like one before it in this batch, with a few values of its own.
            like = np.flatnonzero(drawn.random(rows) < 0.2)[1:]
            own = drawn.random((len(like), 28)) < 0.15
            signatures[like] = np.where(own, signatures[like], signatures[(drawn.random(len(like)) * like).astype(int)])
            keys = _native.band_keys(signatures, 7, 4, 0)
            columns: dict[str, Any] = {f"band-{band:03}": keys[band] for band in range(7)}
            columns |= {"signature": signatures, "source": np.zeros(rows, np.uint32)}
            columns |= {name: drawn.integers(0, 1 << 63, rows, dtype=np.uint64) for name in ("text-high", "text-low")}
            columns["length"] = np.full(rows, 3000, np.int64)
            store.append(columns, rows, Position(), {})
        store.finish()
        before = resource.getrusage(resource.RUSAGE_SELF)
        began = time.monotonic()
        found = find_clusters(store, rules, memory=memory // 4, threads=0)
        after = resource.getrusage(resource.RUSAGE_SELF)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        disk = sum(path.stat().st_size for path in Path(folder).iterdir())
    return {
        "documents": count,
        "clusters": found.count,
        "s": time.monotonic() - began,
        "CPU µs a document": cpu / count * 1e6,
        "peak RSS GB": after.ru_maxrss / 1e6,
        "disk GB": disk / 1e9,
    }


def store(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The same job from and to S3 (moto's server, a process of its own) and the disk, in turn."""
    import fsspec

    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", "5999"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    rows: list[dict[str, Any]] = []
    try:
        os.environ |= {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1"}
        os.environ["AWS_ENDPOINT_URL"] = "http://127.0.0.1:5999"
        time.sleep(10)
        filesystem = fsspec.filesystem("s3")
        filesystem.mkdir("bucket")
        filesystem.put(str(options.folder), "bucket/in", recursive=True)
        from smolfast.pipeline.normalize import normalize_documents

        size = sum(path.stat().st_size for path in options.folder.iterdir())
        with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
            for round_ in range(options.rounds):
                for name, given, out in (
                    ("disk", str(options.folder), f"{scratch}/out-{round_}"),
                    ("S3", "s3://bucket/in", f"s3://bucket/out-{round_}"),
                ):
                    began = time.monotonic()
                    normalize_documents([given], out)
                    seconds = time.monotonic() - began
                    rows.append({"run": name, "round": round_, "s": seconds, "MB/s": size / seconds / 1e6})
                    print(rows[-1], flush=True)
                    for path in sorted(Path(scratch, f"out-{round_}").glob("*.parquet")) if name == "S3" else ():
                        assert filesystem.cat_file(f"bucket/out-{round_}/{path.name}") == path.read_bytes()
    finally:
        server.kill()
        server.wait()
    return rows


_DATATROVE = """
import sys
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.readers import ParquetReader
from datatrove.pipeline.writers import ParquetWriter
if __name__ == "__main__":
    source, out = sys.argv[1:]
    config = MinhashConfig(num_buckets=14, hashes_per_bucket=8, n_grams=5)
    stages = [
        (2, [ParquetReader(source), MinhashDedupSignature(f"{out}/s", config=config)]),
        (14, [MinhashDedupBuckets(f"{out}/s", f"{out}/b", config=config)]),
        (1, [MinhashDedupCluster(f"{out}/b", f"{out}/r", config=config)]),
        (2, [ParquetReader(source), MinhashDedupFilter(f"{out}/r"), ParquetWriter(f"{out}/kept")]),
    ]
    for number, (tasks, steps) in enumerate(stages):
        LocalPipelineExecutor(steps, tasks=tasks, workers=2, logging_dir=f"{out}/log{number}").run()
"""

_DAFT = """
import sys
import daft
from daft import col
if __name__ == "__main__":
    source, out, runner = sys.argv[1:]
    if runner == "ray":
        daft.set_runner_ray()
    frame = daft.read_parquet(f"{source}/*.parquet")
    frame = frame.with_column("m", col("text").minhash(num_hashes=112, ngram_size=5, hash_function="xxhash3_64"))
    for band in range(14):
        frame = frame.with_column(f"b{band}", col("m").list.slice(8 * band, 8 * band + 8).hash())
    firsts = None
    for band in range(14):
        grouped = frame.groupby(f"b{band}").agg(col("id").min().alias("first"))
        frame = frame.join(grouped, on=f"b{band}").where(col("id") == col("first")).exclude("first")
    frame.select("id", "text").write_parquet(out)
"""


def peers(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Others that deduplicate on more than one process, on the same files. daft's keeps the first of each band."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        scripts = {name: Path(scratch, f"{name}.py") for name in ("datatrove", "daft")}
        scripts["datatrove"].write_text(_DATATROVE)
        scripts["daft"].write_text(_DAFT)
        smolfast = [sys.executable, "-m", "smolfast", "dedup", str(options.folder), "--quiet", "-o"]
        commands: dict[str, Callable[[str], list[str]]] = {
            "smolfast": lambda out: [*smolfast, out],
            "smolfast on Ray": lambda out: [*smolfast, out, "--engine", "ray"],
            "datatrove, 2 tasks": lambda out: [options.python, str(scripts["datatrove"]), str(options.folder), out],
            "daft, native": lambda out: [sys.executable, str(scripts["daft"]), str(options.folder), out, "native"],
            "daft on Ray": lambda out: [sys.executable, str(scripts["daft"]), str(options.folder), out, "ray"],
        }
        for round_ in range(options.rounds):
            for name, command in commands.items():
                out = str(Path(scratch, f"out-{name}"))
                shutil.rmtree(out, ignore_errors=True)
                before = resource.getrusage(resource.RUSAGE_CHILDREN)
                began = time.monotonic()
                done = subprocess.run(command(out), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                row: dict[str, Any] = {"run": name, "round": round_, "s": time.monotonic() - began}
                row["CPU s"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
                if done.returncode:
                    row["failed"] = done.stderr.decode(errors="replace").strip()[-200:]
                rows.append(row)
                print(row, flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for work in (documents, same, kills, grouping, store, peers):
        of_this = commands.add_parser(work.__name__, help=work.__doc__)
        if work is not grouping:
            of_this.add_argument("folder", type=Path)
        of_this.add_argument("--json", type=Path)
        of_this.add_argument("--scratch", "--folder", type=Path, help="where outputs are made")
        of_this.add_argument("--rounds", type=int, default=1)
        of_this.add_argument("--seed", type=int, default=0)
        of_this.set_defaults(do=work)
        if work is documents:
            of_this.add_argument("--count", type=float, default=1e6)
        if work in (same, kills):
            of_this.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4] if work is same else [20])
        if work is kills:
            of_this.add_argument("--raylets", type=int, default=5)
            of_this.add_argument("--drivers", type=int, default=5)
        if work is grouping:
            of_this.add_argument("--documents", type=float, nargs="+", default=[1e7, 1e8])
            of_this.add_argument("--memory", type=float, default=1e9)
        if work is peers:
            of_this.add_argument("--python", default=sys.executable, help="that has datatrove")
    options = parser.parse_args()
    rows = options.do(options)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
