"""Parts of bench_pdf.py that need scans: which pages go where, and how well scans are read."""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import statistics
import subprocess
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from pdf_documents import columns
from pdf_pages import CLASSES, pages_of, put
from pdf_scores import distance, plain
from pdf_setter import Setter, Style, Unit
from pdf_words import Sentences
from PIL import Image, ImageFilter
from reportlab.pdfgen.canvas import Canvas

import smolfast
from smolfast import _native
from smolfast.bench.results import Row
from smolfast.pdf.pdfium import pdfium_path
from smolfast.pdf.readers.routing import Features, route_of

READ = """
import json, sys, time
from smolfast.pdf.readers.ocr import recognizer
from smolfast.pdf.pdfium import pdfium_path
from smolfast.pdf.reading import Options, read_pdf
from smolfast.pdf.text import text_of
import resource
options = Options(by=recognizer(sys.argv[1]))
found = []
for path in sys.argv[2:]:
    document = read_pdf(open(path, "rb").read(), pdfium_path(), lost={}, options=options)
    found.append({"text": text_of(document.pages).text, "confidence": list(document.ocr.values())})
used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
cpu = sum(one.ru_utime + one.ru_stime for one in used)
print(json.dumps({"pages": found, "cpu": cpu, "peak": max(one.ru_maxrss for one in used) * 1024}))
"""


def of_routing(count: int = 50) -> list[Row]:
    """Precision and recall by route, and how many of each class go where they should."""
    pairs: Counter[tuple[str, str]] = Counter()
    rows = []
    for name, (wanted, _) in CLASSES.items():
        pdf = _native.Pdf(pdfium_path(), pages_of(name, count))
        went: Counter[str] = Counter()
        for page in range(pdf.pages):
            found = pdf.read(page)
            assert found is not None
            went[route_of(Features(found[0], found[1], *found[3])).where] += 1
        pairs.update({(wanted, where): number for where, number in went.items()})
        rows.append(
            Row(
                "routing",
                name,
                "smolfast",
                "ours",
                facts={"pages": pdf.pages, "wanted": wanted, "right": went[wanted] / pdf.pages},
            )
        )
        del pdf
    for where in ("text", "ocr", "blank"):
        right = pairs[where, where]
        said = sum(number for (_, other), number in pairs.items() if other == where)
        there = sum(number for (other, _), number in pairs.items() if other == where)
        facts = {"pages": there, "precision": round(right / max(1, said), 4), "recall": round(right / max(1, there), 4)}
        rows.append(Row("routing", f"to {where}", "smolfast", "ours", facts=facts))
    return rows


def scanned(number: int, dpi: int) -> tuple[bytes, Image.Image, str]:
    """A file with one scan, the scan, and what stands there: one column or two, a little turned, with grain."""
    import pypdfium2

    style = Style(font="Times-Roman" if number % 2 else "Helvetica", size=11 - number % 3)
    setter = Setter(style, columns(1 + number % 2), number)
    words = Sentences(700 + number)
    while setter.page == 0:
        setter.add(Unit("text", words.paragraph()))
    units = [unit for unit in setter.units if unit.page == 0]
    setter.strokes = [stroke for stroke in setter.strokes if stroke.page == 0]
    document = pypdfium2.PdfDocument(setter.save(1))
    picture = document[0].render(scale=dpi / 72, grayscale=True).to_pil()
    document.close()
    chosen = random.Random(number)
    picture = picture.rotate(chosen.uniform(-0.6, 0.6), resample=Image.Resampling.BICUBIC, fillcolor=255)
    grain = Image.frombytes("L", picture.size, chosen.randbytes(picture.size[0] * picture.size[1]))
    picture = Image.blend(picture, grain.filter(ImageFilter.GaussianBlur(0.7)), 0.12)
    sink = io.BytesIO()
    pen = Canvas(sink, pagesize=(595, 842), invariant=1)
    put(pen, picture)
    pen.save()
    return sink.getvalue(), picture, " ".join(unit.text for unit in units)


def of_ocr(options: argparse.Namespace, count: int = 8) -> list[Row]:
    """Character errors of scans at 300 and 150 dpi, by what reads them; tesseract's own text beside."""
    environment = {**os.environ, "OMP_THREAD_LIMIT": "1", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = str(Path(smolfast.__file__).parents[1])
    if options.tesseract:
        environment["PATH"] = f"{Path(options.tesseract).parent}{os.pathsep}{environment['PATH']}"
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for dpi in (300, 150):
            scans = [scanned(number, dpi) for number in range(count)]
            paths = [Path(folder, f"{dpi}-{number}.pdf") for number in range(count)]
            for path, (data, picture, _) in zip(paths, scans, strict=True):
                path.write_bytes(data)
                picture.save(path.with_suffix(".png"))
            texts: dict[str, list[str]] = {}
            facts: dict[str, dict[str, Any]] = defaultdict(dict)
            for engine in ("rapidocr", *(["tesseract"] if options.tesseract else [])):
                command = [options.ocr_python, "-c", READ, engine, *map(str, paths)]
                done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=True)
                found = json.loads(done.stdout.splitlines()[-1])
                name = f"smolfast --ocr {engine}"
                texts[name] = [page["text"] for page in found["pages"]]
                confidences = [one for page in found["pages"] for one in page["confidence"]]
                facts[name] = {
                    "confidence": round(statistics.fmean(confidences), 4),
                    "cpu_seconds_a_page": round(found["cpu"] / count, 2),
                    "peak_mb": found["peak"] >> 20,
                }
            if options.tesseract:
                texts["tesseract"] = [
                    subprocess.run(
                        [options.tesseract, path.with_suffix(".png"), "stdout", "--dpi", str(dpi)],
                        stdout=subprocess.PIPE,
                        stderr=subprocess.DEVNULL,
                        env=environment,
                        check=True,
                    ).stdout.decode("utf-8", "replace")
                    for path in paths
                ]
            for name, read in texts.items():
                pairs = [(plain(truth), plain(text)) for (_, _, truth), text in zip(scans, read, strict=True)]
                errors = sum(distance(truth, text) for truth, text in pairs) / sum(len(truth) for truth, _ in pairs)
                role = "ours" if name.startswith("smolfast") else "peer"
                made = {"pages": count, "character_errors": round(errors, 4), **facts[name]}
                rows.append(Row("ocr", f"{dpi} dpi", name, role, facts=made))
                print(f"ocr, {dpi} dpi: {name} {errors:.2%}", flush=True)
    return rows
