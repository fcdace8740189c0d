"""Training beside fastText's own command: the same texts and settings, one thread, several seeds.

    git clone https://github.com/facebookresearch/fastText && make -C fastText
    pip install fasttext-predict
    python benchmarks/classify_training.py --cache ~/.cache/smolfast-languages --fasttext fastText/fasttext

The texts are runs of two to five words out of manuals and help pages in 20 languages of Latin letters, and the label is
the language. So short, some can't be told apart, and accuracy has room to differ. 10,000 are kept out to judge by. CPU
time is that of the whole training, file included. fasttext-predict reads our file too, and labels that differ from ours
are counted.
"""

from __future__ import annotations

import argparse
import itertools
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from bench_classify import pages

from smolfast import classify
from smolfast.bench.results import Results, Row, Spread, machine, versions, write_results

LANGUAGES = [
    *("ca", "cs", "da", "de", "es", "fi", "fr", "gl", "hr", "hu"),
    *("id", "it", "nb", "nl", "pl", "pt_BR", "ro", "sl", "sv", "tr"),
]
JUDGED = 10_000
LOSSES = ("softmax", "ova")
FEATURES: dict[str, dict[str, int]] = {
    "characters": {"dim": 20, "word_ngrams": 1, "minn": 2, "maxn": 4, "bucket": 100_000},
    "word n-grams": {"dim": 50, "word_ngrams": 2, "minn": 0, "maxn": 0, "bucket": 100_000},
}
EPOCHS = 5
FLAGS = {"word_ngrams": "wordNgrams"}

Labelled = list[tuple[str, str]]


def phrases(cache: Path, of_each: int) -> Labelled:
    """Languages and runs of words, in disorder."""
    chosen = random.Random(5)
    found: Labelled = []
    for path, content in pages(cache):
        place = re.search(r"share/(?:man|help)/([^/]+)/", path)
        language = place[1] if place is not None else ""
        words = [word for word in content.split() if word.isalpha()]
        if language not in LANGUAGES or len(words) < 20:
            continue
        for _ in range(of_each):
            begin = chosen.randrange(len(words) - 6)
            found.append((language, " ".join(words[begin : begin + chosen.randrange(2, 6)])))
    chosen.shuffle(found)
    return found


def accuracy(model: Path, judged: Labelled) -> tuple[float, list[str | None]]:
    labels = classify.Model(model).predict([text for _, text in judged])["label"].to_pylist()
    return sum(a == b for a, (b, _) in zip(labels, judged, strict=True)) / len(judged), labels


def train_theirs(command: Path, lines: Path, stem: Path, loss: str, seed: int, features: dict[str, int]) -> float:
    """CPU seconds."""
    settings = [part for name, value in features.items() for part in (f"-{FLAGS.get(name, name)}", value)]
    settings += ["-loss", loss, "-epoch", EPOCHS, "-lr", 0.5, "-minCount", 1, "-seed", seed, "-thread", 1]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    arguments = ["supervised", "-input", lines, "-output", stem, *settings, "-verbose", 0]
    subprocess.run([command, *map(str, arguments)], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def train_ours(texts: dict[str, list[str]], path: Path, loss: str, seed: int, features: dict[str, Any]) -> float:
    """CPU seconds."""
    start = time.process_time()
    classify.train(texts, path, threads=1, loss=loss, epoch=EPOCHS, lr=0.5, seed=seed, **features)
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cache", type=Path, required=True, help="folder outside the repository for documents")
    parser.add_argument("--fasttext", type=Path, required=True, help="fastText's command, built")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--of-each", type=int, default=5, help="texts of each document")
    parser.add_argument("--save", type=Path, help="write the results there as JSON")
    arguments = parser.parse_args()
    import fasttext

    command = arguments.fasttext.resolve()
    labelled = phrases(arguments.cache.expanduser(), arguments.of_each)
    judged, seen = labelled[:JUDGED], labelled[JUDGED:]
    by_language: dict[str, list[str]] = {}
    for language, text in seen:
        by_language.setdefault(language, []).append(text)
    print(f"{len(seen):,} texts in {len(by_language)} languages, and {len(judged):,} to judge by")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        lines, theirs, ours = (Path(folder) / name for name in ("lines.txt", "theirs", "ours.bin"))
        lines.write_text("".join(f"__label__{language} {text}\n" for language, text in seen), encoding="utf-8")
        for (name, features), loss in itertools.product(FEATURES.items(), LOSSES):
            times: dict[str, list[float]] = {"smolfast": [], "fastText": []}
            right: dict[str, list[float]] = {"smolfast": [], "fastText": []}
            different = 0
            for seed in range(1, arguments.seeds + 1):
                times["fastText"].append(train_theirs(command, lines, theirs, loss, seed, features))
                times["smolfast"].append(train_ours(by_language, ours, loss, seed, features))
                right["fastText"].append(accuracy(theirs.with_suffix(".bin"), judged)[0])
                share, labels = accuracy(ours, judged)
                right["smolfast"].append(share)
                read = fasttext.load_model(str(ours))
                found = [(read.predict(text)[0] or [None])[0] for _, text in judged]
                expected = [None if label is None else f"__label__{label}" for label in labels]
                different += sum(a != b for a, b in zip(found, expected, strict=True))
            for contender, role in (("smolfast", "ours"), ("fastText", "peer")):
                facts = {"accuracy": statistics.mean(right[contender]), "accuracies": right[contender]}
                if role == "ours":
                    facts["labels_that_fasttext_reads_otherwise"] = different
                cpu = Spread.of(times[contender])
                rows.append(
                    Row("train", f"{name}, {loss}", contender, role, rounds=arguments.seeds, cpu=cpu, facts=facts)
                )
                each = " ".join(f"{share:.4f}" for share in right[contender])
                print(f"{name + ', ' + loss:<24} {contender:<10} {cpu.median:6.2f} s CPU, accuracy {each}", flush=True)
            print(f"{'':<24} fasttext-predict reads {different} of our labels otherwise", flush=True)
    if arguments.save:
        settings = {"seeds": arguments.seeds, "epochs": EPOCHS, "texts": len(seen), "judged": len(judged)}
        found_on = {"machine": machine(), "versions": versions(("fasttext-predict",))}
        write_results(arguments.save, Results("classify training", rows, **found_on, settings=settings))


if __name__ == "__main__":
    main()
