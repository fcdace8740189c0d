"""The job: documents in, kept and removed documents out, in bounded memory, resumable."""

from __future__ import annotations

import os
import queue
import shutil
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from smolfast import __version__, _native
from smolfast.dedup.banding import choose_bands
from smolfast.dedup.clustering import Clusters, Verify, find_clusters
from smolfast.dedup.minhash import MinHasher, Scheme, Tokens
from smolfast.dedup.output import DedupSummary, IdCollector, Origin, write_kept, write_removed
from smolfast.dedup.store import Column, DocumentStore, Position
from smolfast.documents import ErrorPolicy, Source, find_sources, read_batches
from smolfast.errors import SmolfastError
from smolfast.files import describe_os_error, fingerprint, read_json, write_json
from smolfast.progress import ProgressCallback

KEPT = "kept.parquet"
REMOVED = "removed.parquet"
MANIFEST = "dedup.json"
WORK = ".work"

DEFAULT_BANDS = 14
DEFAULT_ROWS = 8
MIN_MEMORY = 64 << 20


@dataclass
class _Job:
    """One run's settings."""

    sources: list[Source]
    output: Path
    hasher: MinHasher
    text_column: str
    id_column: str
    bands: int
    rows: int
    threshold: float
    verify: Verify
    keep: str
    errors: ErrorPolicy
    threads: int
    memory: int
    progress: ProgressCallback
    counts: Counter[str] = field(default_factory=Counter)
    held: list[pa.RecordBatch] | None = field(default_factory=list)
    """The text of the first pass, for the second, while it fits."""

    @property
    def score_column(self) -> str | None:
        return None if self.keep in ("first", "longest") else self.keep

    def layout(self) -> dict[str, Column]:
        layout = {f"band-{band:03}": Column(np.dtype(np.uint64)) for band in range(self.bands)}
        layout["text-high"] = layout["text-low"] = Column(np.dtype(np.uint64))
        layout["length"] = Column(np.dtype(np.int64))
        layout["source"] = Column(np.dtype(np.uint32))
        layout["signature"] = Column(self.hasher.dtype, self.hasher.num_perm)
        if self.score_column is not None:
            layout["score"] = Column(np.dtype(np.float64))
        if self.verify == "exact":
            layout["shingle"] = Column(np.dtype(np.uint32), 0)
            layout["shingle-end"] = Column(np.dtype(np.int64))
        return layout


def deduplicate(
    inputs: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    text_column: str = "text",
    id_column: str = "id",
    num_perm: int = 112,
    ngram: int = 5,
    bands: int | None = None,
    rows: int | None = None,
    threshold: float | None = None,
    verify: Verify | None = None,
    keep: str = "first",
    tokens: Tokens = "unicode",
    scheme: Scheme = "fast",
    hash: str | None = None,
    seed: int = 1,
    errors: ErrorPolicy = "fail",
    threads: int = 0,
    memory: int | None = None,
    overwrite: bool = False,
    progress: ProgressCallback | None = None,
) -> DedupSummary:
    """Remove exact and near duplicates from files of documents.

    Two documents meet when their signatures agree on all rows of some band; documents that meet, directly or through
    others, are a cluster, as are those of equal text. One document of each cluster stays. Everything is deterministic:
    neither threads nor memory nor how often a run was interrupted change a byte of the output.

    Writes into the folder `output`:
        kept.parquet: the kept rows in input order, all columns, and `cluster_id` (int64, the number of the cluster's
            first document, counted over all inputs) and `cluster_size` (int64).
        removed.parquet: for each removed document `file`, `row` (of those read, from 0), `id`, the same of the
            document kept in its place, their `jaccard` similarity (estimated from the signatures; exact with
            verify="exact"), `cluster_id`, and `kind`: "exact" when the two texts are equal, else "near".
        dedup.json: parameters, fingerprints of the inputs, and the summary. A run with the same ones does nothing.

    Args:
        inputs: files, folders or URLs, as `smolfast.documents.find_sources` takes them.
        num_perm, ngram, tokens, scheme, hash, seed: as for MinHasher.
        bands, rows: bands × rows ≤ num_perm; 14 and 8 by default, or chosen for `threshold`.
        threshold: the Jaccard similarity from which on documents count as near-duplicates; turns verification on.
        verify: "none", "signature" (the estimate reaches the threshold) or "exact" (the similarity of the shingle
            sets does). "signature" when there is a threshold, else "none".
        keep: which document of a cluster stays: "first", "longest" (UTF-8 bytes) or the name of a column of numbers,
            of which the highest wins. Ties go to the first; a missing score is the lowest.
        errors: for text that is not UTF-8: "fail", "replace" or "skip".
        threads: 0 for every CPU this process may use.
        memory: bytes to use; half of the machine's by default. What doesn't fit goes to disk, inside `output`.
        overwrite: replace an output made from other inputs or parameters.
        progress: called with bytes of input done, bytes in all, and a note.

    Raises:
        SmolfastError: bad options or input, an output of another run, a full disk; earlier output stays as it was.
    """
    if threshold is None:
        if verify not in (None, "none"):
            raise SmolfastError(f"verify = {verify!r} needs a threshold, for example threshold=0.8")
        chosen_bands, chosen_rows = DEFAULT_BANDS, DEFAULT_ROWS
    else:
        chosen_bands, chosen_rows = choose_bands(num_perm, threshold)
    if (bands is None) != (rows is None):
        raise SmolfastError("give both bands and rows, or neither")
    bands, rows = (chosen_bands, chosen_rows) if bands is None or rows is None else (bands, rows)
    verify = verify or ("none" if threshold is None else "signature")
    if verify not in get_args(Verify):
        raise SmolfastError(f"verify = {verify!r}: choose one of {', '.join(get_args(Verify))}")
    hasher = MinHasher(num_perm, ngram, tokens, scheme, hash, seed)
    if bands < 1 or rows < 1 or bands * rows > num_perm:
        raise SmolfastError(f"bands × rows = {bands} × {rows} must be from 1 to num_perm = {num_perm}")
    if memory is not None and memory < MIN_MEMORY:
        raise SmolfastError(f"memory = {memory}: give at least 64 MiB ({MIN_MEMORY})")
    job = _Job(
        sources=find_sources(inputs),
        output=Path(output),
        hasher=hasher,
        text_column=text_column,
        id_column=id_column,
        bands=bands,
        rows=rows,
        threshold=threshold or 0.0,
        verify=verify,
        keep=keep,
        errors=errors,
        threads=threads,
        memory=memory or _half_of_memory(),
        progress=progress or (lambda done, total, note: None),
    )
    parameters = {
        **hasher.parameters(),
        "text_column": text_column,
        "id_column": id_column,
        "bands": bands,
        "rows": rows,
        "threshold": threshold,
        "verify": verify,
        "keep": keep,
        "errors": errors,
    }
    return _run_or_skip(job, parameters, overwrite)


def _run_or_skip(job: _Job, parameters: Mapping[str, Any], overwrite: bool) -> DedupSummary:
    made_from = {
        "smolfast": __version__,
        "parameters": dict(parameters),
        "inputs": [{"path": source.path, "xxh3_128": _fingerprint(source)} for source in job.sources],
    }
    key = xxhash.xxh3_128_hexdigest(repr(made_from).encode())
    output, manifest, work = job.output, job.output / MANIFEST, job.output / WORK
    if output.exists() and not output.is_dir():
        raise SmolfastError(f"{output} is a file; give a folder to write {KEPT} and {REMOVED} into")
    if manifest.exists():
        found = read_json(manifest)
        if found.get("key") == key and all(
            (output / name).exists() and fingerprint(output / name) == found["outputs"][name]
            for name in (KEPT, REMOVED)
        ):
            return DedupSummary(**found["summary"])
        if found.get("key") != key and not overwrite:
            raise SmolfastError(
                f"{output} holds the result of other input or settings; choose another output or add --overwrite"
            )
    elif (output / KEPT).exists() and not overwrite and _work_key(work) != key:
        raise SmolfastError(f"{output / KEPT} exists and isn't of this run; choose another output or add --overwrite")
    if _work_key(work) != key:
        _clear(work)
        write_json(work / MANIFEST, {"key": key})
    summary = _run(job, work)
    try:
        # The manifest goes first and comes last: without it, a kill between the renames only means another run.
        manifest.unlink(missing_ok=True)
        outputs = {name: fingerprint(work / name) for name in (KEPT, REMOVED)}
        for name in (KEPT, REMOVED):
            (work / name).replace(output / name)
    except OSError as error:
        raise SmolfastError(f"can't write {output}: {describe_os_error(error)}") from error
    write_json(manifest, {"key": key, **made_from, "outputs": outputs, "summary": summary.as_dict()})
    _clear(work)
    return summary


def _run(job: _Job, work: Path) -> DedupSummary:
    store = DocumentStore(job.layout(), work / "columns", job.memory // 4)
    total = float(sum(_size(source) for source in job.sources)) or 1.0
    _sign_all(job, store, total)
    store.finish()
    if store.documents == 0:
        raise SmolfastError(f"no documents in {', '.join(source.path for source in job.sources[:3])}; give other input")
    starts = np.searchsorted(store.load("source"), np.arange(len(job.sources))).tolist()
    job.progress(0.6 * total, total, "joining near-duplicates")
    clusters = find_clusters(
        store,
        bands=job.bands,
        signature_size=job.hasher.num_perm,
        threshold=job.threshold,
        verify=job.verify,
        keep="score" if job.score_column else job.keep,
        memory=job.memory // 4,
        threads=job.threads,
    )
    origin = Origin([source.path for source in job.sources], starts)
    ids = IdCollector(clusters, job.id_column)
    documents_out, bytes_out = write_kept(
        work / KEPT, _second_pass(job, clusters, starts, ids, total), clusters, job.text_column
    )
    write_removed(work / REMOVED, clusters, origin, ids)
    exact = int(clusters.exact.sum())
    return DedupSummary(
        documents_in=store.documents,
        bytes_in=store.extra.get("bytes", 0),
        documents_out=documents_out,
        bytes_out=bytes_out,
        exact_duplicates=exact,
        near_duplicates=len(clusters.removed) - exact,
        clusters=clusters.count,
        skipped=store.extra.get("skipped", 0),
    )


def _sign_all(job: _Job, store: DocumentStore, total: float) -> None:
    """The first pass: fill the store from where it stands."""
    at = store.position
    done = dict(store.extra)
    if at != Position():
        job.held = None  # The second pass has to read what a killed run signed.
    sizes = [_size(source) for source in job.sources]
    rows_in_all = [_rows(source) for source in job.sources]
    skipped = done.get("skipped-before", 0)  # in the sources before the one being read
    done["skipped-before"] = skipped
    read = 0
    current = at.source
    for index, batch, skipped_here in _prefetch(_read_all(job, at.source)):
        if index != current:
            current, read = index, 0
        done["skipped"] = skipped + skipped_here
        if batch is None:
            skipped += skipped_here
            done["skipped-before"] = skipped
            store.extra = dict(done)
            continue
        first, read = read, read + batch.num_rows
        known = at.row if index == at.source else 0
        if read <= known:
            continue
        if first < known:
            batch = batch.slice(known - first)
        columns = _sign(job, batch, index, done)
        store.append(columns, batch.num_rows, Position(index, read), done)
        _hold(job, store, batch)
        share = read / rows_in_all[index] if rows_in_all[index] else 0.0
        job.progress(0.6 * (sum(sizes[:index]) + share * sizes[index]), total, f"{store.documents:,} documents signed")


def _read_all(job: _Job, first: int) -> Iterator[tuple[int, pa.RecordBatch | None, int]]:
    """Batches with the number of their source and the rows skipped in it so far; None ends a source."""
    for index in range(first, len(job.sources)):
        counts: Counter[str] = Counter()
        for batch in read_batches(job.sources[index], text_column=job.text_column, errors=job.errors, counts=counts):
            yield index, batch, counts["skipped"]
        yield index, None, counts["skipped"]


def _sign(job: _Job, batch: pa.RecordBatch, source: int, done: dict[str, int]) -> dict[str, npt.NDArray[Any]]:
    """The columns of a batch; adds to the totals in `done`."""
    text = batch.column(job.text_column)
    signatures = job.hasher.signatures(text, threads=job.threads)
    keys = _native.band_keys(signatures, job.bands, job.rows, job.threads)
    hashes, lengths = _native.hash_texts(text, job.threads)
    columns: dict[str, npt.NDArray[Any]] = {f"band-{band:03}": keys[band] for band in range(job.bands)}
    columns |= {"text-high": hashes[0], "text-low": hashes[1], "length": lengths, "signature": signatures}
    columns["source"] = np.full(batch.num_rows, source, np.uint32)
    if job.score_column is not None:
        columns["score"] = _scores(batch, job.score_column, job.sources[source])
    if job.verify == "exact":
        offsets, values = job.hasher.shingles(text, threads=job.threads)
        # 32 bits a shingle: two of a document's fall together with a chance of its size in 2³², far below what
        # Jaccard similarities are rounded to. datasketch's have no more.
        shift = np.uint64(0 if job.hasher.scheme == "datasketch" else 32)
        columns["shingle"] = (values >> shift).astype(np.uint32)
        columns["shingle-end"] = offsets[1:] + done.get("shingles", 0)
        done["shingles"] = done.get("shingles", 0) + len(values)
    done["bytes"] = done.get("bytes", 0) + int(lengths.sum())
    return columns


def _scores(batch: pa.RecordBatch, column: str, source: Source) -> npt.NDArray[np.float64]:
    if column not in batch.schema.names:
        raise SmolfastError(
            f"{source.path} has no column '{column}' to keep the highest of; there are: {', '.join(batch.schema.names)}"
        )
    scores = batch.column(column)
    if not (pa.types.is_integer(scores.type) or pa.types.is_floating(scores.type)):
        raise SmolfastError(f"{source.path}: column '{column}' holds {scores.type}, not numbers; name another")
    values = scores.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return cast("npt.NDArray[np.float64]", np.where(np.isnan(values), -np.inf, values))


def _hold(job: _Job, store: DocumentStore, batch: pa.RecordBatch) -> None:
    """Keep the text for the second pass, unless it and the store outgrow a quarter of the memory."""
    if job.held is None:
        return
    job.held.append(batch)
    job.counts["held"] += batch.nbytes
    if store.on_disk or job.counts["held"] > job.memory // 4:
        job.held = None


def _second_pass(
    job: _Job, clusters: Clusters, starts: list[int], ids: IdCollector, total: float
) -> Iterator[tuple[int, pa.RecordBatch]]:
    def read() -> Iterator[tuple[int, pa.RecordBatch]]:
        first = 0
        if job.held is not None:
            batches: Iterator[pa.RecordBatch] = iter(job.held)
        else:
            batches = (batch for _, batch, _ in _prefetch(_read_all(job, 0)) if batch is not None)
        for batch in batches:
            yield first, batch
            first += batch.num_rows

    documents = len(clusters.kept)
    where = np.asarray(starts)
    for first, batch in read():
        if first + batch.num_rows > documents:
            raise SmolfastError("the input grew while it was read; run again when nothing writes to it")
        source = int(np.searchsorted(where, first, side="right")) - 1
        ids.add(first, batch, job.sources[source].path, first - starts[source])
        yield first, batch
        job.progress((0.65 + 0.35 * (first + batch.num_rows) / documents) * total, total, "writing")


Item = TypeVar("Item")


def _prefetch(items: Iterator[Item], depth: int = 2) -> Iterator[Item]:
    """Read ahead in a thread: decoding and signing overlap."""
    ready: queue.Queue[Item | BaseException | None] = queue.Queue(depth)
    stop = threading.Event()

    def put(item: Item | BaseException | None) -> None:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.1)
                return
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put(item)
                if stop.is_set():
                    return
            put(None)
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=work, name="smolfast-read", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()


def _fingerprint(source: Source) -> str:
    return source.path if "://" in source.path else fingerprint(source.path)


def _size(source: Source) -> int:
    return 1 if "://" in source.path else Path(source.path).stat().st_size


def _rows(source: Source) -> int:
    """Rows of a local parquet file, for progress; 0 where that isn't known."""
    if source.kind != "parquet" or "://" in source.path:
        return 0
    try:
        return int(pq.read_metadata(source.path).num_rows)
    except (OSError, pa.ArrowException):
        return 0


def _work_key(work: Path) -> str | None:
    try:
        return str(read_json(work / MANIFEST).get("key"))
    except SmolfastError:
        return None


def _clear(work: Path) -> None:
    try:
        if work.exists():
            shutil.rmtree(work)
    except OSError as error:
        raise SmolfastError(f"can't remove {work}: {describe_os_error(error)}") from error


def _half_of_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


__all__ = ["KEPT", "MANIFEST", "REMOVED", "WORK", "deduplicate"]
