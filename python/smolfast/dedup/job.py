"""The job: documents in, kept and removed documents out, in bounded memory, resumable."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import xxhash

from smolfast import __version__
from smolfast.boundary import computing
from smolfast.dedup.banding import choose_bands
from smolfast.dedup.clustering import Clusters, Verify, find_clusters
from smolfast.dedup.index import Index, JoinedStore
from smolfast.dedup.lines import RepeatedLines
from smolfast.dedup.minhash import MinHasher, Scheme, Tokens
from smolfast.dedup.output import CLUSTER_COLUMNS, DedupSummary, Names, write_kept, write_removed
from smolfast.dedup.signing import SIGNING_SHARE, Exact, Job, check_scores, prefetch, read_all, sign_all, total_size
from smolfast.dedup.store import DocumentStore
from smolfast.documents import ErrorPolicy, Source, find_sources, stored_schema
from smolfast.errors import SmolfastError
from smolfast.files import describe_os_error, fingerprint, naming, read_json, remove, write_json
from smolfast.progress import ProgressCallback
from smolfast.schemas import check_storable
from smolfast.shards import common_schema
from smolfast.sources import document_id

KEPT = "kept.parquet"
REMOVED = "removed.parquet"
MANIFEST = "dedup.json"
WORK = ".work"

DEFAULT_BANDS = 14
DEFAULT_ROWS = 8
MIN_MEMORY = 64 << 20


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
    simplify: bool = False,
    exact: Exact = "text",
    lines: int | None = None,
    errors: ErrorPolicy = "fail",
    threads: int = 0,
    memory: int | None = None,
    against: Sequence[str | os.PathLike[str]] = (),
    index: str | os.PathLike[str] | None = None,
    update_index: bool = False,
    overwrite: bool = False,
    prefix: str = "",
    progress: ProgressCallback | None = None,
) -> DedupSummary:
    """Remove exact and near duplicates from files of documents.

    Two documents meet when their signatures agree on all rows of some band; documents that meet, directly or through
    others, are a cluster, as are those of equal text. One document of each cluster stays. Everything is deterministic:
    neither threads nor memory nor how often a run was interrupted change a byte of the output.

    Writes into the folder `output`:
        kept.parquet: the kept rows in input order, all columns with their types and metadata, and `cluster_id` (int64,
            the number of the cluster's first document, counted over all inputs) and `cluster_size` (int64). Columns
            that some files lack are null there; types are promoted as `smolfast.schemas.unite` says.
        removed.parquet: for each removed document `file`, `row` (of those read, from 0), `id`, the same of the
            document kept in its place, their `jaccard` similarity (estimated from the signatures; exact with
            verify="exact"), `cluster_id`, and `kind`: "exact" when the two texts are equal, else "near". An id is a
            string whatever its column's type (bytes that aren't UTF-8 in hex); FILE:ROW where there is none.
        dedup.json: parameters, fingerprints of the inputs, and the summary. A run with the same ones does nothing.

    Args:
        inputs: files, folders or URLs, as `smolfast.documents.find_sources` takes them.
        num_perm, ngram, tokens, scheme, hash, seed, simplify: as for MinHasher.
        bands, rows: bands × rows ≤ num_perm; 14 and 8 by default, or chosen for `threshold`.
        threshold: the Jaccard similarity from which on documents count as near-duplicates; turns verification on.
        verify: "none", "signature" (the estimate reaches the threshold) or "exact" (the similarity of the shingle
            sets does). "signature" when there is a threshold, else "none".
        keep: which document of a cluster stays: "first", "longest" (UTF-8 bytes) or the name of a column of numbers,
            of which the highest wins. Ties go to the first; a missing score is the lowest.
        exact: documents are exact duplicates when their "text" is the same, or their "simplified" text.
        lines: also take out of the kept documents each line of at least so many UTF-8 bytes (without spaces around it)
            that stands earlier in a document that is kept or compared against, or in the same one. A document may lose
            all its lines. None takes out nothing.
        errors: for text that is not UTF-8: "fail", "replace" or "skip".
        threads: 0 for every CPU this process may use.
        memory: bytes to use; half of the machine's by default. What doesn't fit goes to disk, inside `output`.
        against: files, folders or URLs to compare with: what is like one of their documents goes, and they stay. Their
            documents are numbered before those of `inputs`.
        index: the folder of an index of documents, compared with in the same way.
        update_index: add the kept documents to the index (made if it isn't there).
        overwrite: replace an output made from other inputs or parameters.
        prefix: comes before the names `cluster_id` and `cluster_size`, for input that has columns of these names.
        progress: called with bytes of input done, bytes in all, and a note.

    Raises:
        SmolfastError: bad options or input, columns that can't be joined or stored or that have the names of ours, an
            output of another run, a full disk; earlier output stays as it was.
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
    hasher = MinHasher(num_perm, ngram, tokens, scheme, hash, seed, simplify=simplify)
    if exact not in get_args(Exact):
        raise SmolfastError(f"exact = {exact!r}: choose one of {', '.join(get_args(Exact))}")
    if lines is not None and lines < 1:
        raise SmolfastError(f"lines = {lines}: expected bytes of a line, at least 1")
    if index is not None and lines is not None:
        raise SmolfastError("an index keeps no lines to compare with; leave out lines, or use against")
    if bands < 1 or rows < 1 or bands * rows > num_perm:
        raise SmolfastError(f"bands × rows = {bands} × {rows} must be from 1 to num_perm = {num_perm}")
    if memory is not None and memory < MIN_MEMORY:
        raise SmolfastError(f"memory = {memory}: give at least 64 MiB ({MIN_MEMORY})")
    if index is None and update_index:
        raise SmolfastError("update_index needs an index; give index = a folder")
    if index is not None and verify == "exact":
        raise SmolfastError("an index keeps no shingle sets, which verify = 'exact' compares; use 'signature'")
    compared = find_sources(against) if against else []
    job = Job(
        sources=compared + find_sources(inputs),
        against=len(compared),
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
        exact=exact,
        lines=lines,
        prefix=prefix,
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
        "exact": exact,
        "lines": lines,
        "errors": errors,
        "prefix": prefix,
    }
    opened = None
    if index is not None:
        signed_by = {**hasher.parameters(), "bands": bands, "rows": rows, "exact": exact}
        opened = Index(Path(index), signed_by, job.layout())
        if not opened.additions and not update_index:
            raise SmolfastError(f"there is no index in {index}; build one with smolfast dedup index build")
    job.schema = _schema(job)
    return _run_or_skip(job, parameters, opened, update_index, overwrite)


def _schema(job: Job) -> pa.Schema | None:
    """The columns of the input; whatever stands against them is found before work begins."""
    for source in job.sources[: job.against]:
        stored_schema(source, text_column=job.text_column, errors=job.errors)
    reserved = [job.prefix + name for name in CLUSTER_COLUMNS]
    sources = job.sources[job.against :]
    schema = common_schema(sources, text_column=job.text_column, errors=job.errors, reserved=reserved)
    if schema is None:
        return None
    check_storable(schema, sources[0].path if len(sources) == 1 else "the input")
    if job.score_column is not None:
        check_scores(schema, job.score_column, sources[0].path)
    return schema


def _run_or_skip(
    job: Job, parameters: Mapping[str, Any], index: Index | None, update: bool, overwrite: bool
) -> DedupSummary:
    made_from: dict[str, Any] = {
        "smolfast": __version__,
        "parameters": dict(parameters),
        "against": [_described(source) for source in job.sources[: job.against]],
        "inputs": [_described(source) for source in job.sources[job.against :]],
    }
    index, key = _resolve_index(index, update, made_from)
    output, manifest, work = job.output, job.output / MANIFEST, job.output / WORK
    if output.exists() and not output.is_dir():
        raise SmolfastError(f"{output} is a file; give a folder to write {KEPT} and {REMOVED} into")
    if manifest.exists():
        with naming(manifest, "choose another output or add --overwrite"):
            found = dict(read_json(manifest)) if not overwrite else _or_nothing(manifest)
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
    summary = _run(job, work, index, key if update else None)
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


def _resolve_index(index: Index | None, update: bool, made_from: dict[str, Any]) -> tuple[Index | None, str]:
    """The index as it was before this run, should a killed one have added to it already; and the run's key."""

    def key_with(base: Index | None) -> str:
        made_from["index"] = None if base is None else {"added": base.keys(), "update": update}
        return xxhash.xxh3_128_hexdigest(repr(made_from).encode())

    if index is not None and update and index.additions:
        earlier = index.without_last()
        key = key_with(earlier)
        if index.keys()[-1] == key:
            return earlier, key
    return index, key_with(index)


def _run(job: Job, work: Path, index: Index | None, add_as: str | None) -> DedupSummary:
    store = DocumentStore(job.layout(), work / "columns", job.memory // 4)
    try:
        sign_all(job, store)
    except BaseException:
        with contextlib.suppress(SmolfastError):  # the first error is the one to report
            store.close()
        raise
    store.finish()
    if store.documents == 0:
        raise SmolfastError(f"no documents in {', '.join(source.path for source in job.sources[:3])}; give other input")
    total = total_size(job)
    job.progress(SIGNING_SHARE * total, total, "joining near-duplicates")
    before = 0 if index is None else index.documents
    source_of = store.load("source")
    starts = (before + np.searchsorted(source_of, np.arange(len(job.sources)))).tolist()
    protected = before + int(np.searchsorted(source_of, job.against))
    clusters = find_clusters(
        store if index is None else JoinedStore(index, store),
        bands=job.bands,
        signature_size=job.hasher.num_perm,
        threshold=job.threshold,
        verify=job.verify,
        keep="score" if job.score_column else job.keep,
        memory=job.memory // 4,
        threads=job.threads,
        protected=protected,
    )
    names = Names(
        [document_id(source.path) for source in job.sources],
        starts,
        clusters,
        job.id_column,
        index,
        all_ids=bool(add_as),
    )
    repeated = None
    if job.lines is not None:
        repeated = RepeatedLines(store, clusters.kept, job.lines, job.memory // 4, protected)
    documents_out, bytes_out = write_kept(
        work / KEPT,
        _second_pass(job, clusters, names, starts),
        clusters,
        job.text_column,
        repeated,
        job.threads,
        schema=job.schema,
        prefix=job.prefix,
    )
    write_removed(work / REMOVED, clusters, names)
    if index is not None and add_as is not None:
        chosen = clusters.kept[before:].copy()
        chosen[: protected - before] = False
        index.add(add_as, store, chosen, names.table(np.nonzero(chosen)[0] + before))
    exact = int(clusters.exact.sum())
    return DedupSummary(
        documents_in=before + store.documents - protected,
        bytes_in=store.extra.get("bytes", 0),
        documents_out=documents_out,
        bytes_out=bytes_out,
        exact_duplicates=exact,
        near_duplicates=len(clusters.removed) - exact,
        clusters=clusters.count,
        skipped=store.extra.get("skipped", 0),
        lines_removed=0 if repeated is None else repeated.count,
    )


def _second_pass(job: Job, clusters: Clusters, names: Names, starts: list[int]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The input's batches with the number of their first document; `names` meets all of them."""

    def read() -> Iterator[pa.RecordBatch]:
        if job.held is not None:
            yield from job.held
        else:
            yield from (batch for _, batch, _ in prefetch(read_all(job, 0)) if batch is not None)

    total = total_size(job)
    documents = len(clusters.kept)
    where = np.asarray(starts)
    first = starts[0]
    for batch in read():
        if first + batch.num_rows > documents:
            raise SmolfastError("the input grew while it was read; run again when nothing writes to it")
        source = int(np.searchsorted(where, first, side="right")) - 1
        path, row = job.sources[source].path, first - starts[source]
        with computing(path, row, batch.num_rows):
            names.meet(first, batch, path, row)
        if source >= job.against:
            yield first, batch
        first += batch.num_rows
        job.progress((0.65 + 0.35 * first / documents) * total, total, "writing")


def _described(source: Source) -> dict[str, str]:
    return {"path": document_id(source.path), "xxh3_128": _fingerprint(source)}


def _fingerprint(source: Source) -> str:
    return source.path if "://" in source.path else fingerprint(source.path)


def _work_key(work: Path) -> str | None:
    return None if (found := _or_nothing(work / MANIFEST).get("key")) is None else str(found)


def _or_nothing(path: Path) -> dict[str, Any]:
    """A JSON object, or an empty one in the place of a missing or damaged file."""
    try:
        found = read_json(path)
    except SmolfastError:
        return {}
    return found if isinstance(found, dict) else {}


def _clear(work: Path) -> None:
    try:
        if work.exists() or work.is_symlink():
            remove(work)
    except OSError as error:
        raise SmolfastError(f"can't remove {work}: {describe_os_error(error)}") from error


def _half_of_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


__all__ = ["KEPT", "MANIFEST", "REMOVED", "WORK", "deduplicate"]
