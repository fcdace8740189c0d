"""Bits per byte of the very same tokens, by how many tokens before them a model sees; before and after a lengthening.

    python benchmarks/studies/long_context/positions.py RUN      # of the recipe lengthen; then draw.py --positions RUN

Windows of 256 tokens begin every 16 tokens of held-out documents. Counted are tokens that stand in 16 windows, once in
every 16 places: what differs from place to place is what the model saw before, not the text. As the first token of a
window isn't coded, those with 1 to 15 tokens before them are 15 of 16. Of a document at most the first 1,792 tokens
are read. Writes RUN/positions/evaluate@MODEL/evaluation.json.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F

from smolfast.files import write_json
from smolfast.model.network import PackedBatch
from smolfast.model.pretrained import load_pretrained
from smolfast.tokens.tokenizer_folder import encode, open_tokenizer

_WINDOW, _APART, _MOST = 256, 16, 1024
_BINS = ((1, 15), (16, 31), (32, 63), (64, 127), (128, 255))
_TOGETHER = 16


def starts(tokens: int) -> list[int]:
    """Where windows of a document begin; none in one that is too short."""
    last = min(tokens - _WINDOW, 2 * _WINDOW + _MOST)
    return list(range(0, last + 1, _APART))


def counted(first: list[int]) -> tuple[int, int]:
    """The tokens, from and up to, that stand in as many windows as a window has places 16 apart."""
    return (first[-1], first[-1]) if first[-1] < _WINDOW else (_WINDOW - _APART, first[-1] + _APART)


@torch.no_grad()
def bits_by_place(model_folder: Path, documents: list[list[int]]) -> tuple[Counter[int], Counter[int], list[list[int]]]:
    """Bits and tokens at each place of a window, and which tokens were counted."""
    model = load_pretrained(model_folder)
    bits: Counter[int] = Counter()
    tokens: Counter[int] = Counter()
    taken: list[list[int]] = []
    for ids in documents:
        document = np.array(ids, np.int64)
        first = starts(len(document))
        begin, end = counted(first)
        taken.append(ids[begin:end])
        for group in range(0, len(first), _TOGETHER):
            at = first[group : group + _TOGETHER]
            windows = [document[one : one + _WINDOW] for one in at]
            states_TH = model.hidden_states(PackedBatch.from_documents(windows), heads=1)[0]
            logits_WSV = F.linear(states_TH, model.unembedding).view(len(at), _WINDOW, -1)[:, :-1]
            targets = torch.from_numpy(np.stack(windows))[:, 1:]
            losses = F.cross_entropy(logits_WSV.transpose(1, 2), targets, reduction="none") / math.log(2)
            for one, row in zip(at, losses.tolist(), strict=True):
                for place, loss in enumerate(row, 1):
                    if begin <= one + place < end:
                        bits[place] += loss
                        tokens[place] += 1
    return bits, tokens, taken


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run
    torch.set_num_threads(2)
    texts = pq.read_table(run / "split" / "held_out.parquet", columns=["text"]).column("text").to_pylist()
    folder = open_tokenizer(run / "tokenizer")
    encoded = [ids for ids in encode(folder.tokenizer, texts) if not isinstance(ids, str)]
    documents = [ids for ids in encoded if len(ids) >= 2 * _WINDOW]
    for model in ("base", "lengthen"):
        bits, tokens, taken = bits_by_place(run / model / "model", documents)
        # A token of a byte-level tokenizer is written with one letter a byte.
        size = sum(len(folder.tokenizer.id_to_token(token) or "") for ids in taken for token in ids)
        each = sum(map(len, taken))
        positions = []
        for low, high in _BINS:
            count = sum(tokens[place] for place in range(low, high + 1))
            spent = sum(bits[place] for place in range(low, high + 1))
            part = {"from": low, "to": high, "tokens": count, "bytes": round(size * count / each)}
            positions.append({**part, "bits_per_byte": spent / (size * count / each)})
            print(model, positions[-1], flush=True)
        total = {name: sum(int(one[name]) for one in positions) for name in ("tokens", "bytes")}
        overall = sum(bits.values()) / total["bytes"]
        result = {"context": _WINDOW, "bits_per_byte": overall, **total, "documents": len(documents)}
        write_json(run / "positions" / f"evaluate@{model}" / "evaluation.json", {**result, "positions": positions})
    return 0


if __name__ == "__main__":
    sys.exit(main())
