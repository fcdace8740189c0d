"""PDF files to text beside peers: order and content on made and real documents, and speed.

    python benchmarks/bench_pdf.py --peer PEERS/python --ocr-python OCR/python --save     # all parts, for the docs
    python benchmarks/bench_pdf.py made speed --peer PEERS/python

Parts: made (documents of pdf_documents.py, and assertions in olmOCR-bench's manner over them), real (Debian's manuals
beside their HTML or text), speed (CPU seconds over both, a process for each, in turn), workers (two beside one, and
memory), routing (pages of pdf_pages.py), ocr (character errors of scans; OCR/python has rapidocr and numpy). PEERS has
pypdfium2, pdf_oxide, docling-parse, pdfminer.six; what it lacks is left out. A peer with an environment of its own is
named by --own opendataloader-pdf=ODL/python. What is slow is read once, for its text and its time.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import pdf_peers
from pdf_documents import Made, documents
from pdf_manuals import Manual, fetch_manuals
from pdf_scans import of_ocr, of_routing
from pdf_scores import assertions, bag, plain, score, similarity, tau, words
from pdf_workers import of_workers

from smolfast.bench.results import Results, Row, Spread, machine, read_results, versions, write_results

ORDERS = ("as read", "row by row", "in no order")
"""Of variants of made documents: see pdf_documents.style_of."""
PEERS = (*pdf_peers.PYTHON, *pdf_peers.ALL, *pdf_peers.PROGRAM)
_MODULES = {"pdf-oxide": "pdf_oxide", "docling-parse": "docling_parse", "pdfminer.six": "pdfminer"}
SAVED = Path(__file__).parent / "results" / "pdf.json"
OURS = """
import json, sys
sys.path.insert(0, {folder!r})
import pdf_peers
from smolfast.pdf.pdfium import pdfium_path
from smolfast.pdf.reading import read_pdf
from smolfast.pdf.text import text_of
library = pdfium_path()
def read(path):
    with open(path, "rb") as file:
        return [text_of(read_pdf(file.read(), library, lost={{}}).pages).text]
found = pdf_peers.run(read, json.load(open(sys.argv[1])), int(sys.argv[3]))
json.dump(found, open(sys.argv[2], "w"))
"""


class Contenders:
    """Ours and the peers that are there."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._own = dict(one.split("=", 1) for one in options.own)
        self._texts: dict[tuple[str, Path], list[str]] = {}
        self._seconds: dict[tuple[str, Path], tuple[float, float]] = {}
        self._peaks: dict[str, int] = {}
        self._folder = tempfile.TemporaryDirectory()
        self.names = ["smolfast", *(name for name in PEERS if name not in options.skip and self._is_there(name))]

    def _is_there(self, name: str) -> bool:
        if name in pdf_peers.PROGRAM:
            return bool(self._options.pdftotext)
        module = _MODULES.get(name, name.replace("-", "_"))
        return subprocess.run([self._python(name), "-c", f"import {module}"], capture_output=True).returncode == 0

    def _python(self, name: str) -> str:
        return self._own.get(name, str(self._options.peer))

    @cached_property
    def made(self) -> tuple[list[Made], dict[str, Path]]:
        """The made documents, and their files by name."""
        made = documents(self._options.variants)
        return made, written(made, Path(self._folder.name))

    @cached_property
    def manuals(self) -> list[Manual]:
        """The real ones."""
        return fetch_manuals(self._options.cache)

    def is_slow(self, name: str) -> bool:
        """Whether it is read once alone."""
        return name in self._options.slow

    def once(self, name: str, files: Sequence[Path]) -> dict[str, Any]:
        """As `run`, but of a slow one what an earlier part read already."""
        keys = [(name, path) for path in files]
        if not self.is_slow(name) or any(key not in self._seconds for key in keys):
            found = self.run(name, files)
            self._peaks[name] = int(found["peak"])
            for path in files:
                self._texts[name, path] = found["texts"][str(path)]
                if str(path) in found["each"]:
                    self._seconds[name, path] = found["each"][str(path)]
            return found
        cpu, wall = (sum(self._seconds[key][which] for key in keys) for which in (0, 1))
        texts = {str(path): self._texts[name, path] for path in files}
        return {"texts": texts, "errors": {}, "cpu": [cpu], "wall": [wall], "peak": self._peaks[name]}

    def run(self, name: str, files: Sequence[Path], rounds: int = 1) -> dict[str, Any]:
        """Texts by file, and seconds."""
        with tempfile.TemporaryDirectory() as folder:
            listed, found = Path(folder, "files.json"), Path(folder, "found.json")
            listed.write_text(json.dumps([str(path) for path in files]))
            if name == "smolfast":
                command = [sys.executable, "-c", OURS.format(folder=str(Path(__file__).parent)), listed, found, rounds]
            else:
                program = ["--program", self._options.pdftotext] if name in pdf_peers.PROGRAM else []
                script = Path(__file__).with_name("pdf_peers.py")
                command = [self._python(name), script, name, listed, found, "--rounds", rounds, *program]
            subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)
            return dict(json.loads(found.read_text()))


def written(made: Sequence[Made], folder: Path) -> dict[str, Path]:
    """The files of documents by their names."""
    paths = {}
    for one in made:
        paths[one.name] = folder / f"{one.name.replace(' ', '-').replace(',', '')}.pdf"
        paths[one.name].write_bytes(one.data)
    return paths


def of_made(contenders: Contenders, options: argparse.Namespace) -> list[Row]:
    """Scores by kind, and assertions."""
    made, paths = contenders.made
    rows = []
    for name in contenders.names:
        found = contenders.once(name, list(paths.values()))
        texts = {one.name: "\n\n".join(found["texts"][str(paths[one.name])]) for one in made}
        if options.keep:
            keep(options.keep / name, texts)
        rows += _scores(name, made, texts) + _asserted(name, made, texts)
        print(f"{name}: {len(found['errors'])} errors", flush=True)
    return rows


def keep(folder: Path, texts: Mapping[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name.replace(' ', '-').replace(',', '').replace('/', '-')}.txt").write_text(text, encoding="utf-8")


def _role(name: str) -> str:
    return "ours" if name == "smolfast" else "peer"


def _scores(name: str, made: Sequence[Made], texts: Mapping[str, str]) -> list[Row]:
    by_kind: dict[str, list[Any]] = defaultdict(list)
    for one in made:
        found = score(one, texts[one.name])
        by_kind[one.kind].append(found)
        by_kind["all"].append(found)
        by_kind[f"drawn {ORDERS[int(one.name.rsplit('-', 1)[1]) % 3]}"].append(found)
    rows = []
    for kind, scores in by_kind.items():
        facts: dict[str, Any] = {"documents": len(scores)}
        for field in ("similarity", "bag", "tau", "whole", "running", "rows"):
            values = [getattr(one, field) for one in scores if getattr(one, field) is not None]
            if values:
                facts[field] = round(statistics.fmean(values), 4)
        rows.append(Row("made", kind, name, _role(name), facts=facts))
    return rows


def _asserted(name: str, made: Sequence[Made], texts: Mapping[str, str]) -> list[Row]:
    held: dict[str, list[bool]] = defaultdict(list)
    for number, one in enumerate(made):
        flat = plain(texts[one.name])
        by_line = plain(texts[one.name], lines=True).split("\n")
        for assertion in assertions(one, number):
            good = assertion.holds(flat, by_line)
            held[assertion.kind].append(good)
            held["all"].append(good)
    return [
        Row("assertions", kind, name, _role(name), facts={"count": len(good), "held": round(statistics.fmean(good), 4)})
        for kind, good in held.items()
    ]


def of_real(contenders: Contenders, options: argparse.Namespace) -> list[Row]:
    """Manuals beside the same text in another form: words in their order, and places of runs of words."""
    manuals = contenders.manuals
    texts: dict[str, list[list[str]]] = {}
    for name in contenders.names:
        found = contenders.once(name, [manual.pdf for manual in manuals])
        read = ["\n\n".join(found["texts"][str(manual.pdf)]) for manual in manuals]
        if options.keep:
            keep(options.keep / name, {manual.name: text for manual, text in zip(manuals, read, strict=True)})
        texts[name] = [words(plain(text).casefold()) for text in read]
        print(f"{name}: {len(found['errors'])} errors", flush=True)
    by_group: dict[tuple[str, str], list[dict[str, float]]] = defaultdict(list)
    for at, manual in enumerate(manuals):
        theirs = words(plain(manual.text).casefold())
        places = {name: unique_runs(text[at]) for name, text in texts.items()}
        wanted = list(unique_runs(theirs))
        common = [run for run in wanted if all(run in found for found in places.values())]
        for name, text in texts.items():
            facts = {
                "similarity": similarity(theirs, text[at]),
                "bag": bag(theirs, text[at]),
                "tau": tau([places[name][run] for run in common]),
                "tau_of_all": tau([places[name].get(run, -1) for run in wanted]),
                "runs": sum(run in places[name] for run in wanted) / max(1, len(wanted)),
            }
            by_group[name, manual.group].append(facts)
            by_group[name, "all"].append(facts)
    rows = []
    for (name, group), facts_ in by_group.items():
        means = {key: round(statistics.fmean(one[key] for one in facts_), 4) for key in facts_[0]}
        pages = sum(one.pages for one in manuals if group in ("all", one.group))
        rows.append(Row("real", group, name, _role(name), facts={"documents": len(facts_), "pages": pages, **means}))
    return rows


def unique_runs(text: Sequence[str], length: int = 6) -> dict[tuple[str, ...], int]:
    """Each run of words that a text has once, and where: some of them, by what they say and not where they stand."""
    seen: dict[tuple[str, ...], int] = {}
    for at in range(len(text) - length + 1):
        run = tuple(text[at : at + length])
        if len(run[0]) % 3 == 0:  # words of 3, 6, 9 … letters begin one
            seen[run] = -1 if run in seen else at
    return {run: at for run, at in seen.items() if at >= 0}


def of_speed(contenders: Contenders, options: argparse.Namespace) -> list[Row]:
    """CPU seconds of all files of a case, contenders in turn."""
    rows = []
    made, paths = contenders.made
    fast = [one for one in contenders.manuals if one.is_fast]
    cases = {
        "made": (list(paths.values()), sum(one.pages for one in made)),
        "manuals": ([one.pdf for one in fast], sum(one.pages for one in fast)),
    }
    for case, (files, pages) in cases.items():
        seconds: dict[str, list[float]] = defaultdict(list)
        wall: dict[str, list[float]] = defaultdict(list)
        peak: dict[str, int] = {}
        for round_ in range(options.rounds):
            for name in contenders.names:
                if contenders.is_slow(name) and round_ >= 1:
                    continue
                found = contenders.once(name, files)
                seconds[name] += found["cpu"]
                wall[name] += found["wall"]
                peak[name] = int(found["peak"])
        size = sum(path.stat().st_size for path in files)
        for name, spent in seconds.items():
            facts = {"pages": pages, "pages_a_second": round(pages / statistics.median(spent), 1)}
            spreads = {"wall": Spread.of(wall[name]), "cpu": Spread.of(spent)}
            about: dict[str, Any] = {"bytes": size, "threads": 1, "rounds": len(spent), "peak_bytes": peak[name]}
            rows.append(Row("speed", case, name, _role(name), **about, **spreads, facts=facts))
    return rows


PARTS: dict[str, Callable[[Contenders, argparse.Namespace], list[Row]]] = {
    "made": of_made,
    "real": of_real,
    "speed": of_speed,
    "workers": lambda contenders, options: of_workers(
        [*contenders.made[1].values(), *(one.pdf for one in contenders.manuals)], options.rounds
    ),
    "routing": lambda contenders, options: of_routing(),
    "ocr": lambda contenders, options: of_ocr(options, options.scans),
}


def show(rows: Sequence[Row]) -> None:
    """A table for each part."""
    parts: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        parts[row.part].append(row)
    for part, found in parts.items():
        fields = list(dict.fromkeys(key for row in found for key in row.facts))
        print(f"\n| {part} | contender | {' | '.join(fields)} |\n|---|---|{'--:|' * len(fields)}")
        for row in sorted(found, key=lambda one: one.case):
            print(f"| {row.case} | {row.name} | {' | '.join(str(row.facts.get(key, '')) for key in fields)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (default: all)")
    parser.add_argument("--peer", default=sys.executable, help="an interpreter that has the peers")
    parser.add_argument(
        "--own", nargs="+", default=[], metavar="NAME=PYTHON", help="peers with interpreters of their own"
    )
    parser.add_argument("--pdftotext", default=shutil.which("pdftotext"), help="poppler's program")
    parser.add_argument("--tesseract", default=shutil.which("tesseract"), help="the program")
    parser.add_argument("--ocr-python", default=sys.executable, help="an interpreter that has rapidocr")
    parser.add_argument("--skip", nargs="+", default=[], metavar="NAME", help="peers to leave out")
    slow = ["docling-parse", "pdfminer.six", "pymupdf4llm", *pdf_peers.ALL]
    parser.add_argument("--slow", nargs="+", default=slow, help="timed once")
    parser.add_argument("--scans", type=int, default=4, help="pages of the part ocr, at each resolution")
    parser.add_argument("--variants", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--cache", type=Path, default=Path.home() / ".cache" / "smolfast-pdf", help="folder for Debian's packages"
    )
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="write all texts there")
    parser.add_argument(
        "--save",
        type=Path,
        nargs="?",
        const=SAVED,
        metavar="FILE",
        help="results; rows of other parts and contenders stay",
    )
    options = parser.parse_args()
    parts = options.parts or list(PARTS)
    if unknown := [part for part in parts if part not in PARTS]:
        parser.error(f"no part is called {unknown[0]}; give {', '.join(PARTS)}")
    contenders = Contenders(options)
    rows = []
    for part in parts:
        began = time.monotonic()
        rows += PARTS[part](contenders, options)
        print(f"{part}: {time.monotonic() - began:.0f} s", flush=True)
    show(rows)
    if options.save:
        made = {(row.part, row.case, row.name) for row in rows}
        old = read_results(options.save).rows if options.save.exists() else ()
        before = [row for row in old if (row.part, row.case, row.name) not in made]
        settings = {"variants": options.variants, "rounds": options.rounds}
        found = versions(["pypdfium2", "reportlab"])
        for python in dict.fromkeys([str(options.peer), *(one.split("=", 1)[1] for one in options.own)]):
            found |= peer_versions(python)
        write_results(
            options.save, Results("pdf", [*before, *rows], machine=machine(1), versions=found, settings=settings)
        )


def peer_versions(python: str) -> dict[str, str]:
    """Of what the peers' environment has."""
    names = ["pypdfium2", "pdf_oxide", "docling-parse", "pdfminer.six", "pymupdf4llm", "opendataloader-pdf"]
    script = (
        "import importlib.metadata as m, json, sys\n"
        "have = {d.metadata['Name'] for d in m.distributions()}\n"
        "print(json.dumps({n: m.version(n) for n in sys.argv[1:] if n in have}))"
    )
    done = subprocess.run([python, "-c", script, *names], check=True, stdout=subprocess.PIPE)
    return dict(json.loads(done.stdout))


if __name__ == "__main__":
    main()
