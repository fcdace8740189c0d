"""Models of every loss, whole and quantised, made by fastText's own command and by smolfast: both read them alike.

    git clone https://github.com/facebookresearch/fastText && make -C fastText
    pip install fasttext-predict
    python benchmarks/classify_models.py --cache ~/.cache/smolfast-languages --fasttext fastText/fasttext

Every model is judged on all documents of the cache and on 10,000 random strings. Labels that differ from those of
fasttext-predict are counted, and the largest difference of scores is given. The texts have 300 labels, made from their
words, so that the labels' rows can be quantised too.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import xxhash

sys.path.insert(0, str(Path(__file__).parent))
from bench_classify import compared, documents, random_strings

from smolfast import classify
from smolfast.bench.results import Results, Row, machine, versions, write_results

LOSSES = ("softmax", "hs", "ova", "ns")
LABELS = 300
FEATURES = {
    "words": "-dim 10 -wordNgrams 1 -minCount 2",
    "characters": "-dim 16 -minn 2 -maxn 4 -bucket 50000 -minCount 3",
    "word n-grams": "-dim 33 -wordNgrams 3 -bucket 30000 -minCount 2",
}
QUANTISED: dict[str, dict[str, Any]] = {
    "plain": {},
    "qnorm": {"qnorm": True},
    "qout": {"qout": True},
    "qnorm, qout, dsub 3, cutoff": {"qnorm": True, "qout": True, "dsub": 3, "cutoff": 6000},
}


def training_file(texts: list[str], path: Path) -> None:
    """A line for each text: a label that its longest word decides, and forty of its words."""
    with path.open("w", encoding="utf-8") as out:
        for text in texts:
            words = text.split()[:40]
            longest = max(words, key=lambda word: (len(word), word), default="")
            label = xxhash.xxh3_64_intdigest(longest.encode()) % LABELS
            out.write(f"__label__{label} {' '.join(words)}\n")


def models(fasttext: Path, texts: list[str], folder: Path) -> Iterator[tuple[str, Path]]:
    """Names and files, one at a time."""
    lines = folder / "train.txt"
    training_file(texts, lines)

    def run(*arguments: object) -> None:
        subprocess.run([fasttext, *map(str, arguments)], check=True, capture_output=True)

    for loss, (features, options) in itertools.product(LOSSES, FEATURES.items()):
        stem = folder / "model"
        settings = [*options.split(), "-loss", loss, "-epoch", 2, "-lr", 0.5, "-thread", 1, "-verbose", 0]
        run("supervised", "-input", lines, "-output", stem, *settings)
        yield f"{loss}, {features}", stem.with_suffix(".bin")
        for name, chosen in QUANTISED.items():
            flags = [
                part for key, value in chosen.items() for part in ([f"-{key}"] if value is True else [f"-{key}", value])
            ]
            run("quantize", "-input", lines, "-output", stem, *flags, "-verbose", 0)
            yield f"{loss}, {features}, quantised by fastText: {name}", stem.with_suffix(".ftz")
            classify.quantize(stem.with_suffix(".bin"), stem.with_suffix(".ftz"), **chosen)
            yield f"{loss}, {features}, quantised by smolfast: {name}", stem.with_suffix(".ftz")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cache", type=Path, required=True, help="folder outside the repository for documents")
    parser.add_argument("--fasttext", type=Path, required=True, help="fastText's command, built")
    parser.add_argument("--documents", type=int, default=0, help="so many documents alone (default: all)")
    parser.add_argument("--strings", type=int, default=10_000, help="random strings")
    parser.add_argument("--save", type=Path, help="write the results there as JSON")
    arguments = parser.parse_args()
    import fasttext

    whole = documents(arguments.cache.expanduser())
    texts = whole[: arguments.documents or None]
    judged = [*texts, *random_strings(whole, arguments.strings)]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, path in models(arguments.fasttext.resolve(), whole[:8000], Path(folder)):
            read = fasttext.load_model(str(path)), classify.Model(path)
            facts = {**compared(*read, judged), "file_bytes": path.stat().st_size}
            rows.append(Row("models", name, "smolfast", "ours", facts=facts))
            print(
                f"{name:<72} {facts['different_labels']} differ, scores within {facts['worst_score']:.1e}", flush=True
            )
    different = sum(row.facts["different_labels"] for row in rows)
    print(f"{len(rows)} models, {len(judged):,} texts each: {different} labels differ")
    if arguments.save:
        found = Results("classify models", rows, machine=machine(), versions=versions(("fasttext-predict", "pyarrow")))
        write_results(arguments.save, found)


if __name__ == "__main__":
    main()
