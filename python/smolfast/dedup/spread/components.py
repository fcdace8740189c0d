"""Which documents hang together, from links in shards: labels go to neighbours, and distances halve each round.

Kiveris et al., Connected Components in MapReduce and Beyond (SoCC 2014): small stars and large stars in turn. A shard
holds a range of documents. Here it joins all that its links join, and not only what meets at one document.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from smolfast.cluster import Engine

Links = npt.NDArray[np.int64]
"""[L, 2]: pairs of documents."""

MOST_ROUNDS = 200


@dataclass(frozen=True)
class Components:
    """What hangs together, by shards of the component's least document."""

    shards: list[Any]
    """Each stands for [M, 2]: least document and document, ascending, of every component of two or more."""
    rounds: int


def find_components(engine: Engine, links: Sequence[Sequence[Any]], bounds: npt.NDArray[np.int64]) -> Components:
    """The components that links join.

    Args:
        links: for each shard what stands for links with an end in it, in any number of pieces.
        bounds: [S + 1]: shard s has the documents from bounds[s] to bounds[s + 1].
    """
    count = len(bounds) - 1
    incoming = [list(pieces) for pieces in links]
    for round_ in range(MOST_ROUNDS):
        large = round_ % 2 == 0
        made = [engine.submit(_join, bounds, shard, large, *incoming[shard], parts=count + 2) for shard in range(count)]
        if large and all(engine.get([one[0] for one in made])):
            return Components([one[1] for one in made], round_ + 1)
        incoming = [[one[2 + shard] for one in made] for shard in range(count)]
    raise AssertionError("labels didn't come to rest")


def _join(bounds: npt.NDArray[np.int64], shard: int, large: bool, *pieces: Links) -> list[Any]:
    """Join what the links of a shard join.

    Returns:
        whether nothing is left to join here (after links of both ends came, `large`); the members of components whose
        least document is this shard's; and links for each shard of the next round.
    """
    links = np.concatenate(pieces) if pieces else np.empty((0, 2), np.int64)
    links = links[links[:, 0] != links[:, 1]]
    ends, places = np.unique(links, return_inverse=True)
    least = join(places.reshape(-1, 2), len(ends))
    stars = np.stack([ends[least], ends], axis=1)[least != np.arange(len(ends))]
    first, stop = bounds[shard], bounds[shard + 1]
    own = (ends >= first) & (ends < stop)
    rests = True
    if large:
        low, high = links.min(axis=1), links.max(axis=1)
        is_low = np.isin(ends, low)
        pairs = np.unique(np.stack([high, low], axis=1), axis=0)
        highs, times = np.unique(pairs[:, 0], return_counts=True)
        is_high = np.isin(ends, highs)
        several = np.isin(ends, highs[times > 1])
        rests = not bool((own & ((is_low & is_high) | several)).any())
    mine = stars[(stars[:, 0] >= first) & (stars[:, 0] < stop)]
    mine = np.concatenate([np.repeat(np.unique(mine[:, 0])[:, None], 2, axis=1), mine])
    members = mine[np.lexsort((mine[:, 1], mine[:, 0]))]
    return [rests, members, *scattered(stars, bounds, both=not large)]


def join(pairs: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """[count]: the least number that each is joined with. Roots go under lesser roots, then paths are cut short."""
    labels = np.arange(count)
    left, right = pairs[:, 0], pairs[:, 1]
    while len(left):
        a, b = labels[left], labels[right]
        apart = a != b
        if not apart.any():
            break
        left, right = left[apart], right[apart]
        low, high = np.minimum(a[apart], b[apart]), np.maximum(a[apart], b[apart])
        np.minimum.at(labels, high, low)
        while True:
            above = labels[labels]
            if (above == labels).all():
                break
            labels = above
    return labels


def scattered(links: Links, bounds: npt.NDArray[np.int64], *, both: bool) -> list[Links]:
    """The links of each shard: where the greater end lies, or either end."""
    greater = np.searchsorted(bounds, links.max(axis=1) if len(links) else links[:, 0], side="right") - 1
    lesser = np.searchsorted(bounds, links.min(axis=1) if len(links) else links[:, 0], side="right") - 1
    found = []
    for shard in range(len(bounds) - 1):
        here = greater == shard
        if both:
            here |= lesser == shard
        found.append(links[here])
    return found
