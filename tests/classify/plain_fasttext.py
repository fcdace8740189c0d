"""fastText's files and arithmetic in plain Python: small models of every kind, and what they must answer."""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

MAGIC = 793712314
LOSSES = {"hs": 1, "ns": 2, "softmax": 3, "ova": 4}
Floats = npt.NDArray[np.float32]


def fnv(data: bytes) -> int:
    found = 2166136261
    for byte in data:
        found = ((found ^ (byte if byte < 128 else byte | 0xFFFFFF00)) * 16777619) & 0xFFFFFFFF
    return found


@dataclass
class Quantised:
    """Codes, centroids [parts, 256, size] (the last part may be shorter), and norms by code or none."""

    codes: npt.NDArray[np.uint8]
    centroids: list[Floats]
    norm_codes: npt.NDArray[np.uint8] | None = None
    norms: Floats | None = None

    @property
    def dense(self) -> Floats:
        rows = np.concatenate([part[self.codes[:, i]] for i, part in enumerate(self.centroids)], axis=1)
        return rows if self.norms is None else rows * self.norms[self.norm_codes][:, None]

    def to_bytes(self) -> bytes:
        rows, parts = self.codes.shape
        dim = sum(part.shape[1] for part in self.centroids)
        head = struct.pack("<?qqi", self.norms is not None, rows, dim, self.codes.size) + self.codes.tobytes()
        sizes = (dim, parts, self.centroids[0].shape[1], self.centroids[-1].shape[1])
        body = head + struct.pack("<4i", *sizes) + b"".join(part.tobytes() for part in self.centroids)
        if self.norms is None:
            return body
        assert self.norm_codes is not None
        return body + self.norm_codes.tobytes() + struct.pack("<4i", 1, 1, 1, 1) + self.norms.tobytes()


@dataclass
class Plain:
    """A model: its fields are those of the file."""

    words: list[bytes]
    labels: list[bytes]
    input: Floats | Quantised
    output: Floats | Quantised
    loss: str = "softmax"
    word_ngrams: int = 1
    minn: int = 0
    maxn: int = 0
    bucket: int = 0
    kept: dict[int, int] | None = None
    kind: int = 3
    version: int = 12
    counts: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.counts = self.counts or [*range(len(self.words) + 50, 50, -1), *range(len(self.labels) * 7 + 3, 3, -7)]
        self.ids = {word: i for i, word in enumerate([*self.words, *self.labels])}

    @property
    def dim(self) -> int:
        dense = self.output.dense if isinstance(self.output, Quantised) else self.output
        return int(dense.shape[1])

    def to_bytes(self) -> bytes:
        numbers = (self.dim, 5, 5, 1, 5, self.word_ngrams, LOSSES[self.loss], self.kind)
        parts = [struct.pack("<2i8i4id", MAGIC, self.version, *numbers, self.bucket, self.minn, self.maxn, 100, 1e-4)]
        kept = -1 if self.kept is None else len(self.kept)
        sizes = (len(self.ids), len(self.words), len(self.labels), sum(self.counts), kept)
        parts.append(struct.pack("<3i2q", *sizes))
        for number, (entry, count) in enumerate(zip(self.ids, self.counts, strict=True)):
            parts.append(entry + b"\0" + struct.pack("<qb", count, number >= len(self.words)))
        parts += [struct.pack("<2i", *pair) for pair in (self.kept or {}).items()]
        for matrix in (self.input, self.output):
            quantised = isinstance(matrix, Quantised)
            parts.append(struct.pack("<?", quantised))
            if isinstance(matrix, Quantised):
                parts.append(matrix.to_bytes())
            else:
                parts.append(struct.pack("<2q", *matrix.shape) + matrix.tobytes())
        return b"".join(parts)

    # What fastText computes

    def rows(self, text: str) -> list[int]:
        tokens = [token for token in re.split(rb"[ \n\r\t\v\f\0]+", text.encode()) if token]
        rows: list[int] = []
        hashes: list[int] = []
        for token in [*tokens, b"</s>"]:
            number = self.ids.get(token, -1)
            if number >= len(self.words) or (number < 0 and token.startswith(b"__label__")):
                continue
            if number >= 0:
                rows.append(number)
            if token != b"</s>":
                rows += self.subwords(token)
            found = fnv(token)
            hashes.append(found if found < 1 << 31 else found - (1 << 32))
            if token == b"</s>":
                break
        for i, first in enumerate(hashes):
            whole = first
            for other in hashes[i + 1 : i + self.word_ngrams]:
                whole = (whole * 116049371 + other) & 0xFFFFFFFFFFFFFFFF
                rows += self.bucket_row((whole & 0xFFFFFFFFFFFFFFFF) % self.bucket)
        return rows

    def subwords(self, token: bytes) -> list[int]:
        if self.version == 11:
            return []
        characters = list(f"<{token.decode()}>")
        rows = []
        for begin in range(len(characters)):
            for n in range(self.minn or 1, self.maxn + 1):
                end = begin + n
                if end <= len(characters) and not (n == 1 and (begin == 0 or end == len(characters))):
                    rows += self.bucket_row(fnv("".join(characters[begin:end]).encode()) % self.bucket)
        return rows

    def bucket_row(self, bucket: int) -> list[int]:
        if self.kept is None:
            return [len(self.words) + bucket]
        return [len(self.words) + self.kept[bucket]] if bucket in self.kept else []

    def hidden(self, text: str) -> npt.NDArray[np.float64] | None:
        rows = self.rows(text)
        dense = self.input.dense if isinstance(self.input, Quantised) else self.input
        total = np.zeros(dense.shape[1], np.float32)
        for row in rows:  # one after the other, in float32: for a thousand equal words rounding adds up
            total += dense[row]
        return np.asarray(total.astype(np.float64) / len(rows), np.float64) if rows else None

    def scores(self, text: str) -> npt.NDArray[np.float64] | None:
        """Of every label, with what fastText adds by its logarithm."""
        hidden = self.hidden(text)
        if hidden is None:
            return None
        x = (self.output.dense if isinstance(self.output, Quantised) else self.output).astype(np.float64) @ hidden
        if self.loss == "softmax":
            shares = np.exp(x - x.max())
            return np.asarray(shares / shares.sum() + 1e-5, np.float64)
        if self.loss == "hs":
            return self.leaves(1 / (1 + np.exp(-x)))
        steps = np.clip(np.floor((x + 8) * 32), 0, 512)
        table = 1 / (1 + np.exp(-(steps / 32 - 8)))
        return np.where(x < -8, 0, np.where(x > 8, 1, table)) + 1e-5

    def leaves(self, right: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        size = len(self.labels)
        weights = [float(count) for count in self.counts[len(self.words) :]] + [1e15] * (size - 1)
        leaf, inner = size - 1, size
        children = {}
        for node in range(size, 2 * size - 1):
            pair = []
            for _ in range(2):
                if leaf >= 0 and weights[leaf] < weights[inner]:
                    pair.append(leaf)
                    leaf -= 1
                else:
                    pair.append(inner)
                    inner += 1
            weights[node] = weights[pair[0]] + weights[pair[1]]
            children[node] = pair
        scores = np.zeros(size)
        stack = [(2 * size - 2, 0.0)]
        while stack:
            node, score = stack.pop()
            if score < math.log(1e-5):
                continue
            if node < size:
                scores[node] = math.exp(score)
                continue
            share = right[node - size]
            for child, part in zip(children[node], (1 - share, share), strict=True):
                stack.append((child, score + math.log(part + 1e-5)))
        return scores


def make(
    loss: str = "softmax", *, quantised: str = "", seed: int = 0, dim: int = 6, labels: int = 7, **options: int
) -> Plain:
    """A model of random weights. `quantised` holds letters: q the input, n with norms, o the output, p pruned."""
    rng = np.random.default_rng(seed)
    words = [b"</s>", b"the", b"of", "für".encode(), b"__label", "語".encode(), *(f"w{i}".encode() for i in range(40))]
    bucket = options.get("bucket", 0)
    kept = None
    if "p" in quantised:
        buckets = rng.choice(bucket, bucket // 3, replace=False) if bucket else np.zeros(0, int)
        kept = {int(b): i for i, b in enumerate(buckets)}
    rows = len(words) + (bucket if kept is None else len(kept))

    def matrix(rows: int, scale: float, *, quantise: bool) -> Floats | Quantised:
        if not quantise:
            return rng.normal(0, scale, (rows, dim)).astype(np.float32)
        size = options.get("dsub", 2)
        sizes = [size] * (dim // size) + ([dim % size] if dim % size else [])
        centroids = [rng.normal(0, scale, (256, part)).astype(np.float32) for part in sizes]
        norms = rng.uniform(0.5, 2, 256).astype(np.float32) if "n" in quantised else None
        codes = rng.integers(0, 256, (rows, len(sizes))).astype(np.uint8)
        norm_codes = rng.integers(0, 256, rows).astype(np.uint8) if norms is not None else None
        return Quantised(codes, centroids, norm_codes, norms)

    return Plain(
        words,
        [f"__label__l{i}".encode() for i in range(labels)],
        matrix(rows, 1.0, quantise="q" in quantised),
        matrix(labels, 2.0, quantise="o" in quantised),
        loss,
        options.get("word_ngrams", 1),
        options.get("minn", 0),
        options.get("maxn", 0),
        bucket,
        kept,
    )
