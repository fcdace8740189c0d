"""From the shell: `smolfast tokenize` beside `smolfast dedup` of the same documents, and how commands start.

    python benchmarks/bench_tokens.py --input MANY_LANGUAGES.parquet [--rounds 5] [--save FILE.json]
    python benchmarks/bench_tokens.py --quick                  # 5 MB of Python's sources, three rounds; no download

Without --input, documents are the first 50 MB of the corpus that bench_dedup.py downloads (--cache). Every figure is of
a whole process, wall time and CPU time; contenders take turns. The peer is the same job with `tokenizers` alone, as
without fastokens. Its ids are compared with ours, byte by byte of the token files. Jobs also run with
SMOLFAST_FORCE_IMPL=avx2, where the CPU has more.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent))
from real_text import build_corpus, offline_corpus

from smolfast import _native
from smolfast.bench.results import Results, Row, Spread, available_processors, machine, versions, write_results

MAIN = "import sys; from smolfast.commands.main import main; sys.exit(main())"
WITHOUT = f"import sys; sys.modules['fastokens'] = None; {MAIN}"
# What any command that reads parquet has to load.
FLOOR = "import numpy, pyarrow.parquet, pyarrow.compute"
VERSIONS = ["fastokens", "tokenizers", "pyarrow", "numpy"]


@dataclass
class Contender:
    """A process to be timed; `makes` is removed before each run."""

    part: str
    case: str
    name: str
    role: str
    words: Sequence[str]
    makes: Path | None = None
    bytes: int | None = None
    rounds: int = 1_000
    environment: Mapping[str, str] = field(default_factory=dict)
    runs: list[tuple[float, float, int]] = field(default_factory=list)

    def run(self) -> None:
        if self.makes is not None:
            shutil.rmtree(self.makes, ignore_errors=True)
            shutil.rmtree(self.makes.parent / ".smolfast", ignore_errors=True)
        began = time.perf_counter()
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(
                [sys.executable, *self.words], stdout=said, stderr=said, env={**os.environ, **self.environment}
            )
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            wall = time.perf_counter() - began
            if process.returncode:
                said.seek(0)
                raise SystemExit(f"{self.name}: {said.read().decode(errors='replace')}")
        self.runs.append((wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024))

    def row(self) -> Row:
        walls, cpus, peaks = zip(*self.runs, strict=True)
        return Row(
            self.part,
            self.case,
            self.name,
            self.role,
            bytes=self.bytes,
            threads=available_processors(),
            rounds=len(self.runs),
            wall=Spread.of(walls),
            cpu=Spread.of(cpus),
            peak_bytes=max(peaks),
        )


def first(source: Path, most: int, path: Path) -> int:
    """Write the first documents of a file, of together at least `most` bytes; returns how many bytes they are."""
    texts: list[str] = []
    size = 0
    for batch in pq.ParquetFile(source).iter_batches(256, columns=["text"]):
        for text in batch.column(0).to_pylist():
            if size < most:
                texts.append(text)
                size += len(text.encode())
    ids = [str(number) for number in range(len(texts))]
    pq.write_table(pa.table({"id": ids, "text": pa.array(texts, pa.large_string())}), path, compression="zstd")
    return size


def contenders(folder: Path, size: int, plain_rounds: int) -> list[Contender]:
    """Those of the jobs, under each implementation, and those of starting."""
    source, small, ten = (str(folder / f"{name}.parquet") for name in ("all", "held-out", "ten"))
    tokenizer = str(folder / "trained-tokenizer")
    found: list[Contender] = []
    forced = {"": {}, ", avx2": {"SMOLFAST_FORCE_IMPL": "avx2"}}
    for suffix, environment in forced.items():
        if suffix and _native.implementation() != "avx512":
            continue
        case = f"{size / 1e6:.0f} MB{suffix}"
        for name, role, code, rounds in (
            ("smolfast", "ours", MAIN, 1_000),
            ("tokenizers alone", "peer", WITHOUT, 0 if suffix else plain_rounds),
        ):
            out = folder / name.split()[0]
            words = ["-c", code, "tokenize", source, "--held-out", small, "--tokenizer", tokenizer, "-o", str(out)]
            job = Contender("tokenize", case, name, role, [*words, "--json", "--quiet"], out, size, rounds, environment)
            found += [job] if rounds else []
        out = folder / "unique"
        words = ["-c", MAIN, "dedup", source, "-o", str(out), "--json", "--quiet"]
        found.append(Contender("dedup", case, "smolfast", "ours", words, out, size, environment=environment))
    starts = {
        "--help": ["-c", MAIN, "--help"],
        "dedup --help": ["-c", MAIN, "dedup", "--help"],
        "tokenize --help": ["-c", MAIN, "tokenize", "--help"],
        "dedup of ten documents": ["-c", MAIN, "dedup", ten, "-o", str(folder / "few"), "--json", "--quiet"],
    }
    for case, words in starts.items():
        makes = folder / "few" if "ten" in case else None
        found.append(Contender("start", case, "smolfast", "ours", words, makes))
    found.append(Contender("start", "dedup of ten documents", "numpy and pyarrow imported", "floor", ["-c", FLOOR]))
    found.append(Contender("start", "--help", "python", "floor", ["-c", "pass"]))
    return found


def measure(source: Path, megabytes: float, rounds: int, plain_rounds: int) -> list[Row]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        size = first(source, int(megabytes * 1e6), folder / "all.parquet")
        first(source, int(megabytes * 1.6e5), folder / "training.parquet")
        first(source, 20_000, folder / "held-out.parquet")
        table = pq.read_table(folder / "held-out.parquet")
        pq.write_table(pa.concat_tables([table] * 10).slice(0, 10), folder / "ten.parquet")
        vocab = 32_768 if megabytes >= 20 else 4096
        training = [str(folder / f"{name}.parquet") for name in ("training", "held-out")]
        words = ["tokenize", training[0], "--held-out", training[1], "-o", str(folder / "trained"), "--quiet"]
        subprocess.run(
            [sys.executable, "-c", MAIN, *words, "--set", f"tokenizer.vocab_size={vocab}"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        found = contenders(folder, size, plain_rounds)
        for round_ in range(rounds):
            for contender in found:
                if round_ < contender.rounds:
                    contender.run()
        for file in (folder / "smolfast").iterdir():
            if plain_rounds and file.read_bytes() != (folder / "tokenizers" / file.name).read_bytes():
                raise SystemExit(f"{file.name} differs from what tokenizers alone wrote")
        rows = [contender.row() for contender in found]
    rows += [ratio(rows, case) for case in dict.fromkeys(row.case for row in rows if row.part == "tokenize")]
    show(rows)
    return rows


def ratio(rows: Sequence[Row], case: str) -> Row:
    """How many times as long `tokenize` takes as `dedup`, by the medians."""
    ours, dedup = (
        next(row for row in rows if (row.part, row.case, row.name) == (part, case, "smolfast"))
        for part in ("tokenize", "dedup")
    )
    assert ours.wall and dedup.wall and ours.cpu and dedup.cpu
    facts = {
        "wall of tokenize over dedup": round(ours.wall.median / dedup.wall.median, 3),
        "cpu of tokenize over dedup": round(ours.cpu.median / dedup.cpu.median, 3),
    }
    return Row("ratio", case, "smolfast", "ours", facts=facts)


def show(rows: Sequence[Row]) -> None:
    for row in rows:
        if row.wall is None or row.cpu is None:
            print(f"{row.part:<10} {row.case:<24} {dict(row.facts)}")
            continue
        rate = f"{row.bytes / row.wall.median / 1e6:7.1f} MB/s" if row.bytes else " " * 12
        print(
            f"{row.part:<10} {row.case:<24} {row.name:<28} wall {row.wall.median:7.3f} s "
            f"({row.wall.least:.3f}–{row.wall.most:.3f})  cpu {row.cpu.median:7.3f} s  {rate}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, metavar="FILE", help="parquet with a column text")
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/smolfast-corpus"))
    parser.add_argument("--megabytes", type=float, default=50.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--plain-rounds", type=int, default=2, help="rounds of tokenizers alone, which take long")
    parser.add_argument("--quick", action="store_true", help="5 MB of Python's sources, three rounds; no download")
    parser.add_argument("--save", "--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        if options.quick:
            options.rounds, options.megabytes = min(options.rounds, 3), 5.0
            source = offline_corpus(Path(temporary), 6.0)
        else:
            source = options.input or build_corpus(options.cache.expanduser())
        rows = measure(source, options.megabytes, options.rounds, min(options.rounds, options.plain_rounds))
    if options.save:
        settings = {name: getattr(options, name) for name in ("megabytes", "rounds", "quick")}
        found = Results("tokens", rows, machine=machine(), versions=versions(VERSIONS), settings=settings)
        write_results(options.save, found)


if __name__ == "__main__":
    main()
