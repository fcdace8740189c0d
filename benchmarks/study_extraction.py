"""Precision, recall and F1 of the extractors on Trafilatura's evaluation set, and of a choice between them by page.

    python benchmarks/study_extraction.py FOLDER [--json OUT]

FOLDER is `tests/` of Trafilatura's repository. Only pages whose file name has an even xxh64 are looked at; the others
are left for a later check. A wanted passage in the text counts as found, an unwanted one as wrong.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import xxhash

from smolfast.crawl.extraction.extractors import resiliparse, trafilatura
from smolfast.crawl.reading.charset import decode

Texts = dict[str, str]


def pages(folder: Path) -> Iterator[tuple[dict[str, Any], str]]:
    for item in json.loads((folder / "evaldata.json").read_text(encoding="utf-8")).values():
        if xxhash.xxh64_intdigest(item["file"].encode()) % 2:
            continue
        path = next((found for name in ("cache", "eval") if (found := folder / name / item["file"]).is_file()), None)
        if path is not None:
            yield item, decode(path.read_bytes(), None).text


def contenders() -> dict[str, Callable[[str], str | None]]:
    from resiliparse.extract.html2text import extract_plain_text
    from trafilatura import extract

    return {
        "resiliparse": resiliparse(),
        "trafilatura": trafilatura(),
        "trafilatura, balanced": lambda html: extract(html, include_comments=False, deduplicate=False),
        "resiliparse, all text": lambda html: extract_plain_text(html, main_content=False, alt_texts=False),
    }


def choices() -> dict[str, Callable[[Texts], str]]:
    """Choices by page, by what the two give."""

    def ratio(texts: Texts) -> float:
        return len(texts["trafilatura"]) / max(1, len(texts["resiliparse"]))

    return {
        "trafilatura; resiliparse where that has nothing": lambda texts: texts["trafilatura"] or texts["resiliparse"],
        "the shorter": lambda texts: min(texts["trafilatura"], texts["resiliparse"], key=len),
        "the longer": lambda texts: max(texts["trafilatura"], texts["resiliparse"], key=len),
        "trafilatura; resiliparse where that has under 10 % of it": lambda texts: texts[
            "trafilatura" if ratio(texts) >= 0.1 else "resiliparse"
        ],
        "resiliparse; trafilatura where that has under half of it": lambda texts: texts[
            "trafilatura" if 0 < ratio(texts) < 0.5 else "resiliparse"
        ],
        "resiliparse; trafilatura where the two differ by over half": lambda texts: texts[
            "resiliparse" if 0.5 < ratio(texts) < 2 or not texts["trafilatura"] else "trafilatura"
        ],
    }


def normal(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


class Score:
    def __init__(self) -> None:
        self.found = self.missed = self.wrong = 0
        self.seconds = 0.0

    def add(self, item: dict[str, Any], text: str) -> None:
        text = normal(text)
        found = sum(normal(passage) in text for passage in item["with"])
        self.found += found
        self.missed += len(item["with"]) - found
        self.wrong += sum(normal(passage) in text for passage in item["without"])

    def row(self) -> dict[str, float]:
        precision = self.found / max(1, self.found + self.wrong)
        recall = self.found / max(1, self.found + self.missed)
        return {
            "precision": precision,
            "recall": recall,
            "f1": 2 * precision * recall / (precision + recall),
            "seconds": self.seconds,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    scores: dict[str, Score] = {name: Score() for name in (*contenders(), *choices())}
    number = 0
    for item, html in pages(options.folder):
        number += 1
        texts: Texts = {}
        for name, extract in contenders().items():
            began = time.process_time()
            texts[name] = extract(html) or ""
            scores[name].seconds += time.process_time() - began
            scores[name].add(item, texts[name])
        for name, choose in choices().items():
            scores[name].add(item, choose(texts))
    print(f"{number} pages\n\n| extractor | precision | recall | F1 | CPU seconds |\n|---|--:|--:|--:|--:|")
    for name, score in scores.items():
        row = score.row()
        print(f"| {name} | {row['precision']:.3f} | {row['recall']:.3f} | {row['f1']:.3f} | {row['seconds']:.1f} |")
    if options.json:
        said = {"pages": number, "scores": {name: score.row() for name, score in scores.items()}}
        options.json.write_text(json.dumps(said, indent=1))


if __name__ == "__main__":
    main()
