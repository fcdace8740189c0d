"""Deduplication beside its peers: text to signatures, parquet to deduplicated parquet, accuracy, clusters.

    python benchmarks/bench_dedup.py --cache ~/.cache/smolfast-corpus [--rounds 5] [--save FILE.json] [PART …]

Every measurement runs in a process of its own; contenders take turns, and the median of the rounds counts. Peers that
aren't installed are left out by name. What each peer is given is said beside its function: tokens are split by
whitespace for peers that take tokens, and the time of that counts, since they can't start from text without it.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
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
from real_text import build_corpus

HASHES, NGRAM, BANDS, ROWS = 128, 5, 14, 8
PACKAGES = [
    "smolfast",
    "daft",
    "rensa",
    "FastSketchLSH",
    "gaoya",
    "datasketch",
    "datatrove",
    "numpy",
    "scipy",
    "pyarrow",
]


# -- text to signatures: a function of the texts, as an Arrow column and as a list -------------------------------------


def smolfast(column: pa.Array, texts: list[str], scheme: str = "fast", tokens: str = "unicode", k: int = HASHES) -> Any:
    from smolfast.dedup import MinHasher

    return MinHasher(k, NGRAM, scheme=scheme, tokens=tokens).signatures(column, threads=THREADS)  # type: ignore[arg-type]


def daft(column: pa.Array, texts: list[str], k: int = HASHES) -> Any:
    import daft as d

    frame = d.from_arrow(pa.table({"text": column}))
    return frame.select(frame["text"].minhash(num_hashes=k, ngram_size=NGRAM, hash_function="xxhash3_64")).to_arrow()


def ngrams(text: str) -> list[str]:
    words = text.split()
    return [" ".join(words[i : i + NGRAM]) for i in range(max(1, len(words) - NGRAM + 1))]


def rensa(column: pa.Array, texts: list[str], k: int = HASHES) -> Any:
    """Shingles made in Python, its fastest exact entry point."""
    from rensa import RMinHash

    return [
        RMinHash.digests_from_token_sets([ngrams(t) for t in texts[i : i + 256]], num_perm=k, seed=42)
        for i in range(0, len(texts), 256)
    ]


def fastsketchlsh(column: pa.Array, texts: list[str], k: int = HASHES) -> Any:
    from FastSketchLSH import FastSimilaritySketch

    sketch = FastSimilaritySketch(size=k, seed=42)
    return [
        sketch.batch([ngrams(t) for t in texts[i : i + 256]], num_threads=THREADS) for i in range(0, len(texts), 256)
    ]


def gaoya(column: pa.Array, texts: list[str]) -> Any:
    """Its signatures can't be had alone: insertion into the index is included."""
    from gaoya.minhash import MinHashStringIndex

    index = MinHashStringIndex(32, 0.75, 16, 8, None, "word", False, (NGRAM, NGRAM))
    for i, text in enumerate(texts):
        index.insert_document(i, text)
    return index


def datasketch(column: pa.Array, texts: list[str]) -> Any:
    from datasketch import MinHash

    return list(MinHash.generator([[g.encode() for g in ngrams(t)] for t in texts], num_perm=HASHES))


def datatrove(column: pa.Array, texts: list[str]) -> Any:
    """Its signature step with `str.split` for the spaCy tokenizer, which is slower; 112 hashes."""
    import xxhash
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature

    step = MinhashDedupSignature.__new__(MinhashDedupSignature)
    step.config = MinhashConfig()
    step.num_hashes, step._parameters = 112, None
    # Its own passes str, which xxhash no longer takes.
    step._hash_func = lambda shingle: xxhash.xxh64_intdigest(shingle.encode())
    step.word_tokenizer = type("Split", (), {"word_tokenize": staticmethod(str.split)})
    return [step.get_signature(s) for t in texts if (s := step.get_shingles(t)).size]


# name, function, share of the documents it is given (slow peers), most threads
SIGNATURES: list[tuple[str, Callable[..., Any], float]] = [
    ("smolfast fast", smolfast, 1.0),
    ("smolfast classic", lambda c, t: smolfast(c, t, "classic"), 1.0),
    ("smolfast fast, whitespace tokens", lambda c, t: smolfast(c, t, "fast", "whitespace"), 1.0),
    ("smolfast, 1 hash (floor: words, n-grams)", lambda c, t: smolfast(c, t, "fast", "unicode", 1), 1.0),
    ("daft", daft, 1.0),
    ("gaoya", gaoya, 0.25),
    ("rensa", rensa, 0.25),
    ("fastsketchlsh", fastsketchlsh, 0.25),
    ("datasketch", datasketch, 0.05),
    ("datatrove", datatrove, 0.01),
]


# -- parquet to deduplicated parquet -----------------------------------------------------------------------------------


def job_smolfast(path: Path, out: Path) -> int:
    from smolfast.dedup import deduplicate

    return deduplicate([path], out, threads=THREADS).documents_out


def keep_first(keys: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """[documents, bands] keys to the first document of each connected component, by scipy."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    documents, bands = keys.shape
    nodes = [np.unique(keys[:, band], return_inverse=True)[1] for band in range(bands)]
    rows = np.tile(np.arange(documents), bands)
    columns, offset = [], documents
    for node in nodes:
        columns.append(node + offset)
        offset += int(node.max()) + 1
    graph = coo_matrix((np.ones(len(rows), np.int8), (rows, np.concatenate(columns))), (offset, offset))
    labels = connected_components(graph, directed=False)[1][:documents]
    return np.sort(np.unique(labels, return_index=True)[1])


def write_kept(table: pa.Table, keys: np.ndarray[Any, Any], out: Path) -> int:
    kept = keep_first(keys)
    pq.write_table(table.take(pa.array(kept)), out / "kept.parquet", compression="zstd")
    return len(kept)


def band_rows(signatures: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    rows = np.ascontiguousarray(signatures[:, : BANDS * ROWS]).reshape(len(signatures), BANDS, ROWS)
    return rows.view(np.dtype((np.void, rows.itemsize * ROWS)))[..., 0]


def job_daft(path: Path, out: Path) -> int:
    import daft as d

    table = d.read_parquet(str(path)).to_arrow()
    frame = d.from_arrow(table)
    hashed = frame.select(frame["text"].minhash(num_hashes=112, ngram_size=NGRAM, hash_function="xxhash3_64"))
    column = hashed.to_arrow().column(0).combine_chunks()
    signatures = column.flatten().to_numpy().astype(np.uint32).reshape(len(column), 112)
    return write_kept(table, band_rows(signatures), out)


def job_rensa(path: Path, out: Path) -> int:
    table = pq.read_table(path)
    texts = table["text"].to_pylist()
    digests = [row for part in rensa(table["text"], texts, 112) for row in part]
    return write_kept(table, band_rows(np.asarray(digests, np.uint32)), out)


def job_datasketch(path: Path, out: Path) -> int:
    table = pq.read_table(path)
    signatures = np.array([m.hashvalues for m in datasketch(table["text"], table["text"].to_pylist())])
    return write_kept(table, band_rows(signatures.astype(np.uint32)), out)


def job_datatrove(path: Path, out: Path) -> int:
    """Its signature step and our bands and writing: less than its own four steps."""
    table = pq.read_table(path)
    rows = datatrove(table["text"], [t if len(t.split()) >= NGRAM else "a b c d e" for t in table["text"].to_pylist()])
    return write_kept(table, band_rows(np.array(rows, np.uint64).reshape(len(rows), 112)), out)


JOBS: list[tuple[str, Callable[[Path, Path], int], float]] = [
    ("smolfast", job_smolfast, 1.0),
    ("daft + scipy", job_daft, 1.0),
    ("rensa + scipy", job_rensa, 0.25),
    ("datasketch + scipy", job_datasketch, 0.05),
    ("datatrove's signatures + scipy", job_datatrove, 0.01),
]

THREADS = int(os.environ.get("BENCH_THREADS", "1"))


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
            source = Path(folder) / "in.parquet"
            pq.write_table(table, source, compression="zstd", row_group_size=2048)
            function = next(f for n, f, _ in JOBS if n == name)
            out = Path(folder) / "out"
            out.mkdir()
            small = Path(folder) / "small.parquet"
            pq.write_table(table.slice(0, 20), small)
            (Path(folder) / "warm").mkdir()
            function(small, Path(folder) / "warm")  # imports and pools
            cpu, wall = time.process_time(), time.perf_counter()
            kept = function(source, out)
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        extra = {"documents": table.num_rows, "kept": kept}
    else:
        function2 = next(f for n, f, _ in SIGNATURES if n == name)
        function2(column.slice(0, 20), texts[:20])
        cpu, wall = time.process_time(), time.perf_counter()
        function2(column, texts)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        extra = {"documents": len(texts)}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"bytes": size, "cpu": cpu, "wall": wall, "peak_rss": peak, **extra}


def measure(
    part: str, contenders: list[tuple[str, Any, float]], path: Path, rounds: int, threads: int
) -> list[dict[str, Any]]:
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name, _, _ in contenders}
    failed: dict[str, str] = {}
    for _ in range(rounds):
        for name, _, share in contenders:
            if name in failed:
                continue
            command = [sys.executable, __file__, "--worker", part, name, str(path), str(share)]
            done = subprocess.run(
                command, capture_output=True, text=True, env={**os.environ, "BENCH_THREADS": str(threads)}
            )
            if done.returncode:
                failed[name] = done.stderr.strip().splitlines()[-1]
            else:
                runs[name].append(json.loads(done.stdout.splitlines()[-1]))
    rows = []
    print(f"\n{part}, {path.name}, {threads} thread(s)\n{'':42} MB/s wall (min–max)      MB/CPU s   peak RSS")
    for name, results in runs.items():
        if name in failed:
            print(f"{name:42} failed: {failed[name]}")
            continue
        wall = sorted(r["bytes"] / r["wall"] / 1e6 for r in results)
        cpu = statistics.median(r["bytes"] / r["cpu"] / 1e6 for r in results)
        peak = max(r["peak_rss"] for r in results)
        row = {
            "name": name,
            "part": part,
            "corpus": path.name,
            "threads": threads,
            "documents": results[0]["documents"],
            "bytes": results[0]["bytes"],
            "kept": results[0].get("kept"),
            "wall_mb_per_s": statistics.median(wall),
            "wall_min": wall[0],
            "wall_max": wall[-1],
            "cpu_mb_per_s": cpu,
            "peak_rss": peak,
            "rounds": len(results),
        }
        rows.append(row)
        span = f"({wall[0]:.1f}–{wall[-1]:.1f})"
        print(f"{name:42} {row['wall_mb_per_s']:8.1f} {span:18} {cpu:8.1f} {peak / 1e6:8.0f} MB")
    return rows


# -- accuracy and clusters ---------------------------------------------------------------------------------------------


def accuracy(path: Path, documents: int = 6000, seeds: int = 10) -> list[dict[str, Any]]:
    """Estimates and recall against the Jaccard similarity of all pairs, by brute force over the shingle sets."""
    from scipy.sparse import csr_matrix, triu

    from smolfast import _native
    from smolfast.dedup import MinHasher

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
            verdicts = {"none": met, "signature": met & (estimate >= 0.8), "exact": met & (stored >= np.float32(0.8))}
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
        for i, verify in enumerate(("none", "signature", "exact")):
            row[f"precision_verify_{verify}"] = float(np.mean([p[i] for p in precisions]))
            row[f"recall_loss_verify_{verify}"] = float(np.mean([loss[i] for loss in losses]))
        rows.append(row)
        print("  " + ", ".join(f"{k} {v:.4f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()))
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
        sets.unite([[keys[band]] for band in range(BANDS)], 1, threads, None, 0.0)
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
    parser.add_argument("parts", nargs="*", metavar="PART", help="signatures, short, job, accuracy, clusters (all)")
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/smolfast-corpus"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--save", type=Path, metavar="FILE")
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        part, name, path, share = arguments.worker
        print(json.dumps(worker(part, name, Path(path), float(share))))
        return
    cache = arguments.cache.expanduser()
    corpus = build_corpus(cache)
    parts = arguments.parts or ["signatures", "short", "job", "accuracy", "clusters"]
    rows: list[dict[str, Any]] = []
    if "signatures" in parts:
        rows += measure("signatures", SIGNATURES, corpus, arguments.rounds, 1)
        rows += measure("signatures", SIGNATURES[:5], corpus, arguments.rounds, 2)
    if "short" in parts:
        rows += measure("signatures", SIGNATURES, short_documents(corpus, cache), arguments.rounds, 1)
    if "job" in parts:
        rows += measure("job", JOBS, corpus, arguments.rounds, 2)
    if "accuracy" in parts:
        rows += accuracy(corpus)
    if "clusters" in parts:
        rows += clusters()
    if arguments.save:
        versions = {}
        for package in PACKAGES:
            try:
                versions[package] = importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError:
                versions[package] = None
        cpu = next(
            (
                line.split(":")[1].strip()
                for line in Path("/proc/cpuinfo").read_text().splitlines()
                if "model name" in line
            ),
            "",
        )
        about = {
            "date": time.strftime("%Y-%m-%d"),
            "cpu": cpu,
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
        }
        arguments.save.write_text(json.dumps({**about, "versions": versions, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
