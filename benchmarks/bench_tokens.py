"""From the shell: `smolfast tokenize` beside `smolfast dedup` of the same documents, tokenizers trained, and starts.

    python benchmarks/bench_tokens.py --input MANY_LANGUAGES.parquet [--rounds 5] [--save FILE.json]
    python benchmarks/bench_tokens.py --quick                  # 5 MB of Python's sources, three rounds; no download

Without --input, documents are the first 50 MB of the corpus that bench_dedup.py downloads (--cache). Every figure is of
a whole process, wall time and CPU time; contenders take turns. A peer is the same job with `tokenizers` alone. Its ids
are compared with ours, byte by byte of the token files. Another is fastokens, which reads the same file and encodes it,
and writes nothing. A tokenizer is trained by ours and by `tokenizers` from the same text (--training-megabytes), and
both are compared by how many bytes a token of the held-out text has. Jobs also run with SMOLFAST_FORCE_IMPL=avx2, where
the CPU has more.
"""

from __future__ import annotations

import argparse
import importlib.util
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
from tokenizers import Tokenizer

sys.path.insert(0, str(Path(__file__).parent))
from real_text import build_corpus, offline_corpus

from smolfast import _native
from smolfast.bench.results import Results, Row, Spread, available_processors, machine, versions, write_results

MAIN = "import sys; from smolfast.commands.main import main; sys.exit(main())"
WITHOUT = f"from smolfast.tokens.fast_encoder import FastEncoder; FastEncoder.load = lambda folder: None; {MAIN}"
FASTOKENS = """
import sys, fastokens, pyarrow.parquet as pq
tokenizer = fastokens.Tokenizer.from_file(sys.argv[1])
for batch in pq.ParquetFile(sys.argv[2]).iter_batches(2800, columns=["text"]):
    tokenizer.encode_batch_flat(batch.column(0).to_pylist(), split_special_tokens=True)
"""
TRAIN = """
import sys
from smolfast.config import TokenizerConfig
from smolfast.tokens import train_tokenizer
train_tokenizer([sys.argv[1]], sys.argv[2], TokenizerConfig(vocab_size=int(sys.argv[3])))
"""
TRAIN_THEIRS = """
import sys, pyarrow.parquet as pq
from pathlib import Path
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
from smolfast.tokens.tokenizer_folder import SPLIT_PATTERN
tokenizer = Tokenizer(models.BPE())
cut = pre_tokenizers.Split(Regex(SPLIT_PATTERN), behavior="isolated")
as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
tokenizer.pre_tokenizer = pre_tokenizers.Sequence([cut, as_bytes])
trainer = trainers.BpeTrainer(vocab_size=int(sys.argv[3]), min_frequency=2, special_tokens=["<|endoftext|>"],
    initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False)
batches = pq.ParquetFile(sys.argv[1]).iter_batches(1000, columns=["text"])
tokenizer.train_from_iterator((batch.column(0).to_pylist() for batch in batches), trainer)
Path(sys.argv[2]).mkdir(parents=True)
tokenizer.save(sys.argv[2] + "/tokenizer.json")
"""
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


def trainings(folder: Path, size: int, vocab: int, plain_rounds: int) -> list[Contender]:
    found = []
    for name, role, code, rounds in (
        ("smolfast", "ours", TRAIN, 1_000),
        ("tokenizers", "peer", TRAIN_THEIRS, plain_rounds),
    ):
        out = folder / f"learned-{name}"
        words = ["-c", code, str(folder / "training.parquet"), str(out), str(vocab)]
        found.append(
            Contender("train a tokenizer", f"{vocab:,} of {size / 1e6:.0f} MB", name, role, words, out, size, rounds)
        )
    return found


def bytes_per_token(tokenizer: Path, documents: Path) -> float:
    texts = pq.read_table(documents, columns=["text"]).column("text").to_pylist()
    found = Tokenizer.from_file(str(tokenizer / "tokenizer.json")).encode_batch_fast(texts, add_special_tokens=False)
    return sum(len(text.encode()) for text in texts) / sum(len(encoding.ids) for encoding in found)


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
        if not suffix and importlib.util.find_spec("fastokens"):
            words = ["-c", FASTOKENS, f"{tokenizer}/tokenizer.json", source]
            found.append(Contender("tokenize", case, "fastokens, nothing written", "peer", words, bytes=size))
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


def measure(source: Path, megabytes: float, training: float, rounds: int, plain_rounds: int) -> list[Row]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        size = first(source, int(megabytes * 1e6), folder / "all.parquet")
        training_size = first(source, int(training * 1e6), folder / "training.parquet")
        first(source, 20_000, folder / "held-out.parquet")
        table = pq.read_table(folder / "held-out.parquet")
        pq.write_table(pa.concat_tables([table] * 10).slice(0, 10), folder / "ten.parquet")
        vocab = 32_768 if training >= 4 else 4096
        files = [str(folder / f"{name}.parquet") for name in ("training", "held-out")]
        words = ["tokenize", files[0], "--held-out", files[1], "-o", str(folder / "trained"), "--quiet"]
        subprocess.run(
            [sys.executable, "-c", MAIN, *words, "--set", f"tokenizer.vocab_size={vocab}"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        found = [*contenders(folder, size, plain_rounds), *trainings(folder, training_size, vocab, plain_rounds)]
        for round_ in range(rounds):
            for contender in found:
                if round_ < contender.rounds:
                    contender.run()
        for file in (folder / "smolfast").iterdir():
            if plain_rounds and file.read_bytes() != (folder / "tokenizers" / file.name).read_bytes():
                raise SystemExit(f"{file.name} differs from what tokenizers alone wrote")
        rows = [contender.row() for contender in found if contender.runs]
        for row in list(rows):
            if row.part == "train a tokenizer":
                density = bytes_per_token(folder / f"learned-{row.name}", folder / "all.parquet")
                rows.append(Row(row.part, row.case, row.name, row.role, facts={"bytes per token": round(density, 4)}))
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
    parser.add_argument("--training-megabytes", type=float, default=8.0, help="what tokenizers are trained on")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--plain-rounds", type=int, default=2, help="rounds of tokenizers alone, which take long")
    parser.add_argument("--quick", action="store_true", help="5 MB of Python's sources, three rounds; no download")
    parser.add_argument("--save", "--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        if options.quick:
            options.rounds, options.megabytes, options.training_megabytes = min(options.rounds, 3), 5.0, 0.8
            source = offline_corpus(Path(temporary), 6.0)
        else:
            source = options.input or build_corpus(options.cache.expanduser())
        plain_rounds = min(options.rounds, options.plain_rounds)
        rows = measure(source, options.megabytes, options.training_megabytes, options.rounds, plain_rounds)
    if options.save:
        settings = {name: getattr(options, name) for name in ("megabytes", "training_megabytes", "rounds", "quick")}
        found = Results("tokens", rows, machine=machine(), versions=versions(VERSIONS), settings=settings)
        write_results(options.save, found)


if __name__ == "__main__":
    main()
