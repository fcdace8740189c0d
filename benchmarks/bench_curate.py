"""The filters beside datatrove's: the same decisions, the time that they take, how it grows, the worst documents.

    python benchmarks/bench_curate.py --cache ~/.cache/smolfast-curate --peer PEER/bin/python --configs FINEWEB2/configs
        [--rounds 5] [--save FILE.json] [PART …]

PEER is an environment with datatrove 0.10.1 and spaCy (`pip install datatrove==0.10.1 'xxhash<4' spacy pyyaml`), and
FINEWEB2 a checkout of github.com/huggingface/fineweb-2. Every measurement runs in a process of its own; contenders take
turns, and the median of the rounds counts. Without PEER ours is measured alone.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent))
from curate_peers import CODES
from hostile_texts import HOSTILE
from real_text import offline_corpus

from smolfast.bench.results import Results, Row, Spread, machine, peak_resident, versions, write_results

PACKAGES = ["datatrove", "spacy", "pyarrow", "numpy"]
RULES = {"fineweb": "fineweb@0.10", "fineweb-2": "fineweb-2@1"}
PARTS = ["decisions", "speed", "words", "worst", "growth"]
OURS, SIGNALS, PEER = "smolfast", "smolfast, all signals", "datatrove"
FLOOR_WORDS, FLOOR_HASH = "words alone", "hashing alone"
WARM_SECONDS = 3.0

# -- one measurement, in a process of its own --------------------------------------------------------------------------


def timed(call: Callable[[], Any]) -> tuple[float, float]:
    """CPU and wall seconds of a call: medians of up to four after the first if they are short."""
    times: list[tuple[float, float]] = []
    while len(times) < 5 and sum(wall for _, wall in times) < WARM_SECONDS:
        cpu, wall = time.process_time(), time.perf_counter()
        call()
        times.append((time.process_time() - cpu, time.perf_counter() - wall))
    warm = times[1:] or times
    return statistics.median(cpu for cpu, _ in warm), statistics.median(wall for _, wall in warm)


def contender(name: str, column: pa.Array, rules: str, language: str, threads: int) -> Callable[[], Any]:
    from smolfast import curate
    from smolfast.dedup import MinHasher

    code = CODES.get(language, language)
    loaded = curate.load_rules(RULES[rules], code if rules == "fineweb-2" else None)
    if name.startswith(FLOOR_WORDS):
        # The check that needs words and little else.
        only = curate.Rules(
            "words",
            "1",
            (
                curate.GopherQuality(
                    max_symbol_word_ratio=0, max_bullet_lines_ratio=0, max_ellipsis_lines_ratio=0, min_stop_words=0
                ),
            ),
        )
        return lambda: curate.judge(column, only, code, threads=threads)
    if name.startswith(FLOOR_HASH):
        hasher = MinHasher(16, 1, scheme="fast", tokens="whitespace")
        return lambda: hasher.signatures(column, threads=threads)
    return lambda: curate.judge(column, loaded, code, signals=name.startswith(SIGNALS), threads=threads)


def worker(name: str, path: Path, rules: str, language: str, threads: int) -> dict[str, Any]:
    """Ours: text to decisions on the file's documents."""
    if threads == 1:
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[0]})
    forget_peak()
    column = pq.read_table(path)["text"].combine_chunks()
    run = contender(name, column, rules, language, threads)
    run()
    cpu, wall = timed(run)
    peak = peak_bytes()
    return {"bytes": text_bytes(column), "cpu": cpu, "wall": wall, "documents": len(column), "peak_rss": peak}


def forget_peak() -> None:
    """What getrusage calls the peak counts the process that started this one; Linux lets it be reset."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes() -> int:
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024
    return peak_resident() or 0


def text_bytes(column: pa.Array | pa.ChunkedArray) -> int:
    import pyarrow.compute as pc

    return pc.sum(pc.binary_length(column)).as_py() or 0


def measured(command: list[Any], environment: dict[str, str] | None = None) -> dict[str, Any]:
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, env={**os.environ, **(environment or {})}
    )
    if done.returncode:
        raise RuntimeError((done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


# -- speed -------------------------------------------------------------------------------------------------------------


def speed(case: str, path: Path, rules: str, language: str, options: argparse.Namespace, threads: int = 1) -> list[Row]:
    """Ours, datatrove, floors and ours with AVX2 alone, in turn on the same documents."""
    names = [OURS, SIGNALS, FLOOR_WORDS, FLOOR_HASH]
    if machine()["instructions"] != "avx2":
        names.insert(1, f"{OURS}, avx2")
    if options.peer and threads == 1 and (rules == "fineweb" or options.configs):
        names.append(PEER)
    if threads > 1:
        names = [OURS]
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    failed: dict[str, str] = {}
    for _ in range(options.rounds):
        for name in names:
            if name in failed:
                continue
            command = [sys.executable, __file__, "--worker", name, path, rules, language, threads]
            if name == PEER:
                command = [options.peer, Path(__file__).parent / "curate_peers.py", "speed", rules, language, path]
                command += ["--configs", options.configs] if options.configs else []
            try:
                runs[name].append(measured(command, {"SMOLFAST_FORCE_IMPL": "avx2"} if name.endswith("avx2") else None))
            except RuntimeError as error:
                failed[name] = str(error)
    rows = []
    print(f"\n{rules}, {case}, {threads} thread(s)\n{'':28} MB/CPU s (min–max)     MB/s wall   documents/s   peak RSS")
    for name, found in runs.items():
        role = "peer" if name == PEER else "floor" if name in (FLOOR_WORDS, FLOOR_HASH) else "ours"
        if name in failed:
            print(f"{name:28} failed: {failed[name]}")
            rows.append(Row(rules, case, name, role, threads=threads, failed=failed[name]))
            continue
        first = found[0]
        spreads = {kind: Spread.of(run[kind] for run in found) for kind in ("wall", "cpu")}
        facts = {key: first[key] for key in ("documents", "kept", "seen_by_the_last") if key in first}
        peak = max(run["peak_rss"] for run in found) if "peak_rss" in first else None
        rows.append(
            Row(
                rules,
                case,
                name,
                role,
                bytes=first["bytes"],
                threads=threads,
                rounds=len(found),
                peak_bytes=peak,
                facts=facts,
                **spreads,
            )
        )
        cpu, wall = spreads["cpu"], spreads["wall"]
        low, middle, high = (first["bytes"] / s / 1e6 for s in (cpu.most, cpu.median, cpu.least))
        print(
            f"{name:28} {middle:8.2f} ({low:.2f}–{high:.2f}){'':6} {first['bytes'] / wall.median / 1e6:8.2f} "
            f"{first['documents'] / wall.median:12,.0f} {(peak or 0) / 1e6:8.0f} MB"
        )
    of = {row.name: row.cpu.median for row in rows if row.cpu}
    if OURS in of and PEER in of:
        print(f"{'':28} ours {of[PEER] / of[OURS]:,.0f} × datatrove (CPU time)")
    return rows


def speeds(options: argparse.Namespace) -> list[Row]:
    """Documents that all four filters see, and documents as they come, in English; FineWeb-2 in German."""
    corpus = build(options.cache, "en")
    decided = decisions_of(options, "en")
    rows = []
    cases = {"as they come": corpus.slice(0, options.documents)}
    if decided is not None:
        last = [
            name
            for name, removed_by in zip(*(decided[c].to_pylist() for c in ("id", "fineweb_filter")), strict=True)
            if removed_by in (None, "fineweb_quality")
        ]
        cases["seen by all four filters"] = corpus.filter(pa.compute.is_in(corpus["id"], pa.array(last))).slice(
            0, options.documents
        )
    with tempfile.TemporaryDirectory() as folder:
        for case, table in cases.items():
            path = Path(folder) / f"{case}.parquet"
            pq.write_table(table, path)
            rows += speed(case, path, "fineweb", "en", options)
            rows += speed(case, path, "fineweb", "en", options, threads=2)
        path = Path(folder) / "german.parquet"
        pq.write_table(build(options.cache, "de").slice(0, options.documents), path)
        rows += speed("German, as they come", path, "fineweb-2", "de", options)
    return rows


# -- decisions ---------------------------------------------------------------------------------------------------------


def build(cache: Path, corpus: str) -> pa.Table:
    from curate_corpora import build_corpus, build_mutated

    return pq.read_table(build_mutated(cache) if corpus == "mutated" else build_corpus(cache, corpus))


def decisions_of(options: argparse.Namespace, corpus: str) -> pa.Table | None:
    """datatrove's decisions on a corpus, made once."""
    out = options.cache / "decisions" / corpus
    if options.peer and options.configs:
        from curate_decisions import theirs

        return theirs(options.peer, options.configs, options.cache / f"{corpus}.parquet", out)
    return pq.read_table(out) if out.exists() else None


def decisions(options: argparse.Namespace) -> list[Row]:
    """Filter by filter and in sequence, on every corpus."""
    from curate_decisions import CORPORA, compared, reasons

    rows = []
    for corpus in CORPORA:
        table = build(options.cache, corpus)
        decided = decisions_of(options, corpus)
        if decided is None:
            print(f"{corpus}: no decisions of datatrove's; name its environment with --peer and --configs")
            continue
        for name, count, differences in compared(corpus, table, decided):
            if not count:
                continue
            print(f"{corpus:8} {name:28} {count:8,} documents, {len(differences)} differ", flush=True)
            for difference in differences:
                print(f"    {difference}")
            said = reasons(decided, name) if name in decided.column_names else {}
            unexplained = sum(difference.cause == "not known" for difference in differences)
            facts = {
                "unexplained": unexplained,
                "documents": count,
                "differ": len(differences),
                "differences": [str(d) for d in differences[:50]],
                "theirs": said,
            }
            rows.append(Row("decisions", corpus, name, "ours", facts=facts))
    return rows


def words(options: argparse.Namespace) -> list[Row]:
    """The share of decisions that differ with words that need no tables of spaCy's."""
    from curate_decisions import rules_of

    from smolfast import curate

    rows = []
    for language in CODES:
        table = build(options.cache, language)
        for sequence in ("fineweb", "fineweb2"):
            rules = rules_of(sequence, language)
            if rules is None:
                continue
            judged = [
                curate.judge(table["text"], rules, CODES[language], words=kind)
                for kind in ("spacy", "unicode", "whitespace")
            ]  # type: ignore[arg-type]
            keeps, why = ([each[column].to_pylist() for each in judged] for column in ("keep", "reason"))
            facts: dict[str, Any] = {"documents": table.num_rows, "kept": sum(keeps[0])}
            for i, kind in ((1, "unicode"), (2, "whitespace")):
                facts[f"{kind}_keep_differs"] = (
                    sum(a != b for a, b in zip(keeps[0], keeps[i], strict=True)) / table.num_rows
                )
                facts[f"{kind}_reason_differs"] = (
                    sum(a != b for a, b in zip(why[0], why[i], strict=True)) / table.num_rows
                )
            print(
                f"{language:3} {sequence:9} "
                + ", ".join(f"{k} {v:.4f}" if isinstance(v, float) else f"{k} {v:,}" for k, v in facts.items())
            )
            rows.append(Row("words", f"{language}, {sequence}", OURS, "ours", facts=facts))
    return rows


# -- growth and the worst documents ------------------------------------------------------------------------------------


def growth(options: argparse.Namespace) -> list[Row]:
    """More and more documents of a kilobyte: `judge` in batches, and the command; each size in a process of its own."""
    rows = []
    texts = [text[:1000] for text in build(options.cache, "en")["text"].to_pylist()]
    with tempfile.TemporaryDirectory(dir=options.cache) as folder:
        for size in options.sizes or [10_000, 100_000, 1_000_000]:
            path = Path(folder) / f"{size}.parquet"
            write_many(path, texts, size)
            for name in ("judge", "command"):
                try:
                    command = [sys.executable, __file__, "--grow", name, path, options.rules]
                    runs = [measured(command) for _ in range(min(options.rounds, 3))]
                except RuntimeError as error:
                    print(f"{name}, {size:,} documents: {error}")
                    rows.append(Row("growth", f"{size}", name, "ours", failed=str(error)))
                    continue
                cpu, wall = (Spread.of(run[kind] for run in runs) for kind in ("cpu", "wall"))
                peak = max(run["peak_rss"] for run in runs)
                facts = {"documents": size, "us_per_document": cpu.median / size * 1e6}
                rows.append(
                    Row(
                        "growth",
                        f"{size}",
                        name,
                        "ours",
                        bytes=runs[0]["bytes"],
                        threads=runs[0]["threads"],
                        rounds=len(runs),
                        wall=wall,
                        cpu=cpu,
                        peak_bytes=peak,
                        facts=facts,
                    )
                )
                each = facts["us_per_document"]
                print(f"{name:8} {size:10,} documents: {each:7.2f} µs CPU each, peak {peak / 1e6:,.0f} MB", flush=True)
    return rows


def write_many(path: Path, texts: list[str], size: int, block: int = 10_000) -> None:
    with pq.ParquetWriter(
        path, pa.schema([("id", pa.string()), ("text", pa.large_string())]), compression="zstd", use_dictionary=False
    ) as writer:
        for first in range(0, size, block):
            numbers = range(first, min(first + block, size))
            table = pa.table(
                {
                    "id": [f"document-{i}" for i in numbers],
                    "text": pa.array([f"{texts[i % len(texts)]} {i}." for i in numbers], pa.large_string()),
                }
            )
            writer.write_table(table)


def grow(name: str, path: Path, rules: str) -> dict[str, Any]:
    """All documents of the file once, in this process."""
    start = resource.getrusage(resource.RUSAGE_CHILDREN), time.process_time(), time.perf_counter()
    threads, size = 1, 0
    forget_peak()
    if name == "judge":
        from smolfast import curate

        for batch in pq.ParquetFile(path, pre_buffer=False).iter_batches(4_096, columns=["text"]):
            curate.judge(batch["text"], RULES[rules], threads=1)
            size += text_bytes(batch["text"])
        cpu, peak = time.process_time() - start[1], peak_bytes()
    else:
        threads = 2
        with tempfile.TemporaryDirectory(dir=path.parent) as out:
            command = [
                sys.executable,
                "-m",
                "smolfast",
                "curate",
                path,
                "-o",
                f"{out}/curated",
                "--rules",
                RULES[rules],
                "--threads",
                "2",
            ]
            done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(done.stderr.strip() or f"exit status {done.returncode}")
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu, peak = used.ru_utime + used.ru_stime, used.ru_maxrss * 1024
    return {
        "cpu": cpu,
        "wall": time.perf_counter() - start[2],
        "peak_rss": peak,
        "bytes": size or None,
        "threads": threads,
    }


def worst(options: argparse.Namespace) -> list[Row]:
    """Time per byte of documents made to hurt, of 1 MB and of a quarter of that, beside ordinary text."""
    from smolfast import curate

    rules = curate.load_rules(RULES[options.rules])
    if options.quick:
        with tempfile.TemporaryDirectory() as folder:
            ordinary = "\n".join(pq.read_table(offline_corpus(Path(folder), 1.2))["text"].to_pylist())
    else:
        ordinary = "\n".join(build(options.cache, "en")["text"].to_pylist()[:2_000])
    size = 200_000 if options.quick else 1_000_000

    def once(text: str) -> float:
        column = pa.array([text], pa.large_string())
        start = time.process_time()
        curate.judge(column, rules, "en", signals=True, threads=1)
        return (time.process_time() - start) / len(text.encode())

    texts = {"ordinary text": ordinary} | {name: make(ordinary) for name, make in HOSTILE.items()}
    found: dict[str, list[list[float]]] = {name: [[], []] for name in texts}
    for _ in range(max(3, options.rounds)):
        for name, text in texts.items():
            data = text.encode()
            text = (data * (size // max(1, len(data)) + 1))[:size].decode(errors="ignore")
            for i, part in enumerate((text[: len(text) // 4], text)):
                found[name][i].append(once(part))
    base = statistics.median(found["ordinary text"][1])
    rows = []
    print(f"\nworst documents, {size:,} bytes, {options.rules}, all signals")
    print(f"{'':34} ns/byte  × ordinary   a quarter of it")
    for name, (small, large) in sorted(found.items(), key=lambda item: -statistics.median(item[1][1])):
        per_byte = Spread.of(large)
        facts = {
            "ns_per_byte": per_byte.median * 1e9,
            "times_ordinary": per_byte.median / base,
            "ns_per_byte_quarter": statistics.median(small) * 1e9,
        }
        print(
            f"{name:34} {facts['ns_per_byte']:7.1f} {facts['times_ordinary']:9.2f} {facts['ns_per_byte_quarter']:14.1f}"
        )
        cpu = Spread(per_byte.median * size, per_byte.least * size, per_byte.most * size)
        rows.append(Row("worst", name, OURS, "ours", bytes=size, threads=1, rounds=len(large), cpu=cpu, facts=facts))
    return rows


# -- the command -------------------------------------------------------------------------------------------------------


def quick(options: argparse.Namespace) -> list[Row]:
    """3 MB of Python's sources: ours, floors, datatrove where it is installed; the worst documents of 200 kB."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = offline_corpus(Path(folder), 0.3 if options.peer else 3.0)
        rows = speed("Python's sources", corpus, "fineweb", "en", options)
    return rows + worst(options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (all)")
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/smolfast-curate"))
    parser.add_argument("--peer", metavar="PYTHON", help="the interpreter of datatrove's environment")
    parser.add_argument("--configs", type=Path, metavar="DIR", help="FineWeb-2's configs/")
    parser.add_argument("--rules", choices=list(RULES), default="fineweb", help="of the parts growth and worst")
    parser.add_argument(
        "--documents", type=int, default=1_000, metavar="N", help="how many datatrove and ours are timed on (1,000)"
    )
    parser.add_argument("--sizes", type=int, action="append", metavar="N", help="of the part growth (10⁴, 10⁵ and 10⁶)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="3 MB of Python's sources, three rounds; no download")
    parser.add_argument("--save", "--json", type=Path, metavar="FILE")
    parser.add_argument("--worker", nargs=5, help=argparse.SUPPRESS)
    parser.add_argument("--grow", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        name, path, rules, language, threads = options.worker
        print(json.dumps(worker(name, Path(path), rules, language, int(threads))))
        return
    if options.grow:
        name, path, rules = options.grow
        print(json.dumps(grow(name, Path(path), rules)))
        return
    options.cache = options.cache.expanduser()
    if not options.peer and importlib.util.find_spec("datatrove") and importlib.util.find_spec("spacy"):
        options.peer = sys.executable
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"there is no part {sorted(unknown)[0]!r}; choose from {', '.join(PARTS)}")
    rows: list[Row] = []
    if options.quick:
        options.rounds = min(options.rounds, 3)
        rows = quick(options)
    else:
        run = {"decisions": decisions, "speed": speeds, "words": words, "worst": worst, "growth": growth}
        for part in options.parts or PARTS:
            rows += run[part](options)
    if options.save:
        settings = {key: getattr(options, key) for key in ("parts", "rounds", "documents", "rules", "quick")}
        found = versions(PACKAGES) | (peer_versions(options.peer) if options.peer else {})
        write_results(options.save, Results("curate", rows, machine=machine(), versions=found, settings=settings))


def peer_versions(peer: str) -> dict[str, str]:
    script = (
        "import importlib.metadata as m, json; print(json.dumps({p: m.version(p) for p in ('datatrove', 'spacy')}))"
    )
    return measured([peer, "-c", script])


if __name__ == "__main__":
    main()
