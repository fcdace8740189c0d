"""Text operations beside their peers: normalisation forms, case folding, simplify, mojibake, words, cleaning.

    python benchmarks/bench_text.py --cache ~/.cache/smolfast-corpus [--rounds 5] [--megabytes 6] [--save FILE.json]
    python benchmarks/bench_text.py --folder MY_TEXTS          # *.txt of your own instead, as the one group "own"
    python benchmarks/bench_text.py --quick                    # no download: Python's sources, and words made up

One process, one thread unless said; contenders take turns within a round and every figure is CPU time (threads of the
process included), so that other work on the machine disturbs little. MB are of UTF-8 in. Each peer is given what suits
it: `str` for those that take it, bytes for stringzilla (which doesn't check them; ours checks that they're UTF-8), an
Arrow column for ours. The floor is memcpy of the same bytes. Peers that aren't installed are left out:
`pip install stringzilla PyICU datatrove==0.10.1 regex ftfy`.
"""

from __future__ import annotations

import argparse
import ctypes
import functools
import gc
import gzip
import hashlib
import importlib
import itertools
import multiprocessing
import random
import re
import subprocess
import sys
import threading
import time
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parent))
from real_text import _plain_html, _plain_roff, python_sources

from smolfast import text
from smolfast.bench.results import Results, Row, Spread, machine, versions, write_results

GROUPS = {
    "ascii": ("en",),
    "french+german": ("fr", "de"),
    "japanese+chinese+russian+arabic": ("ja", "zh", "ru", "ar"),
    "french": ("fr",),
    "vietnamese": ("vi",),
    "korean": ("ko",),
    "japanese": ("ja",),
}
PACKAGES = [
    *(f"manpages-{language}" for language in ("fr", "de", "ja", "ru", "zh")),
    *("manpages", "manpages-dev", "installation-guide-amd64", "firefox-esr-l10n-ar"),
    *(f"debian-reference-{language}" for language in ("fr", "de", "ja", "zh-cn")),
]
VERSIONS = ["stringzilla", "PyICU", "unicodedata2", "datatrove", "ftfy", "pyarrow"]


def documents(cache: Path, longest: int = 0) -> dict[str, list[str]]:
    """Real documents by language, from Debian's packages (downloaded and unpacked, not installed): manuals, guides and,
    in Arabic, the messages of a browser. Those of more than `longest` characters are cut at line ends, if it isn't 0.
    In an order without meaning.
    """
    debs = cache / "debs"
    tree = cache / f"text-tree-{hashlib.md5(' '.join(PACKAGES).encode()).hexdigest()[:8]}"
    debs.mkdir(parents=True, exist_ok=True)
    if not tree.exists():
        for package in PACKAGES:
            if not any(debs.glob(f"{package}_*.deb")):
                subprocess.run(["apt-get", "download", package], cwd=debs, check=True, stderr=subprocess.DEVNULL)
            subprocess.run(["dpkg", "-x", next(debs.glob(f"{package}_*.deb")), tree.with_suffix(".new")], check=True)
        tree.with_suffix(".new").rename(tree)
    found: dict[str, list[str]] = {}
    for path in sorted(tree.rglob("*")):
        name = path.relative_to(tree).as_posix()
        if path.suffix == ".xpi":
            found.setdefault("ar", []).extend(_cut(_messages(path), longest))
        elif path.is_file() and not path.is_symlink() and re.search(r"\.(gz|html|txt)$", name) and ".pdf" not in name:
            data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            content = data.decode("utf-8", "replace")
            content = _plain_html(content) if ".htm" in name else _plain_roff(content) if "/man/" in name else content
            if len(content) > 200:
                found.setdefault(language(name), []).extend(_cut(content, longest))
    for pool in found.values():
        pool.sort(key=lambda document: hashlib.md5(document.encode()).digest())
    return found


# Ranges of letters that made-up words are drawn from: what matters to speed is the bytes of a letter and its rules.
ALPHABETS = {
    "french+german": "aaaeeeiinrstlmdabcdefghijklmnopqrstuvwxyzéèàçêùîäöüß",
    "japanese+chinese+russian+arabic": "".join(
        chr(code) for low, high in ((0x3042, 0x3094), (0x4E00, 0x5000), (0x430, 0x450), (0x627, 0x63A))
        for code in range(low, high)
    ),
}  # fmt: skip


def offline_documents(megabytes: float) -> dict[str, list[str]]:
    """Python's own sources as they are, for ASCII, and words made up of the letters of other scripts."""
    sources = [content for _, content in python_sources() if content.isascii()]
    groups = {"ascii": take([sources], megabytes)}
    chosen = random.Random(0)
    for name, letters in ALPHABETS.items():
        words = ["".join(chosen.choices(letters, k=chosen.randint(2, 9))) for _ in range(5000)]
        pool = [" ".join(chosen.choices(words, k=300)) + ".\n" for _ in range(50)]
        groups[name] = take([pool], megabytes)
    return groups


def _cut(document: str, longest: int) -> list[str]:
    if longest == 0:
        return [document]
    parts = [""]
    for line in document.splitlines(keepends=True):
        if len(parts[-1]) + len(line) > longest and parts[-1]:
            parts.append("")
        parts[-1] += line
    return parts


def _messages(extension: Path) -> str:
    """The texts of a language pack's messages, a line each."""
    texts = []
    with zipfile.ZipFile(extension) as files:
        for name in sorted(files.namelist()):
            if name.endswith((".ftl", ".properties")):
                lines = files.read(name).decode("utf-8", "replace").splitlines()
                texts += [line.split("=", 1)[-1].strip() for line in lines if line[:1] not in ("#", "")]
    return "\n".join(texts)


def language(name: str) -> str:
    """The language's two letters, by the parts of the file's path: man/de/…, amd64/pt-br/…, ch09.zh-cn.html."""
    pattern = r"(?:/|\.)([a-z]{2})(?:[-_][A-Za-z]{2})?(?:\.[A-Z0-9-]+)?(?:/|\.html$|\.txt\.gz$)"
    match = re.search(pattern, name)
    return match[1] if match else "en"


def take(pools: list[list[str]], megabytes: float) -> list[str]:
    """As many documents from each pool in turn as fill the size, from the start again where there are too few."""
    out: list[str] = []
    for pool in pools:
        size, i = 0, 0
        while pool and size < megabytes * 1e6 / len(pools):
            out.append(pool[i % len(pool)])
            size += len(out[-1].encode())
            i += 1
    return out


def misread(document: str) -> str:
    """UTF-8 taken for Windows-1252, with its holes as the WHATWG decoder fills them."""
    return "".join(bytes([b]).decode("cp1252", "ignore") or chr(b) for b in document.encode())


Contender = Callable[[list[str], list[bytes], pa.Array], Any]


def optional(module: str, build: Callable[[Any], dict[str, Contender]]) -> dict[str, Contender]:
    try:
        return build(importlib.import_module(module))
    except ImportError:
        return {}


def normalizers(form: str) -> dict[str, Contender]:
    return {
        "smolfast": lambda strings, raw, column: text.normalize(column, form, threads=1),  # type: ignore[arg-type]
        **optional("stringzilla", lambda m: {"stringzilla": lambda s, raw, c: [m.utf8_norm(b, form) for b in raw]}),
        **optional("icu", lambda m: {"PyICU": icu_normalizer(m, form)}),
        "unicodedata": lambda strings, raw, column: [unicodedata.normalize(form, s) for s in strings],
    }


def icu_normalizer(icu: Any, form: str) -> Contender:
    normalizer = getattr(icu.Normalizer2, f"get{form}Instance")()
    return lambda strings, raw, column: [normalizer.normalize(s) for s in strings]


def jobs(groups: dict[str, list[str]]) -> Iterator[tuple[str, str, list[str], dict[str, Contender]]]:
    main = [name for name in ("ascii", "french+german", "japanese+chinese+russian+arabic", "own") if name in groups]
    for form in ("NFC", "NFKC"):
        for name in main:
            yield f"{form}", name, [unicodedata.normalize("NFC", s) for s in groups[name]], normalizers(form)
    for name in ("french", "vietnamese", "korean", "japanese", "own"):
        if name in groups:
            yield "NFD to NFC", name, [unicodedata.normalize("NFD", s) for s in groups[name]], normalizers("NFC")
    for name in main:
        folders: dict[str, Contender] = {
            "smolfast": lambda s, r, column: text.casefold(column, threads=1),
            **optional("stringzilla", lambda m: {"stringzilla": lambda s, r, c: [m.utf8_uncased_fold(b) for b in r]}),
            "str.casefold": lambda strings, r, c: [s.casefold() for s in strings],
        }
        yield "casefold", name, groups[name], folders
    for name in main:
        simplifiers: dict[str, Contender] = {
            "smolfast": lambda s, r, column: text.simplify(column, threads=1),
            **optional("datatrove.utils.text", lambda m: {"datatrove": lambda s, r, c: list(map(m.simplify_text, s))}),
        }
        yield "simplify", name, groups[name], simplifiers
    mixed = [misread(s) if i % 10 == 0 else s for i, s in enumerate(groups.get("french+german", []))]
    texts = {name: groups[name] for name in main} | ({"french+german, a tenth misread": mixed} if mixed else {})
    for name, strings in texts.items():
        fixers: dict[str, Contender] = {
            "smolfast": lambda s, r, column: text.fix_mojibake(column, threads=1),
            **optional("ftfy", lambda m: {"ftfy": lambda s, r, c: list(map(m.fix_encoding, s))}),
        }
        yield "fix_mojibake", name, strings, fixers
    for name in main:
        yield "clean", name, groups[name], {"smolfast": lambda s, r, column: text.clean(column, threads=1)}
        yield "redact", name, groups[name], {"smolfast": lambda s, r, column: text.redact(column, threads=1)}
        yield "words", name, groups[name], {"smolfast": lambda s, r, column: text.words(column, threads=1)}


# Peers so slow that a part of the documents must do: it is the same text, and the rate is what counts.
SLOW = {"datatrove": 0.15, "ftfy": 0.05, "str.casefold": 0.5, "unicodedata": 0.5}


def memcpy(raw: list[bytes]) -> Callable[[], None]:
    joined = b"".join(raw)
    target = ctypes.create_string_buffer(len(joined))
    return lambda: ctypes.memmove(target, joined, len(joined)) and None


def measure(job: str, group: str, strings: list[str], contenders: dict[str, Contender], rounds: int) -> list[Row]:
    """A row for each contender and one for memcpy. Seconds are of one pass over the contender's bytes."""
    inputs = {}
    for name in contenders:
        part = strings[:: max(1, round(1 / SLOW.get(name, 1)))]
        raw = [s.encode() for s in part]
        inputs[name] = (part, raw, pa.array(part, pa.large_string()))
    everything = [s.encode() for s in strings]
    copy = memcpy(everything)
    runs: dict[str, Callable[[], Any]] = {
        name: functools.partial(contender, *inputs[name]) for name, contender in contenders.items()
    }
    size = {name: sum(map(len, inputs[name][1])) for name in runs} | {"memcpy": sum(map(len, everything))}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in size}
    for round_ in range(rounds + 1):
        for name, run in (runs | {"memcpy": copy}).items():
            cpu, wall, calls = time.process_time(), time.perf_counter(), 0
            while calls == 0 or time.process_time() - cpu < 0.05:
                run()
                calls += 1
            if round_:  # the first warms up
                times[name].append(((time.process_time() - cpu) / calls, (time.perf_counter() - wall) / calls))
    roles = {"smolfast": "ours", "memcpy": "floor"}
    return [
        Row(job, group, name, roles.get(name, "peer"), bytes=size[name], threads=1, rounds=rounds,
            cpu=Spread.of(cpu for cpu, _ in taken), wall=Spread.of(wall for _, wall in taken))
        for name, taken in times.items() if taken
    ]  # fmt: skip


def show(rows: list[Row]) -> None:
    """Rates of one job and group."""
    rates = {row.name: rate for row in rows if (rate := row.rate()) is not None}
    cells = [
        f"{name} {rate.median / 1e6:,.0f} [{rate.least / 1e6:,.0f}–{rate.most / 1e6:,.0f}]"
        + (f" ×{rates['smolfast'].median / rate.median:.1f}" if name not in ("smolfast", "memcpy") else "")
        for name, rate in rates.items()
    ]
    print(f"{rows[0].part:12} {rows[0].case:32} " + " · ".join(cells), flush=True)


def whole_columns(groups: dict[str, list[str]], megabytes: float, rounds: int) -> list[Row]:
    """A large column of every group in turn, on one and two threads: wall-clock times, and the memory that a call takes
    at its peak beyond what was in use before, by the output's size. Beside it what the machine's two CPUs give to two
    processes that do the same on a thread each and share nothing, and to copying and hashing the column."""
    documents, size = [], 0.0
    for document in itertools.chain.from_iterable(itertools.zip_longest(*groups.values())):
        if document is not None and size < megabytes * 1e6:
            documents.append(document)
            size += len(document.encode())
    documents *= max(1, round(megabytes * 1e6 / size))
    column = pa.array(documents, pa.large_string())
    decomposed = text.normalize(column, "NFD")
    copied, source = np.ones(column.nbytes, np.uint8), np.ones(column.nbytes, np.uint8)
    jobs: dict[str, tuple[pa.Array, Callable[[int], Any]]] = {
        "NFD to NFC": (decomposed, lambda threads: text.normalize(decomposed, "NFC", threads=threads)),
        "NFC to NFD": (column, lambda threads: text.normalize(column, "NFD", threads=threads)),
        "NFKC": (column, lambda threads: text.normalize(column, "NFKC", threads=threads)),
        "casefold": (column, lambda threads: text.casefold(column, threads=threads)),
        "simplify": (column, lambda threads: text.simplify(column, threads=threads)),
        "clean": (column, lambda threads: text.clean(column, threads=threads).strings),
        "words": (column, lambda threads: text.words(column, threads=threads)),
        "copy": (column, lambda threads: _on_threads(np.copyto, threads, copied, source)),
        "sha256": (column, lambda threads: _on_threads(lambda part: hashlib.sha256(part).digest(), threads, source)),
    }
    rows = []
    with Twin({name: job for name, (_, job) in jobs.items()}) as twin:
        for name, (given, job) in jobs.items():
            floor = name in ("copy", "sha256")
            times: dict[str, list[float]] = {"one thread": [], "two threads": [], "two processes": []}
            for round_ in range(rounds + 1):
                taken = (_seconds(job, 1), _seconds(job, 2), twin.seconds(name, job) / 2)
                if round_:  # the first warms up
                    for found, seconds in zip(times.values(), taken, strict=True):
                        found.append(seconds)
            facts = {} if floor else {"peak memory by output": max(_peak(job, threads) for threads in (1, 2))}
            spreads = {what: Spread.of(found) for what, found in times.items()}
            one = spreads["one thread"].median
            cells = [
                f"{what} {given.nbytes / 1e6 / s.median:,.0f} ({one / s.median:.2f})" for what, s in spreads.items()
            ]
            cells += [f"{what} {value:.2f}" for what, value in facts.items()]
            print(f"{name:12} " + " · ".join(cells), flush=True)
            for what, spread in spreads.items():
                ours = not floor and what != "two processes"
                rows.append(
                    Row("threads", name, "smolfast" if ours else what if not floor else f"{name}, {what}",
                        "ours" if ours else "floor", bytes=given.nbytes, threads=1 if what == "one thread" else 2,
                        rounds=rounds, wall=spread, facts=facts if ours else {})
                )  # fmt: skip
    return rows


def _seconds(job: Callable[[int], Any], threads: int) -> float:
    start = time.perf_counter()
    job(threads)
    return time.perf_counter() - start


class Twin:
    """A process that does the same jobs when told, on one thread."""

    def __init__(self, jobs: dict[str, Callable[[int], Any]]) -> None:
        context = multiprocessing.get_context("fork")  # which has the columns at once
        self._told, other = context.Pipe()
        self._process = context.Process(target=self._serve, args=(other, jobs), daemon=True)
        self._process.start()

    @staticmethod
    def _serve(told: Any, jobs: dict[str, Callable[[int], Any]]) -> None:
        while (name := told.recv()) is not None:
            told.send(_seconds(jobs[name], 1))

    def seconds(self, name: str, job: Callable[[int], Any]) -> float:
        """Of the job in both processes at once: their mean."""
        self._told.send(name)
        ours = _seconds(job, 1)
        return (ours + self._told.recv()) / 2

    def __enter__(self) -> Twin:
        return self

    def __exit__(self, *_: object) -> None:
        self._told.send(None)
        self._process.join()


def _on_threads(function: Callable[..., Any], threads: int, *arrays: Any) -> None:
    """The function on parts of the arrays, each on a thread of its own."""
    step = -(-len(arrays[0]) // threads)
    parts = [[array[i : i + step] for array in arrays] for i in range(0, len(arrays[0]), step)]
    workers = [threading.Thread(target=function, args=part) for part in parts[1:]]
    for worker in workers:
        worker.start()
    function(*parts[0])
    for worker in workers:
        worker.join()


def _peak(job: Callable[[int], Any], threads: int) -> float:
    """The most resident memory during the job beyond that before it, by the bytes of its result."""
    gc.collect()
    text.release_memory()
    pa.default_memory_pool().release_unused()

    def status(field: str) -> int:
        return int(re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024  # type: ignore[index]

    Path("/proc/self/clear_refs").write_text("5")  # starts the peak anew
    before = status("VmRSS")
    result = job(threads)
    return (status("VmHWM") - before) / result.nbytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--cache", type=Path, help="folder outside the repository for downloaded documents")
    source.add_argument("--folder", type=Path, help="folder with *.txt files of your own")
    source.add_argument("--quick", action="store_true", help="half a megabyte of each group at hand, three rounds")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=float, default=6, help="of text in each group")
    parser.add_argument("--column-megabytes", type=float, default=150, help="of the column for threads and memory")
    parser.add_argument("--longest", type=int, default=0, help="cut documents to this many characters (0: don't)")
    parser.add_argument("--only", help="a job's name, for example NFC, or columns")
    parser.add_argument("--save", "--json", type=Path, help="write the results there as JSON")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.column_megabytes = min(arguments.rounds, 3), 10
        groups = offline_documents(0.5)
    elif arguments.folder:
        own = [p.read_text("utf-8", "replace") for p in sorted(arguments.folder.rglob("*.txt"))]
        groups = {"own": take([own], arguments.megabytes)}
    else:
        pools = documents(arguments.cache.expanduser(), arguments.longest)
        pools["en"] = [s for s in pools["en"] if s.isascii()]
        groups = {
            name: take([pools[code] for code in codes if pools.get(code)], arguments.megabytes)
            for name, codes in GROUPS.items()
        }
        groups = {name: strings for name, strings in groups.items() if strings}
    about = machine() | {"unicode": {"smolfast": text.unicode_version, "python": unicodedata.unidata_version}}
    found = versions(VERSIONS)
    print(", ".join(f"{name} {value}" for name, value in (about | found).items()))
    rows: list[Row] = []
    for job, group, strings, contenders in jobs(groups):
        if arguments.only and job != arguments.only:
            continue
        measured = measure(job, group, strings, contenders, arguments.rounds)
        show(measured)
        rows += measured
    if not arguments.only or arguments.only == "columns":
        rows += whole_columns(groups, arguments.column_megabytes, arguments.rounds)
    if arguments.save:
        names = ("rounds", "megabytes", "column_megabytes", "longest", "only", "quick")
        settings = {name: getattr(arguments, name) for name in names}
        write_results(arguments.save, Results("text", rows, machine=about, versions=found, settings=settings))


if __name__ == "__main__":
    main()
