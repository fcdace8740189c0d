"""What judging text does for a small model: equal tokens of raw, of judged, and of judged and deduplicated text.

    python benchmarks/curate_corpora.py CORPORA en
    python benchmarks/study_curation.py --pages CORPORA/en.parquet --out study --json study.json

Each of the three ways is tried on real pages as they are ("pages"), and on the same pages with as many bytes of planted
rubbish between them ("rubbish"): menus, boilerplate, lorem ipsum, repeated lines and symbols, made by code. The same
model sees the same number of tokens, none twice. What it is judged by is bits per byte of pages that it hasn't seen and
that have no near-copy in what it saw: of those that the rules keep ("clean"), and of all of them as they are ("all").
One tokenizer, learned from the raw pages, serves all runs.

Finished runs are kept in --out and not repeated; `--new 2` stops after two new ones.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from smolfast.config import Config, EvaluateConfig, TokenizerConfig, validate_config
from smolfast.curate import curate_files
from smolfast.dedup import deduplicate
from smolfast.evaluate.bits_per_byte import evaluate
from smolfast.files import read_json, write_json
from smolfast.tokens.files import tokenize
from smolfast.tokens.tokenizer import train_tokenizer
from smolfast.train.loop import train

HELD_OUT = 0.06
"""Of the clusters of near-copies."""
INPUTS = ("pages", "rubbish")
WAYS = ("raw", "judged", "judged and deduplicated")
EVALUATED = EvaluateConfig(max_bytes=200_000)
TRAINED_ON = 5_000_000
"""Bytes of text of each way that are tokenized, the first documents: more than a run sees."""
LOREM = (
    "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut labore et dolore "
    "magna aliqua. Ut enim ad minim veniam, quis nostrud exercitation ullamco laboris nisi ut aliquip ex ea commodo "
    "consequat."
)
BOILERPLATE = (
    "Welcome to the pages of {name}, and thank you for reading what stands at the end of all of them. By "
    "opening an account you accept the conditions below, which may change from one day to the next without a "
    "letter to you.",
    "All text and pictures here are given as they are. Nobody promises that they are right, complete, or fit "
    "for a certain use, and whoever relies on them does so at their own risk.",
    "Small files are stored in your browser to remember what you have chosen. You can refuse them, but then "
    "some parts of the site will not work as they should, and we will have to ask you again.",
    "Your address is never sold. It may be shared with those who carry parcels to your door, and with the "
    "courts where the law demands it. Questions about this go to the office of {name}, which answers within a "
    "week.",
    "If one sentence of these conditions turns out to be void, all others stay in force. Only the courts of the"
    " town where we have our seat decide what remains in dispute between us.",
)
"""Plain sentences, which filters let pass: only a look at other pages shows that they are everywhere."""
MENU = (
    "Home", "About us", "Products", "Support", "Contact", "Login", "Register", "My account", "Cart (0)", "Search",
    "News", "Blog", "FAQ", "Sitemap", "Careers", "Press", "Privacy", "Terms", "Share", "Tweet", "Print this page",
    "Back to top",
)  # fmt: skip
SYMBOLS = "|/\\-_=+*~^<>#@$%&()[]{}:;.,!?"


class Enough(Exception):
    """As many new runs were made as were asked for."""


def rubbish(generator: random.Random, number: int) -> str:
    """One page without worth, of some hundreds to thousands of characters."""
    name = f"{generator.choice(('Blueware', 'Northshop', 'Primenet', 'Openware'))} {generator.randrange(1000)}"
    if number % 25 == 0:
        return "\n\n".join(BOILERPLATE).format(name=name)
    kind = number % 4
    if kind == 0:
        return "\n".join(generator.choices(MENU, k=generator.randrange(30, 120)))
    if kind == 1:
        sentences = LOREM.split(". ")
        return ". ".join(generator.choice(sentences) for _ in range(generator.randrange(5, 40)))
    if kind == 2:
        line = f"{name}: item {generator.randrange(1000)} is available now, order today."
        return "\n".join([line] * generator.randrange(10, 60))
    return " ".join("".join(generator.choices(SYMBOLS, k=generator.randrange(1, 12))) for _ in range(300))


def prepare(pages: Path, out: Path, limit: int) -> None:
    """Into `out`: each input each way as OUT/INPUT/WAY.parquet, and both held-out sets."""
    done = out / "prepared.json"
    if done.exists():
        return
    table = first_bytes(pq.read_table(pages, columns=["id", "text"]), limit)
    pq.write_table(table, out / "all.parquet")
    # Near-copies stay on one side: whole clusters are held out.
    deduplicate([out / "all.parquet"], out / "clusters")
    clusters = np.arange(table.num_rows)
    removed = pq.read_table(out / "clusters" / "removed.parquet", columns=["row", "cluster_id"])
    clusters[removed["row"].to_numpy()] = removed["cluster_id"].to_numpy()
    gone = set(removed["row"].to_pylist())
    stays = np.array([row for row in range(table.num_rows) if row not in gone])
    kept = pq.read_table(out / "clusters" / "kept.parquet", columns=["cluster_id"])
    clusters[stays] = kept["cluster_id"].to_numpy()
    held = np.array([xxhash.xxh3_64_intdigest(b"%d" % one) < HELD_OUT * 2**64 for one in clusters.tolist()])
    first = np.isin(np.arange(table.num_rows), stays)
    pq.write_table(table.filter(pa.array(held & first)), out / "held-out-all.parquet")
    curate_files([out / "held-out-all.parquet"], out / "held-out-judged")
    clean = pq.read_table(out / "held-out-judged" / "kept", columns=["id", "text"])
    pq.write_table(clean, out / "held-out-clean.parquet")
    seen = table.filter(pa.array(~held))
    said: dict[str, Any] = {}
    for name in INPUTS:
        folder = out / name
        folder.mkdir(exist_ok=True)
        texts = seen["text"].to_pylist()
        if name == "rubbish":
            texts = with_rubbish(texts)
        pq.write_table(pa.table({"text": pa.array(texts, pa.large_string())}), folder / "raw.parquet")
        judged = curate_files([folder / "raw.parquet"], folder / "curated")
        unique = deduplicate([folder / "curated" / "kept"], folder / "unique")
        pq.write_table(pq.read_table(folder / "curated" / "kept"), folder / "judged.parquet")
        unique_table = pq.read_table(folder / "unique" / "kept.parquet", columns=["text"])
        pq.write_table(unique_table, folder / "judged and deduplicated.parquet")
        said[name] = {"judged": judged.as_dict(), "deduplicated": unique.as_dict()}
    pq.write_table(first_bytes(seen, 2 * TRAINED_ON), out / "for-tokenizer.parquet")
    train_tokenizer([out / "for-tokenizer.parquet"], out / "tokenizer", TokenizerConfig(vocab_size=2048))
    for name in INPUTS:
        for way in WAYS:
            tokens = out / name / f"{way} tokens"
            first = first_bytes(pq.read_table(out / name / f"{way}.parquet", columns=["text"]), TRAINED_ON)
            pq.write_table(first, out / name / f"{way} first.parquet")
            documents = {"train": out / name / f"{way} first.parquet", "held_out": out / "held-out-clean.parquet"}
            counts = tokenize(documents, out / "tokenizer", tokens)
            said[name][f"{way}: bytes of tokens"] = counts["bytes_out"]
    tokenize({"held_out": out / "held-out-all.parquet"}, out / "tokenizer", out / "held-out-all tokens")
    write_json(done, said)


def first_bytes(table: pa.Table, size: int) -> pa.Table:
    """The first documents, so many bytes of text."""
    sizes = np.cumsum([len(text.encode()) for text in table["text"].to_pylist()])
    return table.slice(0, int(np.searchsorted(sizes, size)) + 1)


def with_rubbish(texts: list[str]) -> list[str]:
    """As many bytes of rubbish between the pages as they have themselves."""
    generator = random.Random(1)
    mixed: list[str] = []
    size = planted = number = 0
    for text in texts:
        mixed.append(text)
        size += len(text.encode())
        while planted < size:
            mixed.append(rubbish(generator, number))
            planted += len(mixed[-1].encode())
            number += 1
    return mixed


def configured(seed: int, steps: int) -> Config:
    return validate_config(
        {
            "seed": seed,
            "model": {"mtp_heads": 1},
            "train": {"steps": steps, "evaluate_every": 0, "monitor_every": 0, "mtp_weights": (1.0,)},
        }
    )


def run(out: Path, name: str, way: str, seed: int, steps: int) -> dict[str, Any]:
    """Train and evaluate once: bits per byte of both held-out sets, seconds."""
    folder = out / "runs" / f"{name} {way} {seed}"
    began = time.monotonic()
    config = configured(seed, steps)
    tokens = out / name / f"{way} tokens"
    summary = train(tokens, folder, model=config.model, config=config.train, seed=seed)
    found: dict[str, Any] = {"steps": summary["steps"], "tokens": summary["tokens"]}
    for held, of in (("clean", tokens), ("all", out / "held-out-all tokens")):
        documents = out / f"held-out-{held}.parquet"
        evaluation = evaluate(folder / "model", of, folder / held, EVALUATED, held_out_documents=documents)
        found[held] = evaluation["bits_per_byte"]
    return {**found, "seconds": round(time.monotonic() - began, 1)}


def study(options: argparse.Namespace) -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
    """The runs of each input and way, as they are made or found."""
    new = 0
    for name in INPUTS:
        for way in WAYS:
            runs = []
            for seed in range(options.seeds):
                path = options.out / f"{name} {way} {seed}.json"
                if not path.exists():
                    if new == options.new:
                        raise Enough
                    write_json(path, run(options.out, name, way, seed, options.steps))
                    new += 1
                runs.append(read_json(path))
            yield name, way, runs


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=Path, required=True, help="parquet of documents (id, text)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--bytes", type=int, default=100_000_000, help="of pages to take, the first ones")
    parser.add_argument("--steps", type=int, default=160, help="of 4,096 tokens")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--new", type=int, default=-1, help="stop after so many new runs")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    prepare(options.pages, options.out, options.bytes)
    rows = []
    try:
        for name, way, runs in study(options):
            row: dict[str, Any] = {"input": name, "way": way, "tokens": runs[0]["tokens"]}
            for held in ("clean", "all"):
                row[held] = [one[held] for one in runs]
            row["seconds"] = [one["seconds"] for one in runs]
            rows.append(row)
            said = "  ".join(
                f"{held} {statistics.mean(row[held]):.4f} ({', '.join(f'{x:.4f}' for x in row[held])})"
                for held in ("clean", "all")
            )
            print(f"{name:8} {way:24} {said}  {statistics.mean(row['seconds']):.0f} s", flush=True)
    except Enough:
        print("stopped: run the same command again to go on")
        return 1
    if options.json:
        write_json(options.json, {"prepared": read_json(options.out / "prepared.json"), "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
