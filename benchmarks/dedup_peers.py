"""What deduplication is measured against: functions from texts to signatures, and from parquet to deduplicated parquet.

What each peer is given is said beside its function: tokens are split by white space for peers that take tokens, and the
time of that counts, since they can't start from text without it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

HASHES, NGRAM, BANDS, ROWS = 128, 5, 14, 8
THREADS = int(os.environ.get("BENCH_THREADS", "1"))

# -- text to signatures: a function of the texts, as an Arrow column and as a list -------------------------------------


def smolfast(column: pa.Array, texts: list[str], scheme: str = "fast", tokens: str = "unicode", k: int = HASHES) -> Any:
    from smolfast.dedup import MinHasher

    return MinHasher(k, NGRAM, scheme=scheme, tokens=tokens).signatures(column, threads=THREADS)  # type: ignore[arg-type]


def daft(column: pa.Array, texts: list[str], k: int = HASHES) -> Any:
    import daft as d

    frame = d.from_arrow(pa.table({"text": column}))
    return frame.select(frame["text"].minhash(num_hashes=k, ngram_size=NGRAM, hash_function="xxhash3_64")).to_arrow()


def ngrams(text: str) -> list[str]:
    words = text.split()
    return [" ".join(words[i : i + NGRAM]) for i in range(max(1, len(words) - NGRAM + 1))]


def rensa(column: pa.Array, texts: list[str], k: int = HASHES) -> Any:
    """Its README's `update`, with shingles where that has words; its batches, and they are no faster: see below."""
    from rensa import RMinHash

    signatures = []
    for text in texts:
        sketch = RMinHash(num_perm=k, seed=42)
        sketch.update(ngrams(text))
        signatures.append(sketch.digest())
    return signatures


def rensa_batches(column: pa.Array, texts: list[str], k: int = HASHES) -> Any:
    from rensa import RMinHash

    return [
        RMinHash.digests_from_token_sets([ngrams(t) for t in texts[i : i + 256]], num_perm=k, seed=42)
        for i in range(0, len(texts), 256)
    ]


def fastsketchlsh(column: pa.Array, texts: list[str], k: int = HASHES) -> Any:
    from FastSketchLSH import FastSimilaritySketch

    sketch = FastSimilaritySketch(size=k, seed=42)
    return [
        sketch.batch([ngrams(t) for t in texts[i : i + 256]], num_threads=THREADS) for i in range(0, len(texts), 256)
    ]


def gaoya(column: pa.Array, texts: list[str]) -> Any:
    """Its signatures can't be had alone: insertion into the index is included."""
    from gaoya.minhash import MinHashStringIndex

    index = MinHashStringIndex(32, 0.75, 16, 8, None, "word", False, (NGRAM, NGRAM))
    for i, text in enumerate(texts):
        index.insert_document(i, text)
    return index


def datasketch(column: pa.Array, texts: list[str]) -> Any:
    from datasketch import MinHash

    return list(MinHash.generator([[g.encode() for g in ngrams(t)] for t in texts], num_perm=HASHES))


def text_dedup(column: pa.Array, texts: list[str]) -> Any:
    """Its `embed_func` with the hashes and permutations that its `main` chooses by default."""
    from text_dedup.minhash import RNG, embed_func
    from text_dedup.utils import sha1_hash

    prime, most = np.uint64((1 << 61) - 1), np.uint32((1 << 32) - 1)
    draw = (RNG.randint(1, prime, HASHES, np.uint64), RNG.randint(0, prime, HASHES, np.uint64))
    ranges = [(i, i + ROWS) for i in range(0, HASHES, ROWS)]
    return [
        embed_func(
            text,
            i,
            num_perm=HASHES,
            ngram_size=NGRAM,
            min_length=NGRAM,
            hashranges=ranges,
            permutations=draw,
            hash_func=lambda data: sha1_hash(data, d=32),
            dtype=np.uint64,
            max_hash=most,
            modulo_prime=prime,
        )
        for i, text in enumerate(texts)
    ]


def datatrove_steps(*, split: bool) -> Any:
    """Its module; `split` puts `str.split` in the place of its tokenizer, spaCy's for English."""
    import xxhash
    from datatrove.pipeline.dedup import minhash

    # Its own passes str, which xxhash no longer takes.
    minhash.create_hash_func = lambda config: lambda shingle: xxhash.xxh64_intdigest(shingle.encode())
    if split:
        minhash.load_word_tokenizer = lambda language: type("Split", (), {"word_tokenize": staticmethod(str.split)})
    return minhash


def datatrove(column: pa.Array, texts: list[str], *, split: bool = False) -> Any:
    """112 hashes."""
    step = datatrove_steps(split=split).MinhashDedupSignature("/tmp/unused-by-get-signature")
    return [step.get_signature(s) for t in texts if (s := step.get_shingles(t)).size]


# name, function, share of the documents it is given (slow peers), most threads
SIGNATURES: list[tuple[str, Callable[..., Any], float]] = [
    ("smolfast fast", smolfast, 1.0),
    ("smolfast classic", lambda c, t: smolfast(c, t, "classic"), 1.0),
    ("smolfast fast, whitespace tokens", lambda c, t: smolfast(c, t, "fast", "whitespace"), 1.0),
    ("smolfast, 16 hashes (floor: words, n-grams)", lambda c, t: smolfast(c, t, "fast", "unicode", 16), 1.0),
    ("daft", daft, 1.0),
    ("gaoya", gaoya, 0.25),
    ("rensa", rensa, 0.25),
    ("rensa, batches", rensa_batches, 0.25),
    ("fastsketchlsh", fastsketchlsh, 0.25),
    ("datasketch", datasketch, 0.05),
    ("text-dedup", text_dedup, 0.05),
    ("datatrove", datatrove, 0.01),
    ("datatrove, str.split", lambda c, t: datatrove(c, t, split=True), 0.02),
]


# -- parquet to deduplicated parquet -----------------------------------------------------------------------------------


def job_smolfast(path: Path, out: Path) -> int:
    from smolfast.dedup import deduplicate

    return deduplicate([path], out, threads=THREADS).documents_out


def keep_first(keys: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """[documents, bands] keys to the first document of each connected component, by scipy."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    documents, bands = keys.shape
    nodes = [np.unique(keys[:, band], return_inverse=True)[1] for band in range(bands)]
    rows = np.tile(np.arange(documents), bands)
    columns, offset = [], documents
    for node in nodes:
        columns.append(node + offset)
        offset += int(node.max()) + 1
    graph = coo_matrix((np.ones(len(rows), np.int8), (rows, np.concatenate(columns))), (offset, offset))
    labels = connected_components(graph, directed=False)[1][:documents]
    return np.sort(np.unique(labels, return_index=True)[1])


def write_kept(table: pa.Table, keys: np.ndarray[Any, Any], out: Path) -> int:
    kept = keep_first(keys)
    pq.write_table(table.take(pa.array(kept)), out / "kept.parquet", compression="zstd")
    return len(kept)


def band_rows(signatures: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    rows = np.ascontiguousarray(signatures[:, : BANDS * ROWS]).reshape(len(signatures), BANDS, ROWS)
    return rows.view(np.dtype((np.void, rows.itemsize * ROWS)))[..., 0]


def job_daft(path: Path, out: Path) -> int:
    import daft as d

    table = d.read_parquet(str(path)).to_arrow()
    frame = d.from_arrow(table)
    hashed = frame.select(frame["text"].minhash(num_hashes=112, ngram_size=NGRAM, hash_function="xxhash3_64"))
    column = hashed.to_arrow().column(0).combine_chunks()
    signatures = column.flatten().to_numpy().astype(np.uint32).reshape(len(column), 112)
    return write_kept(table, band_rows(signatures), out)


def job_rensa(path: Path, out: Path) -> int:
    table = pq.read_table(path)
    texts = table["text"].to_pylist()
    digests = [row for part in rensa_batches(table["text"], texts, 112) for row in part]
    return write_kept(table, band_rows(np.asarray(digests, np.uint32)), out)


def job_datasketch(path: Path, out: Path) -> int:
    table = pq.read_table(path)
    signatures = np.array([m.hashvalues for m in datasketch(table["text"], table["text"].to_pylist())])
    return write_kept(table, band_rows(signatures.astype(np.uint32)), out)


def job_datatrove(path: Path, out: Path, *, split: bool = False) -> int:
    """Its four steps, parquet to parquet, one after another in this process."""
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.writers import ParquetWriter

    steps = datatrove_steps(split=split)
    config = steps.MinhashConfig(num_buckets=BANDS, hashes_per_bucket=ROWS)
    signatures, buckets, removed = str(out / "signatures"), str(out / "buckets"), str(out / "removed")

    def documents() -> Any:
        return ParquetReader(str(path.parent), glob_pattern=path.name, text_key="text", id_key="id").run()

    steps.MinhashDedupSignature(signatures, config=config).run(documents(), 0, 1)
    for bucket in range(BANDS):
        steps.MinhashDedupBuckets(signatures, buckets, config=config).run(None, bucket, BANDS)
    steps.MinhashDedupCluster(buckets, removed, config=config).run(None, 0, 1)
    kept = steps.MinhashDedupFilter(removed).run(documents(), 0, 1)
    with ParquetWriter(str(out / "kept"), compression="zstd") as writer:
        return sum(1 for _ in writer.run(kept, 0, 1))


JOBS: list[tuple[str, Callable[[Path, Path], int], float]] = [
    ("smolfast", job_smolfast, 1.0),
    ("daft + scipy", job_daft, 1.0),
    ("rensa + scipy", job_rensa, 0.25),
    ("datasketch + scipy", job_datasketch, 0.05),
    ("datatrove", job_datatrove, 0.01),
    ("datatrove, str.split", lambda path, out: job_datatrove(path, out, split=True), 0.02),
]
