"""What deduplication on many machines sends, and in how many rounds, at sizes that nobody tries on one machine.

    python benchmarks/simulate_shuffle.py [--machines 64] [--clustered 0.3] [--largest 1e7]

Bytes follow from what the code sends: 12 B for each key of a document, 16 B for each link. Rounds are counted: links
are drawn for up to `--largest` documents, with clusters as large as a web crawl has them, and the code that runs on a
cluster joins them in as many shards as machines. Beyond that they are taken to grow with the logarithm of the largest
component, as the last rows show.
"""

from __future__ import annotations

import argparse
import math
import time

import numpy as np

from smolfast.cluster import Here
from smolfast.dedup.spread.components import find_components, scattered
from smolfast.dedup.spread.job import MOST_PIECES, RANGE_BYTES, SHARD_DOCUMENTS

SIZES = (10**9, 10**10, 15 * 10**9)
BANDS = 14
TEXT = 3000
"""Bytes of a document."""
COLUMNS = 112 * 4 + 16 + 8
"""Bytes of what else is kept of a document: signature, hash of the text, length."""


def links(documents: int, clustered: float, seed: int) -> tuple[np.ndarray, int]:
    """Links [L, 2] of clusters whose sizes fall with a power of 2, in any order; and the size of the largest."""
    drawn = np.random.default_rng(seed)
    sizes, left = [], int(documents * clustered)
    while left > 1:
        some = np.minimum((2 / drawn.random(max(1000, left // 8)) ** 0.8).astype(np.int64), max(2, documents // 100))
        some = some[: int(np.searchsorted(np.cumsum(some), left)) + 1]
        sizes.append(some)
        left -= int(some.sum())
    size = np.concatenate(sizes)
    size = size[np.cumsum(size) <= documents]
    starts = np.cumsum(size) - size
    members = drawn.permutation(documents)[: int(size.sum())]
    place = np.arange(len(members)) - np.repeat(starts, size)
    first = np.repeat(starts, size)
    # Each but the first is linked with one before it: a tree of about the logarithm's depth, and for every tenth
    # cluster a chain, which is the worst.
    before = (drawn.random(len(members)) * place).astype(np.int64)
    chain = np.repeat(np.arange(len(size)) % 10 == 0, size)
    before = np.where(chain, place - 1, before)
    later = place > 0
    return np.stack([members[(first + before)[later]], members[later]], axis=1), int(size.max())


def rounds(documents: int, clustered: float, shards: int) -> tuple[int, int, int, float]:
    """Rounds until nothing changes, links, the largest cluster, and seconds."""
    drawn, largest = links(documents, clustered, 1)
    bounds = np.array([documents * at // shards for at in range(shards + 1)])
    parts = [[one] for one in scattered(drawn, bounds, both=True)]
    began = time.process_time()
    found = find_components(Here(), parts, bounds)
    return found.rounds, len(drawn), largest, time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machines", type=int, default=64)
    parser.add_argument("--clustered", type=float, default=0.3, help="share of documents that share a key with another")
    parser.add_argument("--largest", type=float, default=1e6, help="documents whose links are drawn and joined")
    options = parser.parse_args()
    machines = options.machines

    counted = []
    print("| documents | links | largest component | shards | rounds | CPU s |\n|---|---|---|---|---|---|")
    documents = 1000
    while documents <= options.largest:
        found, number, largest, seconds = rounds(documents, options.clustered, min(machines, 16))
        counted.append((math.log2(largest), found))
        print(f"| {documents:,} | {number:,} | {largest:,} | {min(machines, 16)} | {found} | {seconds:.2f} |")
        documents *= 10
    slope = max((found - counted[0][1]) / (log - counted[0][0]) for log, found in counted[1:]) if counted[1:] else 1.0

    print(f"\n{machines} machines, {BANDS} bands, {TEXT} B of text a document; what each machine sends\n")
    print("| documents | text | key records | sent by a machine | of candidates' columns | rounds at most |")
    print("|---|---|---|---|---|---|")
    for documents in SIZES:
        records = documents * (BANDS + 1)
        sent = records * 12 * (machines - 1) / machines / machines
        columns = documents * options.clustered * COLUMNS * (machines - 1) / machines / machines
        most = counted[-1][1] + slope * (math.log2(documents / 100) - counted[-1][0])
        print(
            f"| {documents:.2g} | {documents * TEXT / 1e12:.0f} TB | {records:.2g} ({records * 12 / 1e12:.2f} TB) | "
            f"{sent / 1e9:.1f} GB | {columns / 1e9:.1f} GB | {most:.0f} |"
        )
    print(
        "\n| documents | pieces | ranges of keys | what Ray keeps track of | shards of labels |\n|---|---|---|---|---|"
    )
    for documents in SIZES:
        ranges = int(12 * (BANDS + 1) * documents / RANGE_BYTES) + 1
        print(
            f"| {documents:.2g} | {MOST_PIECES:,} | {ranges:,} | {MOST_PIECES * ranges / 1e6:.1f} million objects | "
            f"{-(-documents // SHARD_DOCUMENTS)} |"
        )


if __name__ == "__main__":
    main()
