"""The job: documents in, kept and removed documents out, in bounded memory, resumable."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from smolfast import __version__, _native
from smolfast.cluster import Engine, open_engine
from smolfast.dedup.clustering import Clusters, Removed, find_clusters
from smolfast.dedup.histogram import count_by_jaccard
from smolfast.dedup.index import Index, JoinedStore
from smolfast.dedup.lines import RepeatedLines
from smolfast.dedup.minhash import MinHasher, Scheme, Tokens
from smolfast.dedup.output import CLUSTER_COLUMNS, DedupSummary, Names, write_kept, write_removed
from smolfast.dedup.rules import Exact, Rules, Verify
from smolfast.dedup.signing import CHANGED, SIGNING_SHARE, Job, check_scores, read_all, sign_all, total_size
from smolfast.dedup.spread.job import run_apart
from smolfast.dedup.store import COMMITS, DocumentStore
from smolfast.errors import SmolfastError
from smolfast.files import (
    check_path,
    describe_os_error,
    fingerprint,
    is_temporary,
    names_below,
    naming,
    read_json,
    remove,
    write_json,
)
from smolfast.io.background import prefetch
from smolfast.io.boundary import computing
from smolfast.io.documents import ErrorPolicy, Sources, stored_schema
from smolfast.io.keep_apart import check_apart, find_apart, leave_out
from smolfast.io.locks import LOCK_FILE, hold
from smolfast.io.schemas.shards import common_schema
from smolfast.io.schemas.unite import check_storable
from smolfast.io.sources import check_all_read, document_id
from smolfast.io.stores.changes import describe_inputs
from smolfast.io.stores.output import to_stores
from smolfast.progress import ProgressCallback

KEPT = "kept.parquet"
REMOVED = "removed.parquet"
MANIFEST = "dedup.json"
WORK = ".work"
COLUMNS = "columns"
OUTPUTS = (KEPT, REMOVED, MANIFEST, WORK)

MIN_MEMORY = 64 << 20
_AMPLE = 1 << 30
"""With less memory, what pyarrow keeps for later allocations, up to 0.1 GB, is given back again and again."""


@to_stores(DedupSummary)
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
    verify: Verify = "signature",
    chains: bool = False,
    keep: str = "first",
    tokens: Tokens = "unicode",
    scheme: Scheme = "fast",
    hash: str | None = None,
    seed: int = 1,
    simplify: bool = False,
    language: str | None = None,
    exact: Exact = "text",
    lines: int | None = None,
    types: Mapping[str, str] | None = None,
    errors: ErrorPolicy = "fail",
    strict: bool = False,
    threads: int = 0,
    engine: str | Engine = "local",
    memory: int | None = None,
    against: Sequence[str | os.PathLike[str]] = (),
    index: str | os.PathLike[str] | None = None,
    update_index: bool = False,
    overwrite: bool = False,
    prefix: str = "",
    progress: ProgressCallback | None = None,
) -> DedupSummary:
    """Remove exact and near duplicates from files of documents.

    Two documents meet when their signatures agree on all rows of some band. Those that meet and whose similarity
    reaches the threshold, directly or through others, are a cluster, as are those of equal text. The best document of a
    cluster stays, and each of equal text or whose similarity to it reaches the threshold goes for it; of the others
    the best stays, and so on. So no document goes that isn't like the one kept for it, and a cluster may keep several.
    Everything is deterministic: neither threads nor memory nor how often a run was interrupted change a byte of the
    output.

    A document is compared with up to 64 documents that stay in its cluster, the best, whether or not it met them, and
    beyond those with up to 8 more in each band that it shares with them. One that was compared with none like it stays.

    Writes into the folder `output`:
        kept.parquet: the kept rows in input order, all columns with their types and metadata, and `cluster_id` (int64,
            the number of the cluster's first document, counted from 0 over the index, `against` and all inputs) and
            `cluster_size` (int64, the documents of the cluster: this one, those that went, others kept, and those
            compared against). A document that is like no other is a cluster of one. `split` puts what is kept of a
            cluster on one side. Columns that some files lack are null there; types are promoted as
            `smolfast.io.schemas.unite.unite` says.
        removed.parquet: for each removed document `file`, `row` (of those read, from 0), `id`, the same of the
            document kept for it, their `jaccard` similarity (estimated from the signatures; exact with
            verify="exact"; 1 for equal texts), `cluster_id`, and `kind`: "exact" when the two texts are equal, else
            "near". An id is a string whatever its column's type (bytes that aren't UTF-8 in hex); FILE:ROW where there
            is none.
        dedup.json: parameters, fingerprints of the inputs, and the summary. A run with the same ones does nothing.

    Args:
        inputs: files, folders or URLs, as `smolfast.io.find_sources` takes them.
        num_perm, ngram, tokens, scheme, hash, seed, simplify, language: as for MinHasher.
        bands, rows: bands × rows ≤ num_perm; 14 and 8 by default, or chosen for `threshold`.
        threshold: the Jaccard similarity from which on documents count as near-duplicates. Without one it is the
            banding's own, (1 / bands)^(1 / rows): 0.72 for 14 × 8.
        verify: what has to reach the threshold: "signature", the estimate; or "exact", the similarity of the shingle
            sets. "none" tests nothing: all that share a band are alike, and a threshold only chooses the bands.
        chains: keep one document of each cluster, even if another is like it only through others between them.
            verify="none" with chains=True is what datatrove does, and so FineWeb.
        keep: which document of a cluster stays first: "first", "longest" (UTF-8 bytes) or the name of a column of
            numbers, of which the highest wins. Ties go to the first; a missing score or NaN is below all others.
        exact: documents are exact duplicates when their "text" is the same, or their "simplified" text.
        lines: also take out of the kept documents each line of at least so many UTF-8 bytes (without spaces around it)
            that stands earlier in a document that is kept or compared against, or in the same one. A document may lose
            all its lines. None takes out nothing.
        types: of columns of JSON and CSV, as `smolfast.io.read_batches` takes them: {"score": "float64"}.
        errors: for text that is not UTF-8: "fail", "replace" or "skip".
        strict: raise if a file of a folder is passed over.
        threads: 0 for every CPU this process may use.
        engine: "local", or "ray" for a cluster, as `smolfast.cluster.open_engine` takes it; the same bytes. `lines` and
            `index` need all documents in one place.
        memory: bytes to use; half of the machine's by default. What doesn't fit goes to disk, inside `output`.
        against: files, folders or URLs to compare with: what is like one of their documents goes, and they stay, those
            of equal text too. Their documents are numbered before those of `inputs`.
        index: the folder of an index of documents, compared with in the same way.
        update_index: add the kept documents to the index (made if it isn't there).
        overwrite: replace an output made from other inputs or parameters. Files of these names that no manifest in
            the folder knows of are never replaced.
        prefix: comes before the names `cluster_id` and `cluster_size`, for input that has columns of these names.
        progress: called with bytes of input done, bytes in all, and a note.

    Raises:
        SmolfastError: bad options or input; columns that can't be joined or stored or that have the names of ours; an
            output of another run, one that is or contains an input, or that another process writes; a full disk.
            Earlier output stays as it was.
    """
    rules = Rules.checked(
        MinHasher(num_perm, ngram, tokens, scheme, hash, seed, simplify=simplify, language=language),
        bands,
        rows,
        threshold,
        verify=verify,
        chains=chains,
        keep=keep,
        exact=exact,
        lines=lines,
        text_column=text_column,
        id_column=id_column,
        types=dict(types or {}),
        errors=errors,
        prefix=prefix,
    )
    if memory is not None and memory < MIN_MEMORY:
        raise SmolfastError(f"memory = {memory}: give at least 64 MiB ({MIN_MEMORY})")
    chosen = open_engine(engine)
    if index is not None and chosen.spread:
        raise SmolfastError("an index is compared with on one machine; leave out --engine ray, or --index")
    if index is None and update_index:
        raise SmolfastError("update_index needs an index; give index = a folder")
    if index is not None:
        rules.check_index()
    folder = check_path(output)
    compared = _read_from(against, folder, index, strict=strict) if against else Sources([])
    own = _read_from(inputs, folder, index, strict=strict)
    job = Job(
        sources=[*compared, *own],
        against=len(compared),
        output=folder,
        rules=rules,
        threads=threads,
        memory=memory or _half_of_memory(),
        progress=progress or (lambda done, total, note: None),
        passed_over=Sources([], compared.passed_over + own.passed_over).summary(),
    )
    if folder.exists() and not folder.is_dir():
        raise SmolfastError(f"{folder} is a file; give a folder to write {KEPT} and {REMOVED} into")
    if index is not None and os.path.realpath(index) == os.path.realpath(folder):
        raise SmolfastError(f"the output {folder} is the index; choose another output")
    job.schema = _schema(job)
    with contextlib.ExitStack() as held:
        held.enter_context(hold(folder / LOCK_FILE, folder))
        opened = None
        if index is not None:
            if update_index:
                held.enter_context(hold(check_path(index) / LOCK_FILE, f"the index {index}", "use another index"))
            opened = Index(Path(index), rules.signed_by(), rules.layout())
            if not opened.additions and not update_index:
                raise SmolfastError(f"there is no index in {index}; build one with smolfast dedup index build")
        return _run_or_skip(job, chosen, opened, update_index, overwrite)


def _read_from(
    given: Sequence[str | os.PathLike[str]], output: Path, index: str | os.PathLike[str] | None, *, strict: bool
) -> Sources:
    """The sources that inputs name, without what an earlier run wrote into `output` and without an index.

    Raises:
        SmolfastError: as `find_apart`.
    """
    sources, inside = find_apart(given, output, writes=OUTPUTS)
    if index is not None:
        check_apart(index, given, called="index")
        sources, _ = leave_out(sources, index)
    if strict:
        check_all_read(sources.passed_over)
    for source in inside:
        # It may be told from an input by its name alone: replacing it still takes a manifest.
        if Path(source.path).name not in OUTPUTS or not Path(source.path).parent.samefile(output):
            raise SmolfastError(f"the output {output} contains the input {source.path}; choose another output")
    if not sources:
        raise SmolfastError(f"the input holds nothing but the index {index}; give other input")
    return sources


def _schema(job: Job) -> pa.Schema | None:
    """The columns of the input; whatever stands against them is found before work begins."""
    for source in job.sources[: job.against]:
        stored_schema(source, text_column=job.rules.text_column, types=job.rules.types, errors=job.rules.errors)
    reserved = [job.rules.prefix + name for name in CLUSTER_COLUMNS]
    sources = job.sources[job.against :]
    schema = common_schema(
        sources, text_column=job.rules.text_column, types=job.rules.types, errors=job.rules.errors, reserved=reserved
    )
    if schema is None:
        return None
    check_storable(schema, sources[0].path if len(sources) == 1 else "the input")
    if job.rules.score_column is not None:
        check_scores(schema, job.rules.score_column, sources[0])
    return schema


def _run_or_skip(job: Job, engine: Engine, index: Index | None, update: bool, overwrite: bool) -> DedupSummary:
    described = describe_inputs(source.path for source in job.sources)
    made_from: dict[str, Any] = {
        "smolfast": __version__,
        "parameters": job.rules.parameters(),
        "against": described[: job.against],
        "inputs": described[job.against :],
    }
    index, key, adds = _resolve_index(index, update, made_from, job.output)
    output, manifest, work = job.output, job.output / MANIFEST, job.output / WORK
    found, begun = _record(manifest), _record(work / MANIFEST)
    made = {} if found is None else dict(found["outputs"])
    altered = [name for name in (KEPT, REMOVED) if not _is_as_made(output / name, made.get(name))]
    goes_on = begun is not None and begun["key"] == key
    if found is not None and found["key"] == key and not altered:
        if goes_on or (begun is None and _is_left_over(work)):  # from a kill after the last rename
            _clear(work)
        with naming(manifest, "choose another output or add --overwrite"):
            return DedupSummary(**found["summary"])
    _check_ownership(output, found, begun)
    standing = [name for name in (KEPT, REMOVED) if (output / name).exists()]
    if not overwrite:
        if (standing and not goes_on) if found is None else found["key"] != key:
            raise SmolfastError(
                f"{output} holds the result of other input or settings; choose another output or add --overwrite"
            )
        if found is not None and (by_hand := [name for name in standing if name in altered]):
            raise SmolfastError(
                f"{output / by_hand[0]} was altered since it was made; choose another output, or add --overwrite to "
                "make it again"
            )
    if found is None:  # a run was killed between the renames: what it left is known by its record alone
        made = {name: fingerprint(output / name) for name in standing}
    if not goes_on:
        _empty(work)
        write_json(work / MANIFEST, {"key": key, "outputs": {}, "replaces": made})
    if engine.spread:
        summary = run_apart(job, engine, work / KEPT, work / REMOVED)
    else:
        summary = _run(job, work, index, key if adds else None)
    try:
        # The manifest goes first and comes last: without it, a kill between the renames only means another run. Until
        # then the work folder says which files are this run's.
        outputs = {name: fingerprint(work / name) for name in (KEPT, REMOVED)}
        write_json(work / MANIFEST, {"key": key, "outputs": outputs, "replaces": made})
        manifest.unlink(missing_ok=True)
        for name in (KEPT, REMOVED):
            (work / name).replace(output / name)
    except OSError as error:
        raise SmolfastError(f"can't write {output}: {describe_os_error(error)}") from error
    write_json(manifest, {"key": key, **made_from, "outputs": outputs, "summary": summary.as_dict()})
    _clear(work)
    return summary


def _record(path: Path) -> dict[str, Any] | None:
    """What a manifest says; None if there is none, an error if the file isn't one of deduplicate's."""
    if not os.path.lexists(path):
        return None
    with naming(path, "choose another output, or move that file"):
        found = read_json(path)
        return {
            "key": str(found["key"]),
            "outputs": dict(found.get("outputs", {})),
            "replaces": dict(found.get("replaces", {})),
            "summary": found.get("summary"),
        }


def _is_as_made(path: Path, made: str | None) -> bool:
    return path.is_file() and fingerprint(path) == made


def _check_ownership(output: Path, found: Mapping[str, Any] | None, begun: Mapping[str, Any] | None) -> None:
    """Refuse to replace what no manifest knows of."""
    for name in (KEPT, REMOVED):
        path = output / name
        known = found is not None
        if begun is not None and not known:  # a run that was killed between the renames
            known = any(_is_as_made(path, begun[files].get(name)) for files in ("outputs", "replaces"))
        if os.path.lexists(path) and (not known or path.is_dir()):
            raise SmolfastError(
                f"{path} exists, and smolfast has no record of having written it; choose another output, or move it"
            )
    work = output / WORK
    if begun is None and os.path.lexists(work) and not _is_left_over(work):
        raise SmolfastError(f"{work} exists, and smolfast didn't make it; choose another output, or move it")


def _is_left_over(work: Path) -> bool:
    """Whether there is a work folder that a kill left before it had a record, or after."""
    return not work.is_symlink() and work.is_dir() and all(is_temporary(name) for name in names_below(work))


def _resolve_index(
    index: Index | None, update: bool, made_from: dict[str, Any], output: Path
) -> tuple[Index | None, str, bool]:
    """The index to compare with, the run's key, and whether to add to the index.

    A run that a kill stopped after it had added its documents goes on against the index as it was before. Only the
    output that added them does: to any other those documents are the index's.
    """

    def key_with(base: Index | None) -> str:
        made_from["index"] = None if base is None else {"added": base.keys(), "update": update}
        return xxhash.xxh3_128_hexdigest(repr(made_from).encode())

    if index is not None and update:
        records = (_record(output / WORK / MANIFEST), _record(output / MANIFEST))
        begun = {record["key"] for record in records if record is not None}
        for number, key in enumerate(index.keys()):
            if key in begun and key == key_with(index.before(number)):
                return index.before(number), key, False
    return index, key_with(index), update


def _run(job: Job, work: Path, index: Index | None, add_as: str | None) -> DedupSummary:
    store = DocumentStore(job.rules.layout(), work / COLUMNS, job.memory // 4)
    try:
        sign_all(job, store)
        store.finish()
        return _join(job, store, work, index, add_as)
    except BaseException as error:
        with contextlib.suppress(SmolfastError, ValueError):  # the first error is the one to report
            if isinstance(error, Exception):
                store.close()
            else:  # a signal: the next run goes on from here
                store.save()
        raise


def _join(job: Job, store: DocumentStore, work: Path, index: Index | None, add_as: str | None) -> DedupSummary:
    pa.default_memory_pool().release_unused()
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
        job.rules,
        memory=job.memory // 4,
        threads=job.threads,
        protected=protected,
    )
    names = Names(
        [document_id(source.path) for source in job.sources],
        starts,
        clusters.sizes,
        job.rules.id_column,
        index,
        all_ids=bool(add_as),
    )
    repeated = None
    if job.rules.lines is not None:
        repeated = RepeatedLines(store, clusters.kept, job.rules.lines, job.memory // 4, protected)
    documents_out, bytes_out = write_kept(
        work / KEPT,
        _second_pass(job, clusters, names, starts),
        clusters,
        job.rules.text_column,
        repeated,
        _writing_threads(job),
        schema=job.schema,
        prefix=job.rules.prefix,
    )
    write_removed(work / REMOVED, Removed.of(clusters), names)
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
        near_by_jaccard=count_by_jaccard(clusters.jaccard[~clusters.exact]),
        **job.passed_over,
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
            raise SmolfastError(CHANGED)
        source = int(np.searchsorted(where, first, side="right")) - 1
        path, row = job.sources[source].path, first - starts[source]
        with computing(path, row, batch.num_rows):
            names.meet(first, batch, path, row)
        if source >= job.against:
            yield first, batch
        first += batch.num_rows
        if job.memory < _AMPLE:
            pa.default_memory_pool().release_unused()
        job.progress((0.65 + 0.35 * first / documents) * total, total, "writing")
    if first != documents:
        raise SmolfastError(CHANGED)


def _empty(work: Path) -> None:
    """Remove all but the record, which says whose it is; the commits first, since they say what is whole."""
    try:
        if not work.is_dir() or work.is_symlink():
            remove(work)
            return
        (work / COLUMNS / COMMITS).unlink(missing_ok=True)
        for path in work.iterdir():
            if path.name != MANIFEST:
                remove(path)
    except OSError as error:
        raise SmolfastError(f"can't remove {work}: {describe_os_error(error)}") from error


def _clear(work: Path) -> None:
    _empty(work)
    try:
        remove(work)
    except OSError as error:
        raise SmolfastError(f"can't remove {work}: {describe_os_error(error)}") from error


def _writing_threads(job: Job) -> int:
    """Each takes some 40 MiB: as many as a quarter of the memory has room for."""
    return max(1, min(job.threads or _native.available_threads(), job.memory // 4 // (40 << 20)))


def _half_of_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


__all__ = ["KEPT", "MANIFEST", "REMOVED", "WORK", "deduplicate"]
