"""Extractors of text side by side; runs in an environment that has them, and needs nothing else.

    PEER/python benchmarks/pdf_peers.py NAME FILES.json OUT.json [--rounds 1] [--program PATH]

FILES.json is a list of paths. OUT.json gets their texts, and CPU seconds of each round without imports.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path


def pypdfium2() -> Callable[[str], list[str]]:
    import pypdfium2 as pdfium

    def read(path: str) -> list[str]:
        document = pdfium.PdfDocument(path)
        pages = []
        for page in document:
            text = page.get_textpage()
            pages.append(text.get_text_range())
            text.close()
            page.close()
        document.close()
        return pages

    return read


def pdf_oxide() -> Callable[[str], list[str]]:
    import pdf_oxide as oxide

    def read(path: str) -> list[str]:
        document = oxide.PdfDocument(path)
        return [document.extract_text(page) for page in range(document.page_count())]

    return read


def docling_parse() -> Callable[[str], list[str]]:
    from docling_core.types.doc.page import TextCellUnit
    from docling_parse.pdf_parser import DoclingPdfParser

    parser = DoclingPdfParser(loglevel="fatal")

    def read(path: str) -> list[str]:
        document = parser.load(path)
        pages = []
        for number in range(1, document.number_of_pages() + 1):
            page = document.get_page(number)
            pages.append("\n".join(cell.text for cell in page.iterate_cells(TextCellUnit.LINE)))
            document.unload_pages((number, number + 1))
        document.unload()
        return pages

    return read


def pdfminer() -> Callable[[str], list[str]]:
    from pdfminer.high_level import extract_text

    return lambda path: extract_text(path).split("\f")


def pymupdf4llm() -> Callable[[str], list[str]]:
    import pymupdf4llm as mupdf

    return lambda path: [str(chunk["text"]) for chunk in mupdf.to_markdown(path, page_chunks=True)]


def opendataloader_all(files: list[str]) -> dict[str, list[str]]:
    import opendataloader_pdf

    with tempfile.TemporaryDirectory() as folder:
        names = {}
        for number, path in enumerate(files):  # the output's names are those of the files
            names[path] = Path(folder, f"{number}.pdf")
            names[path].symlink_to(Path(path).resolve())
        opendataloader_pdf.convert(
            [str(path) for path in names.values()],
            output_dir=folder,
            format="markdown",
            image_output="off",
            quiet=True,
        )
        made = {path: name.with_suffix(".md") for path, name in names.items()}
        return {path: [name.read_text("utf-8", "replace")] if name.exists() else [] for path, name in made.items()}


def pdftotext(program: str, *options: str) -> Callable[[str], list[str]]:
    def read(path: str) -> list[str]:
        done = subprocess.run([program, *options, path, "-"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        return done.stdout.decode("utf-8", "replace").split("\f")

    return read


PYTHON = {
    "pypdfium2": pypdfium2,
    "pdf-oxide": pdf_oxide,
    "docling-parse": docling_parse,
    "pdfminer.six": pdfminer,
    "pymupdf4llm": pymupdf4llm,
}
ALL = {"opendataloader-pdf": opendataloader_all}
PROGRAM = {"pdftotext": (), "pdftotext -layout": ("-layout",)}


def cpu() -> float:
    """Of this process, and of programs that it ran."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def run(read: Callable[[str], list[str]], files: list[str], rounds: int) -> dict[str, object]:
    """Texts, errors, and seconds of each round; the wall clock too."""
    texts: dict[str, list[str]] = {}
    errors: dict[str, str] = {}
    seconds, wall = [], []
    each: dict[str, tuple[float, float]] = {}
    for _ in range(rounds):
        for path in files:
            began, clock = cpu(), time.perf_counter()
            try:
                texts[path] = read(path)
            except Exception as error:
                texts[path], errors[path] = [], type(error).__name__
            each[path] = (cpu() - began, time.perf_counter() - clock)
        seconds.append(sum(one for one, _ in each.values()))
        wall.append(sum(one for _, one in each.values()))
    # What getrusage says counts the process that started this one, until it became another.
    status = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()
    peak = int(status[0]) * 1024
    return {"texts": texts, "errors": errors, "cpu": seconds, "wall": wall, "peak": peak, "each": each}


def run_all(read: Callable[[list[str]], dict[str, list[str]]], files: list[str]) -> dict[str, object]:
    """The same of what reads all files in one go, with its start."""
    began, clock = cpu(), time.perf_counter()
    texts = read(files)
    errors = {path: "no output" for path, pages in texts.items() if not pages}
    spent, wall = cpu() - began, time.perf_counter() - clock
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return {"texts": texts, "errors": errors, "cpu": [spent], "wall": [wall], "peak": peak, "each": {}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=[*PYTHON, *ALL, *PROGRAM])
    parser.add_argument("files", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--program", default="pdftotext")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    made = PYTHON.get(options.name)
    files = json.loads(options.files.read_text())
    if options.name in ALL:
        found = run_all(ALL[options.name], files)
    else:
        read = made() if made else pdftotext(options.program, *PROGRAM[options.name])
        found = run(read, files, options.rounds)
    options.output.write_text(json.dumps(found, ensure_ascii=True))


if __name__ == "__main__":
    main()
