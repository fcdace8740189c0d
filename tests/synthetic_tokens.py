"""Token files that are the same on every machine: text of a random process with a known order."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

VOCABULARY = 64


def write_tokens(folder: Path, seed: int = 0, train: int = 30_000, held_out: int = 4_000) -> Path:
    """Documents of 99 tokens and an end, each token one of four that may follow the one before.

    The best possible loss is ln 4 = 1.39 nats within a document.
    """
    folder.mkdir(parents=True, exist_ok=True)
    following = np.random.default_rng(99).integers(1, VOCABULARY, (VOCABULARY, 4))
    files = {}
    for name, count, stream in (("train", train, 2 * seed), ("held_out", held_out, 2 * seed + 1)):
        choices = np.random.default_rng(stream).integers(0, 4, count)
        tokens, current = np.empty(count, "<u2"), 0
        for index, choice in enumerate(choices):
            current = 0 if index % 100 == 99 else int(following[current, choice])
            tokens[index] = current
        tokens[-1] = 0
        starts = np.append(np.arange(0, count, 100), count).astype("<i8")
        np.save(folder / f"{name}.tokens.npy", tokens)
        np.save(folder / f"{name}.documents.npy", starts)
        files[name] = {"documents": len(starts) - 1, "tokens": count, "utf8_bytes": count}
    index = {"vocab_size": VOCABULARY, "end_of_document": 0, "files": files}
    (folder / "tokens.json").write_text(json.dumps(index))
    return folder
