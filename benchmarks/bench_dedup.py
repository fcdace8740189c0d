"""Deduplication beside its peers: text to signatures, parquet to deduplicated parquet, accuracy, clusters.

    python benchmarks/bench_dedup.py --cache ~/.cache/smolfast-corpus [--rounds 5] [--save FILE.json] [PART …]

Every measurement runs in a process of its own; contenders take turns, and the median of the rounds counts. Peers that
aren't installed are left out by name; dedup_peers.py says what each is given. text-dedup needs an environment of its
own (it asks for an old pyarrow): --python text-dedup=ITS/bin/python.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent))
from dedup_peers import BANDS, HASHES, JOBS, NGRAM, ROWS, SIGNATURES, THREADS, datatrove_steps, ngrams
from real_text import build_corpus, offline_corpus

from smolfast.bench.results import Results, Row, Spread, machine, versions, write_results

PACKAGES = [
    "daft",
    "rensa",
    "FastSketchLSH",
    "gaoya",
    "datasketch",
    "datatrove",
    "text-dedup",
    "numpy",
    "scipy",
    "pyarrow",
]


WARM_SECONDS = 5.0


def timed(call: Callable[[], Any]) -> tuple[float, float, Any]:
    """CPU and wall seconds of a call, medians of up to four after the first if they are short; and its result.

    The first waits for memory that the system clears and, on a virtual machine, its host must find: longer than our
    work takes, and different every time.
    """
    times: list[tuple[float, float]] = []
    while len(times) < 5 and sum(wall for _, wall in times) < WARM_SECONDS:
        cpu, wall = time.process_time(), time.perf_counter()
        found = call()
        times.append((time.process_time() - cpu, time.perf_counter() - wall))
    warm = times[1:] or times
    return statistics.median(cpu for cpu, _ in warm), statistics.median(wall for _, wall in warm), found


def new_folder(within: str) -> Path:
    return Path(tempfile.mkdtemp(dir=within))


def worker(part: str, name: str, path: Path, share: float) -> dict[str, Any]:
    """One measurement, in this process."""
    if THREADS == 1:
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[0]})
    table = pq.read_table(path)
    table = table.slice(0, max(1, int(table.num_rows * share)))
    column = table["text"].combine_chunks()
    column = column if isinstance(column, pa.Array) else column.chunk(0)
    texts = column.to_pylist()
    size = sum(len(t.encode()) for t in texts)
    if part == "job":
        with tempfile.TemporaryDirectory() as folder:
            source, small = Path(folder) / "in.parquet", Path(folder) / "small.parquet"
            pq.write_table(table, source, compression="zstd", row_group_size=2048)
            pq.write_table(table.slice(0, 20), small)
            function = next(f for n, f, _ in JOBS if n == name)
            function(small, new_folder(folder))  # imports and pools
            cpu, wall, kept = timed(lambda: function(source, new_folder(folder)))
        extra = {"documents": table.num_rows, "kept": kept}
    else:
        function2 = next(f for n, f, _ in SIGNATURES if n == name)
        function2(column.slice(0, 20), texts[:20])
        cpu, wall, _ = timed(lambda: function2(column, texts))
        extra = {"documents": len(texts)}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"bytes": size, "cpu": cpu, "wall": wall, "peak_rss": peak, **extra}


def measure(
    part: str,
    contenders: list[tuple[str, Any, float]],
    path: Path,
    rounds: int,
    threads: int,
    interpreters: dict[str, str],
) -> list[Row]:
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name, _, _ in contenders}
    failed: dict[str, str] = {}
    for _ in range(rounds):
        for name, _, share in contenders:
            if name in failed:
                continue
            command = [interpreters.get(name, sys.executable), __file__, "--worker", part, name, str(path), str(share)]
            done = subprocess.run(
                command, capture_output=True, text=True, env={**os.environ, "BENCH_THREADS": str(threads)}
            )
            if done.returncode:
                failed[name] = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
            else:
                runs[name].append(json.loads(done.stdout.splitlines()[-1]))
    rows = []
    case = path.stem
    print(f"\n{part}, {path.name}, {threads} thread(s)\n{'':42} MB/s wall (min–max)      MB/CPU s   peak RSS")
    for name, results in runs.items():
        if name in failed:
            print(f"{name:42} failed: {failed[name]}")
            rows.append(Row(part, case, name, role(name), threads=threads, failed=failed[name]))
            continue
        wall = sorted(r["bytes"] / r["wall"] / 1e6 for r in results)
        cpu = statistics.median(r["bytes"] / r["cpu"] / 1e6 for r in results)
        peak = max(r["peak_rss"] for r in results)
        facts = {key: value for key in ("documents", "kept") if (value := results[0].get(key)) is not None}
        spreads = {kind: Spread.of(r[kind] for r in results) for kind in ("wall", "cpu")}
        rows.append(
            Row(part, case, name, role(name), bytes=results[0]["bytes"], threads=threads, rounds=len(results),
                peak_bytes=peak, facts=facts | {"size": facts["documents"]}, **spreads)
        )  # fmt: skip
        rate, span = statistics.median(wall), f"({wall[0]:.1f}–{wall[-1]:.1f})"
        print(f"{name:42} {rate:8.1f} {span:18} {cpu:8.1f} {peak / 1e6:8.0f} MB")
    return rows


def role(name: str) -> str:
    return "ours" if name.startswith("smolfast") else "peer"


def fact(found: dict[str, Any]) -> Row:
    """A row of what was found out rather than timed against somebody."""
    part = found["part"]
    case = str(found.get("scheme") or found.get("with") or found.get("kind") or found["documents"])
    seconds = found.get("wall", found.get("seconds"))
    spreads = {"wall": Spread.of([seconds])} if seconds else {}
    if seconds and "cpu" in found:
        spreads["cpu"] = Spread.of([found["cpu"]])
    elsewhere = ("part", "wall", "cpu", "seconds", "bytes", "peak_rss")
    facts = {key: value for key, value in found.items() if key not in elsewhere}
    return Row(part, case, "smolfast", "ours", bytes=found.get("bytes"), threads=found.get("threads"), rounds=1,
               peak_bytes=found.get("peak_rss"), facts=facts, **spreads)  # fmt: skip


# -- accuracy and clusters ---------------------------------------------------------------------------------------------


def accuracy(path: Path, documents: int = 6000, seeds: int = 10) -> list[dict[str, Any]]:
    """Estimates and recall against the Jaccard similarity of all pairs, by brute force over the shingle sets."""
    from scipy.sparse import csr_matrix, triu

    from smolfast import _native
    from smolfast.dedup import MinHasher
    from smolfast.dedup.banding import band_threshold

    column = pq.read_table(path)["text"].slice(0, documents)
    offsets, values = MinHasher(112, NGRAM).shingles(column)
    sizes = np.diff(offsets)
    unique, inverse = np.unique(values, return_inverse=True)
    matrix = csr_matrix((np.ones(len(values), np.int32), inverse, offsets), (documents, len(unique)))
    shared = triu(matrix @ matrix.T, 1).tocoo()
    exact = shared.data / (sizes[shared.row] + sizes[shared.col] - shared.data)
    some = exact >= 0.3
    left, right, exact = shared.row[some], shared.col[some], exact[some]
    high = exact >= 0.8
    # What verify="exact" compares: shingles cut to 32 bits.
    sets = _native.StoredSets([(values >> np.uint64(32)).astype(np.uint32)], offsets[1:])
    stored = sets.jaccard(left.astype(np.uint32), right.astype(np.uint32), 0)
    rows = []
    print(
        f"\naccuracy, {documents:,} documents, {len(exact):,} pairs of J ≥ 0.3, {high.sum():,} of J ≥ 0.8, "
        f"{seeds} seeds"
    )
    for scheme in ("fast", "classic"):
        errors, recalls, precisions, losses = [], [], [], []
        for seed in range(seeds):
            signatures = MinHasher(112, NGRAM, scheme=scheme, seed=seed).signatures(column)  # type: ignore[arg-type]
            estimate = (signatures[left] == signatures[right]).mean(axis=1)
            keys = _native.band_keys(signatures, BANDS, ROWS, 0)
            met = (keys[:, left] == keys[:, right]).any(axis=0)
            errors.append([np.abs(estimate - exact)[exact >= j].mean() for j in (0.3, 0.5, 0.8)])
            recalls.append(met[high].mean())
            verdicts = {
                "none": met,
                "signature": met & (estimate >= 0.8),
                "exact": met & (stored >= 0.8),
                "default": met & (estimate >= band_threshold(BANDS, ROWS)),
            }
            precisions.append([high[verdict].mean() for verdict in verdicts.values()])
            losses.append([met[high].mean() - verdict[high].mean() for verdict in verdicts.values()])
        row = {
            "part": "accuracy",
            "scheme": scheme,
            "documents": documents,
            "pairs": len(exact),
            "pairs_0.8": int(high.sum()),
            **{f"mean_abs_error_j{j}": float(e) for j, e in zip((0.3, 0.5, 0.8), np.mean(errors, axis=0), strict=True)},
            "recall_0.8": float(np.mean(recalls)),
            "recall_theory": float((1 - (1 - exact[high] ** ROWS) ** BANDS).mean()),
        }
        for i, verify in enumerate(("none", "signature", "exact", "default")):
            row[f"precision_verify_{verify}"] = float(np.mean([p[i] for p in precisions]))
            row[f"recall_loss_verify_{verify}"] = float(np.mean([loss[i] for loss in losses]))
        rows.append(row)
        print("  " + ", ".join(f"{k} {v:.4f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()))
    return rows


def removals(path: Path, documents: int = 6000) -> list[dict[str, Any]]:
    """How alike what the job removes is to what it keeps for it, and which pairs of J ≥ 0.8 it leaves whole."""
    from scipy.sparse import csr_matrix, triu

    from smolfast.dedup import MinHasher, deduplicate

    column = pq.read_table(path, columns=["text"])["text"]
    offsets, values = MinHasher(HASHES, NGRAM).shingles(column)
    sizes = np.diff(offsets)

    def jaccard(a: int, b: int) -> float:
        sets = [values[offsets[i] : offsets[i + 1]] for i in (a, b)]
        shared = len(np.intersect1d(*sets, assume_unique=True))
        return shared / max(1, int(sizes[a] + sizes[b]) - shared)

    some = values[: offsets[documents]]
    unique, inverse = np.unique(some, return_inverse=True)
    matrix = csr_matrix((np.ones(len(some), np.int32), inverse, offsets[: documents + 1]), (documents, len(unique)))
    shared = triu(matrix @ matrix.T, 1).tocoo()
    high = shared.data >= 0.8 * (sizes[shared.row] + sizes[shared.col] - shared.data)
    left, right = shared.row[high], shared.col[high]
    rows = []
    for name, options in (("default", {}), ("chains", {"verify": "none", "chains": True})):
        with tempfile.TemporaryDirectory() as folder:
            summary = deduplicate([path], folder, num_perm=HASHES, ngram=NGRAM, bands=BANDS, rows=ROWS, **options)  # type: ignore[arg-type]
            removed = pq.read_table(Path(folder) / "removed.parquet", columns=["row", "kept_row", "kind"]).to_pylist()
        near = np.array([jaccard(row["row"], row["kept_row"]) for row in removed if row["kind"] == "near"])
        kept = np.ones(len(column), bool)
        kept[[row["row"] for row in removed]] = False
        row = {
            "part": "removals",
            "kind": f"{path.stem}, {name}",
            "documents": len(column),
            "kept": summary.documents_out,
            "exact_duplicates": summary.exact_duplicates,
            "near_duplicates": len(near),
            **{f"near_below_j{j}": float((near < j).mean()) for j in (0.3, 0.5, 0.6, 0.7)},
            "least_j": float(near.min()),
            "pairs_0.8": int(high.sum()),
            "recall_0.8": float(1 - (kept[left] & kept[right]).mean()),
        }
        rows.append(row)
        print(json.dumps(row))
    return rows


def clusters(documents: int = 1_000_000, threads: int = 2) -> list[dict[str, Any]]:
    """Union of a million documents' bands, a tenth of them near-duplicates of others."""
    from smolfast import _native

    generator = np.random.default_rng(0)
    signatures = generator.integers(0, 1 << 32, (documents, BANDS * ROWS), dtype=np.uint32)
    copies = generator.choice(documents, documents // 10, replace=False)
    signatures[copies] = signatures[generator.integers(0, documents, len(copies))]
    signatures[copies[:, None], generator.integers(0, BANDS * ROWS, (len(copies), 8))] += 1
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        keys = _native.band_keys(signatures, BANDS, ROWS, threads)
        sets = _native.DocumentSets(documents)
        sets.unite([[keys[band]] for band in range(BANDS)], None, 1, threads, None, 0.0)
        roots = sets.roots()
        seconds.append(time.perf_counter() - start)
    row = {
        "part": "clusters",
        "documents": documents,
        "threads": threads,
        "seconds": statistics.median(seconds),
        "clusters": len(np.unique(roots)),
    }
    print(f"\nclusters of {documents:,} signatures, {threads} threads: {row['seconds']:.2f} s")
    return [row]


# -- equality and scale ------------------------------------------------------------------------------------------------


def equality(path: Path, documents: int = 10_000) -> list[dict[str, Any]]:
    """Bits of signatures beside datasketch's and datatrove's own, over real texts of up to 2,000 characters."""
    import xxhash
    from datasketch import MinHash
    from datasketch.hashfunc import sha1_hash32

    from smolfast.dedup import MinHasher

    texts = [text[i : i + 2000] for text in pq.read_table(path)["text"].to_pylist() for i in (0, 2000)]
    texts = [text for text in texts if text.split()][:documents]
    rows = []

    def compare(what: str, hasher: MinHasher, theirs: Callable[[str], Any]) -> None:
        ours = hasher.signatures(texts)
        equal = sum(np.array_equal(ours[i], theirs(text)) for i, text in enumerate(texts))
        rows.append({"part": "equality", "with": what, "documents": len(texts), "equal": equal})
        print(f"{what}: {equal:,} of {len(texts):,} signatures equal")

    for name, function in (("sha1_hash32", sha1_hash32), ("xxh32", xxhash.xxh32_intdigest)):

        def sketch(text: str, function: Any = function) -> Any:
            theirs = MinHash(num_perm=HASHES, seed=7, hashfunc=function)
            theirs.update_batch([gram.encode() for gram in ngrams(text)])
            return theirs.hashvalues

        options: dict[str, Any] = {"tokens": "whitespace", "scheme": "datasketch", "hash": name, "seed": 7}
        compare(f"datasketch, {name}", MinHasher(HASHES, NGRAM, **options), sketch)

    minhash = datatrove_steps(split=True)
    for name, function in (
        ("xxhash64", lambda gram: xxhash.xxh64_intdigest(gram.encode())),
        ("sha1", datatrove_sha1),
    ):
        minhash.create_hash_func = lambda config, function=function: function
        step = minhash.MinhashDedupSignature("/tmp/unused-by-get-signature")

        def signature(text: str, step: Any = step) -> Any:
            shingles = step.get_shingles(text)
            if not shingles.size:
                return np.full(112, (1 << 64) - 1, np.uint64)
            return np.array(step.get_signature(shingles), np.uint64).reshape(-1)

        hasher = MinHasher(tokens="whitespace", scheme="datatrove", hash=name, simplify=True)
        compare(f"datatrove, {name}", hasher, signature)
    return rows


def datatrove_sha1(gram: str) -> int:
    from datatrove.utils.hashing import sha1_hash64

    return int(sha1_hash64(gram))


def job_run(source: Path, out: str, memory: int, **options: Any) -> dict[str, Any]:
    """The whole job in a process of its own."""
    command = [sys.executable, "-c", JOB_RUN, str(source), out, str(memory), json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def hostile(path: Path, cache: Path, memory: int = 1 << 30) -> list[dict[str, Any]]:
    """Time and memory on documents made to hurt."""
    from hostile_documents import HOSTILE, build

    rows = []
    for kind in HOSTILE:
        source = build(kind, path, cache)
        for options in ({}, {"threshold": 0.8, "bands": BANDS, "rows": ROWS, "verify": "exact"}):
            if kind == "giant" and options:
                continue
            with tempfile.TemporaryDirectory(dir=cache) as out:
                run = job_run(source, out, memory, **options)
            rows.append({"part": "hostile", "kind": kind, "options": options, **run})
            print(json.dumps(rows[-1]))
    return rows


def scale(path: Path, cache: Path, sizes: list[int], memory: int = 1 << 30) -> list[dict[str, Any]]:
    """The whole job on more and more documents with planted near-duplicates, each in a process of its own."""
    import planted

    rows: list[dict[str, Any]] = []
    for size in sizes:
        source = cache / f"planted-{size}.parquet"
        if not source.exists():
            planted.make(path, size, source)
        with tempfile.TemporaryDirectory(dir=cache) as out:
            run = job_run(source, out, memory)
            removed = pq.read_table(Path(out) / "removed.parquet", columns=["id", "kept_id"])
        origin = {row.as_py() for row in removed["id"]}
        row = {"part": "scale", **run, "us_per_document": run["wall"] / size * 1e6}
        names = pq.read_table(source, columns=["id"])["id"]
        for kind, similarity in planted.SIMILARITY.items():
            copies = [name for name in names.to_pylist() if name.startswith(kind)]
            row[f"{kind}_planted"] = len(copies)
            row[f"{kind}_found"] = sum(name in origin for name in copies) / len(copies)
            row[f"{kind}_theory"] = 1 - (1 - similarity**ROWS) ** BANDS
        row["others_removed"] = sum(name.startswith("own") for name in origin)
        rows.append(row)
        print(json.dumps(row))
    return rows


JOB_RUN = """
import json, resource, sys, time
from smolfast.dedup import deduplicate
source, out, memory, options = sys.argv[1:]
wall, cpu = time.perf_counter(), time.process_time()
summary = deduplicate([source], out, memory=int(memory), threads=2, **json.loads(options))
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
counts = {"bytes": summary.bytes_in, "documents": summary.documents_in, "kept": summary.documents_out}
print(json.dumps({"wall": wall, "cpu": cpu, "peak_rss": peak, **counts}))
"""

PARTS = ["signatures", "short", "job", "accuracy", "removals", "clusters", "equality", "hostile", "scale"]


def short_documents(path: Path, cache: Path, words: int = 30) -> Path:
    """The corpus cut into documents of 30 words."""
    target = cache / f"{path.stem}-{words}-words.parquet"
    if not target.exists():
        cut = []
        for text in pq.read_table(path)["text"].to_pylist():
            split = text.split()
            cut += [" ".join(split[i : i + words]) for i in range(0, len(split) - words + 1, words)]
        pq.write_table(pa.table({"text": pa.array(cut[:200_000], pa.large_string())}), target)
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (all but scale)")
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/smolfast-corpus"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--python", action="append", default=[], metavar="NAME=PATH", help="a contender's own interpreter"
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="WORD", help="contenders whose name holds a word"
    )
    parser.add_argument(
        "--documents", type=int, action="append", metavar="N", help="sizes of the scale part (100,000 and 1,000,000)"
    )
    parser.add_argument("--quick", action="store_true", help="3 MB of Python's sources, three rounds; no download")
    parser.add_argument("--save", "--json", type=Path, metavar="FILE")
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        part, name, path, share = arguments.worker
        print(json.dumps(worker(part, name, Path(path), float(share))))
        return
    interpreters = dict(pair.split("=", 1) for pair in arguments.python)

    def some(contenders: list[tuple[str, Any, float]]) -> list[tuple[str, Any, float]]:
        return [c for c in contenders if not arguments.only or any(word in c[0] for word in arguments.only)]

    rows: list[Row] = []
    if arguments.quick:
        arguments.rounds = min(arguments.rounds, 3)
        with tempfile.TemporaryDirectory() as folder:
            rows = quick(Path(folder), arguments.rounds, interpreters)
        save(arguments, rows)
        return
    cache = arguments.cache.expanduser()
    corpus = build_corpus(cache)
    parts = arguments.parts or PARTS[:-1]
    if "signatures" in parts:
        rows += measure("signatures", some(SIGNATURES), corpus, arguments.rounds, 1, interpreters)
        rows += measure("signatures", some(SIGNATURES[:5]), corpus, arguments.rounds, 2, interpreters)
    if "short" in parts:
        rows += measure(
            "signatures", some(SIGNATURES), short_documents(corpus, cache), arguments.rounds, 1, interpreters
        )
    if "job" in parts:
        rows += measure("job", some(JOBS), corpus, arguments.rounds, 2, interpreters)
    if "accuracy" in parts:
        rows += map(fact, accuracy(corpus))
    if "removals" in parts:
        for source in (corpus, short_documents(corpus, cache), short_documents(corpus, cache, 100)):
            rows += map(fact, removals(source))
    if "clusters" in parts:
        rows += map(fact, clusters())
    if "equality" in parts:
        rows += map(fact, equality(corpus))
    if "hostile" in parts:
        rows += map(fact, hostile(corpus, cache))
    if "scale" in parts:
        rows += map(fact, scale(corpus, cache, arguments.documents or [100_000, 1_000_000]))
    save(arguments, rows)


def quick(folder: Path, rounds: int, interpreters: dict[str, str]) -> list[Row]:
    """Those that are installed, on Python's sources; ours alone on three sizes and on one and two threads."""
    corpus = offline_corpus(folder, 3.0)
    signatures, jobs = ([c for c in all_ if installed(c[0])] for all_ in (SIGNATURES, JOBS))
    rows = measure("signatures", signatures, corpus, rounds, 1, interpreters)
    rows += measure("signatures", signatures[:1], corpus, rounds, 2, interpreters)
    rows += measure("job", jobs, corpus, rounds, 2, interpreters)
    for share in (0.25, 0.5):
        rows += measure("job", [(name, call, share) for name, call, _ in jobs[:1]], corpus, rounds, 2, interpreters)
    return rows


def installed(name: str) -> bool:
    package = re.split(r"[ ,]", name)[0].replace("-", "_")
    scipy = "scipy" not in name or importlib.util.find_spec("scipy") is not None
    return importlib.util.find_spec(package) is not None and scipy


def save(arguments: argparse.Namespace, rows: list[Row]) -> None:
    if arguments.save:
        settings = {name: getattr(arguments, name) for name in ("parts", "rounds", "only", "quick")}
        found = Results("dedup", rows, machine=machine(), versions=versions(PACKAGES), settings=settings)
        write_results(arguments.save, found)


if __name__ == "__main__":
    main()
